"""Conclusions: chains in two conformations give two models and one answer, and what the map does not hold is told."""

from __future__ import annotations

import json
from dataclasses import replace

import gemmi
import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.geometry import rmsd
from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure
from bayesflex.noise import add_noise
from bayesflex.reporters import Reporters
from bayesflex.synthetic import two_domain_layout, two_domain_protein
from bayesflex.workflows.conclusion import Sampled, conclude
from bayesflex.workflows.fit import _sample
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate

N = 60
CONFIG = FitConfig(
    resolution=6.0,
    chains=3,
    iterations=12,
    anneal=False,
    warmup_iterations=30,
    modes=(7, 8),
    threads=1,
    bead="ca",
    crop_margin=60.0,
)
#: The map holds the protein twice, and the posterior has two modes.
AWAY = np.array([32.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def answer():
    return two_domain_protein(N)


@pytest.fixture(scope="module")
def prepared(answer):
    clean = simulate(answer, resolution=6.0, voxel=2.0, box=60, kernel="gaussian")
    shift = np.rint(AWAY / clean.voxel_size).astype(int)
    both = clean.with_values(clean.values + 0.9 * np.roll(clean.values, shift[::-1], axis=(0, 1, 2)))
    density = add_noise(np.random.default_rng(1), both, 0.5, resolution=6.0)
    mask = clean.with_values((both.values > 1e-6 * both.values.max()).astype(np.float32))
    return prepare(Inputs(answer, density, mask=mask), CONFIG, lambda text: None)


@pytest.fixture(scope="module")
def parted(prepared) -> Sampled:
    """Chains of which the second is in the other copy of the density."""
    _, sampled = _sample(prepared, Reporters(()))
    draws = sampled.chains[1].draws
    for index, coords in enumerate(draws.coords):
        draws.coords[index] = coords + AWAY.astype(np.float32)
        draws.statistics[index] = draws.statistics[index] | {
            "log_density": draws.statistics[index]["log_density"] - 50.0,
            "cc_centred": 0.5,
        }
    return sampled


@pytest.fixture(scope="module")
def result(prepared, parted):
    return conclude(prepared, parted, {})


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory):
    out = tmp_path_factory.mktemp("parted") / "out"
    replace(result, config=replace(result.config, uncertainty_as_b_factors=True)).save(out)
    return out


def test_the_answer_is_made_of_the_best_cluster_alone(result):
    assert [cluster.chains for cluster in result.clusters] == [(0, 2), (1,)]
    assert result.chains_used == (0, 2)
    draws = result.trace.coords[[0, 2]].astype(np.float64)
    np.testing.assert_allclose(result.mean.coords, draws.mean(axis=(0, 1)), atol=1e-6)
    sd = np.sqrt(draws.reshape(-1, N, 3).var(axis=0).mean(axis=1))
    np.testing.assert_allclose(result.uncertainty.sd, sd, rtol=1e-4)
    # An average over both would be 10 Å off, and so wide.
    assert result.uncertainty.sd.max() < 2.0


def test_the_other_conformation_has_a_model_of_its_own(result, folder):
    (other,) = result.other_models
    moved = other.ca_trace().coords - result.fitted.ca_trace().coords
    np.testing.assert_allclose(moved.mean(axis=0), AWAY, atol=1.0)
    written = read_structure(folder / "cluster-2.cif")
    np.testing.assert_allclose(written.coords, other.coords, atol=1e-3)
    assert not (folder / "cluster-3.cif").exists()


def test_the_summary_and_a_warning_tell_of_both(result):
    warning = next(text for text in result.warnings if "conformations" in text)
    for expected in ("chains 0, 2", "chain 1 (cc_centred 0.5000", "all over", "cluster-2.cif"):
        assert expected in warning
    best, other = result.summary["clusters"]
    assert (best["chains"], other["chains"]) == ([0, 2], [1])
    assert other["cc_centred"] == 0.5
    assert best["log_density"] > other["log_density"] + 20.0
    between = result.summary["cluster_rmsd"]
    assert between[0][1] == between[1][0] == pytest.approx(rmsd(result.clusters[0].mean, result.clusters[1].mean))


def test_chains_that_disagree_are_told_of_by_r_hat_too(result):
    assert result.summary["r_hat_max"] > 1.5
    assert any("do not agree" in text for text in result.warnings)


def test_numbers_of_residues_are_in_the_files_of_the_fit(result, folder):
    table = gemmi.cif.read(str(folder / "fitted.cif")).sole_block().find_mmcif_category("_bayesflex_uncertainty.")
    assert len(table) == N
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["sd"]["max"] == pytest.approx(result.uncertainty.sd.max())
    assert len((folder / "uncertainty.csv").read_text(encoding="utf-8").splitlines()) == N + 1


def test_b_factors_hold_the_uncertainty_on_request(result, folder):
    expected = 8.0 * np.pi**2 * result.uncertainty.sd**2
    for name in ("fitted.cif", "fitted.pdb"):
        written = read_structure(folder / name)
        np.testing.assert_allclose(written.b_factor[written.ca_indices], expected, atol=0.01)


def test_the_residual_lies_on_the_voxels_of_the_input(result, prepared, folder):
    written, density = read_map(folder / "residual_z.mrc"), prepared.inputs.density
    np.testing.assert_allclose(written.voxel_size, density.voxel_size, rtol=1e-6)
    shift = (written.origin - density.origin) / density.voxel_size
    np.testing.assert_allclose(shift, np.rint(shift), atol=1e-3)
    assert (np.array(written.shape_xyz) <= density.shape_xyz).all()
    assert written.contains(result.fitted.ca_trace().coords).all()
    np.testing.assert_array_equal(written.values, result.residual_map.values)
    # The same place in both grids.
    target, z = prepared.problem.target, result.assessment.residual.z_score
    at = tuple(np.argwhere(target.region)[1000])
    place = z.to_position(np.array(at[::-1], dtype=np.float64)[None])
    x, y, w = np.rint(result.residual_map.to_index(place)[0]).astype(int)
    assert result.residual_map.values[w, y, x] == z.values[at]


def test_a_chain_that_goes_to_and_fro_is_not_averaged(prepared, result, tmp_path):
    """Chain 0 is in the other copy at every third draw, the second chain always."""
    _, sampled = _sample(prepared, Reporters(()))
    away = np.zeros((3, CONFIG.iterations), dtype=bool)
    away[0, 1::3] = away[1] = True
    for chain, there in zip(sampled.chains, away, strict=True):
        for index in np.flatnonzero(there):
            chain.draws.coords[index] = chain.draws.coords[index] + AWAY.astype(np.float32)
            chain.draws.statistics[index] = chain.draws.statistics[index] | {"cc_centred": 0.5}
    found = conclude(prepared, sampled, {})
    assert {cluster.chains for cluster in found.clusters} == {(0, 2), (0, 1)}
    stayed = found.clusters[0]
    expected = away if stayed.chains == (0, 1) else ~away
    np.testing.assert_array_equal(stayed.members, expected)
    draws = found.trace.coords[expected].astype(np.float64)
    np.testing.assert_allclose(found.mean.coords, draws.mean(axis=0), atol=1e-5)
    assert found.uncertainty.sd.max() < 2.0
    assert len(found.ensemble()) == expected.sum()
    assert found.summary["crossings"] == [np.count_nonzero(np.diff(away[0])), 0, 0]
    shares = [one["share"] for one in found.summary["clusters"]]
    assert shares == pytest.approx([expected.mean(), 1.0 - expected.mean()])
    warning = next(text for text in found.warnings if "from one conformation to another" in text)
    assert "of the draws" in warning
    assert "cluster-2.cif" in warning
    found.save(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert written["clusters"][0]["share"] == pytest.approx(shares[0])
    assert (tmp_path / "out" / "cluster-2.cif").exists()


@pytest.mark.slow
def test_a_loop_that_the_map_does_not_show_is_told_of_and_a_whole_map_is_not():
    start, target = two_domain_protein(120), two_domain_protein(120, 20.0)
    loop = two_domain_layout(120).linker
    gone = np.arange(loop.start + 1, loop.stop + 1)
    config = FitConfig(resolution=8.0, chains=2, iterations=150, threads=1)
    found = {}
    for name, kept in (
        ("whole", np.ones(target.n_atoms, dtype=bool)),
        ("without", ~np.isin(target.residue_number, gone)),
    ):
        grid = simulate(target, resolution=8.0)
        density = simulate(target.select(kept), resolution=8.0, noise=1.0, grid_of=grid)
        fit = prepare(Inputs(start, density), config, lambda text: None)
        found[name] = conclude(*_sample(fit, Reporters(())), {})
    whole, without = found["whole"], found["without"]
    assert not whole.uncertainty.absent.any()
    assert whole.summary["residual_regions"] == []
    assert whole.summary["shells_beyond_noise"] == 0
    marked = np.flatnonzero(without.uncertainty.prior_only) + 1
    assert len(set(marked) & set(gone)) >= 5
    assert set(marked) <= set(range(gone[0] - 2, gone[-1] + 3))
    assert any("prior only" in text for text in without.warnings)
    assert without.summary["prior_only"]
    regions = without.summary["residual_regions"]
    assert regions[0]["kind"] == "unsupported"
    assert int(regions[0]["residue"].split()[1]) in range(gone[0] - 3, gone[-1] + 4)
