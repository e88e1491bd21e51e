"""FourierGrid: real maps on a grid, their half transforms, and sums over all frequencies."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Array = NDArray[np.float64]


class FourierGrid:
    """A grid, padded with zeros to a size that is quick to transform.

    Parameters
    ----------
    shape
        Of the maps, (nz, ny, nx).
    voxel_size
        (x, y, z), Å.
    """

    def __init__(self, shape: tuple[int, ...], voxel_size: Array) -> None:
        self.shape = tuple(scipy.fft.next_fast_len(n, real=True) for n in shape)
        self.voxel_size = voxel_size
        self.n_points = math.prod(self.shape)

    @cached_property
    def frequency(self) -> Array:
        """Spatial frequency of each term of the half transform, 1/Å."""
        (mz, my, mx), (dx, dy, dz) = self.shape, self.voxel_size.tolist()
        kz, ky, kx = scipy.fft.fftfreq(mz, dz), scipy.fft.fftfreq(my, dy), scipy.fft.rfftfreq(mx, dx)
        return np.asarray(np.sqrt(kz[:, None, None] ** 2 + ky[:, None] ** 2 + kx**2))

    @cached_property
    def multiplicity(self) -> NDArray[np.float32]:
        """How often each plane of the half transform occurs in the whole, shape (mx // 2 + 1,)."""
        mx = self.shape[2]
        times = np.full(mx // 2 + 1, 2.0, dtype=np.float32)
        times[0] = 1.0
        if mx % 2 == 0:
            times[-1] = 1.0
        return times

    @property
    def distance(self) -> Array:
        """Distance of each point of the padded grid from point (0, 0, 0), around the ends, Å, shape (mz, my, mx)."""
        axes = [n * edge * scipy.fft.fftfreq(n) for n, edge in zip(self.shape, self.voxel_size[::-1], strict=True)]
        z, y, x = axes
        return np.asarray(np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2))

    @property
    def step(self) -> float:
        """Smallest step of frequency, 1/Å."""
        return 1.0 / float(np.max(np.array(self.shape[::-1]) * self.voxel_size))

    def forward(self, values: NDArray[Any], kind: type = np.float32) -> NDArray[Any]:
        """Return the half transform of a map, padded with zeros."""
        return scipy.fft.rfftn(np.asarray(values, dtype=kind), s=self.shape, axes=(0, 1, 2), workers=1)

    def backward(self, transform: NDArray[Any]) -> NDArray[Any]:
        """Return the map of a half transform, on the padded grid."""
        return scipy.fft.irfftn(transform, s=self.shape, axes=(0, 1, 2), workers=1)

    def total(self, values: NDArray[Any]) -> float:
        """Return the sum over all frequencies of values given on the half transform, over the number of points.

        For ``|A_k|²`` that is the sum over the map's voxels of its square.
        """
        return float((values * self.multiplicity).sum(dtype=np.float64)) / self.n_points
