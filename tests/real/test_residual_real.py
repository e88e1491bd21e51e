"""The residual of p97 in its own map: what the beads do not stand for is found where it is."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.io.structures import read_structure
from bayesflex.map_comparison import Comparison
from bayesflex.posterior_predictive import check_residual
from bayesflex.residual_regions import residual_regions
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate


@pytest.mark.slow
def test_nucleotides_that_the_model_lacks_are_the_places_that_are_named(data_dir):
    structure = read_structure(data_dir / "p97" / "5ftm.pdb.gz")
    density = simulate(structure, resolution=6.0, voxel=2.0, noise=0.3)
    bare = structure.select(~structure.is_hetero)
    prepared = prepare(Inputs(bare, density), FitConfig(resolution=6.0, deformation="local"), lambda text: None)
    problem, ca = prepared.problem, prepared.ca.coords
    comparison = Comparison(problem.target, prepared.config, problem.beads, problem.start, ca)
    places = residual_regions(check_residual(comparison, [ca]), ca, prepared.ca.residue_labels)
    nucleotide = np.isin(structure.residue_name, ["ADP", "AGS"])
    residues = np.unique(structure.residue_index[nucleotide])
    sites = np.array([structure.coords[structure.residue_index == index].mean(axis=0) for index in residues])
    assert len(sites) == 12
    assert [place.kind for place in places[:12]] == ["unexplained"] * 12
    centres = np.array([place.position for place in places[:12]])
    distance = np.linalg.norm(centres[:, None] - sites, axis=2)
    assert sorted(distance.argmin(axis=1).tolist()) == list(range(12))
    assert distance.min(axis=1).max() < 4.0
