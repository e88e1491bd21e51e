"""Clusters: draws of a fit that hold the same conformation.

Most chains stay in one, and then clusters are made of whole chains. A chain that went to and fro, as under replica
exchange, is parted into the places it was in (``chain_places``), each with its draws. The answer is made of one cluster
alone. The others are conformations of their own, reported beside it: an average over two places is a place that no
chain has been to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from bayesflex.chain_places import n_crossings, places_of_chain
from bayesflex.errors import InputError
from bayesflex.geometry import rmsd
from bayesflex.residue_runs import in_words
from bayesflex.trace import Trace

Array = NDArray[np.float64]

#: Where more than this share of the residues differ, they are not named.
_ALL_OVER = 0.2

#: With fewer crossings than this between conformations, the shares of draws say little of how probable each is.
FEWEST_CROSSINGS = 10


@dataclass(frozen=True, eq=False)
class Cluster:
    """Draws in one conformation.

    Parameters
    ----------
    members
        True for its draws, shape (n_chains, n_draws).
    mean
        Mean position of each CA over them, shape (n_ca, 3), Å.
    log_density
        Mean over them, nats.
    cc_centred
        Mean correlation with the map over them; NaN where the trace does not hold it.
    """

    members: NDArray[np.bool_]
    mean: Array
    log_density: float
    cc_centred: float

    @property
    def chains(self) -> tuple[int, ...]:
        """Numbers of the chains that have draws in it, from 0, rising."""
        return tuple(np.flatnonzero(self.members.any(axis=1)).tolist())

    @property
    def share(self) -> float:
        """Share of the draws of all chains."""
        return float(self.members.mean())


def find_clusters(trace: Trace, cutoff: float) -> tuple[Cluster, ...]:
    """Return the clusters of draws, that of the answer first.

    What is joined is whole chains, or the parts of a chain that was in several places: by the RMSD between their mean
    structures, in place, with complete linkage, so that any two of a cluster are within ``cutoff`` of each other. The
    first cluster is the one that holds the chain (or part) with the highest mean log density, not the largest one:
    chains caught in the same wrong place are no evidence for it. The others follow by the same rule. But among
    conformations that chains went to and fro between, at least ``FEWEST_CROSSINGS`` times, the share of draws decides,
    since it is what the posterior says: where the first is one of these, the one with the most draws takes its place.

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
    if not np.all(np.isfinite(trace.chain_means())):
        raise InputError("clustering of chains: mean positions are not finite; look at metrics.csv")
    correlation = trace.sample_stats.get("cc_centred", np.full_like(trace.log_density, np.nan))
    parts = _parts_of_chains(trace, cutoff)
    means = np.array([trace.coords[part].mean(axis=0, dtype=np.float64) for part in parts])
    scores = np.array([trace.log_density[part].mean() for part in parts])
    clusters = []
    for numbers in cluster_chains(means, scores, cutoff):
        members = np.logical_or.reduce([parts[number] for number in numbers])
        clusters.append(
            Cluster(
                members,
                trace.coords[members].mean(axis=0, dtype=np.float64),
                float(trace.log_density[members].mean()),
                float(correlation[members].mean()),
            )
        )
    if sum(crossings(clusters)) < FEWEST_CROSSINGS:
        return tuple(clusters)
    answer = max(_linked_to_first(clusters), key=lambda cluster: cluster.share)
    return (answer, *(cluster for cluster in clusters if cluster is not answer))


def _parts_of_chains(trace: Trace, cutoff: float) -> list[NDArray[np.bool_]]:
    """Return the draws of each chain, or of each place that it was in, each of shape (n_chains, n_draws)."""
    parts = []
    for chain, draws in enumerate(trace.coords):
        places = places_of_chain(draws, cutoff)
        for place in range(int(places.max()) + 1):
            part = np.zeros((trace.n_chains, trace.n_draws), dtype=bool)
            part[chain] = places == place
            parts.append(part)
    return parts


def _linked_to_first(clusters: Sequence[Cluster]) -> list[Cluster]:
    """Return the first cluster and those that chains reached from it, directly or by way of others."""
    linked, waiting = [clusters[0]], list(clusters[1:])
    while True:
        reached = {chain for cluster in linked for chain in cluster.chains}
        more = [cluster for cluster in waiting if reached & set(cluster.chains)]
        if not more:
            return linked
        linked += more
        waiting = [cluster for cluster in waiting if cluster not in more]


def crossings(clusters: Sequence[Cluster]) -> list[int]:
    """Return for each chain how often it went from one cluster to another between successive draws."""
    number = np.argmax([cluster.members for cluster in clusters], axis=0)  # (n_chains, n_draws)
    return [n_crossings(chain) for chain in number]


def cluster_chains(means: Array, scores: Array, cutoff: float) -> list[tuple[int, ...]]:
    """Return the numbers of the chains (or parts of chains) of each cluster, see :func:`find_clusters`.

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
    """Say which chains were where, what speaks for each conformation, and what to do.

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
    best, n_crossed = clusters[0], sum(crossings(clusters))
    others = []
    for cluster in clusters[1:]:
        distance = np.linalg.norm(cluster.mean - best.mean, axis=1)
        apart = distance > max(cutoff, 0.5 * float(distance.max()))
        where = "all over" if apart.mean() > _ALL_OVER else f"most in {in_words(apart, trace.residues)}"
        others.append(
            f"{_named(cluster, n_crossed)}, {rmsd(cluster.mean, best.mean):.1f} Å RMSD away, {where}",
        )
    written = f" The others are in {', '.join(files)}." if files else ""
    named = f"more than {cutoff:.1f} Å RMSD apart: {_named(best, n_crossed)}; {'; '.join(others)}."
    if n_crossed == 0:
        return (
            f"The chains ended in {len(clusters)} conformations, {named} The answer and its uncertainty are made of "
            f"the first alone, which has the highest log density.{written} Where another has about the same "
            "correlation, the map does not decide between them; where it is lower, that chain is stuck: a longer or "
            "coarser warm-up (--warmup-iterations, --stages) may free it."
        )
    often = f"{n_crossed} time{'s' if n_crossed > 1 else ''}"
    if n_crossed < FEWEST_CROSSINGS:
        meaning = (
            f"They crossed {often} in all, so that the shares say little of how probable each is: more --iterations, "
            "or --temperatures, would tell. The answer and its uncertainty are made of the first alone, which has the "
            "highest log density."
        )
    else:
        meaning = (
            f"They crossed {often} in all: between conformations that one chain was in, the share of draws is how "
            "probable each is. The answer and its uncertainty are made of the first alone."
        )
    return f"Chains went from one conformation to another; the draws hold {len(clusters)}, {named} {meaning}{written}"


def _named(cluster: Cluster, n_crossed: int) -> str:
    chains = ("chain " if len(cluster.chains) == 1 else "chains ") + ", ".join(map(str, cluster.chains))
    share = f"{cluster.share:.0%} of the draws, " if n_crossed else ""
    return f"{chains} ({share}cc_centred {cluster.cc_centred:.4f}, log density {cluster.log_density:.0f})"
