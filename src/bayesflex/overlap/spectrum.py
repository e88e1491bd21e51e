"""Spectrum: the weight that each spatial frequency gets in the comparison of map and model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Mean of P = exp(-(kd)⁴) over the band k < 1/d: ∫₀¹ 3u² exp(-u⁴) du. So much of a band-limited noise is left.
BAND_SHARE = 0.68009


@dataclass(frozen=True)
class Spectrum:
    """Precision spectrum ``P(k) = exp(-(k d)^4) exp(-4 pi^2 b^2 k^2)``.

    The first factor is a smooth low-pass to the resolution d: signal and noise then share one band, so that the
    number of independent observations can be counted. It is smooth since a sharp limit would make the pair
    function ring. The second is a Gaussian blur by b of the map and of the model alike (resolution annealing).

    Parameters
    ----------
    resolution
        d, Å, or None for white noise (no low-pass).
    blur
        b, Å.
    """

    resolution: float | None = None
    blur: float = 0.0

    def __call__(self, frequency: Array) -> Array:
        """Return P at spatial frequencies in 1/Å."""
        exponent = 4.0 * math.pi**2 * self.blur**2 * frequency**2
        if self.resolution is not None:
            exponent = exponent + (frequency * self.resolution) ** 4
        return np.asarray(np.exp(-exponent))
