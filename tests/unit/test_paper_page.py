"""The page on the paper: its numbers are those of the results, and its verdicts follow from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from experiments.p97 import paper
from experiments.p97.__main__ import Case, run_case

from bayesflex.config import FitConfig
from bayesflex.errors import InputError
from bayesflex.io.structures import write_structure
from bayesflex.synthetic import two_domain_pair
from bayesflex.workflows.compare import ComparePlan
from bayesflex.workflows.comparison_results import Domain
from bayesflex.workflows.samplers import SamplerPlan, run_samplers
from bayesflex.workflows.simulate import simulate

APPROACHES = ("local", "global", "combined", "floor")


def results(folder: Path, finals: dict[str, tuple[float, float]], share: float = 0.01, n_domain: float = 1.0) -> Path:
    """Write results in which the correlation of each approach rises by a constant step up to its final value."""
    (folder / "results").mkdir(parents=True)
    rows, approaches = ["approach,run,iteration,stage,cc_uncentred,rmsd_to_reference"], {}
    for name, (final, step) in finals.items():
        curve = [min(final, 0.5 + step * iteration) for iteration in range(101)]
        rows += [f"{name},0,{iteration},sampling,{value},{1 - value}" for iteration, value in enumerate(curve)]
        reached = next(iteration for iteration, value in enumerate(curve) if value >= 0.99 * final)
        spread = {"mean": final, "sd": 0.001}
        approaches[name] = {
            "final": {
                "cc_uncentred": spread,
                "cc_centred": spread,
                "rmsd_to_reference": {"mean": 1 - final, "sd": 0.01},
            },
            "iteration_within_1_percent": {"cc_uncentred": reached},
            "rmsd_of_average": {"all": 1 - final, "N": n_domain},
            "r_hat_max": None,
            "seconds": 10.0,
            "cpu_seconds": 20.0,
        }
    numbers = {
        "approaches": approaches,
        "start": {"rmsd_to_reference": {"all": 8.0, "N": 14.0}},
        "amplitudes": {"share_of_time": share, "milliseconds_per_gradient": 2.0},
        "seconds_modes": 3.0,
        "runs": 10,
        "iterations": 100,
        "iterations_adapting": 25,
    }
    (folder / "results" / "comparison.json").write_text(json.dumps(numbers))
    (folder / "results" / "comparison.csv").write_text("\n".join(rows) + "\n")
    (folder / "facts.json").write_text(json.dumps({"stand_in": False}))
    return folder


AS_THE_PAPER = {"local": (0.8, 0.004), "global": (0.75, 0.02), "combined": (0.9, 0.05), "floor": (0.9, 1.0)}


def verdicts(*tests: paper.Test) -> list[bool]:
    return [claim.holds for claim in paper.claims_of(tests)]


def test_claims_that_hold_are_said_to(tmp_path):
    first = paper.load_test("Test 1", results(tmp_path / "1", AS_THE_PAPER))
    assert all(verdicts(first, first))


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        ({"finals": AS_THE_PAPER | {"global": (0.75, 0.003)}}, "converge faster"),
        ({"finals": AS_THE_PAPER | {"local": (0.95, 0.005)}}, "highest CC"),
        ({"finals": AS_THE_PAPER | {"local": (0.899, 0.004)}}, "highest CC"),  # inside the spread of the runs
        ({"finals": AS_THE_PAPER, "n_domain": 13.0}, "down to up"),
        ({"finals": AS_THE_PAPER, "share": 0.2}, "negligible"),
    ],
)
def test_a_claim_that_fails_is_said_to_with_the_cause(tmp_path, changed, failing):
    first = paper.load_test("Test 1", results(tmp_path / "1", AS_THE_PAPER))
    other = paper.load_test("Test 1", results(tmp_path / "2", **changed))
    claims = paper.claims_of([other, first])
    failed = [claim for claim in claims if not claim.holds]
    assert len(failed) == 1
    assert failing in failed[0].text
    assert "does not hold" in failed[0].row
    assert len(failed[0].cause) > 20


def test_targets_are_judged_at_iteration_thirty(tmp_path):
    near = paper.load_test("Test 1", results(tmp_path / "1", AS_THE_PAPER))
    assert "Both are within 0.3" in paper.targets_of(near)[0]
    late = paper.load_test("Test 1", results(tmp_path / "2", AS_THE_PAPER | {"combined": (0.9, 0.005)}))
    assert "**Not both are** within" in paper.targets_of(late)[0]


def test_results_that_are_missing_are_named(tmp_path):
    with pytest.raises(InputError, match=r"comparison\.json"):
        paper.load_test("Test 1", tmp_path)


@pytest.mark.slow
def test_the_page_is_made_from_a_whole_run(tmp_path):
    closed, opened = two_domain_pair(60, 20.0)
    write_structure(closed, tmp_path / "start.cif")
    facts = {"lifting_mode": "Mode 7.", "map": "STAND-IN for a map.", "stand_in": True}
    case = Case(opened, simulate(opened, resolution=6.0), (7, 8), 6.0, None, facts)
    domains = (Domain("N", 1, 30),)
    plan = ComparePlan(runs=2, iterations=12, floor=True, domains=domains)
    long = ComparePlan(approaches=("local",), runs=2, iterations=24, domains=domains)
    out = tmp_path / "results"
    for name, chosen in (("test1", plan), ("test2", plan), ("local-long", long)):
        run_case(tmp_path / "start.cif", lambda: case, chosen, out / name, seed=1, threads=1)
    run_samplers(out / "samplers", SamplerPlan(n_residues=52, n_gradients=400, chains=2))

    page = paper.write_paper(out, tmp_path / "docs").read_text(encoding="utf-8")
    numbers = json.loads((out / "test1" / "results" / "comparison.json").read_text())
    for name in APPROACHES:
        final = numbers["approaches"][name]["final"]["cc_uncentred"]
        assert f"{final['mean']:.4f} ± {final['sd']:.4f}" in page
    assert "Test 2 (stand-in)" in page
    assert "STAND-IN" in page
    assert "2 times the iterations" in page
    for line in page.splitlines():
        if line.startswith("!["):
            assert (tmp_path / "docs" / line[line.index("(") + 1 : -1]).is_file()

    # A part that is whole is kept, and its command is that of the command line.
    config = (out / "test1" / "results" / "combined" / "config.toml").read_bytes()
    run_case(tmp_path / "start.cif", lambda: pytest.fail("made again"), plan, out / "test1", seed=1, threads=1)
    assert (out / "test1" / "results" / "combined" / "config.toml").read_bytes() == config
    assert (out / "test1" / "command.txt").read_text().startswith("bayesflex compare ")
    assert FitConfig(resolution=6.0).steps == numbers["leapfrog_steps"]
