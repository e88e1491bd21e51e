"""Deformation: from a flat vector of unknowns to coordinates, and gradients back.

``r(theta) = R(omega) (r_0 + q·A + x - c) + c + t`` with mode amplitudes q, local displacements x, a rotation vector
omega and a translation t, c the centroid of r_0 (eq. 6, 7 and 9 of Vuillemot and Jonic, plus a rigid part). The
likelihood and the energy see r only; this module owns log p(theta), the density of the unknowns themselves.

In ``combined`` q and x describe the same motion twice. Both are flat, so that the chain on (q, x) is a chain on r
whose inverse mass is ``M_x⁻¹ + Aᵀ M_q⁻¹ A``: the modes change how fast it moves, not what it samples. An amplitude
worth reporting is therefore ``a_m = A_m·(r_aligned - r_0)`` and never q_m.

With rigid bodies (domains) k, each with a rotation vector, a translation and a weight w_nk at each residue, the first
term becomes ``r_0 + Σ_k w_k [R(omega_k) (r_0 - c_k) + c_k + t_k - r_0]``: linear blend skinning (Magnenat-Thalmann,
Laperrière and Thalmann, Graphics Interface 1988). Weights that sum to one and are 1 within a domain leave domains
rigid and bend what lies between. Modes and displacements are added to it and not turned with it: whatever the bodies
do, r is then a shift of x, so that flat x keeps p(r) as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesflex.deformation_kernels import DeformationArrays, deform, haar, pull_back
from bayesflex.errors import ConfigError
from bayesflex.simd import aligned

Array = NDArray[np.float64]

#: Which unknowns each approach has: mode amplitudes, local displacements.
APPROACHES = {"local": (False, True), "global": (True, False), "combined": (True, True)}

#: Standard deviations (Å, radians) of rigid motions that local displacements could make as well.
_REDUNDANT_TRANSLATION, _REDUNDANT_ROTATION = 3.0, 0.15


@dataclass(frozen=True, eq=False)
class Deformation:
    """Map between the flat vector (q, x, omega, t, omega_1, t_1, omega_2, t_2, ...) and coordinates.

    Parameters
    ----------
    approach
        "local" (x), "global" (q) or "combined" (q and x).
    start
        r_0, shape (n, 3), Å.
    modes
        A, orthonormal rows, shape (n_modes, n, 3); no rows in "local". They are rounded to 32 bits, in which compiled
        code reads them: a gradient of a large model waits for them. Coordinates, gradients and gauge are those of the
        rounded ones, which span as good a space.
    rigid
        Whether there are a rotation and a translation.
    translation_sd, rotation_sd
        Of the whole and of the bodies: standard deviations of the Gaussian on t, Å, and of the one that multiplies the
        Haar density of omega, in radians; None for no such factor. Where x is free, rotations and translations are
        redundant: any density of theirs leaves the posterior of r untouched, and a narrow one keeps them from drifting
        (see :meth:`tethered`).
    bodies
        Weights of the residues in each rigid body, shape (n_bodies, n), from 0 to 1; None for no bodies.
    """

    approach: str
    start: Array
    modes: Array
    rigid: bool = False
    translation_sd: float = 30.0
    rotation_sd: float | None = None
    bodies: Array | None = None

    def __post_init__(self) -> None:
        if self.approach not in APPROACHES:
            raise ConfigError(f"deformation: expected one of {', '.join(APPROACHES)}, got {self.approach!r}")
        n = len(self.start)
        if self.modes.shape[1:] != (n, 3):
            raise ConfigError(f"deformation: modes of shape {self.modes.shape} do not belong to {n} atoms")
        if self.bodies is not None and (self.bodies.ndim != 2 or self.bodies.shape[1] != n):
            raise ConfigError(f"deformation: weights of shape {self.bodies.shape} do not belong to {n} atoms")
        object.__setattr__(self, "modes", self.modes.astype(np.float32).astype(np.float64))

    @classmethod
    def local(cls, start: Array) -> Deformation:
        """Return the deformation whose unknowns are the displacements alone, of a structure (n, 3), Å."""
        return cls("local", start, np.zeros((0, *start.shape)))

    @classmethod
    def tethered(
        cls, approach: str, start: Array, modes: Array, rigid: bool, bodies: Array | None = None
    ) -> Deformation:
        """Return a deformation for sampling: redundant rotations and translations stay near zero.

        A rotation far from zero gives a chain a lever that its masses do not know of.
        """
        if APPROACHES[approach][1]:
            return cls(approach, start, modes, rigid, _REDUNDANT_TRANSLATION, _REDUNDANT_ROTATION, bodies)
        return cls(approach, start, modes, rigid, bodies=bodies)

    @cached_property
    def _centre(self) -> Array:
        return np.asarray(self.start.mean(axis=0))

    @cached_property
    def _flat_modes(self) -> Array:
        return self.modes.reshape(len(self.modes), self.start.size)  # (n_modes, 3 n)

    @cached_property
    def _along_modes(self) -> Array:
        """(A Aᵀ)⁻¹ A, which turns coordinates into amplitudes: rounded rows are orthonormal to rounding."""
        return np.asarray(np.linalg.solve(self._flat_modes @ self._flat_modes.T, self._flat_modes))

    @cached_property
    def n_modes(self) -> int:
        """Number of amplitudes among the unknowns."""
        return len(self.modes) if APPROACHES[self.approach][0] else 0

    @cached_property
    def amplitudes(self) -> slice:
        """Place of q in the flat vector."""
        return slice(0, self.n_modes)

    @cached_property
    def displacements(self) -> slice:
        """Place of x in the flat vector, flattened from (n, 3)."""
        return slice(self.n_modes, self.n_modes + (self.start.size if self.has_displacements else 0))

    @cached_property
    def rotation(self) -> slice:
        """Place of omega in the flat vector."""
        end = self.displacements.stop
        return slice(end, end + (3 if self.rigid else 0))

    @cached_property
    def translation(self) -> slice:
        """Place of t in the flat vector."""
        end = self.rotation.stop
        return slice(end, end + (3 if self.rigid else 0))

    @cached_property
    def n_bodies(self) -> int:
        """Number of rigid bodies."""
        return 0 if self.bodies is None else len(self.bodies)

    @cached_property
    def motions(self) -> slice:
        """Place of the bodies' motions in the flat vector, rotation vector and translation of one after the other."""
        end = self.translation.stop
        return slice(end, end + 6 * self.n_bodies)

    @cached_property
    def n_dim(self) -> int:
        """Length of the flat vector."""
        return self.motions.stop

    @cached_property
    def has_displacements(self) -> bool:
        """Whether x is among the unknowns."""
        return APPROACHES[self.approach][1]

    @cached_property
    def parts(self) -> tuple[slice, ...]:
        """Places of the unknowns that there are, in the order q, x, omega, t, motions of bodies."""
        every = (self.amplitudes, self.displacements, self.rotation, self.translation, self.motions)
        return tuple(part for part in every if part.stop > part.start)

    @cached_property
    def arrays(self) -> DeformationArrays:
        """What compiled code needs."""
        weights = np.zeros((0, len(self.start))) if self.bodies is None else self.bodies
        body, residue = np.nonzero(weights)
        mass = np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
        return DeformationArrays(
            aligned(self.start),
            aligned(self._flat_modes[: self.n_modes], np.float32),
            self.has_displacements,
            self.rigid,
            self._centre,
            1.0 / self.translation_sd**2,
            0.0 if self.rotation_sd is None else 1.0 / self.rotation_sd**2,
            np.ascontiguousarray(weights @ self.start / mass),
            np.searchsorted(body, np.arange(len(weights) + 1)),
            # As it is without bodies, where it has no length: of another layout all kernels would be compiled again.
            np.ascontiguousarray(residue),
            np.ascontiguousarray(weights[body, residue]),
        )

    def coordinates(self, theta: Array) -> Array:
        """Return r(theta), shape (n, 3), Å."""
        coords = np.empty(self.start.shape)
        deform(theta, self.arrays, coords)
        return coords

    def pull_back(self, theta: Array, coords: Array, gradient: Array) -> Array:
        """Return the gradient with respect to theta of a function of r, plus that of log p(theta).

        Parameters
        ----------
        theta
            Flat vector, shape (n_dim,).
        coords
            r(theta), shape (n, 3).
        gradient
            g, the function's gradient at r, shape (n, 3).

        Returns
        -------
        ndarray
            ∂/∂x = Rᵀg, ∂/∂q = A Rᵀg, ∂/∂t = Σ g_n and ∂/∂omega = Jᵀ Σ (r_n - c - t) × g_n, J the left Jacobian
            of SO(3); for a body likewise with w_nk g_n, and R(omega_k) (r_0 - c_k) for its arms.
        """
        out = np.empty(self.n_dim)
        pull_back(theta, coords, self.arrays, gradient.copy(), out)
        return out

    def log_density(self, theta: Array) -> float:
        """Return log p(theta): flat in q and x, Haar measure in each omega (|omega| < pi), Gaussian in each t."""
        total = 0.0
        starts = [self.rotation.start] if self.rigid else []
        for at in (*starts, *range(self.motions.start, self.motions.stop, 6)):
            omega, shift = theta[at : at + 3], theta[at + 3 : at + 6]
            angle2 = float(omega @ omega)
            if not angle2 < math.pi**2:
                return -math.inf
            total += haar(angle2)[0] - 0.5 * self.arrays.rotation_precision * angle2
            total -= 0.5 * self.arrays.translation_precision * float(shift @ shift)
        return float(total)

    def reset_gauge(self, theta: Array) -> Array:
        """Return the vector with the same coordinates in which x has no part along the modes.

        ``y = q·A + x; q ← (A Aᵀ)⁻¹ A y; x ← y - q·A``. It keeps q and x from drifting apart and changes nothing else.
        """
        if self.approach != "combined":
            return theta
        out = theta.copy()
        total = theta[self.amplitudes] @ self._flat_modes + theta[self.displacements]
        out[self.amplitudes] = self._along_modes @ total
        out[self.displacements] = total - out[self.amplitudes] @ self._flat_modes
        return out
