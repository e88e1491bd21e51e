"""Clusters: chains of a fit that ended in the same conformation.

The answer is made of one cluster alone. The others are conformations of their own, reported beside it: an average over
two places is a place that no chain has been to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from bayesflex.errors import InputError
from bayesflex.geometry import rmsd
from bayesflex.residue_runs import in_words
from bayesflex.trace import Trace

Array = NDArray[np.float64]

#: Where more than this share of the residues differ, they are not named.
_ALL_OVER = 0.2


@dataclass(frozen=True, eq=False)
class Cluster:
    """Chains that ended in one conformation.

    Parameters
    ----------
    chains
        Their numbers, from 0, rising.
    mean
        Mean position of each CA over their draws, shape (n_ca, 3), Å.
    log_density
        Mean over their draws, nats.
    cc_centred
        Mean correlation with the map over their draws; NaN where the trace does not hold it.
    """

    chains: tuple[int, ...]
    mean: Array
    log_density: float
    cc_centred: float


def find_clusters(trace: Trace, cutoff: float) -> tuple[Cluster, ...]:
    """Return the clusters of chains, that of the answer first.

    Chains are joined by the RMSD between their mean structures, in place, with complete linkage: any two chains of
    a cluster are within ``cutoff`` of each other. The first cluster is the one that holds the chain with the highest
    mean log density, not the largest one: chains caught in the same wrong place are no evidence for it. The others
    follow by the same rule.

    Parameters
    ----------
    trace
        Draws of all chains.
    cutoff
        Largest RMSD within a cluster, Å.

    Raises
    ------
    InputError
        If a mean structure or every log density is not finite.
    """
    means = trace.chain_means()
    scores = trace.log_density.mean(axis=1)
    correlation = trace.sample_stats.get("cc_centred", np.full_like(trace.log_density, np.nan))
    clusters = []
    for chains in cluster_chains(means, scores, cutoff):
        index = list(chains)
        clusters.append(
            Cluster(chains, means[index].mean(axis=0), float(scores[index].mean()), float(correlation[index].mean()))
        )
    return tuple(clusters)


def cluster_chains(means: Array, scores: Array, cutoff: float) -> list[tuple[int, ...]]:
    """Return the numbers of the chains of each cluster, see :func:`find_clusters`.

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
        return [(0,)]
    distances = pdist(means.reshape(n_chains, -1)) / np.sqrt(means.shape[1])
    labels = fcluster(linkage(distances, method="complete"), cutoff, criterion="distance")
    best_first = np.argsort(np.where(np.isnan(scores), np.inf, -scores), kind="stable")
    return [tuple(np.flatnonzero(labels == label).tolist()) for label in dict.fromkeys(labels[best_first].tolist())]


def rmsd_between(clusters: Sequence[Cluster]) -> Array:
    """Return the RMSD between the mean structures of clusters, in place, shape (n_clusters, n_clusters), Å."""
    return np.array([[rmsd(one.mean, other.mean) for other in clusters] for one in clusters])


def describe_clusters(clusters: Sequence[Cluster], trace: Trace, cutoff: float, files: Sequence[str]) -> str:
    """Say which chains ended where, what speaks for each conformation, and what to do.

    Parameters
    ----------
    clusters
        At least two.
    trace
        The draws that they were found in.
    cutoff
        With which they were found, Å.
    files
        Names of the models of all clusters but the first, as far as they are written.
    """
    best = clusters[0]
    others = []
    for cluster in clusters[1:]:
        distance = np.linalg.norm(cluster.mean - best.mean, axis=1)
        apart = distance > max(cutoff, 0.5 * float(distance.max()))
        where = "all over" if apart.mean() > _ALL_OVER else f"most in {in_words(apart, trace.residues)}"
        others.append(f"{_named(cluster)}, {rmsd(cluster.mean, best.mean):.1f} Å RMSD away, {where}")
    written = f" The others are in {', '.join(files)}." if files else ""
    return (
        f"The chains ended in {len(clusters)} conformations, more than {cutoff:.1f} Å RMSD apart: {_named(best)}; "
        f"{'; '.join(others)}. The answer and its uncertainty are made of the first alone, which has the highest log "
        f"density.{written} Where another has about the same correlation, the map does not decide between them; where "
        "it is lower, that chain is stuck: a longer or coarser warm-up (--warmup-iterations, --stages) may free it."
    )


def _named(cluster: Cluster) -> str:
    chains = ("chain " if len(cluster.chains) == 1 else "chains ") + ", ".join(map(str, cluster.chains))
    return f"{chains} (cc_centred {cluster.cc_centred:.4f}, log density {cluster.log_density:.0f})"
