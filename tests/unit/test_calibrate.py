"""Replicates of a calibration, the verdict on them, and going on with an interrupted one."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from bayesflex.errors import ConfigError, InputError
from bayesflex.geometry import rmsd, superposed_rmsd
from bayesflex.noise import frequencies
from bayesflex.protocols import Record
from bayesflex.reporters import ListReporter
from bayesflex.workflows import calibrate as workflow
from bayesflex.workflows.calibrate import CalibrationPlan, calibrate, run_calibrate
from bayesflex.workflows.calibration_case import CENTRE_SD, Case
from bayesflex.workflows.calibration_replicate import N_DRAWS, Replicate, quantities, run_replicate
from bayesflex.workflows.calibration_results import FEWEST, CalibrationResult

PLAN = CalibrationPlan(replicates=3, threads=1, seed=5)


@pytest.fixture(scope="module")
def case():
    return Case("marginal", "resolution", 6.0)


@pytest.fixture(scope="module")
def replicate(case):
    return run_replicate(case, 5, 0)


def made_up(index, ranks=None, **changes):
    ranks = np.full(84, 20) if ranks is None else ranks
    numbers = {"noise": 1e-3, "scale": 1.0, "observations": 300.0, "spread": 0.4, "prior_spread": 1.2}
    rest = {"iterations": 240, "ess": 80.0, "acceptance": 0.8, "divergent": 0, "seconds": 1.0}
    return replace(Replicate(index, tuple(int(rank) for rank in ranks), **numbers, **rest), **changes)


@pytest.fixture
def quick(monkeypatch):
    """Replicates made up in no time, which count how often they are asked for."""
    asked = []

    def run(case, seed, index):
        asked.append(index)
        return made_up(index, np.random.default_rng([seed, index]).integers(0, N_DRAWS + 1, 84))

    monkeypatch.setattr(workflow, "run_replicate", run)
    return asked


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def result_of(ranks):
    case = Case("marginal", "resolution", 6.0)
    replicates = tuple(made_up(index, row) for index, row in enumerate(ranks))
    return CalibrationResult({}, *quantities(case), replicates, 1.0)


def test_a_replicate_fits_and_ranks_every_quantity(case, replicate):
    names = sum(quantities(case), ())
    assert len(replicate.ranks) == len(names) == 3 * 24 + 10 + 2
    assert min(replicate.ranks) >= 0
    assert max(replicate.ranks) <= N_DRAWS
    assert replicate.ess >= N_DRAWS
    assert 0.5 < replicate.acceptance < 1.0
    assert replicate.spread < 0.5 * replicate.prior_spread  # the map tells


def test_a_replicate_is_decided_by_seed_and_number_alone(replicate):
    again = run_replicate(Case("marginal", "resolution", 6.0), 5, 0)
    assert replace(again, seconds=0.0) == replace(replicate, seconds=0.0)


def test_voxels_counted_make_narrower_intervals(replicate):
    counted = run_replicate(Case("marginal", "voxels", 6.0), 5, 0)
    assert counted.noise == replicate.noise
    assert counted.observations > 4.0 * replicate.observations
    assert counted.spread < 0.75 * replicate.spread


def test_structures_of_the_prior_are_folded_turned_and_shifted(case):
    rng = np.random.default_rng(3)
    (first, chain), (other, _) = (case.draw_structure(np.random.default_rng([4, k])) for k in range(2))
    assert superposed_rmsd(first, chain[-1]) < 1e-6
    assert superposed_rmsd(first, other) > 0.1
    for coords in (first, other):
        assert np.abs(np.linalg.norm(np.diff(coords, axis=0), axis=1) - 3.8).max() < 1.0
        shift = coords.mean(axis=0) - case.start.mean(axis=0)
        assert 0.0 < np.abs(shift).max() < 4.0 * CENTRE_SD
        # Docked, the reference differs by the shape, the error of docking and the shift.
        start = (case.start - case.start.mean(axis=0)) @ case.dock(rng, coords).T + coords.mean(axis=0)
        assert superposed_rmsd(coords, case.start) < rmsd(start, coords) < superposed_rmsd(coords, case.start) + 2.0


@pytest.mark.parametrize("likelihood", ["marginal", "gaussian"])
def test_maps_have_noise_of_the_level_drawn(likelihood):
    case = Case(likelihood, "resolution", 6.0)
    rng = np.random.default_rng(8)
    nuisance = case.draw_nuisance(rng)
    density = case.draw_map(rng, case.start, nuisance)
    noise = (density.values - nuisance.offset) / nuisance.scale - case.reference_map.values
    assert (nuisance.offset == 0.0) == (likelihood == "gaussian")
    power = np.abs(np.fft.fftn(noise)) ** 2 / noise.size**2
    in_band = frequencies(noise.shape, density.voxel_size) <= 1.0 / 6.0
    assert np.sqrt(power[in_band].sum()) == pytest.approx(nuisance.noise, rel=0.1)
    assert power[~in_band].sum() < 1e-12 if likelihood == "marginal" else power[~in_band].sum() > 0.0


def test_uniform_ranks_are_calibrated(rng):
    result = result_of(rng.integers(0, N_DRAWS + 1, size=(150, 84)))
    assert result.is_calibrated
    assert result.verdict.startswith("Calibrated: 90 % intervals hold ")
    numbers = result.numbers()
    assert numbers["coverage"].keys() == {"50", "80", "90", "95"}
    assert numbers["coverage"]["90"] == pytest.approx(0.9, abs=0.02)
    assert numbers["amplitude_coverage"]["50"] == pytest.approx(0.5, abs=0.05)
    assert len(numbers["p_values"]) == len(numbers["p_values_corrected"]) == 8 * 3 + 10 + 2
    assert numbers["p_value_least_corrected"] > 0.01


@pytest.mark.parametrize(("width", "said"), [(1.7, "they are too narrow"), (0.6, "they are too wide")])
def test_ranks_of_wrong_widths_are_not(rng, width, said):
    share = 0.5 + width * (rng.random((150, 84)) - 0.5)
    result = result_of(np.clip((share * (N_DRAWS + 1)).astype(int), 0, N_DRAWS))
    assert not result.is_calibrated
    assert said in result.verdict
    assert "are not uniform" in result.verdict


def test_one_quantity_that_is_off_is_enough(rng):
    ranks = rng.integers(0, N_DRAWS + 1, size=(150, 84))
    ranks[:, -2] = ranks[:, -2] // 2
    result = result_of(ranks)
    assert result.is_calibrated is False
    assert "ranks of log likelihood are not uniform" in result.verdict


def test_few_replicates_give_no_verdict(rng):
    result = result_of(rng.integers(0, N_DRAWS + 1, size=(FEWEST - 1, 84)))
    assert result.is_calibrated is None
    assert result.numbers()["calibrated"] is None
    assert result.verdict.startswith(f"Too few replicates for a verdict ({FEWEST - 1} of at least {FEWEST})")


def test_a_calibration_is_written_and_made_longer(tmp_path, quick):
    listener = ListReporter()
    run_calibrate(tmp_path / "out", PLAN, reporter=listener)
    assert [row.iteration for row in listener.rows] == [0, 1, 2]
    assert listener.finished
    longer = run_calibrate(tmp_path / "out", replace(PLAN, replicates=5), resume=True)
    assert quick == [0, 1, 2, 3, 4]
    assert longer.numbers()["replicates"] == 5
    assert json.loads((tmp_path / "out" / "calibration.json").read_text())["replicates"] == 5
    table = rows_of(tmp_path / "out" / "calibration.csv")
    assert [row["quantity"] for row in table] == list(longer.names)
    assert float(table[0]["coverage_90"]) == pytest.approx(
        np.mean((longer.ranks[:, 0] > 1) & (longer.ranks[:, 0] < 38))
    )
    assert {bool(row["p"]) for row in table} == {True, False}
    ranks = rows_of(tmp_path / "out" / "ranks.csv")
    assert [int(row["energy"]) for row in ranks] == longer.ranks[:, -1].tolist()
    assert (tmp_path / "out" / "calibration.png").stat().st_size > 10_000


def test_an_interrupted_calibration_goes_on(tmp_path, quick):
    class Impatient(ListReporter):
        def record(self, row: Record) -> None:
            super().record(row)
            if row.iteration == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_calibrate(tmp_path / "out", PLAN, reporter=Impatient())
    assert not (tmp_path / "out" / "calibration.json").exists()
    lines = tmp_path / "out" / "replicates.jsonl"
    lines.write_text(lines.read_text() + '{"index": 2, "ra')  # killed while it wrote
    resumed = run_calibrate(tmp_path / "out", PLAN, resume=True)
    assert quick == [0, 1, 2]
    assert len(lines.read_text().splitlines()) == 4
    whole = calibrate(PLAN)
    np.testing.assert_array_equal(resumed.ranks, whole.ranks)


def test_a_calibration_with_other_settings_is_not_gone_on_with(tmp_path, quick):
    run_calibrate(tmp_path / "out", PLAN)
    with pytest.raises(InputError, match="has seed 5, not 6"):
        run_calibrate(tmp_path / "out", replace(PLAN, seed=6), resume=True)
    with pytest.raises(InputError, match="observations resolution, not voxels"):
        run_calibrate(tmp_path / "out", replace(PLAN, observations="voxels"), resume=True)


def test_what_cannot_be_gone_on_with_is_said(tmp_path, quick):
    with pytest.raises(InputError, match=r"got one without replicates\.jsonl"):
        run_calibrate(tmp_path, PLAN, resume=True)
    (tmp_path / "replicates.jsonl").write_text("[1, 2]\n")
    with pytest.raises(InputError, match="expected the replicates of a calibration"):
        run_calibrate(tmp_path, PLAN, resume=True)
    with pytest.raises(InputError, match="new or empty"):
        run_calibrate(tmp_path, PLAN)
    assert quick == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"replicates": 0}, "replicates: expected at least 1"),
        ({"likelihood": "poisson"}, "likelihood"),
        ({"observations": "many"}, "observations"),
        ({"resolution": -1.0}, "resolution"),
    ],
)
def test_plans_that_make_no_sense_are_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        CalibrationPlan(**change)
