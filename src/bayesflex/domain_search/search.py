"""The search for where one body lies, in what the rest of the model leaves of the density."""

from __future__ import annotations

import copy
import math
from functools import partial

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray
from scipy.optimize import minimize

from bayesflex.beads import BeadModel
from bayesflex.docking.refinement import left_jacobian
from bayesflex.docking.search import run_in_threads
from bayesflex.domain_search.density import Density, scale_and_offset
from bayesflex.domain_search.kernels import best_places, fill_templates, score_of_pose
from bayesflex.domain_search.poses import BodyPose, Tethers
from bayesflex.domain_search.spline import spline_values
from bayesflex.geometry import rotation_of_vector
from bayesflex.rotations import angles_between, covering_rotations
from bayesflex.units import sigma_of_resolution

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Voxels per resolution of the grid that is searched: what a bead sees is smooth.
_SEARCH_VOXELS = 2.25

#: Orientations are searched so closely that none is farther from the nearest one than this, radians: 17°, 6 Å at the
#: surface of a domain with a radius of 20 Å, which is less than the resolution that is searched.
_COVERING = 0.3

#: Orientations whose translations are found together, and how many of the best are refined.
_BATCH, _REFINED = 64, 40

#: Poses nearer to each other than this share of the resolution (RMSD) are one.
_SAME_POSE = 0.7

#: Pull of a linker that is stretched too far, in units of the score's standard deviation per Å².
_TETHER = 1.0


