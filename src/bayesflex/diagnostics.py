"""Diagnostics: whether the chains agree, and how well a map agrees with another map.

Convergence is measured on the draws of a :class:`~bayesflex.trace.Trace`;
correlations are pure functions of arrays. Agreement between chains says
nothing about agreement with the map, nor the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.fft import irfft, next_fast_len, rfft
from scipy.spatial.distance import pdist
from scipy.special import ndtri

from bayesflex.errors import InputError
from bayesflex.trace import Trace

Array = NDArray[np.float64]

#: Above it, chains are said to disagree: the limit of Gelman and Rubin (1992). The 1.01 of Vehtari et al. (2021) is
#: for one quantity and thousands of draws; the largest of 10,000 quantities in 4 × 100 independent draws exceeds it.
R_HAT_LIMIT = 1.1

#: Fewest effective draws per chain: Gelman et al., Bayesian Data Analysis, 3rd ed., section 11.5 (5 per half chain).
ESS_PER_CHAIN = 10

#: Share of iterations that may end in an impossible position before a warning is due.
DIVERGENT_LIMIT = 0.01

#: Each chain is halved, and a half needs two draws to have a variance.
FEWEST_DRAWS = 4

#: Quantities worked on at a time: bounds the memory, whatever the size of the structure.
_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Convergence:
    """R-hat and effective sample size (ESS) of everything that a trace holds; NaN where a quantity never changed.

    Parameters
    ----------
    r_hat_max, ess_min
        The worst over all quantities; NaN where none can be judged.
    r_hat_log_density, ess_log_density
        Of the log density.
    r_hat_amplitudes, ess_amplitudes
        Of each mode amplitude, shape (n_modes,).
    r_hat_residues, ess_residues
        Of each CA's position, the worst of x, y and z, shape (n_ca,).
    worst
        The quantity with the largest R-hat: "mode 9", "residue A 152", "log density", or "none".
    warnings
        Sentences for whoever has to decide whether to trust the result; empty when all is well.
    """

    r_hat_max: float
    ess_min: float
    r_hat_log_density: float
    ess_log_density: float
    r_hat_amplitudes: Array
    ess_amplitudes: Array
    r_hat_residues: Array
    ess_residues: Array
    worst: str
    warnings: tuple[str, ...]


def convergence(trace: Trace) -> Convergence:
    """Judge whether the chains of a trace agree, by log density, mode amplitudes and CA positions.

    Positions are taken as they are, not superimposed: the map holds them in place.
    """
    per_draw = (trace.n_chains, trace.n_draws)
    r_hat_lp, ess_lp = r_hat_and_ess(trace.log_density[..., np.newaxis])
    r_hat_modes, ess_modes = r_hat_and_ess(trace.amplitudes)
    r_hat_xyz, ess_xyz = r_hat_and_ess(trace.coords.reshape(*per_draw, 3 * trace.n_ca))
    r_hat_residues = np.fmax.reduce(r_hat_xyz.reshape(trace.n_ca, 3), axis=1)  # (n_ca,); fmax passes over NaN
    ess_residues = np.fmin.reduce(ess_xyz.reshape(trace.n_ca, 3), axis=1)

    names = ["log density", *(f"mode {number}" for number in trace.mode_numbers)]
    names += [f"residue {label}" for label in trace.residues]
    r_hat = np.concatenate([r_hat_lp, r_hat_modes, r_hat_residues])
    ess = np.concatenate([ess_lp, ess_modes, ess_residues])
    judged = not np.all(np.isnan(r_hat))
    worst = names[int(np.nanargmax(r_hat))] if judged else "none"
    fewest = names[int(np.nanargmin(ess))] if judged else "none"
    r_hat_max, ess_min = float(np.fmax.reduce(r_hat)), float(np.fmin.reduce(ess))
    return Convergence(
        r_hat_max=r_hat_max,
        ess_min=ess_min,
        r_hat_log_density=float(r_hat_lp[0]),
        ess_log_density=float(ess_lp[0]),
        r_hat_amplitudes=r_hat_modes,
        ess_amplitudes=ess_modes,
        r_hat_residues=r_hat_residues,
        ess_residues=ess_residues,
        worst=worst,
        warnings=_warnings(trace, r_hat_max, worst, ess_min, fewest, r_hat_residues),
    )


def _warnings(
    trace: Trace, r_hat_max: float, worst: str, ess_min: float, fewest: str, r_hat_residues: Array
) -> tuple[str, ...]:
    """Say in sentences what the numbers of :func:`convergence` mean."""
    sentences = []
    n_draws = trace.n_chains * trace.n_draws
    if trace.n_draws < FEWEST_DRAWS:
        sentences.append(
            f"Each chain has {trace.n_draws} draws, too few to tell whether the chains agree (at least {FEWEST_DRAWS} "
            "are needed, 100 are usual): raise --iterations."
        )
    if trace.n_chains == 1:
        sentences.append(
            "There is one chain, so nothing shows whether another start would end elsewhere: run four (--chains 4)."
        )
    if r_hat_max > R_HAT_LIMIT:
        whom = "The chains do not agree" if trace.n_chains > 1 else "The two halves of the chain do not agree"
        sentences.append(
            f"{whom} on {worst} (R-hat {r_hat_max:.2f}, should be below {R_HAT_LIMIT}): they ended in different "
            "answers, or had not settled when sampling began. Compare the chains in cc.png, and raise --iterations."
        )
    fewest_effective = ESS_PER_CHAIN * trace.n_chains
    if ess_min < fewest_effective:
        sentences.append(
            f"The {n_draws} draws are worth only {ess_min:.0f} independent ones for {fewest} (should be "
            f"{fewest_effective} or more): the spread of the ensemble is uncertain there. Raise --iterations."
        )
    n_still = int(np.isnan(r_hat_residues).sum())
    if trace.n_draws >= FEWEST_DRAWS and n_still:
        sentences.append(
            f"{n_still} of {trace.n_ca} residues never moved or have positions that are not finite numbers, so nothing "
            "can be said about them: look at the acceptance in metrics.csv."
        )
    n_divergent = int(np.sum(trace.sample_stats.get("diverging", 0)))
    if n_divergent > DIVERGENT_LIMIT * n_draws:
        sentences.append(
            f"{n_divergent} of {n_draws} iterations ended in an impossible position and were rejected: the steps are "
            "too long for this structure. Raise the target acceptance towards 0.9."
        )
    return tuple(sentences)


def r_hat_and_ess(draws: NDArray[np.floating[Any]]) -> tuple[Array, Array]:
    """Return rank-normalised split R-hat and bulk effective sample size of many quantities at once.

    The formulas, and every choice within them, are those of ``arviz.rhat(method="rank")`` and
    ``arviz.ess(method="bulk")`` 0.23, to which tests compare. ArviZ takes one quantity at a time in a Python
    loop: 13 s for the 13,104 coordinates of a p97 hexamer in 4 × 100 draws, against 1.7 s here. Different by intent:
    one chain is judged by its two halves, and a quantity that never changes has an ESS of NaN, not all its draws.

    Parameters
    ----------
    draws
        Shape (n_chains, n_draws, n_quantities).

    Returns
    -------
    r_hat : ndarray
        Shape (n_quantities,). NaN for a constant or non-finite quantity and for fewer than four draws; infinite
        where every chain stands still at a place of its own.
    ess : ndarray
        Shape (n_quantities,), NaN like R-hat.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Bayesian Analysis 16, 667.
    """
    _, n_draws, n_quantities = draws.shape
    r_hat, ess = np.full(n_quantities, np.nan), np.full(n_quantities, np.nan)
    if n_draws < FEWEST_DRAWS:
        return r_hat, ess
    half = n_draws // 2  # an odd draw in the middle belongs to neither half
    halves = np.concatenate([draws[:, :half], draws[:, -half:]])  # (2 n_chains, half, n_quantities)
    for start in range(0, n_quantities, _BLOCK):
        block = halves[..., start : start + _BLOCK]
        values = np.moveaxis(block, 2, 0).astype(np.float64)  # (n_block, 2 n_chains, half)
        usable = np.isfinite(values).all(axis=(1, 2)) & (np.ptp(values, axis=(1, 2)) > 0)
        if not usable.any():
            continue
        index = start + np.flatnonzero(usable)
        values = values[usable]
        scores = _normal_scores(values)
        folded = np.abs(values - np.median(values, axis=(1, 2), keepdims=True))
        r_hat[index] = np.fmax(_r_hat(scores), _r_hat(_normal_scores(folded)))
        ess[index] = _effective_sample_size(scores)
    return r_hat, ess


def _normal_scores(values: Array) -> Array:
    """Return the normal scores of the ranks among all draws of a quantity, shape (n, n_chains, n_draws)."""
    from scipy.stats import rankdata  # takes half a second to import

    flat = values.reshape(len(values), values.shape[1] * values.shape[2])
    # Blom (1958): the offset 3/8 makes the scores nearly the expected order statistics.
    scores: Array = ndtri((rankdata(flat, axis=1) - 0.375) / (flat.shape[1] + 0.25)).reshape(values.shape)
    return scores


def _r_hat(values: Array) -> Array:
    """Return the potential scale reduction of values of shape (n, n_chains, n_draws), shape (n,)."""
    n_draws = values.shape[2]
    within = values.var(axis=2, ddof=1).mean(axis=1)
    between = n_draws * values.mean(axis=2).var(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that stand still: infinite, or NaN for 0/0
        r_hat: Array = np.sqrt((between / within + n_draws - 1) / n_draws)
    return r_hat


def _effective_sample_size(values: Array) -> Array:
    """Return the effective sample size of values of shape (n, n_chains, n_draws), shape (n,).

    The autocorrelations are summed in pairs P_k = ρ_2k + ρ_2k+1 up to the first that is not positive (Geyer's
    initial positive sequence) and made to fall (the monotone one); a half pair ends the sum, as in Stan.
    """
    n, n_chains, n_draws = values.shape
    centred = values - values.mean(axis=2, keepdims=True)
    n_fft = next_fast_len(2 * n_draws, real=True)  # zero padding keeps the ends apart
    power = np.abs(rfft(centred, n_fft, axis=2)) ** 2
    covariance = irfft(power.mean(axis=1), n_fft, axis=1)[:, :n_draws] / n_draws  # (n, lag), mean over chains

    within = covariance[:, :1] * n_draws / (n_draws - 1)
    total = covariance[:, :1] + values.mean(axis=2).var(axis=1, ddof=1, keepdims=True)
    rho = 1.0 - (within - covariance) / total
    rho[:, 0] = 1.0

    last = max(0, (n_draws - 3) // 2)  # the last pair that may enter: longer lags are noise
    pairs = rho[:, 0 : 2 * last + 1 : 2] + rho[:, 1 : 2 * last + 2 : 2]  # (n, last + 1)
    positive = np.logical_and.accumulate(pairs > 0, axis=1)
    n_pairs = np.minimum(positive.sum(axis=1), last)  # pairs summed whole; pair n_pairs gives its even half
    falling = np.minimum.accumulate(pairs, axis=1)
    whole = np.where(np.arange(last + 1) < n_pairs[:, np.newaxis], falling, 0.0).sum(axis=1)
    rows = np.arange(n)
    even = rho[rows, 2 * n_pairs]
    even = np.where(pairs[rows, n_pairs] >= 0, even, np.maximum(even, 0.0))

    n_total = n_chains * n_draws
    # Antithetic chains may be worth more than their draws, but not without bound (Vehtari et al.).
    relaxation = np.maximum(-1.0 + 2.0 * whole + even, 1.0 / np.log10(n_total))
    ess: Array = n_total / relaxation
    return ess


def cluster_chains(means: Array, scores: Array, cutoff: float) -> list[int]:
    """Return the chains that belong to the best answer, in rising order.

    Chains are joined by the RMSD between their mean structures, in place, with complete linkage: any two chains of
    a cluster are within ``cutoff`` of each other. The cluster that holds the chain with the highest score wins, not
    the largest one: chains caught in the same wrong place are no evidence for it.

    Parameters
    ----------
    means
        Mean structure of each chain, shape (n_chains, n, 3), Å.
    scores
        Mean log density of each chain, shape (n_chains,), nats. NaN counts as the worst.
    cutoff
        Largest RMSD within a cluster, Å.

    Raises
    ------
    InputError
        If the shapes disagree, or a mean structure or every score is not finite.
    """
    n_chains = len(means)
    if means.ndim != 3 or n_chains == 0 or scores.shape != (n_chains,):
        raise InputError(
            f"clustering of chains: means of shape {means.shape} and scores of shape {scores.shape}, expected "
            "(n_chains, n, 3) and (n_chains,)"
        )
    if not np.all(np.isfinite(means)) or np.all(np.isnan(scores)):
        raise InputError("clustering of chains: mean positions or all scores are not finite; look at metrics.csv")
    if n_chains == 1:
        return [0]
    flat = means.reshape(n_chains, -1)
    rmsd = pdist(flat) / np.sqrt(means.shape[1])
    labels = fcluster(linkage(rmsd, method="complete"), cutoff, criterion="distance")
    best = int(np.nanargmax(scores))
    return [int(chain) for chain in np.flatnonzero(labels == labels[best])]


def cc_uncentred(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """Return Σ ab / (|a| |b|), from -1 to 1: eq. 8 of Vuillemot and Jonic with the norms as written, means kept.

    NaN where a map is zero everywhere.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    x, y = _flat_pair(a, b)
    return _cosine(x, y)


