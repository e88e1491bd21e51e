"""Held-out data: the part of a map that a fit does not see, and how well its draws predict that part.

A correlation with data that were fitted rises with every unknown that is added. What a fit says of data that it has
not seen rises as long as what is added is in the map, and falls when it is noise. Not to be confused with the
posterior-predictive check, which looks at the data that were fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import chi2

from bayesflex.density_map import DensityMap
from bayesflex.fourier_grid import FourierGrid

Array = NDArray[np.float64]

#: The held-out shells begin at this share of 1/d: half of the coefficients up to 1/d lie below, 2^(-1/3).
CUT = 0.5 ** (1.0 / 3.0)

#: Shells, at most, in which the level of what no fit explains is measured, and independent observations in each.
_N_SHELLS, _FEWEST_OBSERVATIONS = 8, 50.0

#: Coefficients are tied to their neighbours over 1/D, D the diameter of the region. Blocks are cubes of twice that
#: edge, or, where there would be fewer blocks than this, of down to once.
_BLOCK_EDGE, _FEWEST_BLOCKS = 2.0, 20


def split_shells(density: DensityMap, resolution: float, diameter: float) -> tuple[DensityMap, Array, float]:
    """Return the coarse half of a map to be fitted, its fine half, and the frequency that parts them.

    The Fourier coefficients of the whole box are parted at 0.79/d: whole shells, since single coefficients of a
    molecule that fills part of the box are tied to their neighbours, and since the likelihood weighs shells. Both
    halves end smoothly over 1/2D at the cut, so that 1/D, over which the region that counts ties coefficients to each
    other, lies between what is whole in either.

    Parameters
    ----------
    density
        The map.
    resolution
        d, Å.
    diameter
        D, of a sphere as large as the region that counts, Å.

    Returns
    -------
    coarse
        The map up to the cut; its resolution is 1/cut.
    fine
        What is left beyond the cut, shape (nz, ny, nx).
    cut
        1/Å.
    """
    cut = CUT / resolution
    grid = FourierGrid(density.values.shape, density.voxel_size)
    transform = grid.forward(density.values)
    parts = [
        grid.backward(transform * window.astype(np.float32))[tuple(slice(n) for n in density.values.shape)]
        for window in (_falling(grid.frequency, cut, _edge(cut, diameter)), _rising(grid.frequency, cut, diameter))
    ]
    return density.with_values(parts[0].astype(np.float32)), parts[1].astype(np.float64), cut


def _edge(cut: float, diameter: float) -> float:
    """Return the width of the smooth ends at a cut, 1/Å: 1/2D, or an eighth of the cut where that is less."""
    return min(0.5 / diameter, 0.125 * cut)


def _falling(frequency: Array, end: float, edge: float) -> Array:
    """Return 1 below end - edge, 0 above end, half a cosine between."""
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.clip((frequency - end + edge) / edge, 0.0, 1.0)))


def _rising(frequency: Array, cut: float, diameter: float) -> Array:
    """Return 0 below the cut and 1 from one edge beyond."""
    edge = _edge(cut, diameter)
    return 1.0 - _falling(frequency, cut + edge, edge)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A map that a fit has not seen, or the shells that were kept from it.

    Parameters
    ----------
    values
        On the working grid, shape (nz, ny, nx).
    region
        True for voxels that count, shape (nz, ny, nx).
    voxel_size
        (x, y, z), Å.
    resolution
        d, Å: frequencies beyond 1/d are noise.
    cut
        Frequency from which on the data were held out, 1/Å; 0 for all of them.
    """

    values: Array
    region: NDArray[np.bool_]
    voxel_size: Array
    resolution: float
    cut: float

    @cached_property
    def diameter(self) -> float:
        """Diameter of a sphere as large as the region, Å."""
        return region_diameter(self.region, self.voxel_size)

    @cached_property
    def _grid(self) -> FourierGrid:
        return FourierGrid(self.values.shape, self.voxel_size)

    @cached_property
    def _in_band(self) -> NDArray[np.int64]:
        """Places of the coefficients that are scored, in the flattened half transform."""
        frequency = self._grid.frequency
        low = self.cut + 0.5 * _edge(self.cut, self.diameter) if self.cut > 0.0 else 0.0
        return np.flatnonzero((frequency >= low) & (frequency <= (1.0 + 1e-6) / self.resolution))

    @cached_property
    def observations(self) -> Array:
        """Independent real numbers that each coefficient stands for, shape (n_band,).

        A coefficient and its conjugate are two; the region fills part of the grid, which samples its transform finely.
        """
        multiplicity = np.broadcast_to(self._grid.multiplicity, self._grid.frequency.shape).ravel()[self._in_band]
        return np.asarray(multiplicity * (np.count_nonzero(self.region) / self._grid.n_points), dtype=np.float64)

    @cached_property
    def _shells(self) -> NDArray[np.int64]:
        """Number of the shell of each coefficient, shape (n_band,); all shells hold about as many observations."""
        frequency = self._grid.frequency.ravel()[self._in_band]
        total = float(self.observations.sum())
        n_shells = int(np.clip(total / _FEWEST_OBSERVATIONS, 1, _N_SHELLS))
        order = np.argsort(frequency, kind="stable")
        share = np.cumsum(self.observations[order]) / total
        shells = np.empty(len(order), dtype=np.int64)
        shells[order] = np.minimum((share * n_shells).astype(np.int64), n_shells - 1)
        return shells

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        """Number of the block of each coefficient, shape (n_band,): cubes of Fourier space, conjugates together."""
        mz, my, mx = self._grid.shape
        axes = [np.fft.fftfreq(n, edge) for n, edge in ((mz, self.voxel_size[2]), (my, self.voxel_size[1]))]
        z, y, x = np.unravel_index(self._in_band, self._grid.frequency.shape)
        k = np.stack([axes[0][z], axes[1][y], np.fft.rfftfreq(mx, self.voxel_size[0])[x]], axis=1)
        # In the plane x = 0 both of a pair are there: they take the place of the one with y, or else z, above zero.
        turned = (k[:, 2] == 0.0) & ((k[:, 1] < 0.0) | ((k[:, 1] == 0.0) & (k[:, 0] < 0.0)))
        k[turned] *= -1.0
        numbers = np.zeros(len(k), dtype=np.int64)
        for edge in np.linspace(_BLOCK_EDGE, 1.0, 5) / self.diameter:
            _, numbers = np.unique(np.floor(k / edge), axis=0, return_inverse=True)
            if numbers.max() + 1 >= _FEWEST_BLOCKS:
                break
        return np.asarray(numbers.reshape(-1), dtype=np.int64)

    @cached_property
    def _map(self) -> NDArray[np.complexfloating]:
        return self._masked(self.values)

    @cached_property
    def _offset(self) -> NDArray[np.complexfloating]:
        return self._masked(np.ones(self.values.shape))

    def _masked(self, values: Array) -> NDArray[np.complexfloating]:
        return self._grid.forward(np.where(self.region, values, 0.0)).ravel()[self._in_band]

    def transform(self, density: Array) -> NDArray[np.complexfloating]:
        """Return the coefficients of a model's density, shape (nz, ny, nx), as the map's were made, shape (n_band,)."""
        if self.cut > 0.0:
            window = _rising(self._grid.frequency, self.cut, self.diameter).astype(np.float32)
            whole = self._grid.backward(self._grid.forward(density) * window)
            density = whole[tuple(slice(n) for n in self.values.shape)]
        return self._masked(density)

    def scale_and_offset(self, model: NDArray[np.complexfloating], level: Array) -> tuple[float, float]:
        """Return the scale (not below 0) and offset by which a model explains the map best, by least squares."""
        weight = self.observations / level

        def inner(a: NDArray[np.complexfloating], b: NDArray[np.complexfloating]) -> float:
            return float(np.sum((a.real * b.real + a.imag * b.imag) * weight))

        columns = (model, self._offset)
        gram = np.array([[inner(a, b) for b in columns] for a in columns])
        scale, offset = np.linalg.lstsq(gram, np.array([inner(column, self._map) for column in columns]))[0]
        if scale > 0.0:
            return float(scale), float(offset)
        return 0.0, inner(self._offset, self._map) / inner(self._offset, self._offset)

    def left(self, model: NDArray[np.complexfloating], scale: float, offset: float) -> Array:
        """Return the squared residual of each coefficient, shape (n_band,)."""
        residual = self._map - scale * model - offset * self._offset
        return np.asarray(residual.real**2 + residual.imag**2, dtype=np.float64)

    def level(self, left: Array) -> Array:
        """Return the mean squared residual in the shell of each coefficient, shape (n_band,)."""
        power = np.bincount(self._shells, self.observations * left) / np.bincount(self._shells, self.observations)
        return np.asarray(power[self._shells])


