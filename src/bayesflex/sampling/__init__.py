"""Chains: from a prepared problem to draws, through a warm-up that anneals the resolution.

A chain passes through stages. In a blurred stage map and model are compared at a coarser resolution. With modes the
chain's structure is steered there, the modes being taken anew on the way; without, it is sampled there. The last
stage of the warm-up has the resolution asked for. From its end on everything that shapes the kernel is frozen, so
that the draws are draws from the posterior.
"""

from bayesflex.sampling.chain import Chain
from bayesflex.sampling.domain_starts import DomainPose, Starts
from bayesflex.sampling.observation import ModeProjection, correlations
from bayesflex.sampling.problem import Problem, Stage, plan_stages
from bayesflex.sampling.run import chain_starts, run_chains, stage_evaluations, stage_likelihoods, thread_count
from bayesflex.sampling.scatterers import (
    Scatterers,
    can_settle,
    load_scatterers,
    save_scatterers,
    settle_scatterers,
)

__all__ = [
    "Chain",
    "DomainPose",
    "ModeProjection",
    "Problem",
    "Scatterers",
    "Stage",
    "Starts",
    "can_settle",
    "chain_starts",
    "correlations",
    "load_scatterers",
    "plan_stages",
    "run_chains",
    "save_scatterers",
    "settle_scatterers",
    "stage_evaluations",
    "stage_likelihoods",
    "thread_count",
]
