"""Pose: a rigid motion of a model, and how far two of them take it apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bayesflex.geometry import rotation_of_vector

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pose:
    """The rigid motion that puts a position x of the model at ``rotation @ (x - pivot) + centre``.

    Parameters
    ----------
    rotation
        Shape (3, 3).
    centre
        Where the pivot comes to lie, shape (3,), Å.
    pivot
        The model's centroid as it was given, shape (3,), Å.
    score
        Local correlation, see :class:`bayesflex.docking.refinement.LocalCorrelation`; NaN where it was not computed.
    """

    rotation: Array
    centre: Array
    pivot: Array
    score: float = math.nan

    def apply(self, coords: Array) -> Array:
        """Return positions (n, 3), Å, of the model as it was given, moved."""
        return np.asarray((coords - self.pivot) @ self.rotation.T + self.centre)

    @property
    def translation(self) -> Array:
        """The t of ``x → R x + t``, shape (3,), Å."""
        return np.asarray(self.centre - self.rotation @ self.pivot)

    @property
    def motion(self) -> tuple[float, ...]:
        """The six numbers of ``x → R x + t``: rotation vector (radians), then t (Å)."""
        omega = Rotation.from_matrix(self.rotation).as_rotvec()
        return tuple(np.concatenate([omega, self.translation]).tolist())


def moved(coords: Array, motion: Sequence[float]) -> Array:
    """Return positions (n, 3), Å, after a motion in six numbers: see :attr:`Pose.motion`."""
    return np.asarray(coords @ rotation_of_vector(motion[:3]).T + np.asarray(motion[3:]))


def pose_rmsd(a: Pose, b: Pose, second_moments: Array) -> float:
    """Return the RMSD (Å) between a model at two poses, in place.

    ``RMSD² = |c_a - c_b|² + tr(D S Dᵀ)`` with D the difference of the rotations: no coordinate is touched.

    Parameters
    ----------
    a, b
        Poses about one pivot.
    second_moments
        S, the mean of (x - pivot) (x - pivot)ᵀ over the model, shape (3, 3), Å².
    """
    difference = a.rotation - b.rotation
    turned = float(np.sum((difference @ second_moments) * difference))
    return math.sqrt(max(turned, 0.0) + float(np.sum((a.centre - b.centre) ** 2)))
