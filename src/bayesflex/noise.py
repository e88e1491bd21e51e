"""Gaussian noise of known level and spectrum, added to a map; and pairs of half maps with such noise.

Not to be confused with ``noise_spectrum``, which estimates the spectrum of a noise that is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import fft

from bayesflex.density_map import DensityMap
from bayesflex.errors import ConfigError, InputError

Array = NDArray[np.float64]

#: Spectra of the noise, see :func:`add_noise`.
SPECTRA = ("band", "white", "correlated")


def add_noise(
    rng: Generator,
    density: DensityMap,
    sd: float,
    *,
    spectrum: str = "band",
    resolution: float | None = None,
    correlation: float | None = None,
) -> DensityMap:
    """Return a map with Gaussian noise added.

    Parameters
    ----------
    rng
        The source of the noise.
    density
        The clean map.
    sd
        Standard deviation of the noise at a voxel, after filtering, in units of the clean map's own standard
        deviation over its whole box: 1 / sd² is the signal-to-noise ratio of the box.
    spectrum
        "band": the same power at all spatial frequencies up to 1 / resolution and none above;
        "white": independent at each voxel;
        "correlated": the correlation of two voxels at a distance r is exp(-r² / (2 correlation²)).
    resolution
        In Å; needed for "band".
    correlation
        Length in Å; needed for "correlated".

    Returns
    -------
    DensityMap
        With values of the same type. The level holds in expectation: every voxel has variance
        (sd · SD of the clean map)²; the noise of one map over its box varies about it.

    Raises
    ------
    ConfigError
        If ``sd`` is negative or not finite, the spectrum is unknown, or "band" has no positive resolution or
        "correlated" no positive correlation length.
    InputError
        If the clean map is constant or not finite, so that its standard deviation gives no scale.
    """
    if not (math.isfinite(sd) and sd >= 0):
        raise ConfigError(f"noise is {sd}; expected 0 or a positive number of the map's standard deviations")
    if spectrum not in SPECTRA:
        raise ConfigError(f"noise spectrum is '{spectrum}'; expected one of {', '.join(SPECTRA)}")
    scale = float(np.std(density.values, dtype=np.float64))
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"{density.name}: noise is relative to the map's standard deviation, which is {scale}")
    nz, ny, nx = density.values.shape
    power = _power(spectrum, resolution, correlation)
    noise = coloured_noise(rng, (nz, ny, nx), density.voxel_size, power)
    noise /= math.sqrt(np.mean(power(frequencies((nz, ny, nx), density.voxel_size))))
    values = (density.values + sd * scale * noise).astype(density.values.dtype)
    return replace(density, values=values)


def _power(spectrum: str, resolution: float | None, correlation: float | None) -> Callable[[Array], Array]:
    """Return the power of a noise at spatial frequencies in 1/Å, its level apart."""
    if spectrum == "white":
        return np.ones_like
    if spectrum == "band":
        if resolution is None or not (math.isfinite(resolution) and resolution > 0):
            raise ConfigError(f"band-limited noise needs a positive resolution, got {resolution}")
        # Rounding must not decide on a frequency that lies at the limit.
        highest = (1.0 + 1e-9) / resolution
        return lambda k: np.asarray(k <= highest, dtype=np.float64)
    if correlation is None or not (math.isfinite(correlation) and correlation > 0):
        raise ConfigError(f"correlated noise needs a positive correlation length in Å, got {correlation}")
    length = correlation
    return lambda k: np.asarray(np.exp(-2.0 * (math.pi * length * k) ** 2))


def make_half_maps(
    rng: Generator, density: DensityMap, power: Callable[[Array], Array]
) -> tuple[DensityMap, DensityMap]:
    """Return two maps of one density with independent noise, whose average has noise of a given power spectrum.

    Parameters
    ----------
    rng
        The source of the noise.
    density
        The clean map.
    power
        Power of the average's noise at spatial frequencies in 1/Å, see :func:`coloured_noise`; that of each half map
        is twice as much.
    """
    nz, ny, nx = density.values.shape
    halves = []
    for number in (1, 2):
        noise = math.sqrt(2.0) * coloured_noise(rng, (nz, ny, nx), density.voxel_size, power)
        values = (density.values + noise).astype(density.values.dtype)
        halves.append(replace(density, values=values, name=f"{density.name}, half {number}"))
    return halves[0], halves[1]


def coloured_noise(
    rng: Generator, shape: tuple[int, int, int], voxel_size: Array, power: Callable[[Array], Array]
) -> Array:
    """Return Gaussian noise of a given power spectrum, shape (nz, ny, nx), periodic in its box.

    Parameters
    ----------
    rng
        The source of the noise.
    shape
        (nz, ny, nx).
    voxel_size
        Order (x, y, z), Å.
    power
        Expected |N_k|² / n_voxels of the discrete Fourier transform N at spatial frequencies in 1/Å: white noise of
        variance s² has the power s² everywhere, and the mean over all frequencies is the variance of a voxel.
    """
    transform = fft.rfftn(rng.standard_normal(shape))
    transform *= np.sqrt(power(frequencies(shape, voxel_size)[:, :, : shape[2] // 2 + 1]))
    return np.asarray(fft.irfftn(transform, s=shape))


def frequencies(shape: tuple[int, int, int], voxel_size: Array) -> Array:
    """Return the spatial frequency (1/Å) of each term of a discrete Fourier transform, shape (nz, ny, nx).

    All terms, so that each counts once: half of them would count those on k_x = 0 like the pairs elsewhere.
    """
    kz, ky, kx = (fft.fftfreq(n, edge) for n, edge in zip(shape, voxel_size[::-1], strict=True))
    return np.asarray(np.sqrt(kz[:, None, None] ** 2 + ky[None, :, None] ** 2 + kx[None, None, :] ** 2))
