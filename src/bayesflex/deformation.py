"""Deformation: from a flat vector of unknowns to coordinates, and gradients back.

``r(theta) = R(omega) (r_0 + q·A + x - c) + c + t`` with mode amplitudes q, local displacements x, a rotation vector
omega and a translation t, c the centroid of r_0 (eq. 6, 7 and 9 of Vuillemot and Jonic, plus a rigid part). The
likelihood and the energy see r only; this module owns log p(theta), the density of the unknowns themselves.

In ``combined`` q and x describe the same motion twice. Both are flat, so that the chain on (q, x) is a chain on r
whose inverse mass is ``M_x⁻¹ + Aᵀ M_q⁻¹ A``: the modes change how fast it moves, not what it samples. An amplitude
worth reporting is therefore ``a_m = A_m·(r_aligned - r_0)`` and never q_m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesflex.errors import ConfigError
from bayesflex.geometry import rotation_of_vector

Array = NDArray[np.float64]

#: Which unknowns each approach has: mode amplitudes, local displacements.
APPROACHES = {"local": (False, True), "global": (True, False), "combined": (True, True)}

#: Standard deviations (Å, radians) of rigid motions that local displacements could make as well.
_REDUNDANT_TRANSLATION, _REDUNDANT_ROTATION = 3.0, 0.15


@dataclass(frozen=True, eq=False)
class Deformation:
    """Map between the flat vector (q, x, omega, t) and coordinates.

    Parameters
    ----------
    approach
        "local" (x), "global" (q) or "combined" (q and x).
    start
        r_0, shape (n, 3), Å.
    modes
        A, orthonormal rows, shape (n_modes, n, 3); no rows in "local".
    rigid
        Whether there are a rotation and a translation.
    translation_sd, rotation_sd
        Standard deviations of the Gaussian on t, Å, and of the one that multiplies the Haar density of omega, in
        radians; None for no such factor. Where x is free, rotation and translation are redundant: any density of
        theirs leaves the posterior of r untouched, and a narrow one keeps them from drifting (see :meth:`tethered`).
    """

    approach: str
    start: Array
    modes: Array
    rigid: bool = False
    translation_sd: float = 30.0
    rotation_sd: float | None = None

    def __post_init__(self) -> None:
        if self.approach not in APPROACHES:
            raise ConfigError(f"deformation: expected one of {', '.join(APPROACHES)}, got {self.approach!r}")
        n = len(self.start)
        if self.modes.shape[1:] != (n, 3):
            raise ConfigError(f"deformation: modes of shape {self.modes.shape} do not belong to {n} atoms")

    @classmethod
    def tethered(cls, approach: str, start: Array, modes: Array, rigid: bool) -> Deformation:
        """Return a deformation for sampling: redundant rotations and translations stay near zero.

        A rotation far from zero gives a chain a lever that its masses do not know of.
        """
        if rigid and APPROACHES[approach][1]:
            return cls(approach, start, modes, rigid, _REDUNDANT_TRANSLATION, _REDUNDANT_ROTATION)
        return cls(approach, start, modes, rigid)

    @cached_property
    def _centre(self) -> Array:
        return np.asarray(self.start.mean(axis=0))

    @cached_property
    def _flat_modes(self) -> Array:
        return self.modes.reshape(len(self.modes), -1)  # (n_modes, 3 n)

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
    def n_dim(self) -> int:
        """Length of the flat vector."""
        return self.translation.stop

    @cached_property
    def has_displacements(self) -> bool:
        """Whether x is among the unknowns."""
        return APPROACHES[self.approach][1]

    @cached_property
    def parts(self) -> tuple[slice, ...]:
        """Places of the unknowns that there are, in the order q, x, omega, t."""
        every = (self.amplitudes, self.displacements, self.rotation, self.translation)
        return tuple(part for part in every if part.stop > part.start)

    def _internal(self, theta: Array) -> Array:
        """Return r_0 + q·A + x, shape (n, 3)."""
        coords = self.start
        if self.n_modes:
            coords = coords + (theta[self.amplitudes] @ self._flat_modes).reshape(coords.shape)
        if self.has_displacements:
            coords = coords + theta[self.displacements].reshape(coords.shape)
        return coords

    def coordinates(self, theta: Array) -> Array:
        """Return r(theta), shape (n, 3), Å."""
        coords = self._internal(theta)
        if not self.rigid:
            return np.ascontiguousarray(coords)
        centre = self._centre
        matrix = rotation_of_vector(theta[self.rotation])
        return np.ascontiguousarray((coords - centre) @ matrix.T + centre + theta[self.translation])

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
            of SO(3).
        """
        out = np.empty(self.n_dim)
        if self.rigid:
            omega, shift = theta[self.rotation], theta[self.translation]
            moment = (coords - (self._centre + shift)).T @ gradient  # (3, 3)
            # Sum of cross products: the antisymmetric part.
            torque = np.array([moment[1, 2] - moment[2, 1], moment[2, 0] - moment[0, 2], moment[0, 1] - moment[1, 0]])
            out[self.rotation] = left_jacobian(omega).T @ torque + self._log_density_of_rotation(omega)[1]
            out[self.translation] = gradient.sum(axis=0) - shift / self.translation_sd**2
            gradient = gradient @ rotation_of_vector(omega)  # rows of Rᵀg
        if self.n_modes:
            out[self.amplitudes] = self._flat_modes @ gradient.ravel()
        if self.has_displacements:
            out[self.displacements] = gradient.ravel()
        return out

    def log_density(self, theta: Array) -> float:
        """Return log p(theta): flat in q and x, Haar measure in omega (|omega| < pi), Gaussian in t."""
        if not self.rigid:
            return 0.0
        shift = theta[self.translation]
        rotation = self._log_density_of_rotation(theta[self.rotation])[0]
        return rotation - 0.5 * float(shift @ shift) / self.translation_sd**2

    def _log_density_of_rotation(self, omega: Array) -> tuple[float, Array]:
        """Return log p(omega) and its gradient."""
        value, gradient = _haar(omega)
        if self.rotation_sd is None:
            return value, gradient
        precision = 1.0 / self.rotation_sd**2
        return value - 0.5 * precision * float(omega @ omega), gradient - precision * omega

    def reset_gauge(self, theta: Array) -> Array:
        """Return the vector with the same coordinates in which x has no part along the modes.

        ``y = q·A + x; q ← A y; x ← y - q·A``. It keeps q and x from drifting apart and changes nothing else.
        """
        if self.approach != "combined":
            return theta
        out = theta.copy()
        total = theta[self.amplitudes] @ self._flat_modes + theta[self.displacements]
        out[self.amplitudes] = self._flat_modes @ total
        out[self.displacements] = total - out[self.amplitudes] @ self._flat_modes
        return out


