"""Measurements and rigid motions of point sets: pure functions of arrays.

Points are rows, so that a rotation R and a translation t move them as
``points @ R.T + t``. Angles are in radians.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from bayesflex.compiling import KERNEL
from bayesflex.errors import InputError

Array = NDArray[np.float64]


class Superposition(NamedTuple):
    """The proper rigid motion ``mobile @ rotation.T + translation`` and what it leaves."""

    rotation: Array  # (3, 3)
    translation: Array  # (3,), Å
    rmsd: float  # Å


def rmsd(a: Array, b: Array) -> float:
    """Return the root mean square distance (Å) of paired points, shape (n, 3), in place.

    Raises
    ------
    InputError
        If the shapes differ or hold no points.
    """
    _require_pairs(a, b)
    return float(np.sqrt(np.sum((a - b) ** 2) / len(a)))


def superimpose(mobile: Array, target: Array, weights: Array | None = None) -> Superposition:
    """Return the rigid motion that brings ``mobile`` closest to ``target``, both (n, 3) in Å.

    Kabsch's solution without reflection [1]_. Where points lie on a line, the rotation about it is one of
    many equally good ones.

    Parameters
    ----------
    mobile, target
        Paired points, shape (n, 3), Å.
    weights
        Non-negative weights, shape (n,); None: equal. They enter the fit and the RMSD.

    Raises
    ------
    InputError
        If the shapes differ, hold no points, or the weights do not have a positive sum.

    References
    ----------
    .. [1] Kabsch (1978), Acta Cryst. A34, 827.
    """
    _require_pairs(mobile, target)
    if weights is None:
        weights = np.ones(len(mobile))
    total = weights.sum()
    if weights.shape != (len(mobile),) or np.any(weights < 0) or not total > 0:
        raise InputError(
            f"superposition: expected {len(mobile)} non-negative weights with a positive sum, "
            f"got shape {weights.shape} with sum {total}"
        )
    share = weights / total
    centre_mobile, centre_target = share @ mobile, share @ target
    from_mobile, from_target = mobile - centre_mobile, target - centre_target
    rotation = nearest_rotation((from_target * share[:, None]).T @ from_mobile)
    residual = from_target - from_mobile @ rotation.T
    return Superposition(
        rotation=rotation,
        translation=centre_target - rotation @ centre_mobile,
        rmsd=float(np.sqrt(share @ np.sum(residual**2, axis=1))),
    )


def superposed_rmsd(a: Array, b: Array) -> float:
    """Return the RMSD (Å) of paired points, shape (n, 3), after optimal superposition."""
    return superimpose(a, b).rmsd


def nearest_rotation(matrices: Array) -> Array:
    """Return the proper rotation R that maximises tr(Rᵀ M) for each 3×3 matrix M, shape (..., 3, 3).

    With M the covariance Σ w (target) (mobile)ᵀ of centred points this is the best superposition; with M a
    sum of rotations, their mean. From the singular value decomposition M = U S Vᵀ: R = U diag(1, 1, ±1) Vᵀ,
    the sign being that of det(U Vᵀ), so that R is never a reflection.
    """
    u, _, vt = np.linalg.svd(matrices)
    sign = np.where(np.linalg.det(u @ vt) < 0.0, -1.0, 1.0)
    u[..., :, 2] *= sign[..., None]  # the smallest singular value is the last
    return np.asarray(u @ vt)


def rotation_of_vector(omega: ArrayLike) -> Array:
    """Return the rotation by |omega| radians about omega, shape (3, 3); omega has shape (3,).

    Rodrigues' formula R = I + a K + b K², K the cross product with omega, a = sin θ / θ and
    b = (1 - cos θ) / θ² = (sin(θ/2) / (θ/2))² / 2, which is accurate to rounding down to θ = 0. NaN where omega is
    not finite.
    """
    return np.array(rotation_matrix(*(float(component) for component in np.asarray(omega)))).reshape(3, 3)


@njit(**KERNEL)
def rotation_matrix(x, y, z):  # type: ignore[no-untyped-def]
    """Return the rows of the rotation by the vector (x, y, z) as nine numbers: see :func:`rotation_of_vector`."""
    half = 0.5 * math.sqrt(x * x + y * y + z * z)
    if not math.isfinite(half):
        x = y = z = math.nan
    # sin(t) / t is 1 to rounding below 1e-8.
    root = math.sin(half) / half if half > 1e-8 else 1.0
    a = math.sin(2.0 * half) / (2.0 * half) if half > 5e-9 else 1.0
    b = 0.5 * root * root
    return (
        1.0 - b * (y * y + z * z),
        b * x * y - a * z,
        b * x * z + a * y,
        b * x * y + a * z,
        1.0 - b * (x * x + z * z),
        b * y * z - a * x,
        b * x * z - a * y,
        b * y * z + a * x,
        1.0 - b * (x * x + y * y),
    )


def rotation_between(start: Array, end: Array) -> Array:
    """Return the smallest rotation that turns each direction onto another, shape (..., 3) to (..., 3, 3).

    Lengths do not matter. Where a direction is zero or the two are exactly opposite, no smallest rotation
    exists and the identity is returned.
    """
    lengths = np.linalg.norm(start, axis=-1) * np.linalg.norm(end, axis=-1)
    scale = np.where(lengths > 0.0, lengths, 1.0)[..., None]
    axis = np.cross(start, end) / scale
    cosine = np.sum(start * end, axis=-1) / scale[..., 0]
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    # R = I + K + K² / (1 + cos): K² vanishes faster than the denominator.
    denominator = np.maximum(1.0 + cosine, np.finfo(np.float64).tiny)[..., None, None]
    return np.asarray(np.eye(3) + cross + cross @ cross / denominator)


def angle(a: Array, b: Array, c: Array) -> Array:
    """Return the angle a-b-c in radians, 0 to π; points have shape (..., 3), the result (...)."""
    u, v = a - b, c - b
    # atan2 keeps its accuracy near 0 and π, where arccos loses half the digits.
    return np.asarray(np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), np.sum(u * v, axis=-1)))


def dihedral(a: Array, b: Array, c: Array, d: Array) -> Array:
    """Return the dihedral angle a-b-c-d in radians, -π to π; points have shape (..., 3), the result (...).

    IUPAC's sign: positive where, seen along b to c, the far bond is clockwise of the near one. It is 0 where three
    consecutive points lie on a line and no dihedral exists.
    """
    first, axis, last = b - a, c - b, d - c
    normal_first, normal_last = np.cross(first, axis), np.cross(axis, last)
    sine = np.linalg.norm(axis, axis=-1) * np.sum(first * normal_last, axis=-1)
    return np.asarray(np.arctan2(sine, np.sum(normal_first * normal_last, axis=-1)))


def _require_pairs(a: Array, b: Array) -> None:
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 3 or len(a) == 0:
        raise InputError(f"points to compare must pair up, shape (n, 3) with n > 0, got {a.shape} and {b.shape}")


def rotation_angle(rotation: Array) -> float:
    """Return the angle of a rotation matrix (3, 3), radians from 0 to π."""
    return math.acos(min(max(0.5 * (float(np.trace(rotation)) - 1.0), -1.0), 1.0))
