"""Assessment of a fit: how sure it is of each residue, and what it leaves of the map, in numbers and in sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesflex.convergence import Convergence
from bayesflex.density_support import density_support
from bayesflex.map_comparison import Comparison
from bayesflex.posterior_predictive import Residual, check_residual
from bayesflex.residual_regions import ResidualRegion, residual_regions
from bayesflex.residue_runs import in_words
from bayesflex.structure import Structure
from bayesflex.uncertainty import LEAST_CONTRACTION, ResidueUncertainty, local_spreads, spread, thinned
from bayesflex.workflows.preparation import PreparedFit
from bayesflex.workflows.prior_spread import prior_draws

Array = NDArray[np.float64]

#: Draws whose residuals are looked at; fewer where the working grid has more voxels than this.
_N_DRAWS, _FEW_DRAWS, _MANY_VOXELS = 8, 4, 4_000_000

#: Below this χ², relative to its expectation, there is less in the residual than noise.
_MUCH_LESS = 0.7

#: Places in the map that a sentence names.
_N_NAMED = 3


@dataclass(frozen=True, eq=False)
class Assessment:
    """How far a fit can be trusted, residue by residue and in the map.

    Parameters
    ----------
    uncertainty
        Of each residue.
    residual
        What the fit leaves of the map.
    regions
        Places where map and model differ by more than noise, the gravest first.
    warnings
        Sentences on what is wrong.
    findings
        Sentences on what is as it should be.
    """

    uncertainty: ResidueUncertainty
    residual: Residual
    regions: tuple[ResidualRegion, ...]
    warnings: tuple[str, ...]
    findings: tuple[str, ...]


def assess(
    prepared: PreparedFit, draws: NDArray[np.float32], fitted: Structure, judged: Convergence, n_gradients: int
) -> Assessment:
    """Assess a fit.

    Parameters
    ----------
    prepared
        What the chains shared.
    draws
        CA positions of the draws of the chains used, shape (n_draws, n_ca, 3), Å.
    fitted
        CA trace of the fitted model.
    judged
        Convergence of all chains.
    n_gradients
        Gradients that the fit took.
    """
    problem, config = prepared.problem, prepared.config
    comparison = Comparison(problem.target, config, problem.beads, problem.start, fitted.coords)
    few = problem.target.values.size > _MANY_VOXELS
    looked_at = thinned(draws, _FEW_DRAWS if few else _N_DRAWS).astype(np.float64)
    residual = check_residual(comparison, list(looked_at), f"residual of {prepared.inputs.density.name}")
    support = density_support(comparison, residual, fitted)
    sd, radius = spread(draws)
    local_sd, prior_local_sd = local_spreads(draws, prior_draws(problem, draws, n_gradients))
    labels = fitted.residue_labels
    uncertainty = ResidueUncertainty(
        sd=sd,
        radius=radius,
        local_sd=local_sd,
        prior_local_sd=prior_local_sd,
        support=support.support,
        absent=support.absent,
        r_hat=judged.r_hat_residues,
        ess=judged.ess_residues,
        labels=labels,
    )
    regions = tuple(residual_regions(residual, fitted.coords, labels))
    warnings, findings = _on_residues(uncertainty)
    more_warnings, more_findings = _on_residual(residual, regions)
    return Assessment(uncertainty, residual, regions, (*warnings, *more_warnings), (*findings, *more_findings))


def _on_residues(uncertainty: ResidueUncertainty) -> tuple[list[str], list[str]]:
    """Say which residues the map does not place."""
    warnings, findings = [], []
    absent = uncertainty.absent
    loose = uncertainty.uncontracted & ~absent
    if absent.any():
        support = float(uncertainty.support[absent].mean())
        warnings.append(
            f"Residues {in_words(absent, uncertainty.labels)} are prior only: the map has no density of their own "
            f"(support {support:.2f}, where others have 1). The prior, and the density of others, place them; their "
            "spread does not tell how little is known. Do not interpret them; fit without them if they disturb others."
        )
    if loose.sum() > 0.5 * len(loose):
        warnings.append(
            f"For {int(loose.sum())} of {len(loose)} residues the map decides little of the inner shape (contraction "
            f"below {LEAST_CONTRACTION}): it places domains, and the prior shapes them."
        )
    elif loose.any():
        warnings.append(
            f"Residues {in_words(loose, uncertainty.labels)} are prior only: seen from their surroundings they spread "
            f"as they do without a map (contraction below {LEAST_CONTRACTION}). Do not interpret their conformation."
        )
    if not warnings:
        findings.append("The map narrows the prior for every stretch of residues, and shows density for each.")
    return warnings, findings


def _on_residual(residual: Residual, regions: tuple[ResidualRegion, ...]) -> tuple[list[str], list[str]]:
    """Say where the fit leaves more than noise, in space and by spatial frequency."""
    warnings, findings = [], []
    for kind, what in (
        ("unexplained", "The map has density that the fit does not explain"),
        ("unsupported", "The model has density where the map has none"),
    ):
        places = [place for place in regions if place.kind == kind]
        if not places:
            continue
        named = "; ".join(
            f"{place.volume:.0f} Å³ around ({', '.join(f'{x:.0f}' for x in place.position)}), {place.distance:.0f} Å "
            f"from residue {place.residue} (z {place.peak:.0f})"
            for place in places[:_N_NAMED]
        )
        more = f", and {len(places) - _N_NAMED} more places" if len(places) > _N_NAMED else ""
        warnings.append(f"{what}: {named}{more}. Look at residual_z.mrc there.")
    shells = residual.shells
    excess = shells.excess
    if not excess.any() and shells.total_ratio < _MUCH_LESS:
        findings.append(
            f"The residual is less than the noise says: χ² is {shells.total_ratio:.2f} times what is expected. The map "
            "is cleaner than the likelihood takes it to be (--noise-sd, --floor), and spreads are too wide."
        )
        return warnings, findings
    if not excess.any():
        findings.append(
            f"At all scales down to {_length(shells.high[-1])} Å the residual is as the noise says: χ² is "
            f"{shells.total_ratio:.2f} times what is expected."
        )
        return warnings, findings
    worst = float(shells.ratio[excess].max())
    spans = ", ".join(_span(shells.low[part][0], shells.high[part][-1]) for part in _runs(excess))
    # The coarser half of the band holds the shape of domains, the finer half that of residues.
    if excess[: (len(excess) + 1) // 2].any():
        warnings.append(
            f"At scales of {spans} the residual is more than the noise says (χ² up to {worst:.1f} times what is "
            "expected, see shells.csv): the model lacks parts of the map, is misplaced, or its beads are too coarse "
            "for a map so clean."
        )
    else:
        findings.append(
            f"At scales of {spans} the residual is more than the noise says (χ² up to {worst:.1f} times what is "
            "expected): detail finer than beads describe. At coarser scales it is as the noise says."
        )
    return warnings, findings


def _runs(marked: NDArray[np.bool_]) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(int)))
    return [slice(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _span(low: float, high: float) -> str:
    """Return the lengths (Å) between two spatial frequencies in words."""
    return f"{_length(low)} to {_length(high)} Å" if low > 0.0 else f"{_length(high)} Å and coarser"


def _length(frequency: float) -> str:
    return f"{1.0 / frequency:.1f}"
