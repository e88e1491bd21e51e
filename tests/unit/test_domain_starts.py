"""Starts of chains: a domain outside of its density is placed, one that is inside is left alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from small_fit import Keeper

from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.domains import Domains
from bayesflex.errors import InputError
from bayesflex.geometry import rmsd, rotation_of_vector
from bayesflex.rendering import render
from bayesflex.sampling import chain_starts, run_chains, stage_likelihoods
from bayesflex.sampling.arrangements import Arranger, share_moved
from bayesflex.sampling.domain_starts import find_starts, load_starts, save_starts
from bayesflex.synthetic import two_domain_layout, two_domain_protein
from bayesflex.workflows.preparation import Inputs, prepare

N = 160
CONFIG = FitConfig(
    resolution=8.0,
    sigma=1.8,
    chains=1,
    iterations=2,
    stages=(14.0, 11.0),
    stage_iterations=4,
    warmup_iterations=4,
    steps=3,
    threads=1,
)


@cache
def turned():
    """A protein, and its second domain turned by 110° about the end of the linker."""
    start = two_domain_protein(N).ca_trace()
    layout = two_domain_layout(N)
    hinge = start.coords[layout.linker.stop - 1]
    truth = start.coords.copy()
    turn = rotation_of_vector(np.array([0.9, -0.6, 1.58]))
    truth[layout.second_domain] = (truth[layout.second_domain] - hinge) @ turn.T + hinge
    both = np.concatenate([truth, start.coords])
    origin = np.round(both.min(axis=0)) - 20.0
    shape = tuple(int(n) for n in np.ceil((np.ptp(both, axis=0) + 40.0) / 2.0))[::-1]
    values = render(truth, np.ones(N), 1.8, shape, np.full(3, 2.0), origin)
    return start, truth, DensityMap(values, np.full(3, 2.0), origin)


@cache
def prepared(from_truth: bool, **changes):
    start, truth, density = turned()
    model = start.with_coords(truth) if from_truth else start
    return prepare(Inputs(model, density), replace(CONFIG, **changes), lambda text: None)


@cache
def starts(from_truth: bool):
    fit = prepared(from_truth)
    return find_starts(fit.problem, stage_likelihoods(fit.problem, fit.stages), 1)


def test_a_domain_outside_of_its_density_is_placed_and_its_linker_closed():
    start, truth, _ = turned()
    found = starts(False)
    assert rmsd(start.coords, truth) > 10.0
    assert rmsd(found.structures[0], truth) < 2.5
    assert len(found.messages) == len(found.structures) == 1
    assert "was placed by a search" in found.messages[0]
    taken = [pose for pose in found.poses if pose.taken]
    assert len(taken) == 1
    assert taken[0].score > taken[0].score_here + 2.0
    assert 90.0 < taken[0].angle < 130.0
    # Bundles of helices look nearly alike when turned half about: what was compared is told.
    for pose in found.poses:
        assert pose.taken or (pose.log_density < taken[0].log_density and pose.apart > 5.0)
    bonds = np.linalg.norm(np.diff(found.structures[0], axis=0), axis=1)
    before = np.linalg.norm(np.diff(start.coords, axis=0), axis=1)
    assert np.abs(bonds - before).max() < 0.3


def test_a_model_in_its_density_is_left_alone():
    found = starts(True)
    assert found.messages == ()
    np.testing.assert_array_equal(found.structures[0], turned()[1])


@pytest.mark.parametrize(
    "changes", [{"domains": False}, {"deformation": "global", "domain_motions": "off"}, {"anneal": False}]
)
def test_without_steering_or_where_it_is_not_wanted_nothing_is_searched(changes):
    fit, heard = prepared(False, **changes), Keeper()
    run_chains(fit.problem, fit.stages, stage_likelihoods(fit.problem, fit.stages), heard)
    assert not [text for text in heard.texts if "search" in text]


def test_chains_start_from_what_was_placed_and_report_the_start_first():
    fit, heard = prepared(False), Keeper()
    chains = run_chains(fit.problem, fit.stages, stage_likelihoods(fit.problem, fit.stages), heard)
    assert len([text for text in heard.texts if "was placed by a search" in text]) == 1
    truth = turned()[1]
    assert rmsd(np.array(chains[0].draws.coords[-1], dtype=np.float64), truth) < 3.0
    correlations = [row.values["cc_centred"] for row in heard.rows[0]]
    assert heard.rows[0][0].stage == "start"
    assert correlations[1] > correlations[0] + 0.1


def test_what_was_found_is_kept_for_a_fit_that_is_resumed(tmp_path):
    fit, heard = prepared(False), Keeper()
    path = tmp_path / "starts.npz"
    save_starts(path, starts(False))
    for found in (load_starts(path), chain_starts(fit.problem, fit.stages, [], heard, tmp_path)):  # nothing is searched
        np.testing.assert_array_equal(found.structures, starts(False).structures)
        np.testing.assert_equal(found.poses, starts(False).poses)
        np.testing.assert_equal(found.log_densities, starts(False).log_densities)
        assert found.messages == starts(False).messages
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match=r"starts.npz: expected starts of chains"):
        load_starts(path)


def test_bodies_are_those_of_the_clustering_and_those_that_chains_link():
    fit = prepared(False)
    labels = np.repeat([0, 1, 2, 0, 3, 0], [20, 50, 30, 30, 20, 10])
    domains = Domains(labels, ((0, 1, 2, 3), (0, 3), (1,), (2,), (3,)), np.zeros(N, dtype=bool))
    found = Arranger(fit.problem, domains, stage_likelihoods(fit.problem, fit.stages))
    # 1 and 2 follow each other; 3 is too small, and held by the largest domain on both sides.
    assert found.bodies(np.array([False, True, True, True])) == [(1, 2), (1,)]
    assert found.bodies(np.array([False, True, False, True])) == [(1,)]
    assert found.bodies(np.array([True, False, False, False])) == []


def test_linkers_go_along_bit_by_bit():
    body = np.array([False] * 8 + [True] * 8)
    share = share_moved(body, np.ones(15, dtype=bool))
    assert np.all(np.diff(share) >= 0.0)
    np.testing.assert_array_equal(share[[0, 4, 11, 15]], [0.0, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(share[5:11], np.arange(1, 7) / 7.0)
    np.testing.assert_array_equal(share_moved(body, np.zeros(15, dtype=bool)), body)
