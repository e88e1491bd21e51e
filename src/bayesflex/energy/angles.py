"""Angles of three consecutive CA: springs at the values of the start model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from bayesflex.chain import bonded_to_next, runs
from bayesflex.compiling import KERNEL
from bayesflex.config import FitConfig
from bayesflex.energy.term import Array, ChainTerm, along_chain
from bayesflex.helices import helical_angles
from bayesflex.simd import (
    WIDTH,
    add_to_points,
    arc,
    load,
    load_points,
    select,
    shifted_1,
    shifted_2,
    splat,
    square_root,
    total,
)
from bayesflex.structure import Structure


class AngleArrays(NamedTuple):
    """Angles by their first bead, in a multiple of ``simd.WIDTH`` places, those beyond the last bead included."""

    cosine: Array  # of θ₀
    sine: Array
    constant: Array  # k, kcal/mol/rad²; zero where no angle begins


@njit(**KERNEL)
def angle_energy(coords, gradient, angles):  # type: ignore[no-untyped-def]
    """Add the gradient in place and return the energy; coords and gradient (n + ``simd.MARGIN``, 3)."""
    constant = angles.constant
    zero, one = splat(0.0), splat(1.0)
    energy = zero
    sx = sy = sz = bx = by = bz = zero  # of the eight before: what pulls at the middle and at the last beads
    for i in range(0, constant.shape[0], WIDTH):
        x0, y0, z0 = load_points(coords, i)
        x1, y1, z1 = load_points(coords, i + 1)
        x2, y2, z2 = load_points(coords, i + 2)
        ux, uy, uz = x0 - x1, y0 - y1, z0 - z1
        vx, vy, vz = x2 - x1, y2 - y1, z2 - z1
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        sine = square_root(nx * nx + ny * ny + nz * nz)  # |u| |v| sin θ
        cosine = ux * vx + uy * vy + uz * vz
        c0, s0, k = load(angles.cosine, i), load(angles.sine, i), load(constant, i)
        # θ - θ₀. The arc tangent keeps its digits where the arc cosine loses half of them, near 0 and π.
        excess = select(zero < k, arc(sine * c0 - cosine * s0, cosine * c0 + sine * s0), zero)
        energy = energy + k * excess * excess
        # ∂θ/∂u = (u × n) / (|u|² |n|) and ∂θ/∂v = -(v × n) / (|v|² |n|), n = u × v: one division for both. Collinear
        # beads: θ has no gradient, any plane is as good as another.
        uu, vv = ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz
        below = sine * uu * vv
        pull = select(zero < below, (k + k) * excess / select(zero < below, below, one), zero)
        pu, pv = pull * vv, zero - pull * uu
        ax, ay, az = pu * (uy * nz - uz * ny), pu * (uz * nx - ux * nz), pu * (ux * ny - uy * nx)
        cx, cy, cz = pv * (vy * nz - vz * ny), pv * (vz * nx - vx * nz), pv * (vx * ny - vy * nx)
        mx, my, mz = ax + cx, ay + cy, az + cz
        add_to_points(
            gradient,
            i,
            ax - shifted_1(sx, mx) + shifted_2(bx, cx),
            ay - shifted_1(sy, my) + shifted_2(by, cy),
            az - shifted_1(sz, mz) + shifted_2(bz, cz),
        )
        sx, sy, sz, bx, by, bz = mx, my, mz, cx, cy, cz
    return total(energy)


class Angles(ChainTerm):
    """E = k Σ (θ - θ₀)² over three consecutive bonded sites, θ₀ the angle at the start.

    Parameters
    ----------
    ca
        Trace of the start model.
    constant
        k, kcal/mol/rad² (no factor ½). Angles of C4' in 1D66 have a standard deviation of 10°, of which
        k_B T / (2 σ²) makes 9: nucleotides have the constant of amino acids.
    helix_stiffness
        k of angles within α-helices is so many times ``constant``.
    """

    name = "angles"

    def __init__(self, ca: Structure, constant: float, helix_stiffness: float = 1.0) -> None:
        super().__init__(ca.n_atoms)
        first = runs(bonded_to_next(ca), 2)
        u = ca.coords[first] - ca.coords[first + 1]
        v = ca.coords[first + 2] - ca.coords[first + 1]
        angle = np.arctan2(np.linalg.norm(np.cross(u, v), axis=1), np.sum(u * v, axis=1))
        k = constant * np.where(helical_angles(ca)[first], helix_stiffness, 1.0)
        self.arrays = AngleArrays(*along_chain(self.n_beads, first, np.cos(angle), np.sin(angle), k))

    def _of_margined(self, coords: Array, gradient: Array) -> float:
        return float(angle_energy(coords, gradient, self.arrays))


def build_angles(ca: Structure, config: FitConfig) -> Angles | None:
    """Return the angles of a start model, or None where their constant is zero."""
    return Angles(ca, config.angle_constant, config.helix_stiffness) if config.angle_constant else None
