"""LocalCorrelation: the score of a pose anywhere, with its gradient, and the climb to the nearest maximum.

The model's density and its mask are sampled once, on a grid that moves with the model; the map and its square are
splines, read at those points. Nothing jumps as the model moves. The search for poses on a grid is in ``search``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from scipy.optimize import minimize

from bayesflex.density_map import DensityMap
from bayesflex.docking.levels import LevelMap
from bayesflex.docking.pose import Pose
from bayesflex.docking.search import MASK_LEVEL, VARIANCE_FLOOR
from bayesflex.geometry import rotation_of_vector
from bayesflex.map_preparation import low_pass
from bayesflex.map_target import VOLUME_PER_RESIDUE
from bayesflex.overlap.field import FieldArrays, SplineField, field_arrays, interpolate
from bayesflex.rendering import render

Array = NDArray[np.float64]

#: Density from which on a voxel belongs to a model's mask, weight per Å³, the weight of a residue being 1.
MASK_DENSITY = MASK_LEVEL / VOLUME_PER_RESIDUE

#: Spacing of a template's points in units of the resolution.
_TEMPLATE_SPACING = 1.0 / 3.0

#: Half width of a rendered bead in sigma.
_WINDOW = 3.0

#: The climb ends after so many steps, or where a step gains less than this in correlation.
_MOST_STEPS, _LEAST_GAIN = 60, 1e-7


@dataclass(frozen=True, eq=False)
class Template:
    """A model's density under its own mask, at points that move with it.

    Parameters
    ----------
    points
        About the pivot, shape (n, 3), Å.
    values
        ``m - m̄`` at the points, shape (n,).
    spacing
        Of the points, Å.
    """

    points: Array
    values: Array
    spacing: float

    @property
    def volume(self) -> float:
        """Volume of the mask, Å³."""
        return len(self.points) * self.spacing**3

    @property
    def power(self) -> float:
        """``Σ (m - m̄)²``."""
        return float(self.values @ self.values)


def make_template(beads: Array, weights: Array, sigma: float, resolution: float, band: float) -> Template:
    """Return the template of beads about their pivot.

    Parameters
    ----------
    beads, weights
        Positions (n, 3), Å, and weights, mean 1 per residue, (n,).
    sigma
        Standard deviation of a bead, Å.
    resolution
        That sigma stands for, Å, by which the points are spaced.
    band
        Resolution to which the map was filtered, Å: the template is filtered alike.
    """
    spacing = _TEMPLATE_SPACING * resolution
    reach = _WINDOW * sigma + spacing
    origin = beads.min(axis=0) - reach
    nx, ny, nz = (math.ceil(edge / spacing) + 1 for edge in (np.ptp(beads, axis=0) + 2.0 * reach).tolist())
    voxel = np.full(3, spacing)
    density = render(beads, weights, sigma, (nz, ny, nx), voxel, origin)
    mask = density > MASK_DENSITY
    filtered = low_pass(DensityMap(density, voxel, origin), band).values[mask]
    points = np.argwhere(mask)[:, ::-1] * spacing + origin
    return Template(points, np.asarray(filtered - filtered.mean()), spacing)


class LocalCorrelation:
    """cc_local of a template at a pose, with derivatives: see :class:`bayesflex.docking.search.CorrelationSearch`.

    Parameters
    ----------
    level
        The map.
    template
        The model.
    """

    def __init__(self, level: LevelMap, template: Template) -> None:
        self.template = template
        coefficients = [
            scipy.ndimage.spline_filter(values, order=3, output=np.float32)
            for values in (level.values, level.values**2)
        ]
        origin, spacing = level.origin, np.full(3, level.voxel_size)
        self._fields: FieldArrays = field_arrays([SplineField(each, origin, spacing) for each in coefficients])
        self._floor = VARIANCE_FLOOR * level.variance
        self._first = coefficients[0]
        # Radius of gyration of the points: a length by which angles are made comparable with translations.
        self.radius = math.sqrt(float(np.mean(np.sum(template.points**2, axis=1))))

    def evaluate(self, rotation: Array, centre: Array) -> tuple[float, Array, Array]:
        """Return cc_local, its gradient by the centre (3,), 1/Å, and by a small further rotation about it (3,).

        Points outside the map see solvent.
        """
        turned = self.template.points @ rotation.T
        positions = np.ascontiguousarray((turned + centre).T)
        n = positions.shape[1]
        first = np.where(self._inside(positions), 0, -1)
        sums, slopes = np.empty((2, 2)), np.zeros((2, 2, 3, n))
        work = np.empty((4, 4))
        for number, weights in enumerate((self.template.values, np.ones(n))):
            sums[number] = 0.0
            interpolate(positions, weights, first, 0, self._fields, work, sums[number], slopes[number], 0, n)
        cross, mean, square = float(sums[0, 0]), float(sums[1, 0]) / n, float(sums[1, 1])
        variance = max(square - n * mean**2, 0.0) + n * self._floor
        norm = math.sqrt(variance * self.template.power)
        score = cross / norm
        # d score = d cross / norm - score (d square - 2 mean d sum) / (2 variance)
        by_point = slopes[0, 0] / norm - (0.5 * score / variance) * (slopes[1, 1] - 2.0 * mean * slopes[1, 0])
        return score, by_point.sum(axis=1), np.cross(turned, by_point.T).sum(axis=0)

    def score(self, pose: Pose) -> float:
        """Return cc_local of a pose."""
        return self.evaluate(pose.rotation, pose.centre)[0]

    def map_values(self, pose: Pose) -> Array:
        """Return the map at the template's points, shape (n,)."""
        positions = self.template.points @ pose.rotation.T + pose.centre
        index = (positions - self._fields.origin) / self._fields.spacing
        return np.asarray(
            scipy.ndimage.map_coordinates(
                self._first, index[:, ::-1].T, output=np.float64, order=3, mode="constant", prefilter=False
            )
        )

    def refined(self, pose: Pose) -> Pose:
        """Return the maximum of the score that is reached uphill from a pose (L-BFGS over ω and t).

        ``R = exp(ω) R_0``, ``c = c_0 + t``; the gradient by ω is Jᵀ torque, J the left Jacobian of SO(3).
        """

        def loss(unknowns: Array) -> tuple[float, Array]:
            omega = unknowns[:3] / self.radius
            score, force, torque = self.evaluate(rotation_of_vector(omega) @ pose.rotation, pose.centre + unknowns[3:])
            by_omega = left_jacobian(omega).T @ torque / self.radius
            return -score, -np.concatenate([by_omega, force])

        found = minimize(
            loss,
            np.zeros(6),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MOST_STEPS, "ftol": _LEAST_GAIN, "gtol": 0.0},
        )
        rotation = rotation_of_vector(found.x[:3] / self.radius) @ pose.rotation
        return replace(pose, rotation=rotation, centre=pose.centre + found.x[3:], score=-float(found.fun))

    def _inside(self, positions: Array) -> NDArray[np.bool_]:
        """Tell which positions (3, n) the splines can be read at."""
        index = (positions - self._fields.origin[:, None]) / self._fields.spacing[:, None]
        size = np.array(self._first.shape[::-1])[:, None]
        return np.asarray(np.all((index >= 1.0) & (index < size - 2), axis=0))


def left_jacobian(omega: Array) -> Array:
    """Return J of ``exp(ω + δ) ≈ exp(J δ) exp(ω)``, shape (3, 3).

    ``J = 1 + (1 - cos θ) / θ² K + (θ - sin θ) / θ³ K²``, K the cross product with ω and θ its length.
    """
    x, y, z = omega
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = math.sqrt(float(omega @ omega))
    if angle < 1e-4:  # the next terms are below rounding
        return np.asarray(np.eye(3) + 0.5 * cross + cross @ cross / 6.0)
    first, second = (1.0 - math.cos(angle)) / angle**2, (angle - math.sin(angle)) / angle**3
    return np.asarray(np.eye(3) + first * cross + second * cross @ cross)
