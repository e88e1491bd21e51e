"""The comparison of local, global and combined fitting, on a small protein whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.errors import ConfigError, InputError
from bayesflex.geometry import rmsd
from bayesflex.io.maps import write_map
from bayesflex.io.structures import read_structure, write_structure
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_pair
from bayesflex.workflows.compare import ComparePlan, amplitude_cost, compare, run_compare
from bayesflex.workflows.comparison_results import Domain, parse_domain, reached
from bayesflex.workflows.preparation import Inputs
from bayesflex.workflows.simulate import simulate

SETTINGS = FitConfig(resolution=6.0, modes=(7, 8, 9), likelihood="gaussian", threads=1)
PLAN = ComparePlan(runs=3, iterations=24, adapting=12, floor=True, domains=(Domain("first", 1, 40),))
APPROACHES = ("local", "global", "combined", "floor")


@pytest.fixture(scope="module")
def inputs():
    closed, opened = two_domain_pair(80, 25.0)
    return Inputs(closed, simulate(opened, resolution=6.0), opened)


@pytest.fixture(scope="module")
def compared(inputs):
    return compare(inputs, SETTINGS, PLAN)


def by_run(runs, name):
    return runs.table.column(name).reshape(PLAN.runs, -1)


def test_every_approach_starts_at_r_init_and_counts_every_iteration(compared, inputs):
    start = inputs.structure.ca_trace().coords
    answer = inputs.reference.ca_trace().coords
    assert tuple(runs.name for runs in compared.approaches) == APPROACHES
    for runs in compared.approaches:
        table = runs.table
        first = by_run(runs, "rmsd_to_reference")[:, 0]
        assert np.allclose(first, 0.0 if runs.name == "floor" else rmsd(start, answer), atol=1e-9)
        stages = ["start"] + ["adapting"] * 12 + ["sampling"] * 12
        assert table.stage.tolist() == stages * PLAN.runs
        assert table.iteration.tolist() == list(range(25)) * PLAN.runs


def test_the_map_s_scale_is_that_at_r_init_for_all(compared):
    # At the same structure the likelihood is the same, whatever moves.
    likelihoods = {runs.name: by_run(runs, "log_likelihood")[:, 0] for runs in compared.approaches}
    assert np.all(likelihoods["local"] == likelihoods["global"])
    assert np.all(likelihoods["local"] == likelihoods["combined"])
    assert np.all(likelihoods["floor"] > likelihoods["local"])


def test_combined_comes_closest_to_the_answer(compared):
    final = {runs.name: by_run(runs, "rmsd_to_reference")[:, -1] for runs in compared.approaches}
    assert final["combined"].max() < final["local"].min() < final["global"].min()
    assert final["floor"].max() < 1.0


def test_global_fits_move_along_the_modes_alone(compared, inputs):
    runs = compared.approaches[1]
    modes = compared.prepared.problem.mode_vectors.reshape(3, -1)
    moved = (runs.final - inputs.structure.ca_trace().coords).reshape(PLAN.runs, -1)
    assert np.abs(moved).max() > 0.5
    assert np.allclose(moved - (moved @ modes.T) @ modes, 0.0, atol=1e-4)  # final structures are kept in float32


def test_the_same_seed_gives_the_same_numbers_on_any_number_of_threads(compared, inputs):
    again = compare(
        inputs,
        FitConfig(resolution=6.0, modes=(7, 8, 9), likelihood="gaussian", threads=3),
        ComparePlan(approaches=("combined",), runs=3, iterations=24, adapting=12),
    )
    (repeated,) = again.approaches
    assert repeated.records == compared.approaches[2].records
    assert np.array_equal(repeated.final, compared.approaches[2].final)


def test_another_seed_gives_other_numbers(compared, inputs):
    other = compare(
        inputs,
        FitConfig(resolution=6.0, modes=(7, 8, 9), likelihood="gaussian", threads=1, seed=2),
        ComparePlan(approaches=("global",), runs=1, iterations=4),
    )
    assert other.approaches[0].records[4].values != compared.approaches[1].records[4].values


def test_the_summary_says_what_the_records_hold(compared):
    summary = compared.summary()
    assert summary["iterations"] == 24
    assert summary["iterations_adapting"] == 12
    for runs in compared.approaches:
        found = summary["approaches"][runs.name]
        last = by_run(runs, "cc_uncentred")[:, -1]
        assert found["final"]["cc_uncentred"]["runs"] == last.tolist()
        assert found["final"]["cc_uncentred"]["mean"] == pytest.approx(last.mean())
        assert found["final"]["cc_uncentred"]["sd"] == pytest.approx(last.std(ddof=1))
        assert found["rmsd_of_average"].keys() == {"all", "all_superposed", "first"}
        assert found["n_gradients"] > 24 * PLAN.runs
    assert 0.0 <= summary["amplitudes"]["share_of_time"] < 1.0


def test_the_averaged_structure_is_the_mean_of_the_runs(compared):
    for runs in compared.approaches:
        assert np.allclose(runs.averaged, runs.final.mean(axis=0))


def test_the_final_value_is_reached_where_the_curve_stays_near_it():
    assert reached(np.array([1.0, 1.0])) == 0
    assert reached(np.array([0.0, 1.0, 0.5, 0.995, 1.0])) == 3
    assert reached(np.array([8.0, 1.02, 1.0])) == 2


@pytest.mark.slow
def test_a_second_table_is_made_with_another_likelihood(inputs, tmp_path):
    for name, structure in (("model.cif", inputs.structure), ("answer.cif", inputs.reference)):
        write_structure(structure, tmp_path / name)
    write_map(inputs.density, tmp_path / "map.mrc")
    both = run_compare(
        tmp_path / "model.cif",
        tmp_path / "map.mrc",
        tmp_path / "out",
        FitConfig(resolution=6.0, modes=(7, 8), likelihood="marginal", threads=1),
        ComparePlan(runs=2, iterations=6),
        reference=tmp_path / "answer.cif",
    )
    assert [comparison.prepared.config.likelihood for comparison in both] == ["gaussian", "marginal"]
    for folder in (tmp_path / "out", tmp_path / "out" / "marginal"):
        assert {path.name for path in folder.iterdir()} >= {
            *("comparison.csv", "comparison.json", "cc.png", "rmsd.png", "amplitudes.png", "structures.png", "log.txt"),
            *("local", "global", "combined"),
        }
        averaged = read_structure(folder / "combined" / "averaged.cif")
        assert np.allclose(averaged.coords, both[folder.name == "marginal"].approaches[2].averaged, atol=1e-3)
        rows = (folder / "comparison.csv").read_text().splitlines()
        assert len(rows) == 1 + 3 * 2 * 7
        assert rows[1].startswith("local,0,0,start,")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"approaches": ("local", "both")}, "both"),
        ({"approaches": ()}, "approaches"),
        ({"iterations": 5, "adapting": 5}, "--adapting"),
        ({"iterations": 5, "adapting": 0}, "at least 1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(arguments, said):
    with pytest.raises(ConfigError, match=said):
        ComparePlan(**arguments)


def test_a_floor_needs_the_whole_answer(inputs):
    plan = ComparePlan(runs=1, iterations=2, floor=True)
    with pytest.raises(InputError, match="--reference"):
        compare(Inputs(inputs.structure, inputs.density), SETTINGS, plan)
    part: Structure = inputs.reference.select(inputs.reference.residue_number <= 70)
    with pytest.raises(InputError, match="70 of them"):
        compare(Inputs(inputs.structure, inputs.density, part), SETTINGS, plan)


def test_a_domain_is_read_from_a_text():
    assert parse_domain("N=1-189") == Domain("N", 1, 189)
    assert parse_domain("tail=-3-5") == Domain("tail", -3, 5)
    for text in ("N", "N=5", "N=9-5", "=1-5", "N=a-b"):
        with pytest.raises(ConfigError, match="N=1-189"):
            parse_domain(text)


def test_the_amplitudes_take_a_part_of_the_time(compared, inputs):
    problem = compared.prepared.problem
    likelihood = problem.target.likelihood(problem.config, problem.beads, 6.0, problem.start)
    cost = amplitude_cost(problem, likelihood)
    assert 0.0 <= cost.amplitudes < cost.gradient
