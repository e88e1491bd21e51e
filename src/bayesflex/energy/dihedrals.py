"""Dihedrals of four consecutive CA: cosines about the values of the start model, fading where they are undefined."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bayesflex.chain import bonded_to_next, runs
from bayesflex.config import FitConfig
from bayesflex.energy.term import Array, Term
from bayesflex.structure import Structure

#: sin² of a CA angle below which the term fades out (162°; proteins stay within 80° to 155°). A dihedral of
#: collinear beads has no value, and its gradient grows without bound on the way there.
FADE = 0.1


@njit(cache=True, nogil=True, error_model="numpy")
def _fade(sine2):  # type: ignore[no-untyped-def]
    """Return a smooth step from 0 at sin² = 0 to 1 at FADE, and its derivative."""
    if sine2 >= FADE:
        return 1.0, 0.0
    t = sine2 / FADE
    return t * t * (3.0 - 2.0 * t), 6.0 * t * (1.0 - t) / FADE


@njit(cache=True, nogil=True, error_model="numpy")
def _dihedral_kernel(coords, first, cosine, sine, constant, gradient):  # type: ignore[no-untyped-def]
    energy = 0.0
    for m in range(first.shape[0]):
        i = first[m]
        # b₁, b₂, b₃ from bead to bead; A = b₁ × b₂, B = b₂ × b₃
        px, py, pz = coords[i + 1, 0] - coords[i, 0], coords[i + 1, 1] - coords[i, 1], coords[i + 1, 2] - coords[i, 2]
        qx = coords[i + 2, 0] - coords[i + 1, 0]
        qy = coords[i + 2, 1] - coords[i + 1, 1]
        qz = coords[i + 2, 2] - coords[i + 1, 2]
        sx = coords[i + 3, 0] - coords[i + 2, 0]
        sy = coords[i + 3, 1] - coords[i + 2, 1]
        sz = coords[i + 3, 2] - coords[i + 2, 2]
        ax, ay, az = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
        bx, by, bz = qy * sz - qz * sy, qz * sx - qx * sz, qx * sy - qy * sx
        pp = px * px + py * py + pz * pz
        qq = qx * qx + qy * qy + qz * qz
        ss = sx * sx + sy * sy + sz * sz
        aa = ax * ax + ay * ay + az * az
        bb = bx * bx + by * by + bz * bz
        if not (aa > 1e-12 * pp * qq and bb > 1e-12 * qq * ss):
            continue  # faded out: below, the weight is of order sin⁴
        pq, qs = px * qx + py * qy + pz * qz, qx * sx + qy * sy + qz * sz
        q = math.sqrt(qq)
        scale = 1.0 / math.sqrt(aa * bb)
        c = (ax * bx + ay * by + az * bz) * scale  # cos φ
        s = q * (px * bx + py * by + pz * bz) * scale  # sin φ
        # cos and sin of δ = φ - φ₀, and of 3δ by the formulas of the triple angle: no arc, no branch cut
        cd = c * cosine[m] + s * sine[m]
        sd = s * cosine[m] - c * sine[m]
        value = 1.0 - cd + 0.5 * (1.0 - (4.0 * cd * cd - 3.0) * cd)
        slope = sd + 1.5 * (3.0 - 4.0 * sd * sd) * sd
        wa, da = _fade(aa / (pp * qq))
        wb, db = _fade(bb / (qq * ss))
        energy += wa * wb * value
        # Gradient of φ after Blondel and Karplus, J. Comput. Chem. 17 (1996) 1132, eq. 27
        pull = constant * wa * wb * slope
        f = -pull * q / aa
        h = pull * q / bb
        ta, tb = pull * pq / (aa * q), pull * qs / (bb * q)
        g0x, g0y, g0z = f * ax, f * ay, f * az
        g3x, g3y, g3z = h * bx, h * by, h * bz
        tx, ty, tz = ta * ax + tb * bx, ta * ay + tb * by, ta * az + tb * bz
        if da != 0.0 or db != 0.0:
            # sin² = 1 - (b₁·b₂)² / (b₁² b₂²): its gradient along b₁ is -2 (b₁·b₂)/(b₁² b₂²) (b₂ - (b₁·b₂)/b₁² b₁)
            u = -2.0 * constant * value * wb * da * pq / (pp * qq)
            v = -2.0 * constant * value * wa * db * qs / (qq * ss)
            g0x -= u * (qx - pq / pp * px)
            g0y -= u * (qy - pq / pp * py)
            g0z -= u * (qz - pq / pp * pz)
            g3x += v * (qx - qs / ss * sx)
            g3y += v * (qy - qs / ss * sy)
            g3z += v * (qz - qs / ss * sz)
            tx -= u * (px - pq / qq * qx) + v * (sx - qs / qq * qx)
            ty -= u * (py - pq / qq * qy) + v * (sy - qs / qq * qy)
            tz -= u * (pz - pq / qq * qz) + v * (sz - qs / qq * qz)
        gradient[i, 0] += g0x
        gradient[i, 1] += g0y
        gradient[i, 2] += g0z
        gradient[i + 1, 0] += tx - g0x
        gradient[i + 1, 1] += ty - g0y
        gradient[i + 1, 2] += tz - g0z
        gradient[i + 2, 0] -= tx + g3x
        gradient[i + 2, 1] -= ty + g3y
        gradient[i + 2, 2] -= tz + g3z
        gradient[i + 3, 0] += g3x
        gradient[i + 3, 1] += g3y
        gradient[i + 3, 2] += g3z
    return constant * energy


def dihedral_angles(coords: Array, first: np.ndarray) -> Array:
    """Return the dihedral (radian, IUPAC sign) of the four beads from each of ``first`` on, shape (n_dihedrals,)."""
    b1, b2, b3 = (coords[first + k + 1] - coords[first + k] for k in range(3))
    a, b = np.cross(b1, b2), np.cross(b2, b3)
    phi: Array = np.arctan2(np.linalg.norm(b2, axis=1) * np.sum(b1 * b, axis=1), np.sum(a * b, axis=1))
    return phi


class Dihedrals(Term):
    """E = k Σ w [1 - cos(φ - φ₀) + ½ (1 - cos 3(φ - φ₀))] over four consecutive bonded CA.

    φ₀ is the value at the start, and w a weight that is 1 unless one of the two angles opens beyond 162° (or closes
    below 18°), where it falls smoothly to 0 at the straight angle: the gradient stays bounded everywhere.
    The two cosines and their ratio are those of Cα structure-based models (Clementi et al., J. Mol. Biol. 298
    (2000) 937, eq. 1).

    Parameters
    ----------
    ca
        CA trace of the start model.
    constant
        k, kcal/mol.
    """

    name = "dihedrals"

    def __init__(self, ca: Structure, constant: float) -> None:
        super().__init__(ca.n_atoms)
        self._constant = constant
        self._first = runs(bonded_to_next(ca), 3)
        phi = dihedral_angles(ca.coords, self._first)
        self._cosine, self._sine = np.cos(phi), np.sin(phi)

    def _accumulate(self, coords: Array, gradient: Array) -> float:
        return float(_dihedral_kernel(coords, self._first, self._cosine, self._sine, self._constant, gradient))


def build_dihedrals(ca: Structure, config: FitConfig) -> Dihedrals | None:
    """Return the dihedrals of a start model, or None where their constant is zero."""
    return Dihedrals(ca, config.dihedral_constant) if config.dihedral_constant else None
