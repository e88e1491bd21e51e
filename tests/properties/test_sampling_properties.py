"""Stages of the warm-up for any settings and any protein."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesflex.config import FitConfig
from bayesflex.sampling import plan_stages

RESOLUTIONS = st.floats(1.0, 60.0)
SIZES = st.floats(0.0, 500.0)
COUNTS = st.integers(1, 1000)


def protein(radius):
    """Points with this radius of gyration, which is what the plan looks at."""
    coords = np.random.default_rng(0).normal(size=(50, 3))
    coords -= coords.mean(axis=0)
    return radius * coords / np.sqrt(np.mean(np.sum(coords**2, axis=1)))


@given(RESOLUTIONS, SIZES, COUNTS, COUNTS)
def test_stages_go_from_coarse_to_the_resolution_asked_for(resolution, radius, stage_iterations, warmup_iterations):
    config = FitConfig(resolution=resolution, stage_iterations=stage_iterations, warmup_iterations=warmup_iterations)
    *blurred, last = stages = plan_stages(config, protein(radius))
    assert [stage.name for stage in stages] == [f"warmup-{number}" for number in range(1, len(stages) + 1)]
    assert last.resolution == resolution
    assert last.n_iterations == warmup_iterations
    assert {stage.n_iterations for stage in blurred} == {stage_iterations}
    for coarser, finer in pairwise(stages):
        # Neither a leap nor a stage that is hardly different.
        assert 1.15 < coarser.resolution / finer.resolution < 1.7
    # The coarsest: about the radius of gyration, from two to four times the resolution.
    expected = min(max(radius, 2.0 * resolution), 4.0 * resolution)
    assert blurred[0].resolution == pytest.approx(expected, abs=0.006)


@given(RESOLUTIONS, SIZES)
def test_planned_stages_can_be_given_as_settings(resolution, radius):
    """A saved configuration holds them, and a resumed fit plans the same."""
    config = FitConfig(resolution=resolution)
    stages = plan_stages(config, protein(radius))
    saved = replace(config, stages=tuple(stage.resolution for stage in stages[:-1]))
    assert plan_stages(saved, protein(0.0)) == stages


@given(RESOLUTIONS, SIZES, st.lists(st.floats(1.05, 2.0), min_size=1, max_size=6))
def test_stages_asked_for_are_those_that_are_run(resolution, radius, ratios):
    wanted = tuple(resolution * ratio for ratio in np.cumprod(ratios))[::-1]
    stages = plan_stages(FitConfig(resolution=resolution, stages=wanted), protein(radius))
    assert tuple(stage.resolution for stage in stages) == (*wanted, resolution)


@given(RESOLUTIONS, SIZES, COUNTS)
def test_without_annealing_there_is_one_stage(resolution, radius, iterations):
    for given_stages in ((), (3.0 * resolution,)):
        config = FitConfig(resolution=resolution, anneal=False, stages=given_stages, warmup_iterations=iterations)
        (stage,) = plan_stages(config, protein(radius))
        assert (stage.name, stage.resolution, stage.n_iterations) == ("warmup-1", resolution, iterations)