def cc_centred(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """Return the correlation of two maps about their means, from -1 to 1; NaN where a map is constant.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    x, y = _flat_pair(a, b)
    if x.size == 0 or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:  # rounding of the mean must not pass for a signal
        return float("nan")
    return _cosine(x - x.mean(), y - y.mean())


def cc_mask(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]], mask: NDArray[np.bool_]) -> float:
    """Return :func:`cc_centred` over the voxels where the mask is True, with means over these; NaN for an empty mask.

    Raises
    ------
    InputError
        If the shapes differ or the mask is not boolean.
    """
    if mask.shape != np.shape(a) or mask.dtype != np.bool_:
        raise InputError(
            f"map correlation: mask of type {mask.dtype} and shape {mask.shape}, expected bool and {np.shape(a)}"
        )
    if np.shape(a) != np.shape(b):
        raise InputError(f"map correlation: maps of shapes {np.shape(a)} and {np.shape(b)}, expected the same grid")
    return cc_centred(a[mask], b[mask])


def _flat_pair(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> tuple[Array, Array]:
    """Return both maps as flat vectors in double precision, since sums over many voxels lose digits in single."""
    if a.shape != b.shape:
        raise InputError(f"map correlation: maps of shapes {a.shape} and {b.shape}, expected the same grid")
    return np.ravel(a).astype(np.float64), np.ravel(b).astype(np.float64)


def _cosine(x: Array, y: Array) -> float:
    """Return the cosine of the angle between two vectors, NaN where one is zero."""
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.dot(x, y)) / norm if norm > 0.0 else float("nan")


def fourier_shell_correlation(
    a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]], voxel_size: Array
) -> tuple[Array, Array]:
    """Return the correlation of two maps in shells of spatial frequency: Σ Re(A B*) / √(Σ|A|² Σ|B|²).

    Shells are one frequency step of the longest edge wide, and end at the lowest Nyquist frequency; frequency zero,
    the mean, is left out.

    Parameters
    ----------
    a, b
        Shape (nz, ny, nx).
    voxel_size
        Along (x, y, z), shape (3,), Å.

    Returns
    -------
    frequency : ndarray
        Centre of each shell, shape (n_shells,), 1/Å.
    fsc : ndarray
        Shape (n_shells,); NaN in a shell where a map has no power.

    Raises
    ------
    InputError
        If the shapes differ, the maps are not three-dimensional, or are too small for one shell.
    """
    if a.shape != b.shape or a.ndim != 3 or min(a.shape) < 2:
        raise InputError(f"Fourier shells: maps of shapes {a.shape} and {b.shape}, expected the same (nz, ny, nx)")
    nz, ny, nx = a.shape
    dx, dy, dz = (float(edge) for edge in voxel_size)
    fx, fy, fz = np.fft.rfftfreq(nx, dx), np.fft.fftfreq(ny, dy), np.fft.fftfreq(nz, dz)
    radius = np.sqrt(fz[:, None, None] ** 2 + fy[:, None] ** 2 + fx**2)  # (nz, ny, nx // 2 + 1)
    step = 1.0 / max(nx * dx, ny * dy, nz * dz)
    n_shells = int(np.floor(0.5 / max(dx, dy, dz) / step + 1e-9))  # 1e-9: a Nyquist frequency that is a shell's own
    shell = np.minimum(np.rint(radius / step), n_shells + 1).astype(np.int64)  # the last collects the corners
    # The half that rfft leaves out is the mirror image of the planes between zero and the Nyquist frequency.
    weight = np.full(len(fx), 2.0)
    weight[0] = 1.0
    if nx % 2 == 0:
        weight[-1] = 1.0

    spectrum_a, spectrum_b = np.fft.rfftn(a.astype(np.float64)), np.fft.rfftn(b.astype(np.float64))

    def shell_sum(values: Array) -> Array:
        """Return the sum over each shell from the first on, shape (n_shells,)."""
        total = np.bincount(shell.ravel(), (values * weight).ravel(), minlength=n_shells + 2)
        return np.asarray(total[1 : n_shells + 1], dtype=np.float64)

    cross = shell_sum((spectrum_a * spectrum_b.conj()).real)
    norm = np.sqrt(shell_sum(np.abs(spectrum_a) ** 2) * shell_sum(np.abs(spectrum_b) ** 2))
    fsc = np.full(n_shells, np.nan)
    np.divide(cross, norm, out=fsc, where=norm > 0.0)
    return step * np.arange(1, n_shells + 1), fsc
