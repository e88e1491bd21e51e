"""Dihedrals of four consecutive CA: cosines about the values of the start model, fading where they are undefined."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from bayesflex.chain import bonded_to_next, runs
from bayesflex.compiling import KERNEL, PART
from bayesflex.config import FitConfig
from bayesflex.energy.term import Array, ChainTerm, along_chain
from bayesflex.helices import helical_dihedrals
from bayesflex.simd import (
    WIDTH,
    add_to_points,
    load,
    load_points,
    select,
    shifted_1,
    shifted_2,
    shifted_3,
    splat,
    square_root,
    total,
)
from bayesflex.structure import Structure

#: sin² of a CA angle below which the term fades out (162°; proteins stay within 80° to 155°). A dihedral of
#: collinear beads has no value, and its gradient grows without bound on the way there.
FADE = 0.1


class DihedralArrays(NamedTuple):
    """Dihedrals by their first bead, in a multiple of ``simd.WIDTH`` places, those beyond the last bead included."""

    cosine: Array  # of φ₀
    sine: Array
    constant: Array  # k, kcal/mol; zero where no dihedral begins


@njit(**PART)
def _fade(sine2):  # type: ignore[no-untyped-def]
    """Return a smooth step from 0 at sin² = 0 to 1 at FADE, and its derivative."""
    one = splat(1.0)
    t = sine2 * splat(1.0 / FADE)
    t = select(t < one, t, one)
    return t * t * (splat(3.0) - t - t), splat(6.0 / FADE) * t * (one - t)


@njit(**KERNEL)
def dihedral_energy(coords, gradient, dihedrals):  # type: ignore[no-untyped-def]
    """Add the gradient in place and return the energy; coords and gradient (n + ``simd.MARGIN``, 3)."""
    constant = dihedrals.constant
    zero, one, half, three, four = splat(0.0), splat(1.0), splat(0.5), splat(3.0), splat(4.0)
    tiny = splat(1e-12)
    energy = zero
    # Of the eight before: what pulls at the second, third and fourth beads.
    ax_ = ay_ = az_ = bx_ = by_ = bz_ = cx_ = cy_ = cz_ = zero
    for i in range(0, constant.shape[0], WIDTH):
        x0, y0, z0 = load_points(coords, i)
        x1, y1, z1 = load_points(coords, i + 1)
        x2, y2, z2 = load_points(coords, i + 2)
        x3, y3, z3 = load_points(coords, i + 3)
        # b₁, b₂, b₃ from bead to bead; A = b₁ × b₂, B = b₂ × b₃
        px, py, pz = x1 - x0, y1 - y0, z1 - z0
        qx, qy, qz = x2 - x1, y2 - y1, z2 - z1
        sx, sy, sz = x3 - x2, y3 - y2, z3 - z2
        ax, ay, az = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
        bx, by, bz = qy * sz - qz * sy, qz * sx - qx * sz, qx * sy - qy * sx
        pp, qq, ss = px * px + py * py + pz * pz, qx * qx + qy * qy + qz * qz, sx * sx + sy * sy + sz * sz
        aa, bb = ax * ax + ay * ay + az * az, bx * bx + by * by + bz * bz
        k = load(constant, i)
        # Faded out: below, the weight is of order sin⁴.
        counts = (zero < k) & (aa > tiny * pp * qq) & (bb > tiny * qq * ss)
        # Where it does not count, numbers that do no harm.
        pp, qq, ss = select(counts, pp, one), select(counts, qq, one), select(counts, ss, one)
        aa, bb = select(counts, aa, one), select(counts, bb, one)
        pq, qs = px * qx + py * qy + pz * qz, qx * sx + qy * sy + qz * sz
        # One division for the three bonds and one for the two planes: they take longest of all.
        per_bonds, per_planes = one / (pp * qq * ss), one / (aa * bb)
        per_pq, per_qs, per_qq = ss * per_bonds, pp * per_bonds, pp * ss * per_bonds
        per_aa, per_bb = bb * per_planes, aa * per_planes
        q = square_root(qq)
        scale = square_root(per_planes)
        c = (ax * bx + ay * by + az * bz) * scale  # cos φ
        s = q * (px * bx + py * by + pz * bz) * scale  # sin φ
        # cos and sin of δ = φ - φ₀, and of 3δ by the formulas of the triple angle: no arc, no branch cut
        c0, s0 = load(dihedrals.cosine, i), load(dihedrals.sine, i)
        cd, sd = c * c0 + s * s0, s * c0 - c * s0
        value = one - cd + half * (one - (four * cd * cd - three) * cd)
        slope = sd + splat(1.5) * (three - four * sd * sd) * sd
        wa, da = _fade(aa * per_pq)
        wb, db = _fade(bb * per_qs)
        k = select(counts, k, zero)
        energy = energy + k * wa * wb * value
        # Gradient of φ after Blondel and Karplus, J. Comput. Chem. 17 (1996) 1132, eq. 27
        pull = k * wa * wb * slope
        pull_a, pull_b, per_q = pull * per_aa, pull * per_bb, q * per_qq
        f, h = zero - pull_a * q, pull_b * q
        ta, tb = pull_a * pq * per_q, pull_b * qs * per_q
        # sin² = 1 - (b₁·b₂)² / (b₁² b₂²): its gradient along b₁ is -2 (b₁·b₂)/(b₁² b₂²) (b₂ - (b₁·b₂)/b₁² b₁)
        twice = (k + k) * value
        u, v = zero - twice * wb * da * pq * per_pq, zero - twice * wa * db * qs * per_qs
        on_p, on_q1, on_q2, on_s = pq * qq * per_pq, pq * per_qq, qs * per_qq, qs * qq * per_qs
        g0x, g0y, g0z = f * ax - u * (qx - on_p * px), f * ay - u * (qy - on_p * py), f * az - u * (qz - on_p * pz)
        g3x, g3y, g3z = h * bx + v * (qx - on_s * sx), h * by + v * (qy - on_s * sy), h * bz + v * (qz - on_s * sz)
        tx = ta * ax + tb * bx - u * (px - on_q1 * qx) - v * (sx - on_q2 * qx)
        ty = ta * ay + tb * by - u * (py - on_q1 * qy) - v * (sy - on_q2 * qy)
        tz = ta * az + tb * bz - u * (pz - on_q1 * qz) - v * (sz - on_q2 * qz)
        g1x, g1y, g1z = tx - g0x, ty - g0y, tz - g0z
        g2x, g2y, g2z = tx + g3x, ty + g3y, tz + g3z
        add_to_points(
            gradient,
            i,
            g0x + shifted_1(ax_, g1x) - shifted_2(bx_, g2x) + shifted_3(cx_, g3x),
            g0y + shifted_1(ay_, g1y) - shifted_2(by_, g2y) + shifted_3(cy_, g3y),
            g0z + shifted_1(az_, g1z) - shifted_2(bz_, g2z) + shifted_3(cz_, g3z),
        )
        ax_, ay_, az_, bx_, by_, bz_, cx_, cy_, cz_ = g1x, g1y, g1z, g2x, g2y, g2z, g3x, g3y, g3z
    return total(energy)


def dihedral_angles(coords: Array, first: np.ndarray) -> Array:
    """Return the dihedral (radian, IUPAC sign) of the four beads from each of ``first`` on, shape (n_dihedrals,)."""
    b1, b2, b3 = (coords[first + k + 1] - coords[first + k] for k in range(3))
    a, b = np.cross(b1, b2), np.cross(b2, b3)
    phi: Array = np.arctan2(np.linalg.norm(b2, axis=1) * np.sum(b1 * b, axis=1), np.sum(a * b, axis=1))
    return phi


class Dihedrals(ChainTerm):
    """E = k Σ w [1 - cos(φ - φ₀) + ½ (1 - cos 3(φ - φ₀))] over four consecutive bonded sites.

    φ₀ is the value at the start, and w a weight that is 1 unless one of the two angles opens beyond 162° (or closes
    below 18°), where it falls smoothly to 0 at the straight angle: the gradient stays bounded everywhere.
    The two cosines and their ratio are those of Cα structure-based models (Clementi et al., J. Mol. Biol. 298
    (2000) 937, eq. 1).

    Parameters
    ----------
    ca
        Trace of the start model.
    constant
        k, kcal/mol, of amino acids and nucleotides alike.
    helix_stiffness
        k of dihedrals within α-helices is so many times ``constant``.
    """

    name = "dihedrals"

    def __init__(self, ca: Structure, constant: float, helix_stiffness: float = 1.0) -> None:
        super().__init__(ca.n_atoms)
        first = runs(bonded_to_next(ca), 3)
        phi = dihedral_angles(ca.coords, first)
        k = constant * np.where(helical_dihedrals(ca)[first], helix_stiffness, 1.0)
        self.arrays = DihedralArrays(*along_chain(self.n_beads, first, np.cos(phi), np.sin(phi), k))

    def _of_margined(self, coords: Array, gradient: Array) -> float:
        return float(dihedral_energy(coords, gradient, self.arrays))


def build_dihedrals(ca: Structure, config: FitConfig) -> Dihedrals | None:
    """Return the dihedrals of a start model, or None where their constant is zero."""
    return Dihedrals(ca, config.dihedral_constant, config.helix_stiffness) if config.dihedral_constant else None
