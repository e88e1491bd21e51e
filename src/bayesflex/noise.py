"""Gaussian noise of known level and spectrum, added to a map."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import fft

from bayesflex.density_map import DensityMap
from bayesflex.errors import ConfigError, InputError

#: Spectra of the noise, see :func:`add_noise`.
SPECTRA = ("band", "white")


def add_noise(
    rng: Generator,
    density: DensityMap,
    sd: float,
    *,
    spectrum: str = "band",
    resolution: float | None = None,
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
        "white": independent at each voxel.
    resolution
        In Å; needed for "band".

    Returns
    -------
    DensityMap
        With values of the same type. The level holds in expectation: every voxel has variance
        (sd · SD of the clean map)²; the noise of one map over its box varies about it.

    Raises
    ------
    ConfigError
        If ``sd`` is negative or not finite, the spectrum is unknown, or "band" has no positive resolution.
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
    noise = rng.standard_normal(density.values.shape)
    if spectrum == "band":
        if resolution is None or not (math.isfinite(resolution) and resolution > 0):
            raise ConfigError(f"band-limited noise needs a positive resolution, got {resolution}")
        noise = _band_limited(noise, density.voxel_size, 1.0 / resolution)
    values = (density.values + sd * scale * noise).astype(density.values.dtype)
    return replace(density, values=values)


def _band_limited(noise: NDArray[np.float64], voxel_size: NDArray[np.float64], highest: float) -> NDArray[np.float64]:
    """Return white noise (nz, ny, nx) of unit variance cut at a spatial frequency (1/Å), of unit variance again."""
    nz, ny, nx = noise.shape
    kz = fft.fftfreq(nz, voxel_size[2])[:, None, None]
    ky = fft.fftfreq(ny, voxel_size[1])[None, :, None]
    kx = fft.fftfreq(nx, voxel_size[0])[None, None, :]
    # Frequencies of the whole transform: its half would count those on kx = 0 and the others alike.
    kept = kz**2 + ky**2 + kx**2 <= highest**2
    transform = fft.rfftn(noise)
    transform *= kept[:, :, : nx // 2 + 1]
    # White noise has the same variance at each frequency, so the fraction kept is the fraction of variance left.
    return fft.irfftn(transform, s=noise.shape) / math.sqrt(np.mean(kept))
