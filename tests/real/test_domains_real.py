"""Dynamical domains of real proteins, and domains that a search finds in their maps, against known answers."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.domains import find_domains
from bayesflex.geometry import rmsd
from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure
from bayesflex.matching import match_residues
from bayesflex.sampling import stage_likelihoods
from bayesflex.sampling.domain_starts import find_starts
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate


def agreement(found, ca, ranges, chain=None):
    """Residues in common over those in either, of a set of residues and the best of a model's bodies."""
    number = ca.residue_number
    wanted = np.any([(first <= number) & (number <= last) for first, last in ranges], axis=0)
    if chain is not None:
        wanted &= ca.chain == chain
    bodies = [found.residues(body) for body in found.bodies]
    return max(np.count_nonzero(wanted & body) / np.count_nonzero(wanted | body) for body in bodies)


@pytest.mark.parametrize(
    ("name", "domains"),
    [
        ("adk/4ake_A.pdb", {"LID": [(123, 156)], "NMP": [(36, 58)], "core": [(1, 35), (59, 110), (173, 214)]}),
        ("groel/1oel.pdb", {"apical": [(189, 375)], "equatorial": [(1, 135), (408, 524)]}),
        ("rf2/1gqe_docked.pdb", {"1": [(4, 114)], "3": [(225, 297)]}),
    ],
)
def test_known_domains_are_found(data_dir, name, domains):
    ca = read_structure(data_dir / name).ca_trace()
    found = find_domains(ca, 10.0)
    for domain, ranges in domains.items():
        assert agreement(found, ca, ranges) > 0.85, domain


@pytest.mark.slow
def test_the_six_n_domains_of_p97_are_one_cluster_each(data_dir):
    ca = read_structure(data_dir / "p97" / "5ftm.pdb.gz").ca_trace()
    found = find_domains(ca, 10.0)
    assert found.n_domains == 7
    for chain in "ABCDEF":
        assert agreement(found, ca, [(21, 200)], chain) > 0.95


def placed(start, density, answer, resolution):
    fit = prepare(Inputs(start, density, answer), FitConfig(resolution=resolution), lambda text: None)
    found = find_starts(fit.problem, stage_likelihoods(fit.problem, fit.stages), 2)
    match = match_residues(fit.ca, answer.ca_trace())
    truth = answer.ca_trace().coords[match.reference_index]
    return found, fit.ca.select(match.model_index), [coords[match.model_index] for coords in found.structures], truth


@pytest.mark.slow
def test_the_n_domains_of_p97_are_placed(data_dir):
    start, answer = (read_structure(data_dir / "p97" / name) for name in ("5ftm.pdb.gz", "5ftn.pdb.gz"))
    density = simulate(answer, resolution=5.0, noise=0.5)
    found, ca, structures, truth = placed(start, density, answer, 5.0)
    assert len(found.messages) == 6
    n_domains = ca.residue_number <= 189
    assert rmsd(ca.coords[n_domains], truth[n_domains]) > 20.0
    assert rmsd(structures[0][n_domains], truth[n_domains]) < 4.0
    assert rmsd(structures[0], truth) < 3.0


@pytest.mark.slow
def test_the_domains_of_rf2_are_placed_together_in_a_real_map_and_their_rivals_are_told(data_dir):
    start, answer = (read_structure(data_dir / "rf2" / name) for name in ("1gqe_docked.pdb", "1mi6.pdb"))
    found, ca, structures, truth = placed(start, read_map(data_dir / "rf2" / "emd_1010.mrc"), answer, 11.0)
    first = (ca.residue_number >= 4) & (ca.residue_number <= 111)
    assert rmsd(ca.coords[first], truth[first]) > 25.0
    assert rmsd(structures[0][first], truth[first]) < 9.0
    # By its score alone, another pose of 225-297 would be taken, which is the wrong way round.
    assert rmsd(ca.coords, truth) > 22.0
    assert rmsd(structures[0], truth) < 7.5
    for step in (1, 2):
        (taken,) = (pose for pose in found.poses if pose.step == step and pose.taken)
        others = [pose for pose in found.poses if pose.step == step and not pose.taken]
        assert all(pose.log_density < taken.log_density - 10.0 for pose in others)
        assert max(pose.score for pose in others) > 0.88 * taken.score
    assert max(pose.score for pose in others) > taken.score
