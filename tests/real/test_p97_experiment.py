"""The inputs of the paper's tests, from the deposited models."""

from __future__ import annotations

import numpy as np
import pytest
from experiments.p97 import inputs

from bayesflex.geometry import rmsd
from bayesflex.io.structures import read_structure


@pytest.fixture(scope="module")
def start(data_dir):
    return read_structure(data_dir / "p97" / "5ftm.pdb.gz")


@pytest.fixture(scope="module")
def lifting(start):
    return inputs.lifting_mode(start.ca_trace())


@pytest.mark.slow
def test_the_lifting_mode_is_found_by_what_it_does(start, lifting, data_dir):
    # Mode 9 moves the domains in alternation and has no overlap with the way from 5FTM to 5FTN.
    assert lifting.number == 10
    assert lifting.overlap > 0.7
    assert lifting.fitted_modes == (7, 8, 9, 10)
    assert "mode 10" in lifting.message.lower()
    ca = start.ca_trace()
    upper = read_structure(data_dir / "p97" / "5ftn.pdb.gz").ca_trace()
    moved = {
        (chain, number): place
        for chain, number, place in zip(upper.chain, upper.residue_number, upper.coords, strict=True)
    }
    way = np.array([moved[key] for key in zip(ca.chain, ca.residue_number, strict=True)]) - ca.coords
    assert float(np.sum(way * lifting.vector)) > 0.0  # a positive amplitude lifts
    assert float(np.sum(way * lifting.vector)) / np.linalg.norm(way) > 0.6


@pytest.mark.slow
def test_the_displaced_model_moves_far_together_and_little_by_itself(start, lifting):
    made = inputs.displace(start, lifting, inputs.PAPER_RMS, np.random.default_rng(1))
    ca, found = start.ca_trace().coords, made.structure.ca_trace().coords
    assert made.rms_along_mode == pytest.approx(8.11, abs=0.01)
    assert 0.2 < made.rms_of_settling < 2.5
    assert rmsd(found, ca) > 6.5
    assert made.structure.n_atoms == start.n_atoms
    bonds = np.linalg.norm(np.diff(found, axis=0), axis=1)
    before = np.linalg.norm(np.diff(ca, axis=0), axis=1)
    bonded = before < 4.2
    assert np.abs(bonds[bonded] - before[bonded]).max() < 0.3
    density = inputs.synthetic_map(made.structure)
    assert density.shape_xyz == (inputs.BOX,) * 3
    assert np.all(density.contains(made.structure.coords))


def test_amplitudes_on_all_atoms_and_displacements_say_the_same():
    assert inputs.rms_of_amplitude(-1500.0, 34_200) == pytest.approx(inputs.PAPER_RMS)


def test_a_lifting_mode_outside_the_four_replaces_the_last():
    lifting = inputs.Lifting(12, np.zeros((1, 3)), 0.6)
    assert lifting.fitted_modes == (7, 8, 9, 12)
    assert "replaces mode 10" in lifting.message
