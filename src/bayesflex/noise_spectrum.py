"""The noise of a map, shell by shell in Fourier space: measured from a map of noise, and smoothed for the likelihood.

Power is always ``|N_k|² / n_voxels`` of the discrete Fourier transform N, in squared map units: a density, which
depends neither on the size of the box nor on how finely it is sampled in Fourier space. White noise of variance s² has
the power s² at every frequency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from bayesflex.overlap.spectrum import NoisePower, spline_knots

Array = NDArray[np.float64]

#: The smooth power's spline reaches to this multiple of 1/d: what lies beyond hardly counts in the likelihood.
_REACH = 1.5

#: Length of its intervals, in units of 1/d. A narrower feature would need pair functions that reach farther than four
#: times the resolution.
_INTERVAL = 0.25

#: Shells at the end of the band and beyond it, in units of 1/d, and the ratio of their powers below which a filter has
#: removed the noise beyond.
_EDGE, _BEYOND, _FILTERED = (0.8, 1.0), (1.0, 1.25), 0.25

#: Powers below this fraction of the largest count as that: where a filter has removed the noise it has removed the
#: molecule too, and the map must not count as known exactly.
LEAST_POWER = 1e-3

#: Prior standard deviation of the second differences of the spline's coefficients: of log power, in steps of d/4.
_UNEVENNESS = 0.5

#: Shells that are used however coarse the resolution.
_FEWEST = 3

#: Scoring steps of the fit; it converges in about five.
_N_STEPS = 20


@dataclass(frozen=True, eq=False)
class Shells:
    """Shells of spatial frequency of a grid, one frequency step of the longest edge wide, up to the lowest Nyquist.

    Frequency zero, the mean, is in no shell, nor are the corners beyond the last.

    Parameters
    ----------
    shape
        (nz, ny, nx).
    voxel_size
        (x, y, z), Å.
    """

    shape: tuple[int, int, int]
    voxel_size: Array

    @cached_property
    def frequency(self) -> Array:
        """Spatial frequency of each term of the half transform, 1/Å, shape (nz, ny, nx // 2 + 1)."""
        (nz, ny, nx), (dx, dy, dz) = self.shape, self.voxel_size
        kz, ky, kx = scipy.fft.fftfreq(nz, dz), scipy.fft.fftfreq(ny, dy), scipy.fft.rfftfreq(nx, dx)
        return np.asarray(np.sqrt(kz[:, None, None] ** 2 + ky[:, None] ** 2 + kx**2))

    @property
    def width(self) -> float:
        """Width of a shell, 1/Å."""
        return 1.0 / float(np.max(np.array(self.shape[::-1]) * self.voxel_size))

    @property
    def n_shells(self) -> int:
        """Number of shells."""
        # 1e-9: a Nyquist frequency that is a shell's own.
        return int(np.floor(0.5 / float(np.max(self.voxel_size)) / self.width + 1e-9))

    @cached_property
    def _index(self) -> NDArray[np.int64]:
        """Number of the shell of each term, from 0; -1 for the mean, n_shells for the corners."""
        number = np.rint(self.frequency / self.width) - 1.0
        return np.minimum(number, self.n_shells).astype(np.int64)

    @cached_property
    def _weight(self) -> Array:
        """How often each plane of the half transform occurs in the whole, shape (nx // 2 + 1,)."""
        nx = self.shape[2]
        weight = np.full(nx // 2 + 1, 2.0)
        weight[0] = 1.0
        if nx % 2 == 0:
            weight[-1] = 1.0
        return weight

    def sums(self, values: NDArray[np.floating[Any]]) -> Array:
        """Return the sum over each shell of the whole transform, of values given on the half transform."""
        weighted = np.broadcast_to(values * self._weight, self._index.shape)
        total = np.bincount(self._index.ravel() + 1, weighted.ravel(), minlength=self.n_shells + 2)
        return np.asarray(total[1 : self.n_shells + 1], dtype=np.float64)

    @cached_property
    def counts(self) -> Array:
        """Number n of coefficients in each shell of the whole transform.

        A coefficient and its conjugate at the opposite frequency are two, and hold two independent real numbers: n is
        the number of degrees of freedom, and a mean power over the shell has the relative standard error √(2/n).
        """
        return self.sums(np.ones(1))

    @cached_property
    def centres(self) -> Array:
        """Mean frequency of the coefficients of each shell, 1/Å."""
        return self.sums(self.frequency) / self.counts


@dataclass(frozen=True, eq=False)
class ShellPower:
    """Mean power in shells of spatial frequency.

    Parameters
    ----------
    frequency
        Mean frequency of each shell's coefficients, shape (n_shells,), 1/Å.
    power
        Mean power there, shape (n_shells,), squared map units.
    n
        Independent real numbers that the mean was taken over, shape (n_shells,): see :attr:`Shells.counts`.
    """

    frequency: Array
    power: Array
    n: Array

    def __call__(self, frequency: Array) -> Array:
        """Return the power at spatial frequencies (1/Å): interpolated between shells, and in corners as in the last."""
        return np.interp(frequency, self.frequency, self.power)


def shell_correlation(a: NDArray[np.complex128], b: NDArray[np.complex128], shells: Shells) -> Array:
    """Return the correlation of two half transforms in shells, NaN where one has no power, shape (n_shells,)."""
    cross = shells.sums((a * b.conj()).real)
    norm = np.sqrt(shells.sums(np.abs(a) ** 2) * shells.sums(np.abs(b) ** 2))
    return np.divide(cross, norm, out=np.full(len(cross), np.nan), where=norm > 0.0)


def shell_power(values: NDArray[np.floating[Any]], voxel_size: Array) -> ShellPower:
    """Return the power of a map in shells of spatial frequency.

    Voxels that are exactly zero hold nothing: maps are often set to zero outside a sphere. They are left out of the
    mean, as if the rest of the box were filled like the part that is.

    Parameters
    ----------
    values
        A map of noise (or a residual), shape (nz, ny, nx).
    voxel_size
        (x, y, z), Å.
    """
    nz, ny, nx = values.shape
    shells = Shells((nz, ny, nx), np.asarray(voxel_size, dtype=np.float64))
    transform = scipy.fft.rfftn(values.astype(np.float64), workers=1)
    n_filled = max(int(np.count_nonzero(values)), 1)
    power = shells.sums(transform.real**2 + transform.imag**2) / (shells.counts * n_filled)
    return ShellPower(shells.centres, power, shells.counts * (n_filled / values.size))


def smooth_power(found: ShellPower, resolution: float) -> NoisePower:
    """Return the smooth function of frequency of which the power in shells is most likely a sample.

    The logarithm of the power is a cubic spline of at most 9 coefficients up to 1.5/d, fitted by maximum likelihood:
    the power found in a shell is the true one times χ²_n / n. Where a filter ended the noise at the resolution, it is
    taken to go on as it was at the end of the band: what the filter removed must not count as known without noise.

    Parameters
    ----------
    found
        The noise's power in shells.
    resolution
        d, Å.
    """
    width = float(found.frequency[-1]) / len(found.frequency)
    scaled = found.frequency * resolution
    used = scaled <= _REACH
    used[:_FEWEST] = True
    power = found.power[used]
    # A shell that reaches beyond the band may hold no more than half its noise.
    whole = scaled[used] + 0.5 * width * resolution <= _EDGE[1] + 1e-3
    edge = whole & (scaled[used] >= _EDGE[0])
    beyond = (scaled[used] - 0.5 * width * resolution >= _BEYOND[0] - 1e-3) & (scaled[used] <= _BEYOND[1])
    k, n = found.frequency[used], found.n[used]
    if edge.any() and beyond.any():
        at_edge, after = (float(np.average(power[part], weights=n[part])) for part in (edge, beyond))
        if after < _FILTERED * at_edge:
            power = np.where(whole, power, at_edge)
    power = np.maximum(power, LEAST_POWER * power.max())
    highest = float(k[-1])
    knots = spline_knots(highest, max(round(highest * resolution / _INTERVAL), 1))
    basis = BSpline.design_matrix(np.minimum(k, knots[-4]), knots, 3).toarray()
    return NoisePower(highest, _log_spline(basis, power, n))


def expected_power(
    region: NDArray[np.bool_],
    voxel_size: Array,
    noise: Callable[[Array], Array],
    precision: Callable[[Array], Array],
    reach: float,
) -> float:
    """Return the mean of (n, P n), a sum over voxels, of noise n that is set to zero outside a region.

    ``Σ_r A(r) p(r) c(r)``, with A the autocorrelation of the region, p the kernel of P and c the covariance of n: what
    is cut off at the region's border is accounted for. It does not grow with an empty box around the region.

    Parameters
    ----------
    region
        Shape (nz, ny, nx).
    voxel_size
        (x, y, z), Å.
    noise, precision
        Power of the noise and precision spectrum P, functions of spatial frequency (1/Å).
    reach
        Distance (Å) beyond which the product of p and c is negligible.
    """
    voxel = np.asarray(voxel_size, dtype=np.float64)
    pad = np.ceil(reach / voxel[::-1]).astype(int)
    nz, ny, nx = (scipy.fft.next_fast_len(int(n + p), real=True) for n, p in zip(region.shape, pad, strict=True))
    shape = (nz, ny, nx)
    frequency = Shells(shape, voxel).frequency
    overlap = scipy.fft.irfftn(np.abs(scipy.fft.rfftn(region.astype(np.float64), s=shape, workers=1)) ** 2, s=shape)
    kernel = scipy.fft.irfftn(precision(frequency).astype(np.complex128), s=shape, workers=1)
    kernel *= scipy.fft.irfftn(noise(frequency).astype(np.complex128), s=shape, workers=1)
    return float(np.vdot(overlap, kernel))


def _log_spline(basis: Array, power: Array, n: Array) -> Array:
    """Return the coefficients c that maximise Σ -n/2 (log S + power/S), log S = basis · c, shape (n_coefficients,).

    Fisher scoring from the least squares of the logarithms. A weak prior on the second differences of c holds those
    that few coefficients determine.
    """
    rough = np.diff(np.eye(basis.shape[1]), n=2, axis=0)
    evenness = rough.T @ rough / _UNEVENNESS**2
    information = basis.T @ (0.5 * n[:, None] * basis) + evenness
    coefficients = np.linalg.solve(information, basis.T @ (0.5 * n * np.log(power)))
    for _ in range(_N_STEPS):
        excess = power / np.exp(basis @ coefficients) - 1.0
        step = np.linalg.solve(information, basis.T @ (0.5 * n * excess) - evenness @ coefficients)
        # Where the power is far above the curve, a whole step would overshoot.
        coefficients = coefficients + step / max(1.0, float(np.abs(step).max()))
    return np.asarray(coefficients)
