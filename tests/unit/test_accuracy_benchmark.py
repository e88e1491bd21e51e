"""The accuracy benchmark keeps its rows, and its page holds what the rows say."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.accuracy.cases import CASES, Inputs, perturbed, superposed
from benchmarks.accuracy.measure import Row, measure
from benchmarks.accuracy.page import BEGIN, END, table_lines, write_table
from benchmarks.accuracy.rows import RESULTS, read_rows, with_row, write_rows

from bayesflex.geometry import rmsd, rotation_of_vector
from bayesflex.synthetic import two_domain_pair

PAGE = Path(__file__).resolve().parents[2] / "docs" / "accuracy.md"


def row(case: str, seed: int, fitted: float, floor: float = 0.3, **changes) -> dict[str, str]:
    values = {
        "resolution": 5.0,
        "n_ca": 214,
        "rmsd_start": 7.0,
        "rmsd_mean": fitted,
        "part_start": float("nan"),
        "part_fitted": float("nan"),
        "cc_centred_start": 0.5,
        "cc_centred_fitted": 0.99,
        "cc_centred_truth": 0.98,
        "overfit": True,
        "chains_used": 4,
        "clusters": 1,
        "acceptance": 0.8,
        "seconds": 10.0,
        "processor_seconds": 20.0,
        "version": "0",
    }
    return Row(case=case, seed=seed, rmsd_fitted=fitted, rmsd_floor=floor, **(values | changes)).as_texts()


def test_rows_are_replaced_by_case_and_seed_and_stay_in_the_order_of_the_cases(tmp_path):
    rows = [row("groel-open-10", 1, 1.0), row("adk-open-5", 2, 0.5), row("adk-open-5", 1, 0.6)]
    kept: list[dict[str, str]] = []
    for one in rows:
        kept = with_row(kept, one)
    assert [(one["case"], one["seed"]) for one in kept] == [
        ("adk-open-5", "1"),
        ("adk-open-5", "2"),
        ("groel-open-10", "1"),
    ]
    kept = with_row(kept, row("adk-open-5", 1, 0.4, float("nan")))
    assert len(kept) == 3
    assert (kept[0]["rmsd_fitted"], kept[0]["rmsd_floor"]) == ("0.4000", "0.3000")  # a floor not measured again stays
    path = tmp_path / "results" / "accuracy.csv"
    write_rows(path, kept)
    assert read_rows(path) == kept
    assert read_rows(tmp_path / "none.csv") == []


def test_the_table_shows_medians_and_what_was_missed():
    rows = [row("adk-open-5", seed, fitted) for seed, fitted in ((1, 0.5), (2, 0.9), (3, 0.7))]
    lines = table_lines([*rows, row("p97-up-5", 1, 0.8, part_start=23.0, part_fitted=1.3)])
    assert len(lines) == 4
    adk, p97 = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])
    assert adk[2:8] == ["3", "7.0", "0.70", "0.6", "**no**", "0.30"]
    assert adk[11] == "3 of 3"
    assert p97[6] == "yes"
    assert p97[8] == "N domain 23.0 → 1.30"


def test_the_table_is_written_between_the_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    rows = [row("rf2", 1, 5.0)]
    write_table(page, rows)
    write_table(page, rows)
    assert page.read_text(encoding="utf-8") == "\n".join(["before", BEGIN, *table_lines(rows), END, "after\n"])


def test_the_page_holds_the_kept_results():
    rows = read_rows(RESULTS)
    assert rows
    assert "\n".join([BEGIN, *table_lines(rows), END]) in PAGE.read_text(encoding="utf-8")
    assert {one["case"] for one in rows} <= {case.name for case in CASES}


def test_starts_are_superposed_and_perturbed():
    answer = two_domain_pair(60, 20.0)[1]
    away = answer.with_coords(answer.coords @ rotation_of_vector([0.3, 1.0, 0.2]).T + 30.0)
    assert rmsd(superposed(away, answer).coords, answer.coords) < 1e-6
    start = perturbed(answer, 1)
    assert 4.0 < rmsd(start.ca_trace().coords, answer.ca_trace().coords) < 6.5
    assert rmsd(start.coords, perturbed(answer, 1).coords) == 0.0


@pytest.mark.slow
def test_a_case_is_measured(monkeypatch):
    start, answer = two_domain_pair(60, 20.0)
    from bayesflex.workflows.simulate import simulate

    case = CASES[0]
    found = measure(case, Inputs(start, simulate(answer, resolution=case.resolution), answer), 1, floor=True)
    assert found.rmsd_fitted < 1.0 < found.rmsd_start
    assert found.rmsd_floor < 1.0
    assert found.cc_centred_truth > 0.9
    assert found.overfit == (found.cc_centred_fitted > found.cc_centred_truth)
