"""Density that no part of the model explains: found beside a model that has arrived, left alone where it has not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bayesflex
from bayesflex.config import FitConfig
from bayesflex.errors import InputError
from bayesflex.sampling import can_settle, load_scatterers, save_scatterers, settle_scatterers, stage_likelihoods
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_protein
from bayesflex.workflows.preparation import Inputs, PreparedFit, prepare
from bayesflex.workflows.simulate import simulate

PROTEIN = two_domain_protein(60)
CONFIG = FitConfig(
    resolution=5.0, chains=1, iterations=4, warmup_iterations=10, stage_iterations=10, modes=(7, 8), threads=1
)
VOXEL = 1.8


def place_beside() -> np.ndarray:
    """Where a ligand of 7 Å touches the protein, in the direction of y."""
    centre = PROTEIN.coords.mean(axis=0)
    ways = centre + np.arange(0.0, 60.0, 0.5)[:, None] * [0.0, 1.0, 0.0]
    nearest = np.linalg.norm(ways[:, None] - PROTEIN.coords, axis=2).min(axis=1)
    return ways[len(ways) - np.argmax(nearest[::-1] < 6.0)]


PLACE = place_beside()


def with_ligand(n: int = 20) -> Structure:
    """The protein with a compact ligand of carbon atoms beside it."""
    ligand = replace(
        PROTEIN.select(np.arange(n)),
        coords=PLACE + np.random.default_rng(5).normal(scale=1.8, size=(n, 3)),
        element=np.full(n, "C"),
        residue_name=np.full(n, "LIG"),
        residue_number=np.full(n, 900),
    )
    columns = {
        name: np.concatenate([getattr(PROTEIN, name), getattr(ligand, name)])
        for name in Structure.__dataclass_fields__
        if isinstance(getattr(PROTEIN, name), np.ndarray)
    }
    return Structure(**columns)


def prepared_in(answer: Structure, start: Structure = PROTEIN, **settings: object) -> PreparedFit:
    density = simulate(answer, resolution=5.0, voxel=VOXEL)
    return prepare(Inputs(start, density), replace(CONFIG, **settings), lambda text: None)


def settled(fit: PreparedFit):
    problem, stages = fit.problem, fit.stages
    return settle_scatterers(problem, stages, stage_likelihoods(problem, stages), problem.start)


@pytest.fixture(scope="module")
def found():
    return settled(prepared_in(with_ligand()))


def test_a_ligand_that_the_model_lacks_is_found(found):
    (place,) = found.places
    assert np.linalg.norm(np.array(place.position) - PLACE) < 3.0
    # In units of the model's mean residue, which has about 4.8 heavy atoms here.
    expected = 20 * 6.0 * 60 / sum({"C": 6.0, "N": 7.0, "O": 8.0}[element] for element in PROTEIN.element)
    assert 0.5 * expected < place.weight < 1.5 * expected
    assert place.residue in found.warnings[0]
    assert "--no-unmodelled" in found.warnings[0]


def test_it_counts_in_the_likelihood_and_in_no_correlation(found):
    fit = prepared_in(with_ligand())
    with_it = fit.with_scatterers(found)
    assert with_it.warnings[-1] == found.warnings[0]
    before, after = (stage_likelihoods(one.problem, one.stages)[-1] for one in (fit, with_it))
    at = fit.problem.start
    assert after.log_likelihood_and_gradient(at)[0] > before.log_likelihood_and_gradient(at)[0] + 50.0
    assert with_it.problem.target.background is None
    same_beads = replace(with_it.problem, beads=fit.problem.beads)
    assert same_beads.correlation(at) == fit.problem.correlation(at)


def test_nothing_is_found_where_the_model_explains_the_map_or_has_not_arrived():
    found = settled(prepared_in(PROTEIN))
    assert found.places == ()
    assert found.unmodelled is None
    # Far beside its density, with no way there: what it has not reached is its own.
    aside = PROTEIN.with_coords(PROTEIN.coords + [9.0, 9.0, 0.0])
    fit = prepared_in(with_ligand(), aside, deformation="local")
    assert settled(fit).places == ()


def test_each_part_can_be_switched_off():
    fit = prepared_in(with_ligand(), side_chains=False)
    found = settled(fit)
    np.testing.assert_array_equal(found.coefficients, fit.problem.beads.coefficients)
    assert (found.moved, found.messages, len(found.places)) == (0.0, (), 1)
    assert settled(prepared_in(with_ligand(), unmodelled=False)).places == ()
    assert can_settle(fit.problem)
    for settings in ({"side_chains": False, "unmodelled": False}, {"deformation": "global"}, {"bead": "ca"}):
        assert not can_settle(prepared_in(PROTEIN, **settings).problem)
    assert not can_settle(prepared_in(PROTEIN, likelihood="gaussian").problem)


def test_what_is_settled_is_kept_for_a_fit_that_is_resumed(found, tmp_path):
    path = tmp_path / "scatterers.npz"
    save_scatterers(found, path)
    again = load_scatterers(path)
    np.testing.assert_array_equal(again.coefficients, found.coefficients)
    np.testing.assert_array_equal(again.unmodelled, found.unmodelled)
    assert (again.places, again.moved, again.sites) == (found.places, found.moved, None)
    sites = np.arange(180.0).reshape(60, 3)
    save_scatterers(replace(found, sites=sites), path)
    np.testing.assert_array_equal(load_scatterers(path).sites, sites)
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match="not a file of settled scatterers"):
        load_scatterers(path)


@pytest.mark.slow
def test_a_fit_tells_of_it():
    answer = with_ligand()
    density = simulate(answer, resolution=5.0, voxel=VOXEL)
    result = bayesflex.fit(PROTEIN, density, CONFIG)
    (place,) = result.summary["unmodelled"]
    assert np.linalg.norm(np.array(place["position"]) - PLACE) < 3.0
    assert result.summary["side_chains_moved"] > 0.0
    assert any("no part of the model explains" in text for text in result.warnings)
    # The map of the fitted model holds the model alone.
    assert result.fitted_map.values.sum() * float(np.prod(density.voxel_size)) == pytest.approx(60.0, rel=0.02)
