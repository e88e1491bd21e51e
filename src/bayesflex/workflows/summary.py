"""Summary: the numbers of ``summary.json``, see the page on outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.clusters import Cluster, crossings, rmsd_between
from bayesflex.convergence import Convergence
from bayesflex.residue_runs import stretches
from bayesflex.sampling import Chain
from bayesflex.trace import Trace
from bayesflex.workflows.assessment import Assessment

Array = NDArray[np.float64]

#: Below this rate of exchange between neighbours a ladder has a gap.
LEAST_EXCHANGE_RATE = 0.1


def summary_of_chains(trace: Trace, judged: Convergence, clusters: Sequence[Cluster]) -> dict[str, Any]:
    """Return what there is to say of the chains."""
    acceptance = trace.sample_stats["acceptance_rate"].mean(axis=1)
    return {
        "chains_used": list(clusters[0].chains),
        "clusters": [
            {
                "chains": list(one.chains),
                "share": one.share,
                "cc_centred": one.cc_centred,
                "log_density": one.log_density,
            }
            for one in clusters
        ],
        "crossings": crossings(clusters),
        "cluster_rmsd": rmsd_between(clusters).tolist(),
        "acceptance": float(acceptance.mean()),
        "acceptance_of_chains": acceptance.tolist(),
        "n_divergent": int(trace.sample_stats["diverging"].sum()),
        "r_hat_max": judged.r_hat_max,
        "ess_min": judged.ess_min,
        "ess_tail_min": judged.ess_tail_min,
        "bfmi_min": judged.bfmi_min,
    }


def summary_of_exchanges(chains: Sequence[Chain]) -> dict[str, Any]:
    """Return the temperatures of each chain's levels, and how often neighbours exchanged."""
    return {
        "temperatures": [list(chain.temperatures) for chain in chains],
        "exchange_rates": [list(chain.exchange_rates) for chain in chains],
    }


def warnings_of_exchanges(chains: Sequence[Chain]) -> list[str]:
    """Return a sentence where levels hardly exchange, since what a hotter one finds then reaches no draw."""
    found = []
    for number, chain in enumerate(chains):
        for rate, cooler, hotter in zip(chain.exchange_rates, chain.temperatures, chain.temperatures[1:], strict=False):
            if rate < LEAST_EXCHANGE_RATE:
                found.append(f"{cooler:.3g} and {hotter:.3g} in chain {number} ({rate:.0%})")
    if not found:
        return []
    return [
        f"Replicas hardly exchange between temperatures {', '.join(found)}: give more --temperatures, closer together."
    ]


def summary_of_assessment(found: Assessment) -> dict[str, Any]:
    """Return what there is to say of each residue and of the map's residual."""
    uncertainty, residual = found.uncertainty, found.residual
    labels, only = uncertainty.labels, uncertainty.prior_only
    named = [(str(labels[part.start]), str(labels[part.stop - 1])) for part in stretches(only, labels)]
    return {
        "sd": _middle_and_most(uncertainty.sd),
        "radius_90": _middle_and_most(uncertainty.radius),
        "contraction": float(np.nanmedian(uncertainty.contraction)),
        "prior_only": [first if first == last else f"{first}-{last.rpartition(' ')[2]}" for first, last in named],
        "noise_sd": residual.noise_sd,
        "chi_squared_ratio": residual.shells.total_ratio,
        "shells_beyond_noise": int(residual.shells.excess.sum()),
        "residual_regions": [asdict(place) for place in found.regions],
        "findings": list(found.findings),
    }


def _middle_and_most(values: Array) -> dict[str, float]:
    return {"median": float(np.median(values)), "max": float(values.max())}
