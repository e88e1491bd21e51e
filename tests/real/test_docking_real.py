"""Docking of real structures from random poses, and into real maps."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.docking import CASES, FOUND, attempts, summary_row
from scipy.spatial.transform import Rotation

from bayesflex.docking.pose import moved
from bayesflex.docking.solutions import dock
from bayesflex.geometry import rmsd
from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure
from bayesflex.workflows.simulate import simulate

pytestmark = pytest.mark.slow

SMALL = [case for case in CASES if case.name in ("adk", "groel")]


def turned_away(structure, seed):
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=rng).as_rotvec()
    return structure.with_coords(moved(structure.coords, [*turn, *rng.uniform(-300.0, 300.0, 3)]))


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.name}-{case.resolution:g}")
def test_models_are_found_from_random_poses(data_dir, case):
    outcomes = list(attempts(case, data_dir, 3))
    print(summary_row(outcomes))
    assert all(outcome.rmsd_before > 20.0 for outcome in outcomes)
    assert max(outcome.rmsd for outcome in outcomes) < FOUND
    assert min(outcome.gap_z for outcome in outcomes) > 3.0
    assert max(outcome.processor_seconds for outcome in outcomes) < 10.0


def test_a_hexamer_is_one_solution_of_six(data_dir):
    structure = read_structure(data_dir / "p97" / "5ftm.pdb.gz")
    density = simulate(structure, resolution=10.0)
    found = dock(turned_away(structure, 7), density, 10.0)
    assert len(found.symmetry) == 6
    assert not found.is_ambiguous
    assert found.solutions[0].gap > 0.3


def test_a_subunit_has_six_places(data_dir):
    hexamer = read_structure(data_dir / "p97" / "5ftm.pdb.gz")
    density = simulate(hexamer, resolution=10.0)
    start = turned_away(hexamer.select(hexamer.chain == "A"), 8).ca_trace()
    best = dock(start, density, 10.0).solutions[0]
    assert len(best.places) == 5
    chains = [hexamer.select(hexamer.chain == name).ca_trace().coords for name in "ABCDEF"]
    for pose in (best.pose, *best.places):
        assert min(rmsd(pose.apply(start.coords), chain) for chain in chains) < FOUND


def test_the_mitoribosome_s_subunit_in_its_real_map(data_dir):
    structure = read_structure(data_dir / "mitoribosome" / "3j6b_chain9.pdb")
    density = read_map(data_dir / "mitoribosome" / "emd_2566_chain9.mrc")
    start = turned_away(structure, 9)
    found = dock(start, density, 3.2)
    assert rmsd(found.best.apply(start.ca_trace().coords), structure.ca_trace().coords) < 1.0
    assert not found.is_ambiguous


def test_rf2_in_its_real_map(data_dir):
    """The deposited fit returns to its place; the crystal structure, whose domains lie elsewhere, has several."""
    density = read_map(data_dir / "rf2" / "emd_1010.mrc")
    answer = read_structure(data_dir / "rf2" / "1mi6.pdb")
    start = turned_away(answer, 10)
    found = dock(start, density, 11.0)
    assert rmsd(found.best.apply(start.ca_trace().coords), answer.ca_trace().coords) < 4.0
    assert not found.is_ambiguous
    crystal = read_structure(data_dir / "rf2" / "1gqe_docked.pdb")
    assert dock(turned_away(crystal, 11), density, 11.0).is_ambiguous
