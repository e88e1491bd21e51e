"""Large domain motions on real structures, against known answers."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.energy import build_prior
from bayesflex.geometry import rmsd
from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure
from bayesflex.matching import match_residues
from bayesflex.normal_modes import structure_modes
from bayesflex.rendering import render
from bayesflex.steering import restored
from bayesflex.units import resolution_of_sigma
from bayesflex.workflows.fit import fit

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("bead", ["ca", "parts"])
def test_groel_opens_into_a_ten_angstrom_map(data_dir, bead):
    """1.5 Å in place, from 15.9: less than iMODFIT, which reaches 1.55 Å with a CA model and 2.0 Å with all atoms."""
    start, answer = (read_structure(data_dir / "groel" / name) for name in ("1oel.pdb", "1sx4A.pdb"))
    density = read_map(data_dir / "groel" / "1sx4A.ccp4")
    result = fit(start, density, FitConfig(resolution=10.0, bead=bead, iterations=40), reference=answer)
    deviation = result.summary["rmsd_to_reference"]
    assert deviation["start"] > 15.0
    assert deviation["fitted"] < 1.5
    matched = match_residues(result.mean, answer.ca_trace())
    mean, truth = result.mean.coords[matched.model_index], answer.ca_trace().coords[matched.reference_index]
    assert rmsd(mean, truth) < 1.5


@pytest.fixture(scope="module")
def lifted_p97(data_dir):
    """5FTM, its structure with all N domains lifted by 8 Å RMS and relaxed, and the map of that, with noise."""
    start = read_structure(data_dir / "p97" / "5ftm.pdb.gz")
    ca = start.ca_trace()
    modes = structure_modes(ca, 6, 10.0)
    amplitude = 8.0 * np.sqrt(ca.n_atoms)
    lifted = ca.coords + amplitude * modes.vectors[_lifting(modes.vectors, ca)]
    terms = build_prior(ca, FitConfig(resolution=10.0))
    for _ in range(5):
        lifted = restored(lifted, terms)
    voxel = np.full(3, 2.0)
    origin = 2.0 * np.round(ca.coords.mean(axis=0) / 2.0) - 128.0
    density = render(lifted, np.ones(ca.n_atoms), 2.0, (128, 128, 128), voxel, origin)
    noise = 0.05 * (2.0 * np.pi * 2.0**2) ** -1.5
    density += np.random.default_rng(97).normal(0.0, noise, density.shape)
    return start, ca.with_coords(lifted), DensityMap(density, voxel, origin, name="lifted p97")


def _lifting(vectors, ca):
    """Index of the mode that moves all N domains (residues up to 189) the same way along the six-fold axis."""
    chains = np.unique(ca.chain)
    centres = np.array([ca.coords[ca.chain == chain].mean(axis=0) for chain in chains])
    axis = np.linalg.svd(centres - centres.mean(axis=0))[2][2]
    in_phase = [abs(np.sum(vector[ca.residue_number <= 189] @ axis)) for vector in vectors]
    return int(np.argmax(in_phase))


def test_the_lifting_mode_is_mode_ten(data_dir):
    ca = read_structure(data_dir / "p97" / "5ftm.pdb.gz").ca_trace()
    modes = structure_modes(ca, 6, 10.0)
    assert modes.numbers[_lifting(modes.vectors, ca)] == 10


def test_p97_is_lifted(lifted_p97):
    """The combined approach finds the truth; the posterior means of the others stand beside it.

    Local arrives as well, since its chains are annealed; without that it does not (``docs/paper.md``, test 1). These
    are the paper's approaches: with domain motions global arrives too, at 0.3 Å.
    """
    start, truth, density = lifted_p97
    reached = {}
    for deformation in ("combined", "local", "global"):
        config = FitConfig(
            resolution=resolution_of_sigma(2.0),
            sigma=2.0,
            deformation=deformation,
            domain_motions="off",
            chains=2,
            iterations=20,
            warmup_iterations=40,
            stage_iterations=20,
        )
        mean = fit(start, density, config).mean.coords
        reached[deformation] = rmsd(mean, truth.coords)
    print("; ".join(f"{name}: {value:.2f} Å" for name, value in reached.items()))
    assert rmsd(start.ca_trace().coords, truth.coords) > 7.0
    assert reached["combined"] < 0.7
    assert reached["combined"] < reached["global"]
