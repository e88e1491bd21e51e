"""Half maps: the noise of a map from two maps that were made from one half of the images each.

The molecule is the same in both and the noise is independent, so that half of their difference holds no molecule and
has the noise of their average. The map that is fitted need not be that average: where it was filtered, sharpened or
scaled, the difference is filtered alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from bayesflex.density_map import DensityMap
from bayesflex.errors import InputError
from bayesflex.map_preparation import mask_around
from bayesflex.noise_spectrum import (
    LEAST_POWER,
    ShellPower,
    Shells,
    expected_power,
    shell_correlation,
    shell_power,
    smooth_power,
)
from bayesflex.overlap.field import inner_product
from bayesflex.overlap.spectrum import NoisePower, Spectrum

Array = NDArray[np.float64]

#: Maps are one and the same, but for scale and offset, where 1 - CC² is below this: rounded to 16 bits, 3e-7 is left.
_SAME = 1e-5

#: Half maps whose 1 - CC² is below this are copies of each other.
_COPIES = 1e-10

#: The filter that made the map is compared this far from the start, Å, and with this soft edge.
_RADIUS, _SOFT_EDGE = 10.0, 10.0

#: Least correlation, median over the shells up to the resolution, between a map and the average of its half maps.
_LEAST_AGREEMENT = 0.95

#: The kernel of the precision spectrum has fallen off at this multiple of the resolution.
_KERNEL_REACH = 4.0

#: Correlation of two half maps up to which a map is said to be resolved.
FSC_LIMIT = 0.143


@dataclass(frozen=True, eq=False)
class HalfMapNoise:
    """The noise of a map.

    Parameters
    ----------
    difference
        A map of noise of the same power as that of the map, on its grid, shape (nz, ny, nx).
    shells
        Its power in shells of spatial frequency.
    correlation
        Fourier shell correlation of the two half maps, shape (n_shells,).
    """

    difference: Array
    shells: ShellPower
    correlation: Array

    @property
    def resolution(self) -> float:
        """Resolution (Å) up to which the half maps correlate by 0.143 or more: where the curve first falls below."""
        below = np.flatnonzero(~(self.correlation >= FSC_LIMIT))
        if below.size == 0:
            return 1.0 / float(self.shells.frequency[-1])
        first = int(below[0])
        if first == 0:
            return math.inf
        k, c = self.shells.frequency[first - 1 : first + 1], self.correlation[first - 1 : first + 1]
        share = (c[0] - FSC_LIMIT) / max(float(c[0] - c[1]), 1e-12)
        return 1.0 / float(k[0] + share * (k[1] - k[0]))

    def quiet_beyond(self, resolution: float) -> float | None:
        """Return the resolution (Å) from which on shells up to 1/d hold next to no noise, or None where all hold some.

        Next to none is less than ``LEAST_POWER`` of the shell with most.
        """
        k, power = self.shells.frequency, self.shells.power
        used = k + 0.5 * k[0] <= 1.0 / resolution
        loud = np.flatnonzero(power[used] >= LEAST_POWER * power[used].max(initial=0.0))
        if loud.size == 0 or loud[-1] + 1 == np.count_nonzero(used):
            return None
        return 1.0 / float(k[loud[-1]])


@dataclass(frozen=True, eq=False)
class KnownNoise:
    """The noise of a map in the region that counts, where something tells it.

    Parameters
    ----------
    power
        Its power, squared map units.
    observations
        nu: the sum over the region of the whitened noise squared, on average, which is what it holds of independent
        observations; None where the model is known to have no errors.
    region
        The region, where it is another than the one that counts for all else, shape (nz, ny, nx); None for that one.
    """

    power: NoisePower
    observations: float | None = None
    region: NDArray[np.bool_] | None = None


def noise_in_region(
    difference: Array,
    region: NDArray[np.bool_],
    voxel_size: Array,
    shells: ShellPower,
    sigma: float,
    resolution: float,
    copies: int,
) -> KnownNoise:
    """Return the noise in the region that counts: the spectrum of the whole box, at the level that the region has.

    The spectrum is known best from the whole box. Its level there need not be that in the region: half maps may be
    masked, and noise is often stronger where the molecule is.

    Parameters
    ----------
    difference
        A map of noise on the working grid, shape (nz, ny, nx).
    region
        True for voxels that count, shape (nz, ny, nx).
    voxel_size
        (x, y, z), Å.
    shells
        Power of the noise in the whole box.
    sigma
        Standard deviation of a bead, Å.
    resolution
        d, Å.
    copies
        Symmetry-equivalent copies inside the region: they hold one noise between them.

    Raises
    ------
    InputError
        If there is no noise in the region.
    """
    power = smooth_power(shells, resolution)
    spectrum = Spectrum(resolution, noise=power)
    noise = np.where(region, difference, 0.0)
    expected = expected_power(region, voxel_size, shells, spectrum, _KERNEL_REACH * resolution)
    level = inner_product(noise, noise, voxel_size, sigma, spectrum) / expected
    if not level > 0.0:
        raise InputError("half maps: they are equal throughout the region of the fit, so that nothing tells the noise")
    return KnownNoise(power.scaled(level * copies), expected / copies)


def half_map_noise(
    density: DensityMap, half1: DensityMap, half2: DensityMap, coords: Array, resolution: float
) -> HalfMapNoise:
    """Return the noise of a map, from its half maps on the same grid.

    Parameters
    ----------
    density
        The map that is fitted.
    half1, half2
        Its half maps, unmasked as far as can be had.
    coords
        Positions of the model, shape (n, 3), Å: near them the filter is measured that made the map of its half maps.
    resolution
        Of the map, Å.

    Raises
    ------
    InputError
        If the two half maps hold the same values, the map is one of them, or another of the three is the average, or
        the half maps are not those of the map.
    """
    a, b = half1.values.astype(np.float64), half2.values.astype(np.float64)
    values = density.values.astype(np.float64)
    for half, own in ((half1, a), (half2, b)):
        if not np.ptp(own) > 0.0:
            raise InputError(f"{half.name}: expected a half map, got a map of one value throughout.")
    if _same(a, b, _COPIES):
        raise InputError(
            f"{half1.name}, {half2.name}: the two half maps hold the same map, so that nothing tells the noise; "
            "give two maps from one half of the images each with --half1 and --half2."
        )
    shells = Shells(values.shape, density.voxel_size)
    average, difference = 0.5 * (a + b), 0.5 * (a - b)
    if _same(values, average):
        # But for scale and offset the map is the average.
        difference *= _slope(values, average)
    else:
        _check_names(density, half1, half2, values, a, b)
        window = mask_around(density, coords, _RADIUS, _SOFT_EDGE)
        difference = _filtered_alike(density, values, average, difference, window, shells, resolution)
    correlation = shell_correlation(scipy.fft.rfftn(a, workers=1), scipy.fft.rfftn(b, workers=1), shells)
    return HalfMapNoise(difference, shell_power(difference, density.voxel_size), correlation)


def _check_names(density: DensityMap, half1: DensityMap, half2: DensityMap, full: Array, a: Array, b: Array) -> None:
    """Check that none of three maps has another's name."""
    remedy = "Give the map made of all images as MAP, and those of one half each with --half1 and --half2."
    for half, own, other in ((half1, a, b), (half2, b, a)):
        if _same(full, own):
            raise InputError(f"{density.name}, {half.name}: the map and a half map hold the same map. {remedy}")
        if _same(own, 0.5 * (full + other)):
            raise InputError(
                f"{half.name}: this half map is the average of the two other maps, {density.name} among them. {remedy}"
            )


