"""Fourier shell correlations of a validation, and the resolutions that are read from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from bayesflex.diagnostics import fourier_shell_correlation
from bayesflex.noise_spectrum import Shells, shell_correlation

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ShellCurves:
    """Correlations of two maps in shells of spatial frequency, without and with a soft mask about the model.

    Parameters
    ----------
    frequency
        Centre of each shell, 1/Å, shape (n_shells,).
    unmasked, masked
        Shape (n_shells,); NaN where a map has no power.
    """

    frequency: Array
    unmasked: Array
    masked: Array


def shell_curves(
    a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]], weights: Array, voxel_size: Array
) -> ShellCurves:
    """Return the Fourier shell correlation Σ Re(A B*) / √(Σ |A|² Σ |B|²) of two maps, without and with a mask.

    Harauz and van Heel (1986), Optik 73, 146. The mask multiplies both maps, from which their means within it were
    taken: it correlates them by itself, the more the sharper its edge.

    Parameters
    ----------
    a, b
        Shape (nz, ny, nx).
    weights
        The mask, 0 to 1, of the same shape.
    voxel_size
        (x, y, z), Å.
    """
    shape = (a.shape[0], a.shape[1], a.shape[2])
    shells = Shells(shape, voxel_size)
    plain = [scipy.fft.rfftn(values.astype(np.float64), workers=1) for values in (a, b)]
    unmasked = shell_correlation(plain[0], plain[1], shells)
    del plain
    total = float(weights.sum())
    within = []
    for values in (a, b):
        mean = float(np.vdot(weights, values)) / total if total > 0.0 else 0.0
        within.append(scipy.fft.rfftn(weights * (values - mean), workers=1))
    masked = shell_correlation(within[0], within[1], shells)
    frequency = shells.width * np.arange(1.0, shells.n_shells + 1.0)
    return ShellCurves(frequency.astype(np.float64), unmasked, masked)


def resolution_at(frequency: Array, correlation: Array, limit: float) -> float | None:
    """Return the resolution (Å) at which a correlation first falls below a limit, linear between shells.

    None where it is below from the first shell on. Where it never falls below, that of the last shell: the grid holds
    no more. A shell without power counts as below.
    """
    below = np.flatnonzero(~(correlation >= limit))
    if below.size == 0:
        return 1.0 / float(frequency[-1])
    first = int(below[0])
    if first == 0:
        return None
    last, here = float(correlation[first - 1]), float(correlation[first])
    share = (last - limit) / (last - here) if np.isfinite(here) and last > here else 0.0
    return 1.0 / float(frequency[first - 1] + share * (frequency[first] - frequency[first - 1]))


def half_map_resolution(
    a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]], voxel_size: Array, limit: float = 0.143
) -> float | None:
    """Return the resolution (Å) at which two half maps, (nz, ny, nx), correlate by a limit, or None."""
    frequency, correlation = fourier_shell_correlation(a, b, voxel_size)
    return resolution_at(frequency, correlation, limit)