def _haar(omega: Array) -> tuple[float, Array]:
    """Return the log of the Haar density of a rotation vector and its gradient; -inf from |omega| = pi on.

    The density is ``(sin(a/2) / (a/2))²`` with a = |omega|.
    """
    angle2 = float(omega @ omega)
    if not angle2 < math.pi**2:
        return -math.inf, np.zeros(3)
    if angle2 < 1e-6:
        return -angle2 / 12.0, -omega / 6.0
    angle = math.sqrt(angle2)
    half = 0.5 * angle
    return 2.0 * math.log(math.sin(half) / half), omega / angle * (1.0 / math.tan(half) - 2.0 / angle)


def left_jacobian(omega: Array) -> Array:
    """Return J with ``R(omega + d) ≈ R(J d) R(omega)``, shape (3, 3)."""
    angle2 = float(omega @ omega)
    skew = np.array([[0.0, -omega[2], omega[1]], [omega[2], 0.0, -omega[0]], [-omega[1], omega[0], 0.0]])
    if angle2 < 1e-8:
        return np.eye(3) + 0.5 * skew + skew @ skew / 6.0
    angle = math.sqrt(angle2)
    first = (1.0 - math.cos(angle)) / angle2
    second = (angle - math.sin(angle)) / (angle2 * angle)
    return np.eye(3) + first * skew + second * (skew @ skew)
