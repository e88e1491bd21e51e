"""Fits of DNA, alone and with the protein that reads it, into maps computed from the known answer."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.carrying import carry
from bayesflex.config import FitConfig
from bayesflex.geometry import rmsd
from bayesflex.io.structures import read_structure
from bayesflex.normal_modes import structure_modes
from bayesflex.structure import Structure
from bayesflex.workflows.fit import fit
from bayesflex.workflows.simulate import simulate

pytestmark = pytest.mark.slow

#: Displacement along the lowest modes and of each site on its own, RMS in Å.
ALONG_MODES, ON_ITS_OWN = 3.0, 0.3

#: What twenty draws of one chain get to, Å: RMSD of the sites, 1.24 and 0.75 when these limits were set.
LIMITS = {"dna": 1.6, "complex": 1.0}

#: Longest distance (Å) of the middle hydrogen bond of a base pair, N1 of a purine to N3 of a pyrimidine: 2.9 in 1D66.
HYDROGEN_BOND = 3.5


def displaced(answer: Structure, seed: int) -> Structure:
    """The model displaced along its three lowest modes and with noise on each site, all atoms carried along."""
    trace, rng = answer.trace(), np.random.default_rng(seed)
    vectors = structure_modes(trace, 3, 10.0).vectors
    along = np.tensordot(rng.choice([-1.0, 1.0], 3), vectors, axes=1)
    along *= ALONG_MODES / np.sqrt(np.mean(np.sum(along**2, axis=1)))
    noise = rng.normal(scale=ON_ITS_OWN / np.sqrt(3.0), size=along.shape)
    return answer.with_coords(carry(answer, trace.coords + along + noise))


def base_pairs(answer: Structure) -> np.ndarray:
    """Atoms N1 of purines and N3 of pyrimidines that are paired in a model, shape (n_pairs, 2)."""
    purine = np.isin(answer.residue_name, ["DA", "DG"]) & (answer.atom_name == "N1")
    pyrimidine = np.isin(answer.residue_name, ["DC", "DT"]) & (answer.atom_name == "N3")
    a, b = np.flatnonzero(purine), np.flatnonzero(pyrimidine)
    distance = np.linalg.norm(answer.coords[a][:, None] - answer.coords[b], axis=2)
    i, j = np.nonzero(distance < HYDROGEN_BOND)
    return np.stack([a[i], b[j]], axis=1)


@pytest.mark.parametrize("what", LIMITS)
def test_displaced_dna_finds_its_way_back_and_stays_paired(data_dir, what):
    answer = read_structure(data_dir / "protein_dna" / "1d66.pdb")
    if what == "dna":
        answer = answer.select(np.char.startswith(answer.residue_name, "D"))
    start = displaced(answer, 1)
    density = simulate(answer, resolution=5.0, voxel=1.5)
    config = FitConfig(
        resolution=5.0, modes=tuple(range(7, 17)), chains=1, iterations=20, stage_iterations=20, warmup_iterations=50
    )
    result = fit(start, density, config, reference=answer)
    sites, truth = answer.is_site, answer.coords
    found = result.summary["rmsd_to_reference"]
    assert found["start"] == pytest.approx(rmsd(start.coords[sites], truth[sites]))
    assert found["start"] > 2.9
    assert found["fitted"] < LIMITS[what]
    assert found["fitted"] == pytest.approx(rmsd(result.fitted.coords[sites], truth[sites]))
    # All atoms, bases among them, are where they were.
    dna = np.char.startswith(answer.residue_name, "D") & ~answer.is_hetero
    assert rmsd(result.fitted.coords[dna], truth[dna]) < 1.8
    pairs = base_pairs(answer)
    assert len(pairs) == 18
    hydrogen_bonds = np.linalg.norm(np.diff(result.fitted.coords[pairs], axis=1)[:, 0], axis=1)
    assert np.median(np.abs(hydrogen_bonds - 2.9)) < 0.9
    assert hydrogen_bonds.max() < 6.0
    if what == "complex":
        cadmium = answer.residue_name == "CD"
        assert np.count_nonzero(cadmium) == 4
        assert rmsd(result.fitted.coords[cadmium], truth[cadmium]) < 1.5
