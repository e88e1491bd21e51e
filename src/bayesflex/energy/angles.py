"""Angles of three consecutive CA: springs at the values of the start model."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bayesflex.chain import bonded_to_next, runs
from bayesflex.config import FitConfig
from bayesflex.energy.term import Array, Term
from bayesflex.structure import Structure


@njit(cache=True, nogil=True, error_model="numpy")
def _angle_kernel(coords, first, angle, constant, gradient):  # type: ignore[no-untyped-def]
    energy = 0.0
    for m in range(first.shape[0]):
        i = first[m]
        ux, uy, uz = coords[i, 0] - coords[i + 1, 0], coords[i, 1] - coords[i + 1, 1], coords[i, 2] - coords[i + 1, 2]
        vx = coords[i + 2, 0] - coords[i + 1, 0]
        vy = coords[i + 2, 1] - coords[i + 1, 1]
        vz = coords[i + 2, 2] - coords[i + 1, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        sine = math.sqrt(nx * nx + ny * ny + nz * nz)  # |u| |v| sin θ
        # The arc tangent keeps its digits where the arc cosine loses half of them, near 0 and π.
        excess = math.atan2(sine, ux * vx + uy * vy + uz * vz) - angle[m]
        energy += excess * excess
        if not sine > 0.0:
            continue  # collinear: θ has no gradient, any plane is as good as another
        # ∂θ/∂u = (u × n) / (|u|² |n|) and ∂θ/∂v = -(v × n) / (|v|² |n|), n = u × v
        pull = 2.0 * constant * excess / sine
        pu = pull / (ux * ux + uy * uy + uz * uz)
        pv = -pull / (vx * vx + vy * vy + vz * vz)
        ax, ay, az = pu * (uy * nz - uz * ny), pu * (uz * nx - ux * nz), pu * (ux * ny - uy * nx)
        bx, by, bz = pv * (vy * nz - vz * ny), pv * (vz * nx - vx * nz), pv * (vx * ny - vy * nx)
        gradient[i, 0] += ax
        gradient[i, 1] += ay
        gradient[i, 2] += az
        gradient[i + 1, 0] -= ax + bx
        gradient[i + 1, 1] -= ay + by
        gradient[i + 1, 2] -= az + bz
        gradient[i + 2, 0] += bx
        gradient[i + 2, 1] += by
        gradient[i + 2, 2] += bz
    return constant * energy


class Angles(Term):
    """E = k Σ (θ - θ₀)² over three consecutive bonded CA, θ₀ the angle at the start.

    Parameters
    ----------
    ca
        CA trace of the start model.
    constant
        k, kcal/mol/rad² (no factor ½).
    """

    name = "angles"

    def __init__(self, ca: Structure, constant: float) -> None:
        super().__init__(ca.n_atoms)
        self._constant = constant
        self._first = runs(bonded_to_next(ca), 2)
        u = ca.coords[self._first] - ca.coords[self._first + 1]
        v = ca.coords[self._first + 2] - ca.coords[self._first + 1]
        self._angle = np.arctan2(np.linalg.norm(np.cross(u, v), axis=1), np.sum(u * v, axis=1))

    def _accumulate(self, coords: Array, gradient: Array) -> float:
        return float(_angle_kernel(coords, self._first, self._angle, self._constant, gradient))


def build_angles(ca: Structure, config: FitConfig) -> Angles | None:
    """Return the angles of a start model, or None where their constant is zero."""
    return Angles(ca, config.angle_constant) if config.angle_constant else None