class BodySearch:
    """The search for one body: its beads, and the field of the density that the rest leaves.

    The score of a pose is Σ w F(r), F the residual density seen by a bead: to first order what the pose adds to the
    overlap of the whole model with the map.

    Parameters
    ----------
    density
        The map, blurred to the resolution of the search.
    beads, coords
        What scatters, and the CA positions of the whole model, (n_ca, 3), Å.
    body
        Which residues are searched, shape (n_ca,).
    absent
        Residues whose density is not subtracted though they do not belong to the body: their place is not known
        either, shape (n_ca,).
    tethers
        What holds the body.
    n_threads
        Threads to use; the result does not depend on it.
    """

    def __init__(
        self,
        density: Density,
        beads: BeadModel,
        coords: Array,
        body: Mask,
        absent: Mask,
        tethers: Tethers,
        n_threads: int = 1,
    ) -> None:
        self._n_threads = n_threads
        positions = beads.place(coords)
        mine = body[beads.residue]
        self._weights = beads.weights[mine]
        self.pivot = coords[body].mean(axis=0)
        self._arms = positions[mine] - self.pivot
        present = ~(body | absent)[beads.residue]
        self._rest = positions[present], beads.weights[present]
        self._inner = coords[tethers.inner] - self.pivot
        self._outer, self._length = coords[tethers.outer], tethers.length
        self._radius = math.sqrt(float(np.mean(np.sum(self._arms**2, axis=1))))
        self._second_moments = self._arms.T @ self._arms / len(self._arms)
        self.mean, self.sd = 0.0, 1.0
        self._see(density)

    def _see(self, density: Density) -> None:
        """Take the field from a map."""
        rest = density.render(*self._rest)
        scale, offset = scale_and_offset(density.values, rest, density.region)
        residual = np.where(density.region, density.values - offset - scale * rest, 0.0)
        self._density = density
        # What a bead sees: the residual smeared by its own profile.
        self.field = scipy.ndimage.gaussian_filter(residual, density.sigma / density.voxel_size[::-1], mode="constant")
        self._coefficients = scipy.ndimage.spline_filter(self.field, order=3, mode="constant")

    def poses(self, n_wanted: int) -> list[BodyPose]:
        """Return the best distinct poses, refined, the best first."""
        rotations, centres = self._everywhere()
        found: list[BodyPose] = [self.here()] * len(rotations)

        def refine(number: int) -> None:
            found[number] = self._refined(rotations[number], centres[number])

        run_in_threads([partial(refine, number) for number in range(len(rotations))], self._n_threads)
        return self.distinct(sorted(found, key=lambda pose: -pose.score))[:n_wanted]

    def sharper(self, density: Density, poses: list[BodyPose]) -> list[BodyPose]:
        """Return poses refined once more in a map of finer resolution, the best first.

        Scores are on the scale of those given: the best one's is what it was before it was refined.
        """
        fine = copy.copy(self)
        fine._see(density)
        raw = [float(fine._weights @ fine._field_at(pose.apply(self._arms + self.pivot))[0]) for pose in poses]
        if not raw or max(raw) <= 0.0:
            return poses
        fine.mean, fine.sd = 0.0, max(raw) / poses[int(np.argmax(raw))].score
        refined = [fine._refined(pose.rotation, self.pivot + pose.shift) for pose in poses]
        return self.distinct(sorted(refined, key=lambda pose: -pose.score))

    def here(self) -> BodyPose:
        """Return the pose where the body is."""
        value = float(self._weights @ self._field_at(self._arms + self.pivot)[0])
        return BodyPose(np.eye(3), np.zeros(3), self.pivot, (value - self.mean) / self.sd)

    def distinct(self, poses: list[BodyPose]) -> list[BodyPose]:
        """Return poses without those that are near a better one; the best come first."""
        kept: list[BodyPose] = []
        limit = _SAME_POSE * self._density.sigma / sigma_of_resolution(1.0)
        for pose in poses:
            if all(self.apart(pose, other) > limit for other in kept):
                kept.append(pose)
        return kept

    def apart(self, a: BodyPose, b: BodyPose) -> float:
        """Return the RMSD (Å) of the body between two poses."""
        difference = a.rotation - b.rotation
        turned = float(np.sum((difference @ self._second_moments) * difference))
        return math.sqrt(max(turned, 0.0) + float(np.sum((a.shift - b.shift) ** 2)))

    def _everywhere(self) -> tuple[Array, Array]:
        """Search all orientations and places; return rotations (n, 3, 3) and centres (n, 3) of the best."""
        rotations = covering_rotations(_COVERING)
        voxel = np.full(3, self._density.sigma / sigma_of_resolution(1.0) / _SEARCH_VOXELS)
        corner, shape = self._box(voxel)
        index = [np.arange(n) for n in shape]
        grid = np.stack(np.meshgrid(*index, indexing="ij"), axis=-1)[..., ::-1] * voxel + corner  # (z, y, x, 3), Å
        at = ((grid - self._density.origin) / self._density.voxel_size).reshape(-1, 3)[:, ::-1].T
        values = scipy.ndimage.map_coordinates(self._coefficients, at, order=3, mode="constant", prefilter=False)
        transform = scipy.fft.rfftn(values.reshape(shape).astype(np.float32), workers=1)
        middle = np.array(shape[::-1]) // 2  # (x, y, z): where a template has its pivot
        low = self._density.origin
        high = low + self._density.voxel_size * (np.array(self.field.shape[::-1]) - 1)
        best = np.empty(len(rotations))
        places = np.empty((len(rotations), 3))
        firsts = range(0, len(rotations), _BATCH)
        sums = np.zeros((len(firsts), 3))

        def work(task: int) -> None:
            batch = slice(firsts[task], firsts[task] + _BATCH)
            turns = rotations[batch]
            templates = np.empty((len(turns), *shape), dtype=np.float32)
            fill_templates(self._arms, self._weights, turns, middle, voxel, np.empty(shape), templates)
            spectra = scipy.fft.rfftn(templates, axes=(1, 2, 3), workers=1)
            np.conj(spectra, out=spectra)
            spectra *= transform
            scores = scipy.fft.irfftn(spectra, s=shape, axes=(1, 2, 3), workers=1, overwrite_x=True)
            tethers = self._inner, self._outer, self._length
            sums[task] = best_places(
                scores, middle, corner, voxel, low, high, turns, *tethers, best[batch], places[batch]
            )

        run_in_threads([partial(work, task) for task in range(len(firsts))], self._n_threads)
        count, total, square = sums.sum(axis=0)
        if count > 0.0:
            self.mean = float(total / count)
            self.sd = math.sqrt(max(float(square / count) - self.mean**2, 0.0)) or 1.0
        order = np.argsort(-best, kind="stable")
        order = order[np.isfinite(best[order])]
        return self._thinned(rotations, places, order)

    def _thinned(self, rotations: Array, places: Array, order: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return the best orientations of which no two are neighbours in the same place."""
        kept: list[int] = []
        for number in order.tolist():
            if len(kept) == _REFINED:
                break
            near = np.linalg.norm(places[kept] - places[number], axis=1) < 2.0 * self._density.sigma
            if not kept or not np.any(near & (angles_between(rotations[kept], rotations[number]) < 1.2 * _COVERING)):
                kept.append(number)
        return rotations[kept], places[kept]

    def _box(self, voxel: Array) -> tuple[Array, tuple[int, int, int]]:
        """Return corner (x, y, z), Å, and shape (nz, ny, nx) of the box of all pivots, with room for the body."""
        radius = float(np.linalg.norm(self._arms, axis=1).max())
        edges = self._density.voxel_size * (np.array(self.field.shape[::-1]) - 1)
        if len(self._length):
            reach = self._length + np.linalg.norm(self._inner, axis=1)
            low = np.max(self._outer - reach[:, None], axis=0)
            high = np.min(self._outer + reach[:, None], axis=0)
        else:
            low, high = self._density.origin, self._density.origin + edges
        # The pivot stays in the box of the map; the body may reach out of it, into nothing.
        top = self._density.origin + edges
        low, high = np.maximum(low, self._density.origin), np.minimum(high, top)
        size = np.maximum(high - low, voxel)
        # Around the ends nothing overlaps: pivots spread over the size, and the body over its diameter.
        shape = [
            scipy.fft.next_fast_len(math.ceil((s + 2.0 * radius) / v) + 3, real=True)
            for s, v in zip(size, voxel, strict=True)
        ]
        corner = 0.5 * (low + high) - 0.5 * voxel * (np.array(shape) - 1)
        return corner, (shape[2], shape[1], shape[0])

    def _refined(self, rotation: Array, centre: Array) -> BodyPose:
        """Return the pose at the top of the score nearby, by L-BFGS on a rotation vector and a shift."""
        result = minimize(
            self.cost, np.zeros(6), args=(rotation, centre), jac=True, method="L-BFGS-B", options={"maxiter": 40}
        )
        turn = rotation_of_vector(result.x[:3] / self._radius)
        score = -float(result.fun) - self.mean / self.sd
        return BodyPose(turn @ rotation, centre + result.x[3:] - self.pivot, self.pivot, score)

    def cost(self, q: Array, rotation: Array, centre: Array) -> tuple[float, Array]:
        """Return what refinement lowers, and its gradient: minus the score, and the pull of overstretched linkers.

        Parameters
        ----------
        q
            A rotation vector times the body's radius of gyration, and a shift, shape (6,), Å.
        rotation, centre
            The pose that q moves, shapes (3, 3) and (3,), Å.
        """
        vector, scale = q[:3] / self._radius, 1.0 / self.sd
        turn, at = rotation_of_vector(vector) @ rotation, centre + q[3:]
        pull, twist = np.empty(3), np.empty(3)
        density = self._density
        total = score_of_pose(
            self._coefficients,
            density.origin,
            density.voxel_size,
            self._arms,
            self._weights,
            turn,
            at,
            np.empty((2, 3, 4)),
            pull,
            twist,
        )
        value, force, moment = -scale * total, -scale * pull, -scale * twist
        if len(self._length):
            ends = self._inner @ turn.T
            away = ends + at - self._outer
            distance = np.maximum(np.sqrt(np.sum(away**2, axis=1)), 1e-9)
            excess = np.maximum(distance - self._length, 0.0)
            tension = _TETHER * (excess / distance)[:, None] * away
            value += 0.5 * _TETHER * float(excess @ excess)
            force += tension.sum(axis=0)
            moment += np.cross(ends, tension).sum(axis=0)
        return value, np.concatenate([left_jacobian(vector).T @ moment / self._radius, force])

    def _field_at(self, positions: Array) -> tuple[Array, Array]:
        """Return the field and its gradient at positions (n, 3), Å: (n,) and (n, 3); zero outside the grid."""
        voxel = self._density.voxel_size
        return spline_values(self._coefficients, (positions - self._density.origin) / voxel, voxel)
