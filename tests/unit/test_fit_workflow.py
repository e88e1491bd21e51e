"""The fit workflow in memory: what is prepared, what is concluded, what is written."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import bayesflex
from bayesflex.config import FitConfig
from bayesflex.config_files import load_config
from bayesflex.errors import ConfigError, InputError
from bayesflex.geometry import rmsd
from bayesflex.io.structures import read_structure
from bayesflex.metrics import read_metrics
from bayesflex.reporters import ListReporter
from bayesflex.sampling import stage_likelihoods
from bayesflex.synthetic import two_domain_protein
from bayesflex.trace import import_arviz, load_trace, to_inference_data
from bayesflex.units import sigma_of_resolution
from bayesflex.workflows import report
from bayesflex.workflows.conclusion import full_posterior, relax
from bayesflex.workflows.demo import opening
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.run_folder import RunFolder
from bayesflex.workflows.simulate import simulate

SHORT = FitConfig(
    resolution=8.0, chains=2, iterations=6, anneal=False, warmup_iterations=15, modes=(7, 8), rigid=True, threads=1
)
STARTS_BESIDE = np.array([1.5, 0.0, 0.0])


def ignore(text: str) -> None:
    """Stand in for a listener."""


@pytest.fixture(scope="module")
def answer():
    return two_domain_protein(60)


@pytest.fixture(scope="module")
def density(answer):
    return simulate(answer, resolution=8.0, voxel=3.0)


@pytest.fixture(scope="module")
def start(answer):
    return answer.with_coords(answer.coords + STARTS_BESIDE)


@pytest.fixture(scope="module")
def listener():
    return ListReporter()


@pytest.fixture(scope="module")
def result(start, density, answer, listener):
    return bayesflex.fit(start, density, SHORT, reference=answer, reporters=(listener,))


@pytest.fixture(scope="module")
def prepared(start, density):
    return prepare(Inputs(start, density), SHORT, ignore)


def test_a_fit_improves_on_its_start(result):
    summary = result.summary
    for name in ("cc_uncentred", "cc_centred", "cc_mask", "cc_box", "log_density"):
        assert summary[name]["fitted"] > summary[name]["start"], name
    distances = summary["rmsd_to_reference"]
    assert distances["start"] == pytest.approx(1.5)
    assert distances["fitted"] < 0.5 * distances["start"]
    assert summary["seconds"]["total"] > summary["seconds"]["sampling"] > 0.0


def test_the_summary_is_of_the_structures_beside_it(result, start, answer):
    ca = result.fitted.ca_trace().coords
    assert result.summary["rmsd_to_reference"]["fitted"] == pytest.approx(rmsd(ca, answer.ca_trace().coords))
    assert result.summary["rmsd_start_to_fitted"] == pytest.approx(rmsd(ca, start.ca_trace().coords))
    assert result.summary["n_atoms"] == result.fitted.n_atoms == start.n_atoms


def test_the_mean_is_that_of_the_chains_used(result):
    draws = result.trace.coords[list(result.chains_used)].astype(np.float64)
    np.testing.assert_allclose(result.mean.coords, draws.mean(axis=(0, 1)), atol=1e-6)
    variance = draws.reshape(-1, result.trace.n_ca, 3).var(axis=0).mean(axis=1)
    np.testing.assert_allclose(result.mean.b_factor, 8.0 * np.pi**2 * variance, rtol=1e-6)


def test_the_fitted_map_is_on_the_target_s_grid_and_is_the_model_s(result, density):
    assert result.fitted_map.values.shape == density.values.shape
    np.testing.assert_array_equal(result.fitted_map.origin, density.origin)
    assert result.fitted_map.header is density.header
    assert result.fitted_map.values.sum() * density.voxel_size.prod() == pytest.approx(result.trace.n_ca, rel=0.02)


def test_every_iteration_is_recorded(result, listener):
    assert len(result.records) == len(listener.rows) == result.summary["n_iterations"]
    assert listener.finished
    table = result.metrics
    assert table.chains == [0, 1]
    assert list(table.stage).count("sampling") == 2 * SHORT.iterations
    assert table.mode_numbers == [7, 8]
    np.testing.assert_allclose(
        table.column("log_density")[table.stage == "sampling"].reshape(2, -1), result.trace.log_density
    )


def test_the_hamiltonian_of_each_trajectory_is_kept_for_arviz(result):
    trace = result.trace
    # What it exceeds the potential of the draw before by is kinetic: half a nat for each of 3 · 60 + 2 + 6 unknowns.
    kinetic = trace.sample_stats["energy"][:, 1:] + trace.log_density[:, :-1]
    assert kinetic.mean() == pytest.approx(94.0, abs=4.0 * np.sqrt(94.0 / kinetic.size))
    bfmi = import_arviz().bfmi(to_inference_data(trace))
    np.testing.assert_allclose(result.convergence.bfmi, bfmi, rtol=1e-9)
    assert result.summary["bfmi_min"] == pytest.approx(bfmi.min())


def test_what_came_out_is_said(listener):
    said = "\n".join(listener.messages)
    for expected in ("correlation, centred", "RMSD to the reference", "acceptance", "chains used"):
        assert expected in said


def test_what_was_read_is_said_first(start, density, answer):
    said = []
    prepare(Inputs(start, density, answer), SHORT, said.append)
    for expected in (start.name, density.name, "residues: 60", "voxels of 3 Å", "60 of 60 CA", "60 names agree"):
        assert expected in said[0]


def test_the_same_seed_gives_the_same_fit(result, start, density, answer):
    again = bayesflex.fit(start, density, replace(SHORT, threads=2), reference=answer)
    np.testing.assert_array_equal(again.trace.coords, result.trace.coords)
    np.testing.assert_array_equal(again.fitted.coords, result.fitted.coords)


def test_the_configuration_says_what_was_chosen(prepared):
    config = prepared.config
    assert config.sigma is not None
    assert config.sigma >= sigma_of_resolution(8.0)
    assert config.threads >= 1
    assert "auto" not in (config.evaluation, config.bead)


def test_stages_are_chosen_once(start, density):
    config = prepare(Inputs(start, density), replace(SHORT, anneal=True), ignore).config
    assert config.stages
    again = prepare(Inputs(start, density), config, ignore)
    assert again.config == config


def test_local_displacements_need_no_modes(start, density):
    prepared = prepare(Inputs(start, density), replace(SHORT, deformation="local", modes=(1000,)), ignore)
    assert prepared.problem.modes is None
    assert prepared.seconds_modes < 0.1


def test_more_modes_than_there_are(start, density):
    with pytest.raises(ConfigError, match="174"):
        prepare(Inputs(start, density), replace(SHORT, modes=(181,)), ignore)


def test_a_resolution_between_one_and_two_voxels_becomes_two(start, density):
    said = []
    prepared = prepare(Inputs(start, density), replace(SHORT, resolution=4.0), said.append)
    assert prepared.config.resolution == pytest.approx(6.0)
    assert any("two voxels" in text and "6 Å is used" in text for text in prepared.warnings)
    assert any(text.startswith("Warning: ") for text in said)


def test_a_resolution_of_two_voxels_is_used_as_it_is(start, density):
    prepared = prepare(Inputs(start, density), replace(SHORT, resolution=6.0), ignore)
    assert prepared.warnings == ()


def test_a_resolution_finer_than_a_voxel_is_refused(start, density):
    with pytest.raises(InputError, match=r"2\.5 Å is finer than one voxel \(3 Å\).*--resolution 6.*--voxel"):
        prepare(Inputs(start, density), replace(SHORT, resolution=2.5), ignore)


def test_a_mask_chooses_the_voxels_that_count(start, density):
    values = np.zeros(density.values.shape, dtype=np.float32)
    values[5:15, 4:12, 6:13] = 1.0
    prepared = prepare(Inputs(start, density, mask=density.with_values(values)), SHORT, ignore)
    assert np.count_nonzero(prepared.problem.target.region) == np.count_nonzero(values)


@pytest.mark.parametrize(
    "change",
    [
        {"origin": np.array([0.1, 0.0, 0.0])},
        {"voxel_size": np.array([0.01, 0.0, 0.0])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_mask_on_another_grid_is_refused(start, density, change):
    moved = {name: getattr(density, name) + value for name, value in change.items()}
    mask = replace(density, name="mask.mrc", **moved)
    with pytest.raises(InputError, match=r"mask\.mrc: expected a mask on the grid of .*Resample"):
        prepare(Inputs(start, density, mask=mask), SHORT, ignore)


def test_a_fixed_model_accounts_for_its_density():
    whole = two_domain_protein(120)
    moving, fixed = whole.select(whole.residue_number <= 60), whole.select(whole.residue_number > 60)
    density = simulate(whole, resolution=8.0, voxel=3.0)
    alone = bayesflex.fit(moving, density, replace(SHORT, iterations=4))
    both = bayesflex.fit(moving, density, replace(SHORT, iterations=4), fixed=fixed)
    assert both.summary["cc_centred"]["start"] > alone.summary["cc_centred"]["start"] + 0.05
    voxel = float(density.voxel_size.prod())
    assert both.fitted_map.values.sum() * voxel == pytest.approx(120, rel=0.02)
    assert alone.fitted_map.values.sum() * voxel == pytest.approx(60, rel=0.02)


def test_relaxing_never_lowers_the_log_density(prepared, result, rng):
    posterior = full_posterior(prepared, stage_likelihoods(prepared.problem, prepared.stages)[-1])
    strained = result.mean.coords + rng.normal(0.0, 0.3, result.mean.coords.shape)
    relaxed = relax(posterior, strained)
    assert posterior.of_coordinates(relaxed)[0] > posterior.of_coordinates(strained)[0]
    again = relax(posterior, relaxed)
    assert posterior.of_coordinates(again)[0] >= posterior.of_coordinates(relaxed)[0]


def test_an_ensemble_is_spread_over_the_chains_used(result):
    trace = result.trace
    many = replace(trace, coords=np.repeat(trace.coords, 20, axis=1), **_repeated(trace, 20))
    (both,) = result.clusters
    members = np.repeat(both.members, 20, axis=1)
    chosen = replace(result, trace=many, clusters=(replace(both, members=members),)).ensemble()
    assert len(chosen) == 50
    per_chain = [np.any(np.all(chosen[:, None] == many.coords[c][None], axis=(2, 3)), axis=1).sum() for c in (0, 1)]
    assert per_chain == [25, 25]
    one = both.members.copy()
    one[0] = False
    assert len(replace(result, clusters=(replace(both, members=one),)).ensemble()) == SHORT.iterations
    # Of a chain that was elsewhere too, only the draws in the answer.
    one[1, ::2] = False
    chosen = replace(result, clusters=(replace(both, members=one),)).ensemble()
    np.testing.assert_array_equal(chosen, trace.coords[1, 1::2])


def _repeated(trace, times):
    columns = ("amplitudes", "log_likelihood", "potential_energy")
    repeated = {name: np.repeat(getattr(trace, name), times, axis=1) for name in columns}
    return repeated | {"sample_stats": {k: np.repeat(v, times, axis=1) for k, v in trace.sample_stats.items()}}


def test_saved_files_hold_the_result(result, tmp_path):
    out = tmp_path / "new" / "out"
    result.save(out)
    fitted = read_structure(out / "fitted.cif")
    np.testing.assert_allclose(fitted.coords, result.fitted.coords, atol=1e-3)
    # Nobody is to take an uncertainty for pLDDT: the B-factors are those of the input.
    np.testing.assert_allclose(fitted.b_factor, result.start.b_factor, atol=0.01)
    np.testing.assert_allclose(read_structure(out / "mean.cif").coords, result.mean.coords, atol=1e-3)
    np.testing.assert_array_equal(load_trace(out / "trace.nc").coords, result.trace.coords)
    table = read_metrics(out / "metrics.csv")
    np.testing.assert_allclose(table.column("energy"), result.metrics.column("energy"), rtol=1e-8)
    assert json.loads((out / "summary.json").read_text())["seed"] == SHORT.seed
    assert load_config(out / "config.toml", {}) == result.config
    assert {"cc.png", "energy.png", "amplitudes.png", "rmsd.png", "trajectory.dcd"} <= {p.name for p in out.iterdir()}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(f'id="show-{name}"' in page for name in ("start", "fitted", "map", "ensemble"))
    with pytest.raises(InputError, match="new or empty"):
        result.save(out)


def test_a_page_that_cannot_be_made_is_a_warning(result, tmp_path, monkeypatch):
    def broken(run):
        raise RuntimeError("a defect")

    monkeypatch.setattr(report, "render_page", broken)
    with pytest.warns(UserWarning, match=r"report.html was not written \(a defect\)"):
        result.save(tmp_path / "out")
    assert (tmp_path / "out" / "summary.json").is_file()


def test_numbers_that_do_not_exist_are_null_in_the_summary(result, tmp_path):
    replace(result, summary={**result.summary, "r_hat_max": float("nan")}).save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["r_hat_max"] is None


def test_only_the_interrupted_fit_itself_is_resumed(tmp_path):
    config, inputs = replace(SHORT, sigma=2.0), {"model": "a.cif", "model_sha256": "1", "map_sha256": "2"}
    RunFolder(tmp_path / "out", resume=False).begin(config, inputs)
    folder = RunFolder(tmp_path / "out", resume=True)
    folder.require_same(config, inputs)
    folder.require_same(replace(config, threads=7), inputs | {"model": "moved/a.cif"})
    with pytest.raises(InputError, match=r"seed \(1, now 2\).*--resume"):
        folder.require_same(replace(config, seed=2), inputs)
    with pytest.raises(InputError, match="the content of the map"):
        folder.require_same(config, inputs | {"map_sha256": "3"})
    with pytest.raises(InputError, match="the content of the mask"):
        folder.require_same(config, inputs | {"mask_sha256": "3"})


def test_what_cannot_be_resumed_is_said(tmp_path):
    with pytest.raises(InputError, match="leave out --resume"):
        RunFolder(tmp_path, resume=True)
    RunFolder(tmp_path, resume=False).begin(SHORT, {})
    with pytest.raises(InputError, match="--resume"):
        RunFolder(tmp_path, resume=False)
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(InputError, match="complete"):
        RunFolder(tmp_path, resume=True)


def test_the_opening_of_the_hinge_is_measured():
    layout = bayesflex.synthetic.two_domain_layout(60)
    closed, opened = two_domain_protein(60).ca_trace().coords, two_domain_protein(60, 20.0).ca_trace().coords
    assert opening(closed, opened, layout) == pytest.approx(20.0, abs=0.1)
    assert opening(closed, closed + 5.0, layout) == pytest.approx(0.0, abs=1e-3)
