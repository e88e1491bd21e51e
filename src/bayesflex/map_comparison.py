"""Comparison: a map and the densities of models, compared in Fourier space under the noise model of the fit.

What is judged by it: the residual (``posterior_predictive``) and the density that each residue has for itself
(``density_support``). The likelihoods do not use it: they need three inner products and no residual.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesflex.beads import BeadModel
from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.fourier_grid import FourierGrid
from bayesflex.map_preparation import mask_around
from bayesflex.map_target import MapTarget
from bayesflex.overlap.spectrum import Spectrum

Array = NDArray[np.float64]


class FittedDensity(NamedTuple):
    """A model's density scaled to a map, and what that leaves."""

    residual: NDArray[Any]  # half transform, zero where voxels do not count
    scale: float
    offset: float
    level: float  # of the noise


class Comparison:
    """A map made ready to be compared with densities of models, in Fourier space.

    Parameters
    ----------
    target
        The prepared map.
    config
        Noise model and resolution.
    beads
        What the residues scatter.
    start
        CA positions at which the ``gaussian`` likelihood takes the map's scale, shape (n_ca, 3), Å.
    fitted
        CA positions of the fitted model, shape (n_ca, 3), Å. Noise is judged near them alone: further off voxels were
        chosen by their values, which are high by that choice.
    """

    def __init__(self, target: MapTarget, config: FitConfig, beads: BeadModel, start: Array, fitted: Array) -> None:
        self.target, self.config, self.beads, self.fitted = target, config, beads, fitted
        grid_map = DensityMap(target.values, target.voxel_size, target.origin)
        near = target.region & (mask_around(grid_map, fitted, config.region_margin) > 0.5)
        #: True for voxels where noise is judged, shape (nz, ny, nx).
        self.judged = near if near.any() else target.region
        self.grid = FourierGrid(target.values.shape, target.voxel_size)
        frequency = self.grid.frequency
        self.in_band = frequency <= (1.0 + 1e-6) / config.resolution
        #: exp(-(kd)⁴), by which maps are shown, and frequencies weigh where the noise is flat.
        self.low_pass = Spectrum(config.resolution)(frequency)
        self._known = self._known_power(start)
        self.weight = self._weights()
        self._mask = self.grid.forward(self.judged)
        self._map = self.grid.forward(np.where(self.judged, target.values, 0.0))

    def _known_power(self, start: Array) -> Array | None:
        """Return the noise's power at each frequency, squared map units, or None where its level is not known."""
        config, target = self.config, self.target
        if target.noise is not None and config.likelihood not in ("gaussian", "marginal"):
            return target.noise.power(self.grid.frequency) / config.copies
        if config.likelihood != "gaussian":
            return None
        density = target.simulated(self.beads.place(start), self.beads.weights, self.beads.classes)
        scale = float(np.vdot(density, target.values) / np.vdot(density, density))
        peak = (2.0 * math.pi * target.sigma**2) ** -1.5
        return np.full(self.grid.frequency.shape, (scale * config.noise_sd * peak) ** 2)

    def _weights(self) -> Array:
        """Return the weight P of each frequency in the likelihood, its level apart where that is not known."""
        if self.config.likelihood == "gaussian" or self.config.observations == "voxels":
            return np.ones(self.grid.frequency.shape)
        return self.low_pass if self._known is None else self.low_pass / self._known

    @property
    def noise_is_known(self) -> bool:
        """Whether the level of the noise is known, and not taken from what a fit leaves."""
        return self._known is not None

    @property
    def judged_volume(self) -> float:
        """Volume where noise is judged, Å³."""
        return float(np.count_nonzero(self.judged)) * float(np.prod(self.target.voxel_size))

    @cached_property
    def shape_of_noise(self) -> Array:
        """Power of the noise at each frequency: in squared map units, or its level apart where that is not known."""
        if self._known is not None:
            return self._known
        if self.config.observations == "voxels":
            return np.ones(self.grid.frequency.shape)
        return self.in_band.astype(np.float64)

    @cached_property
    def expected_power(self) -> Array:
        """Expected |R_k|² / n_voxels of such noise where it is judged, on the half transform."""
        # The transform of a product of correlations: of the noise, and of where it is judged with itself.
        correlation = self.grid.backward(self.shape_of_noise)
        return np.asarray(self.grid.forward(correlation * self._overlap, np.float64).real / self.grid.n_points)

    @cached_property
    def _overlap(self) -> Array:
        """Number of voxels that the region shares with itself shifted, on the padded grid."""
        return np.asarray(self.grid.backward(np.abs(self._mask.astype(np.complex128)) ** 2))

    @cached_property
    def region_overlap(self) -> tuple[Array, Array]:
        """Distances (Å), and the volume (Å³) that the region shares on average with itself shifted so far."""
        distance = self.grid.distance
        width = float(self.target.voxel_size.max())
        bins = np.rint(distance / width).astype(np.int64).ravel()
        counts = np.bincount(bins)
        shared = np.bincount(bins, self._overlap.ravel()) / np.maximum(counts, 1)
        volume = float(np.prod(self.target.voxel_size))
        return np.arange(len(counts), dtype=np.float64) * width, np.asarray(shared * volume)

    def fit(self, density: Array) -> FittedDensity:
        """Return what is left of the map when a density, shape (nz, ny, nx), is scaled to it and an offset added."""
        model = self.grid.forward(np.where(self.judged, density, 0.0))
        columns = (model, self._mask)
        gram = np.array([[self._inner(a, b) for b in columns] for a in columns])
        scale, offset = np.linalg.solve(gram, [self._inner(column, self._map) for column in columns])
        residual = self._map - np.float32(scale) * model - np.float32(offset) * self._mask
        return FittedDensity(residual, float(scale), float(offset), self._level(residual))

    def _inner(self, a: NDArray[Any], b: NDArray[Any]) -> float:
        """Return (a, P b), a sum over voxels."""
        return self.grid.total((a.real * b.real + a.imag * b.imag) * self.weight)

    def _level(self, residual: NDArray[Any]) -> float:
        """Return the factor by which ``shape_of_noise`` is the noise's power.

        Under the ``marginal`` likelihood the mean of 1 / sigma² given the structure is n / (|rho|² (1 - CC² + F)), with
        n = nu + nu_0 and F = nu_0 f² / nu.
        """
        if self._known is not None:
            return 1.0
        config, weight = self.config, self.weight * self.in_band
        mean = self._inner(self._mask, self._map) / self._inner(self._mask, self._mask)
        centred = self._map - np.float32(mean) * self._mask
        left, whole = (self.grid.total(np.abs(values) ** 2 * weight) for values in (residual, centred))
        nu, nu0 = self.target.counted_observations(config), config.floor_observations
        of_unit_noise = self.grid.total(self.expected_power * weight) * self.grid.n_points
        return (nu * left + nu0 * config.floor**2 * whole) / ((nu + nu0) * of_unit_noise)
