"""CorrelationSearch: the local correlation of a turned model with a map, at every translation at once.

For one rotation the model is rendered in a box of its own, and three correlations with the map and its square, by real
FFTs, give the score at all voxels. It is a search: on a coarse grid, at the voxels' positions. Scores and gradients at
any pose are in ``refinement``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from bayesflex.rendering import render
from bayesflex.team import Team

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

#: A voxel belongs to the model's mask where its density exceeds this share of that inside a protein. Outside a flat
#: surface the density falls to it at 1.9 sigma, 0.4 of the resolution: some solvent counts, and with it the shape.
MASK_LEVEL = 0.03

#: Variance that is added to the map's under the mask, as a share of the whole map's: where a map is flat, the pattern
#: of its rounding must not correlate.
VARIANCE_FLOOR = 0.01

#: Half width of a rendered bead in sigma: at 3 the density is within the mask's level everywhere.
_WINDOW = 3.0

#: Rotations that are a task for one thread.
_BATCH = 16


class CorrelationSearch:
    """The map's side of the search: what all rotations share.

    The score of a pose is the correlation of map ρ and model m under the model's own mask M, centred under the mask:

        ``cc_local = Σ M (m - m̄) ρ / √(Σ M (m - m̄)² · (Σ M (ρ - ρ̄)² + e Σ M))``

    with the means taken under M, and e the share ``VARIANCE_FLOOR`` of the map's variance. It is the locally
    normalised correlation of Roseman [1]_, evaluated by FFT for masks of any shape [2]_: a dense part of the map that
    has another shape does not attract the model, and a map larger than the model does not dilute the score.

    Parameters
    ----------
    values
        The map, shape (nz, ny, nx), zero meaning solvent: outside it there is nothing else.
    voxel_size
        Edge of its cubic voxels, Å.
    origin
        Position of voxel (0, 0, 0), order (x, y, z), Å.
    bead_positions
        Of the model about its pivot, shape (n_beads, 3), Å.
    weights
        Of the beads, mean 1 per residue, shape (n_beads,).
    sigma
        Standard deviation of a bead, Å.
    mask_density
        Density (weight per Å³) from which on a voxel belongs to the model's mask.

    References
    ----------
    .. [1] Roseman (2000), Acta Cryst. D56, 1332.
    .. [2] Roseman (2003), Ultramicroscopy 94, 225.
    """

    def __init__(
        self,
        values: NDArray[Any],
        voxel_size: float,
        origin: Array,
        bead_positions: Array,
        weights: Array,
        sigma: float,
        mask_density: float,
    ) -> None:
        self.voxel_size, self.origin = float(voxel_size), np.asarray(origin, dtype=np.float64)
        self.map_shape = values.shape
        self._beads, self._weights, self._sigma = bead_positions, weights, float(sigma)
        self._mask_density = mask_density
        radius = math.sqrt(float(np.max(np.sum(bead_positions**2, axis=1)))) + _WINDOW * sigma
        #: Voxels from the pivot to each face of the model's own box.
        self._half = math.ceil(radius / self.voxel_size)
        # A model whose pivot lies in the map reaches so far beyond it, at either end: the padding serves both.
        self.shape = tuple(
            scipy.fft.next_fast_len(max(n + self._half, 2 * self._half) + 1, real=True) for n in values.shape
        )
        counted = np.asarray(values, dtype=np.float32)
        self._floor = VARIANCE_FLOOR * float(np.var(values, dtype=np.float64))
        self._transforms = scipy.fft.rfftn(np.stack([counted, counted**2]), s=self.shape, axes=(1, 2, 3), workers=1)

    def scores(self, rotation: Array) -> Floats:
        """Return cc_local of the model turned about its pivot, with the pivot at each voxel of the map.

        Parameters
        ----------
        rotation
            Shape (3, 3).

        Returns
        -------
        ndarray
            Shape of the map, (nz, ny, nx).
        """
        half, size = self._half, 2 * self._half + 1
        corner = np.full(3, -half * self.voxel_size)
        density = render(
            self._beads @ rotation.T,
            self._weights,
            self._sigma,
            (size, size, size),
            np.full(3, self.voxel_size),
            corner,
            _WINDOW,
        )
        mask = density > self._mask_density
        n_inside = int(np.count_nonzero(mask))
        inside = density[mask]
        inside -= inside.mean()
        own = float(inside @ inside)
        pair = np.zeros((2, *self.shape), dtype=np.float32)
        # Around the ends, so that the pivot is at index 0.
        z, y, x = ((index - half) % n for index, n in zip(np.nonzero(mask), self.shape, strict=True))
        pair[0, z, y, x], pair[1, z, y, x] = inside, 1.0
        template, indicator = np.conj(scipy.fft.rfftn(pair, axes=(1, 2, 3), workers=1))
        of_map, of_square = self._transforms
        products = np.empty((3, *of_map.shape), dtype=np.complex64)
        np.multiply(template, of_map, out=products[0])
        np.multiply(indicator, of_map, out=products[1])
        np.multiply(indicator, of_square, out=products[2])
        nz, ny, nx = self.map_shape
        cross, first, second = scipy.fft.irfftn(products, s=self.shape, axes=(1, 2, 3), workers=1, overwrite_x=True)[
            :, :nz, :ny, :nx
        ]
        variance = np.maximum(second - first**2 / n_inside, 0.0) + np.float32(self._floor * n_inside)
        return np.asarray(cross / np.sqrt(variance * np.float32(own)))

    def best(
        self,
        rotations: Array,
        n_peaks: int,
        separation: float,
        allowed: Callable[[Array], NDArray[np.bool_]] | None = None,
        n_threads: int = 1,
    ) -> tuple[NDArray[np.int64], Array, Array]:
        """Return the best places of the model for each rotation.

        Parameters
        ----------
        rotations
            Shape (n, 3, 3).
        n_peaks
            Places per rotation.
        separation
            Least distance between two of one rotation along one axis at least, Å.
        allowed
            Tells of positions (n, 3), Å, whether the pivot may be there, shape (n,); None for anywhere in the map.
        n_threads
            Threads to use. The result does not depend on it.

        Returns
        -------
        number : ndarray
            Index of the rotation, shape (n n_peaks,).
        centres : ndarray
            Positions of the pivot, shape (n n_peaks, 3), Å.
        scores : ndarray
            Shape (n n_peaks,); -1 where a rotation has fewer places.
        """
        found = np.full((len(rotations), n_peaks), -1.0)
        places = np.zeros((len(rotations), n_peaks, 3))
        reach = max(1, math.floor(separation / self.voxel_size))
        forbidden = None if allowed is None else ~allowed(self._positions()).reshape(self.map_shape)

        def work(first: int) -> None:
            for number in range(first, min(first + _BATCH, len(rotations))):
                scores = self.scores(rotations[number])
                if forbidden is not None:
                    scores[forbidden] = -1.0
                for peak in range(n_peaks):
                    top = np.unravel_index(int(np.argmax(scores)), scores.shape)
                    found[number, peak] = scores[top]
                    places[number, peak] = top[::-1]
                    scores[tuple(slice(max(i - reach, 0), i + reach + 1) for i in top)] = -1.0

        run_in_threads([partial(work, first) for first in range(0, len(rotations), _BATCH)], n_threads)
        number = np.repeat(np.arange(len(rotations)), n_peaks)
        return number, places.reshape(-1, 3) * self.voxel_size + self.origin, found.ravel()

    def _positions(self) -> Array:
        """Return the position of each voxel, shape (nz ny nx, 3), Å."""
        index = np.stack(np.meshgrid(*(np.arange(n) for n in self.map_shape), indexing="ij"), axis=-1)
        return np.asarray(index.reshape(-1, 3)[:, ::-1] * self.voxel_size + self.origin)


def run_in_threads(tasks: Sequence[Callable[[], object]], n_threads: int) -> None:
    """Run all tasks on so many threads, this one among them."""
    if n_threads <= 1 or len(tasks) <= 1:
        for task in tasks:
            task()
        return
    with Team(n_threads) as team:
        team.run(tasks)