def region_diameter(region: NDArray[np.bool_], voxel_size: Array) -> float:
    """Return the diameter (Å) of a sphere as large as a region of voxels."""
    volume = float(np.count_nonzero(region)) * float(np.prod(voxel_size))
    return (6.0 * volume / math.pi) ** (1.0 / 3.0)


@dataclass(frozen=True, eq=False)
class PredictiveScores:
    """Log predictive densities of held-out data, nats, but for a constant that all candidates share.

    Parameters
    ----------
    blocks
        Of each candidate in each block of Fourier space, shape (n_candidates, n_blocks).
    draw_variance
        Variance of each candidate's score over other draws, shape (n_candidates,), nats²: that of a chain's length.
    """

    blocks: Array
    draw_variance: Array

    @property
    def total(self) -> Array:
        """Score of each candidate, shape (n_candidates,)."""
        return np.asarray(self.blocks.sum(axis=1))

    @property
    def best(self) -> int:
        """Number of the candidate with the highest score."""
        return int(np.argmax(self.total))

    def below(self, other: int) -> tuple[Array, Array]:
        """Return by how much each candidate scores less than another one, and the standard error of that.

        The error has two parts. That of the data is that of a sum over n blocks of paired differences, √n times their
        standard deviation (Vehtari, Gelman and Gabry, Stat. Comput. 27 (2017) 1413, eq. 24): what all candidates miss
        alike does not enter. That of the draws is what other chains would have given.
        """
        difference = self.blocks[other] - self.blocks
        n_blocks = self.blocks.shape[1]
        of_data = n_blocks * difference.var(axis=1, ddof=1) if n_blocks > 1 else np.full(len(difference), np.inf)
        error = np.sqrt(of_data + self.draw_variance + self.draw_variance[other])
        error[other] = 0.0
        return np.asarray(difference.sum(axis=1)), np.asarray(error)

    def best_chains(self, chosen: Sequence[Sequence[int]]) -> PredictiveScores:
        """Return the scores of candidates that are made of several of these, a chain each, by their first.

        What chains of one candidate differ by is the error of the draws: half the squared difference of two chains,
        the median over the candidates, divided by that of χ² with one degree of freedom. The median, since a chain
        that is stuck says nothing of how well the others are known.

        Parameters
        ----------
        chosen
            For each candidate the numbers of its chains, the one that is scored first.
        """
        total = self.total
        halves = [0.5 * (total[one[0]] - total[one[1]]) ** 2 for one in chosen if len(one) > 1]
        variance = float(np.median(halves) / chi2.median(1)) if halves else 0.0
        first = [one[0] for one in chosen]
        return PredictiveScores(self.blocks[first], np.array([variance if len(one) > 1 else 0.0 for one in chosen]))

    def smallest_within_one_error(self) -> int:
        """Return the number of the first candidate that is no more than one standard error below the best."""
        below, error = self.below(self.best)
        return int(np.flatnonzero(below <= error)[0])


