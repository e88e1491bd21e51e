"""MapTarget: a map made ready to be fitted, and the likelihoods made from it.

The region that counts is fixed before the fit: voxels near the start or above a contour. Only the independent
observations inside it are counted, and nothing outside it, such as a padded box, can add confidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from bayesflex.beads import BeadModel
from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.errors import ConfigError, InputError
from bayesflex.half_maps import HalfMapNoise, KnownNoise, noise_in_region
from bayesflex.likelihood.gaussian import GaussianLikelihood
from bayesflex.likelihood.half_maps import HalfMapLikelihood
from bayesflex.likelihood.marginal import MarginalLikelihood, independent_observations
from bayesflex.overlap import Overlap
from bayesflex.overlap.choice import cheaper_evaluation
from bayesflex.overlap.field import SplineField, inner_product, overlap_field
from bayesflex.overlap.grid import GridOverlap
from bayesflex.overlap.pair_function import pair_function
from bayesflex.overlap.pairs import MapFields, PairOverlap
from bayesflex.overlap.spectrum import Spectrum, counted_share, low_pass_efficiency
from bayesflex.protocols import Likelihood
from bayesflex.rendering import render
from bayesflex.units import sigma_of_resolution

Array = NDArray[np.float64]

#: Room around the region in which beads may still move, Å.
_ROOM = 12.0

#: Volume per residue of a protein, Å³: 110 Da at 0.73 cm³/g (partial specific volume).
VOLUME_PER_RESIDUE = 110.0 * 0.73 / 0.6022

#: The contour encloses this multiple of the model's own volume, and the region reaches this far (Å) beyond it.
_CONTOUR_VOLUME, _CONTOUR_MARGIN = 1.2, 4.0


@dataclass(frozen=True, eq=False)
class MapTarget:
    """Map values on the working grid, the region that counts, and what stands still.

    Parameters
    ----------
    values
        Raw map, shape (nz, ny, nx), zero where the working grid leaves the map's box.
    voxel_size, origin
        Order (x, y, z), Å.
    region
        True for voxels that count, shape (nz, ny, nx).
    sigma
        Standard deviation of a bead at full resolution, Å.
    background
        Density of the beads that are rendered but not moved, shape (nz, ny, nx), or None.
    noise
        The map's noise for the ``half-maps`` likelihood, or None.
    unmodelled
        Density that no part of the model explains, shape (nz, ny, nx), or None. The likelihoods account for it as for
        the background; correlations and residuals do not, since it is no model of anything.
    """

    values: Array
    voxel_size: Array
    origin: Array
    region: NDArray[np.bool_]
    sigma: float
    background: Array | None = None
    noise: KnownNoise | None = None
    unmodelled: Array | None = None

    @property
    def standing(self) -> Array | None:
        """Density that the likelihoods account for and that does not move, shape (nz, ny, nx), or None."""
        if self.background is None or self.unmodelled is None:
            return self.unmodelled if self.background is None else self.background
        return self.background + self.unmodelled

    @property
    def domain(self) -> tuple[Array, Array]:
        """Lowest and highest position that a bead may have, Å."""
        nz, ny, nx = self.values.shape
        return self.origin, self.origin + self.voxel_size * (np.array([nx, ny, nz]) - 1)

    @property
    def region_volume(self) -> float:
        """Volume of the region, Å³."""
        return float(np.count_nonzero(self.region)) * float(np.prod(self.voxel_size))

    def cut(self, values: NDArray[Any], density: DensityMap) -> NDArray[Any]:
        """Return the part of values on the grid of a map, shape (nz, ny, nx), that lies on the working grid.

        ``density`` is the map from which this target was made, or another on the same grid. Outside it there is zero.
        """
        first = np.rint((self.origin - density.origin) / self.voxel_size).astype(int)
        return _cut(values, first, first + np.array(self.values.shape[::-1]))

    @cached_property
    def region_moments(self) -> tuple[int, float, float]:
        """Number of voxels in the region, and the sums over it of the map and of its square."""
        values = self.values[self.region]
        return len(values), float(values.sum()), float(np.vdot(values, values))

    def overlap(
        self,
        weights: Array,
        spectrum: Spectrum,
        centred: bool,
        evaluation: str,
        positions: Array | None = None,
        classes: tuple[NDArray[np.int64], Array] | None = None,
    ) -> Overlap:
        """Return the overlap of beads with the map.

        Parameters
        ----------
        weights
            Bead weights, shape (n_beads,).
        spectrum
            Precision spectrum; on the grid only its blur is used.
        centred
            Whether an unknown offset is projected out. Uncentred, the whole grid counts.
        evaluation
            "pairs" or "grid".
        positions
            Of the beads at the start, (n_beads, 3), Å: see :class:`~bayesflex.overlap.pairs.PairOverlap`.
        classes
            Class of each bead, (n_beads,), and by how much the beads of each class are wider, Å; None for one width.

        Raises
        ------
        ConfigError
            If the noise is coloured, or beads have several widths, and the evaluation is "grid", which knows neither.
        """
        if evaluation == "grid" and spectrum.noise is not None:
            raise ConfigError("evaluation: a noise spectrum needs pairs, got grid, where every voxel counts alike")
        if evaluation == "grid" and classes is not None:
            raise ConfigError(
                "evaluation: on the grid all beads have one width, and --b-factors gives them several. "
                "Leave one of the two out."
            )
        region = self.region if centred else np.ones_like(self.region)
        if spectrum.noise is not None and self.noise is not None and self.noise.region is not None:
            region = self.noise.region
        standing = self.standing
        if evaluation == "grid":
            blur = spectrum.blur / self.voxel_size[::-1]
            background = None
            if standing is not None:
                background = scipy.ndimage.gaussian_filter(standing, blur, mode="constant")
            return GridOverlap(
                scipy.ndimage.gaussian_filter(self.values, blur, mode="constant"),
                self.voxel_size,
                self.origin,
                math.hypot(self.sigma, spectrum.blur),
                weights,
                region,
                centred,
                self.domain,
                background,
                positions,
            )
        # The inner products run over all space, with the map zero outside the region: then no correlation exceeds 1.
        indicator = region.astype(np.float64)
        values = np.where(region, self.values, 0.0)
        offset_norm = 0.0
        if centred:
            offset_norm = self._product(indicator, indicator, spectrum)
            values -= self._product(values, indicator, spectrum) / offset_norm * indicator
        map_power, fixed_values = self._product(values, values, spectrum), (0.0, 0.0, 0.0)
        if standing is not None:
            fixed_values = (
                self._product(values, standing, spectrum),
                self._product(standing, standing, spectrum),
                self._product(indicator, standing, spectrum) if centred else 0.0,
            )
        widths = tuple(float(math.hypot(self.sigma, blur)) for blur in ([0.0] if classes is None else classes[1]))

        def field(of: Array, width: float, first: SplineField | None = None) -> SplineField:
            return overlap_field(of, self.voxel_size, self.origin, width, spectrum, widths, first)[0]

        def fields_of(width: float) -> MapFields:
            of_map = field(values, width)
            return MapFields(
                of_map,
                field(indicator, width, of_map) if centred else None,
                None if standing is None else field(standing, width, None if centred else of_map),
            )

        fields = [fields_of(width) for width in widths]
        voxel = float(np.prod(self.voxel_size))
        return PairOverlap(
            fields,
            [[pair_function(one, spectrum, voxel, other) for other in widths] for one in widths],
            weights,
            map_power,
            self.domain,
            offset_norm,
            fixed_values,
            None if classes is None else classes[0],
            positions,
        )

    def _product(self, a: Array, b: Array, spectrum: Spectrum) -> float:
        return inner_product(a, b, self.voxel_size, math.hypot(self.sigma, spectrum.blur), spectrum)

    def observations(self, resolution: float, copies: int) -> float:
        """Return nu, the number of independent observations in the region at a resolution (Å).

        Of those that the band holds, the share that the smooth low-pass leaves to be counted:
        :func:`~bayesflex.overlap.spectrum.counted_share`.
        """
        share = counted_share(resolution, self.sigma)
        return share * independent_observations(self.region_volume, resolution, copies)

    def counted_observations(self, config: FitConfig) -> float:
        """Return nu as the configuration counts it: from the resolution, by voxels, or the number that it gives.

        Where the noise is known from half maps, nu is what that gives.
        """
        if config.likelihood == HalfMapLikelihood.name and self.noise is not None and self.noise.observations:
            return self.noise.observations
        if config.observations == "resolution":
            return self.observations(config.resolution, config.copies)
        if config.observations == "voxels":
            return float(np.count_nonzero(self.region)) / config.copies
        return float(config.observations)

    def with_half_maps(
        self, found: HalfMapNoise, density: DensityMap, config: FitConfig, masked: bool = False
    ) -> MapTarget:
        """Return this target with its noise known from half maps, see :func:`bayesflex.half_maps.noise_in_region`.

        Noise that is correlated over some distance is judged by what lies around, and a region that ends near the model
        cuts that off: it is widened by the resolution, unless the user's mask says what counts.

        Parameters
        ----------
        found
            The noise of the map.
        density
            The map from which this target was made.
        config
            ``resolution`` and ``copies``.
        masked
            Whether the region is a mask's.
        """
        region = self.region
        if not masked:
            distance = scipy.ndimage.distance_transform_edt(~region, sampling=self.voxel_size[::-1])
            in_map = self.cut(np.ones(density.values.shape, dtype=bool), density)
            region = in_map & (distance <= config.resolution)
        known = noise_in_region(
            self.cut(found.difference, density),
            region,
            self.voxel_size,
            found.shells,
            self.sigma,
            config.resolution,
            config.copies,
        )
        return replace(self, noise=replace(known, region=region))

    def chosen_evaluation(self, config: FitConfig, beads: BeadModel, resolution: float, start: Array) -> str:
        """Return how the overlap of a stage is best evaluated, "pairs" or "grid".

        With a low-pass or a noise spectrum only pairs are exact; for white noise both are, and what is counted to cost
        less is chosen. Parameters are those of :meth:`likelihood`.
        """
        if config.likelihood != GaussianLikelihood.name or beads.classes is not None:
            return "pairs"
        blur = _blur(resolution, config)
        pair = pair_function(self.sigma, Spectrum(None, blur), float(np.prod(self.voxel_size)))
        return cheaper_evaluation(beads.place(start), pair, math.hypot(self.sigma, blur), self.voxel_size, self.domain)

    def likelihood(
        self, config: FitConfig, beads: BeadModel, resolution: float, start: Array, evaluation: str | None = None
    ) -> Likelihood:
        """Return the likelihood of a stage.

        Parameters
        ----------
        config
            Noise model and its settings.
        beads
            What the residues scatter.
        resolution
            Resolution of the stage, Å: map and model are blurred alike to it.
        start
            CA positions at which the scale of the ``gaussian`` likelihood is fitted, shape (n_ca, 3), Å.
        evaluation
            "pairs", "grid" or "auto"; None for the one that the configuration names for all stages.
        """
        blur = _blur(resolution, config)
        check_evaluation(config)
        evaluation = config.evaluation if evaluation is None else evaluation
        if evaluation == "auto":
            evaluation = self.chosen_evaluation(config, beads, resolution, start)
        if config.likelihood == "gaussian":
            overlap = self.overlap(
                beads.weights, Spectrum(None, blur), False, evaluation, beads.place(start), beads.classes
            )
            at_start = overlap.evaluate(beads.place(start))
            if at_start is None or at_start.cross <= 0.0:
                raise InputError(
                    "gaussian likelihood: the map's scale cannot be fitted at the start, since the model does not "
                    "overlap the density; dock the model first, or use --likelihood marginal"
                )
            scale = at_start.cross / at_start.power
            peak = (2.0 * math.pi * self.sigma**2) ** -1.5
            return beads.attach(GaussianLikelihood(overlap, scale, config.noise_sd * peak))
        # A blurred stage is no sampling, and its likelihood is soft whatever is known of the noise.
        if config.likelihood == HalfMapLikelihood.name and resolution <= config.resolution:
            if self.noise is None:
                raise ConfigError("likelihood: half-maps needs two half maps; give them with --half1 and --half2")
            noise, observations = self.noise.power, self.noise.observations
            share = low_pass_efficiency(Spectrum(config.resolution, noise=noise), self.sigma)
            spectrum = Spectrum(config.resolution, noise=noise.scaled(share))
            overlap = self.overlap(beads.weights, spectrum, True, evaluation, beads.place(start), beads.classes)
            return beads.attach(HalfMapLikelihood(overlap, None if observations is None else observations / share))
        spectrum, observations = Spectrum(config.resolution, blur), self.counted_observations(config)
        if resolution > config.resolution:
            # A blurred stage is no sampling: its weight falls with 1/d and not with 1/d³, which the prior would drown.
            if config.observations in ("resolution", "voxels"):
                observations = independent_observations(self.region_volume, config.resolution, config.copies)
            observations *= config.resolution / resolution
        elif config.observations == "voxels":
            # Voxels count one by one where their noise is white, without a band.
            spectrum = Spectrum()
        overlap = self.overlap(beads.weights, spectrum, True, evaluation, beads.place(start), beads.classes)
        return beads.attach(MarginalLikelihood(overlap, observations, config.floor, config.floor_observations))

    def simulated(
        self, positions: Array, weights: Array, classes: tuple[NDArray[np.int64], Array] | None = None
    ) -> Array:
        """Return the density of beads at positions (n_beads, 3) on the working grid, background included.

        ``classes`` are those of :meth:`overlap`.
        """
        kind, blurs = (np.zeros(len(weights), np.int64), np.zeros(1)) if classes is None else classes
        shape = self.values.shape
        density = np.zeros(shape)
        for number, blur in enumerate(blurs):
            of, sigma = kind == number, math.hypot(self.sigma, blur)
            density += render(positions[of], weights[of], sigma, shape, self.voxel_size, self.origin)
        return density if self.background is None else density + self.background


def _blur(resolution: float, config: FitConfig) -> float:
    """Return the standard deviation (Å) of the blur from the resolution of a map to that of a stage."""
    wanted, full = sigma_of_resolution(resolution), sigma_of_resolution(config.resolution)
    return math.sqrt(max(wanted**2 - full**2, 0.0))


def check_evaluation(config: FitConfig) -> None:
    """Raise ConfigError where the grid is asked for and the noise has a spectrum, which only pairs account for."""
    if config.likelihood == HalfMapLikelihood.name and "grid" in config.evaluation:
        raise ConfigError(
            "evaluation: on the grid every voxel counts alike, so that it cannot account for the noise that half "
            "maps tell. Leave out --evaluation grid."
        )


def make_target(
    density: DensityMap,
    start: Array,
    config: FitConfig,
    sigma: float,
    mask: NDArray[np.bool_] | None = None,
    fixed: tuple[Array, Array] | None = None,
) -> MapTarget:
    """Cut the working grid out of a map and choose the region that counts.

    Parameters
    ----------
    density
        The map.
    start
        CA positions of the start, shape (n_ca, 3), Å.
    config
        ``crop_margin``, ``region_margin``, ``contour``.
    sigma
        Standard deviation of a bead, Å.
    mask
        True for voxels of ``density`` that count; replaces the automatic region.
    fixed
        Positions (n, 3) and weights (n,) of beads that are rendered but not moved.

    Raises
    ------
    InputError
        If the mask is on another grid, no voxel counts, or the map is constant where it counts.
    """
    if mask is not None and mask.shape != density.values.shape:
        raise InputError(
            f"mask: {mask.shape} voxels (z, y, x) where {density.name} has {density.values.shape}; "
            "give a mask on the grid of the map"
        )
    voxel, shape = density.voxel_size, np.array(density.shape_xyz)
    low = np.floor((start.min(axis=0) - config.crop_margin - density.origin) / voxel).astype(int)
    high = np.ceil((start.max(axis=0) + config.crop_margin - density.origin) / voxel).astype(int) + 1
    cropped = _cut(density.values, np.maximum(low, 0), np.minimum(high, shape))
    origin = density.origin + np.maximum(low, 0) * voxel
    if mask is not None:
        region = _cut(mask, np.maximum(low, 0), np.minimum(high, shape))
    elif min(cropped.shape) > 0:
        region = _automatic_region(cropped, voxel, origin, start, config)
    if min(cropped.shape) == 0 or not region.any():
        raise InputError(
            f"{density.name}: no voxel counts: the region of the fit and the map do not overlap; "
            "check the placement of model and map (--origin) or the mask"
        )
    # The working grid: the region and the start, with room to move.
    occupied = np.argwhere(region)[:, ::-1]
    index = (start - origin) / voxel
    room = np.ceil(_ROOM / voxel).astype(int)
    first = np.minimum(occupied.min(axis=0), np.floor(index.min(axis=0)).astype(int)) - room
    last = np.maximum(occupied.max(axis=0), np.ceil(index.max(axis=0)).astype(int)) + room + 1
    values = _cut(cropped.astype(np.float64), first, last)
    region = _cut(region, first, last)
    origin = origin + first * voxel
    if np.ptp(values[region]) == 0.0:
        raise InputError(f"{density.name}: all values in the region of the fit are equal; nothing can be fitted to it")
    background = None
    if fixed is not None:
        background = render(fixed[0], fixed[1], sigma, values.shape, voxel, origin)
    return MapTarget(values, np.asarray(voxel, dtype=np.float64), origin, region, sigma, background)


def _automatic_region(
    values: NDArray[np.floating[Any]], voxel: Array, origin: Array, start: Array, config: FitConfig
) -> NDArray[np.bool_]:
    """Return the voxels near the start or above the contour."""
    steps = voxel[::-1]
    index = np.rint((start - origin) / voxel).astype(int)[:, ::-1]
    inside = np.all((index >= 0) & (index < values.shape), axis=1)
    empty = np.ones(values.shape, dtype=bool)
    empty[tuple(index[inside].T)] = False
    near = np.zeros(values.shape, dtype=bool)
    if inside.any():
        near = scipy.ndimage.distance_transform_edt(empty, sampling=steps) <= config.region_margin
    # Smoothed, so that single voxels of noise do not count as density.
    smooth = scipy.ndimage.gaussian_filter(
        values.astype(np.float64), sigma_of_resolution(max(config.resolution, 8.0)) / steps, mode="nearest"
    )
    contour = config.contour
    if contour is None:
        n_voxels = _CONTOUR_VOLUME * len(start) * VOLUME_PER_RESIDUE / float(np.prod(voxel))
        fraction = min(n_voxels / values.size, 0.5)
        contour = float(np.quantile(smooth, 1.0 - fraction))
    above = smooth > contour
    if above.any():
        above = scipy.ndimage.distance_transform_edt(~above, sampling=steps) <= _CONTOUR_MARGIN
    return near | above


def _cut(values: NDArray[Any], low: NDArray[np.int_], high: NDArray[np.int_]) -> NDArray[Any]:
    """Return the block of voxels low <= (x, y, z) < high; what lies outside the array is zero."""
    low, high = low[::-1], high[::-1]  # (z, y, x)
    size = np.maximum(high - low, 0)
    out = np.zeros(size, dtype=values.dtype)
    source = tuple(slice(max(a, 0), max(min(b, n), 0)) for a, b, n in zip(low, high, values.shape, strict=True))
    block = values[source]
    if block.size:
        target = tuple(slice(s.start - a, s.start - a + n) for s, a, n in zip(source, low, block.shape, strict=True))
        out[target] = block
    return out
