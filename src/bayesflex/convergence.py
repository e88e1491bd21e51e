"""Convergence: whether the chains of a trace agree, in numbers, in a table and in sentences.

Judged are the log density, the correlation with the map, the structural energy, every mode amplitude and the positions
of CA spread evenly over the model: quantities that a user reads. The other CA are judged too, for the table of
residues. Agreement between chains says nothing about agreement with the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesflex.diagnostics import FEWEST_DRAWS, energy_bfmi, r_hat_and_ess, tail_ess
from bayesflex.io.tables import write_csv
from bayesflex.residue_runs import in_words
from bayesflex.trace import Trace

Array = NDArray[np.float64]

#: Above it, chains are said to disagree. Vehtari et al. (2021) recommend 1.01 for one quantity in thousands of draws;
#: the largest of 200 quantities in 4 × 100 independent draws lies about 1.04.
R_HAT_LIMIT = 1.05

#: The same for the positions of all CA: the largest of 10,000 quantities in 4 × 100 independent draws exceeds 1.05.
_R_HAT_RESIDUES = 1.1

#: Fewest effective draws per chain: Gelman et al., Bayesian Data Analysis, 3rd ed., section 11.5 (5 per half chain).
ESS_PER_CHAIN = 10

#: Energies are explored too slowly below it: Betancourt (2016), arXiv:1604.00695.
BFMI_LIMIT = 0.3

#: CA whose positions are judged, at most.
_N_CA = 64

#: Columns of ``diagnostics.csv``.
COLUMNS = ("quantity", "mean", "sd", "r_hat", "ess_bulk", "ess_tail")


@dataclass(frozen=True, eq=False)
class Convergence:
    """R-hat and effective sample sizes (ESS); NaN where a quantity never changed.

    Parameters
    ----------
    names
        The quantities judged: "log density", "cc_centred", "energy", "mode 9", "residue A 152 x", ...
    mean, sd
        Of each over all draws, shape (n_quantities,), in nats, 1, kcal/mol and Å.
    r_hat, ess_bulk, ess_tail
        Of each, shape (n_quantities,).
    r_hat_residues, ess_residues
        Of each CA's position, the worst of x, y and z, shape (n_ca,).
    bfmi
        Energy fraction of missing information of each chain, shape (n_chains,).
    warnings
        Sentences for whoever has to decide whether to trust the result; empty when all is well.
    """

    names: tuple[str, ...]
    mean: Array
    sd: Array
    r_hat: Array
    ess_bulk: Array
    ess_tail: Array
    r_hat_residues: Array
    ess_residues: Array
    bfmi: Array
    warnings: tuple[str, ...]

    @property
    def r_hat_max(self) -> float:
        """The largest R-hat; NaN where none can be judged."""
        return float(np.fmax.reduce(self.r_hat))

    @property
    def ess_min(self) -> float:
        """The smallest bulk ESS; NaN where none can be judged."""
        return float(np.fmin.reduce(self.ess_bulk))

    @property
    def ess_tail_min(self) -> float:
        """The smallest tail ESS; NaN where none can be judged."""
        return float(np.fmin.reduce(self.ess_tail))

    @property
    def bfmi_min(self) -> float:
        """The smallest E-BFMI of a chain; NaN where none is known."""
        return float(np.fmin.reduce(self.bfmi))

    @property
    def worst(self) -> str:
        """The quantity with the largest R-hat, or "none"."""
        return _extreme(self.names, self.r_hat, largest=True)


def convergence(trace: Trace) -> Convergence:
    """Judge whether the chains of a trace agree.

    Positions are taken as they are, not superimposed: the map holds them in place.
    """
    per_draw = (trace.n_chains, trace.n_draws)
    flat = trace.coords.reshape(*per_draw, 3 * trace.n_ca)
    chosen = np.unique(np.linspace(0, trace.n_ca - 1, min(_N_CA, trace.n_ca)).round().astype(int))
    columns = [trace.log_density, trace.potential_energy]
    names = ["log density", "energy"]
    if "cc_centred" in trace.sample_stats:
        columns.append(trace.sample_stats["cc_centred"])
        names.append("cc_centred")
    names += [f"mode {number}" for number in trace.mode_numbers]
    names += [f"residue {label} {axis}" for label in trace.residues[chosen] for axis in "xyz"]
    places = (3 * chosen[:, None] + np.arange(3)).ravel()
    draws = np.concatenate([np.stack(columns, axis=2), trace.amplitudes, flat[..., places]], axis=2)
    r_hat, ess = r_hat_and_ess(draws)
    r_hat_xyz, ess_xyz = r_hat_and_ess(flat)
    found = Convergence(
        names=tuple(names),
        mean=draws.mean(axis=(0, 1), dtype=np.float64),
        sd=draws.std(axis=(0, 1), dtype=np.float64),
        r_hat=r_hat,
        ess_bulk=ess,
        ess_tail=tail_ess(draws),
        r_hat_residues=np.fmax.reduce(r_hat_xyz.reshape(trace.n_ca, 3), axis=1),  # fmax passes over NaN
        ess_residues=np.fmin.reduce(ess_xyz.reshape(trace.n_ca, 3), axis=1),
        bfmi=_bfmi(trace),
        warnings=(),
    )
    return _with_warnings(found, trace)


def write_convergence(found: Convergence, path: Path) -> None:
    """Write ``diagnostics.csv``, a row per quantity.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind then.
    """
    numbers = (found.mean, found.sd, found.r_hat, found.ess_bulk, found.ess_tail)
    rows = zip(found.names, *(column.tolist() for column in numbers), strict=True)
    write_csv(path, COLUMNS, rows, digits=6)


def _bfmi(trace: Trace) -> Array:
    """Return the E-BFMI of each chain, NaN where the energies are not known or too few."""
    energy = trace.sample_stats.get("energy")
    if energy is None or trace.n_draws < FEWEST_DRAWS:
        return np.full(trace.n_chains, np.nan)
    return energy_bfmi(np.asarray(energy, dtype=np.float64))


def _with_warnings(found: Convergence, trace: Trace) -> Convergence:
    """Return the same with sentences that say what the numbers mean."""
    sentences = [*_on_length(trace), *_on_agreement(found, trace), *_on_sizes(found, trace), *_on_energy(found)]
    n_still = int(np.isnan(found.r_hat_residues).sum())
    if trace.n_draws >= FEWEST_DRAWS and n_still:
        sentences.append(
            f"{n_still} of {trace.n_ca} residues never moved or have positions that are not finite numbers, so nothing "
            "can be said about them: look at the acceptance in metrics.csv."
        )
    n_divergent = int(np.sum(trace.sample_stats.get("diverging", 0)))
    if n_divergent:
        sentences.append(
            f"{n_divergent} of {trace.n_chains * trace.n_draws} iterations ended in an impossible position and were "
            "rejected (divergences): the steps are too long for this structure, or it is at the edge of the map. Raise "
            "--target-acceptance towards 0.9, and look whether the model lies well inside the map."
        )
    return replace(found, warnings=tuple(sentences))


def _on_length(trace: Trace) -> list[str]:
    sentences = []
    if trace.n_draws < FEWEST_DRAWS:
        sentences.append(
            f"Each chain has {trace.n_draws} draws, too few to tell whether the chains agree (at least {FEWEST_DRAWS} "
            "are needed, 100 are usual): raise --iterations."
        )
    if trace.n_chains == 1:
        sentences.append(
            "There is one chain, so nothing shows whether another start would end elsewhere: run four (--chains 4)."
        )
    return sentences


def _on_agreement(found: Convergence, trace: Trace) -> list[str]:
    if not found.r_hat_max > R_HAT_LIMIT:
        return []
    whom = "The chains do not agree" if trace.n_chains > 1 else "The two halves of the chain do not agree"
    apart = found.r_hat_residues > _R_HAT_RESIDUES
    where = ""
    if apart.any():
        where = f" {int(apart.sum())} of {trace.n_ca} residues are concerned: {in_words(apart, trace.residues)}."
    return [
        f"{whom} on {found.worst} (R-hat {found.r_hat_max:.2f}, should be below {R_HAT_LIMIT}, better 1.01): they "
        f"ended in different answers, had not settled when sampling began, or are short.{where} Compare the chains in "
        "cc.png; raise --iterations, and --warmup-iterations where the curves still rise."
    ]


def _on_sizes(found: Convergence, trace: Trace) -> list[str]:
    """Say which effective sample sizes are too small: of the bulk, or of the tails alone."""
    fewest, n_draws = ESS_PER_CHAIN * trace.n_chains, trace.n_chains * trace.n_draws
    if found.ess_min < fewest:
        name = _extreme(found.names, found.ess_bulk, largest=False)
        return [
            f"The {n_draws} draws are worth only {found.ess_min:.0f} independent ones for {name} (should be {fewest} "
            "or more): the spread of the ensemble is uncertain there. Raise --iterations."
        ]
    if found.ess_tail_min < fewest:
        name = _extreme(found.names, found.ess_tail, largest=False)
        return [
            f"In the tails the {n_draws} draws are worth only {found.ess_tail_min:.0f} independent ones for {name} "
            f"(should be {fewest} or more): means are good, limits of intervals are not. Raise --iterations."
        ]
    return []


def _on_energy(found: Convergence) -> list[str]:
    low = np.flatnonzero(found.bfmi < BFMI_LIMIT)
    if not len(low):
        return []
    which = "chain " if len(low) == 1 else "chains "
    return [
        f"The energy moves too slowly in {which}{', '.join(map(str, low))} (E-BFMI {found.bfmi_min:.2f}, should be "
        f"above {BFMI_LIMIT}): it still drifts, or has ranges that are seldom reached. Raise --warmup-iterations, then "
        "--iterations."
    ]


def _extreme(names: Sequence[str], values: Array, largest: bool) -> str:
    if np.all(np.isnan(values)):
        return "none"
    return names[int(np.nanargmax(values) if largest else np.nanargmin(values))]