def predictive_scores(
    held_out: HeldOut, candidates: Sequence[Sequence[Array]], density_of: Callable[[Array], Array]
) -> PredictiveScores:
    """Score candidates by how well their draws predict held-out data.

    The score of a candidate is the log pointwise predictive density, Σ_b log (1/S) Σ_s p(y_b | r_s): in each block b of
    Fourier coefficients the mean over its draws s of a normal density about α ρ_sim(r_s) + β. α and β are fitted to
    the held-out data, one pair for each candidate. The variance is that which the best candidate's mean leaves in each
    of some shells, one for all candidates, so that errors of the model that all share count as noise and do not make a
    small difference look certain.

    Parameters
    ----------
    held_out
        The data.
    candidates
        For each, its draws: CA positions, shape (n_ca, 3), Å.
    density_of
        The density of CA positions on the working grid, shape (nz, ny, nx).
    """
    models = [np.array([held_out.transform(density_of(draw)) for draw in draws]) for draws in candidates]
    means = [model.mean(axis=0) for model in models]
    level = np.ones(held_out.observations.shape)
    fits = [(1.0, 0.0)] * len(means)
    for _ in range(2):  # scale, then level, then the scale that goes with the level
        fits = [held_out.scale_and_offset(mean, level) for mean in means]
        left = [held_out.left(mean, *fit) for mean, fit in zip(means, fits, strict=True)]
        best = int(np.argmin([float(np.sum(held_out.observations * each / level)) for each in left]))
        level = np.maximum(held_out.level(left[best]), np.finfo(np.float64).tiny)
    n_blocks = int(held_out.blocks.max()) + 1
    scores = np.empty((len(models), n_blocks))
    for row, model, fit in zip(scores, models, fits, strict=True):
        densities = [
            -0.5
            * np.bincount(
                held_out.blocks, held_out.observations * held_out.left(draw, *fit) / level, minlength=n_blocks
            )
            for draw in model
        ]
        row[:] = logsumexp(densities, axis=0) - math.log(len(densities))
    return PredictiveScores(scores, np.zeros(len(scores)))