def _filtered_alike(
    density: DensityMap,
    values: Array,
    average: Array,
    difference: Array,
    window: Array,
    shells: Shells,
    resolution: float,
) -> Array:
    """Return the difference after the filter by which the average became the map, all of shape (nz, ny, nx).

    The filter's gain is the ratio of amplitudes in each shell, within a soft window about the model: a map is often set
    to zero away from the molecule, and half maps are not.
    """
    weight = window / window.sum()
    made, raw = (scipy.fft.rfftn(window * (own - float(np.vdot(weight, own))), workers=1) for own in (values, average))
    in_band = shells.centres <= 1.0 / resolution
    agreement = float(np.median(shell_correlation(made, raw, shells)[in_band]))
    if not agreement >= _LEAST_AGREEMENT:
        raise InputError(
            f"{density.name}: expected a map made of its two half maps, filtered or scaled at most; it correlates with "
            f"their average by {agreement:.2f} only (median over Fourier shells up to {resolution:g} Å). "
            "Check the files given as MAP, --half1 and --half2, and --resolution."
        )
    gain = np.sqrt(shells.sums(np.abs(made) ** 2) / shells.sums(np.abs(raw) ** 2))
    transform = scipy.fft.rfftn(difference, workers=1)
    transform *= np.interp(shells.frequency, shells.centres, gain)
    filtered = scipy.fft.irfftn(transform, s=values.shape, workers=1)
    # Where masked half maps hold nothing, a filter adds no noise worth counting.
    return np.where(difference != 0.0, filtered, 0.0)


def _slope(y: NDArray[Any], x: NDArray[Any]) -> float:
    """Return the slope of the regression of one map on another."""
    centred = x - x.mean()
    return float(np.vdot(centred, y) / np.vdot(centred, centred))


def _same(x: Array, y: Array, tolerance: float = _SAME) -> bool:
    """Tell whether one map is the other times a positive factor, plus a constant."""
    slope = _slope(y, x)
    residual = (y - y.mean()) - slope * (x - x.mean())
    return slope > 0.0 and float(np.vdot(residual, residual)) <= tolerance * float(np.vdot(y - y.mean(), y - y.mean()))
