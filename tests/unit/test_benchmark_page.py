"""The page on performance: its tables and verdicts are those of the numbers that it is made from."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import asdict

import numpy as np
import pytest
from benchmarks import __main__ as command
from benchmarks.machine import MEMORY, Level, Machine
from benchmarks.measured import Timed, row_of
from benchmarks.page import NUMBERS, SCALE, page_lines, write_page
from benchmarks.tables import duration, quantity, table
from benchmarks.work import Work

KERNELS = ("deformation", "pair sum", "posterior gradient", "list of tiles", "list of close pairs", "plain twin")


def a_machine() -> Machine:
    levels = [Level(f"L{k}", 1000.0 * 10**k, dict.fromkeys(("read", "copy", "triad"), 1e12 / 2**k)) for k in (1, 2, 3)]
    levels.append(Level(MEMORY, None, dict.fromkeys(("read", "copy", "triad"), 5e10)))
    return Machine("A Processor", 2, True, tuple(levels), levels[0].bandwidth, 1e11, 1e10, 1e10, 5e9, 1e-9)


def a_case(name: str, n_ca: int, machine: Machine) -> dict:
    rows = []
    for index, kernel in enumerate(KERNELS):
        operations = 1e4 * n_ca / (index + 1)
        work = Work((np.zeros(10 * n_ca),), (), operations, executed=2.0 * operations, divisions=float(n_ca))
        rows.append(row_of(Timed(kernel, 1e-6 * n_ca * (index + 1), work), machine))
    return {
        "name": name,
        "model": "made by the program",
        "n_ca": n_ca,
        "n_voxels": 64,
        "voxel": 1.5,
        "n_contacts": 5 * n_ca,
        "pairs": 40 * n_ca,
        "rows": 10 * n_ca,
        "pairs_of_tiles": 2 * n_ca,
        "likelihood": {"white": 1e-3, "low-pass": 2e-3, "plain twin": 0.4},
        "trajectory": {"step": 1e-3, "call": 4e-4, "compiled": 1.02e-3, "loop": 1.3e-3},
        "rebuilt": {"steps": 200, "tiles": 4, "close pairs": 1},
        "kernels": rows,
    }


@pytest.fixture
def record() -> dict:
    machine = a_machine()
    return {
        "version": "0",
        "quick": False,
        "sigma": 2.0,
        "n_modes": 10,
        "machine": asdict(machine),
        "cases": [a_case("AdK", 200, machine), a_case("p97", 4000, machine)],
        "boxes": {"case": "p97", "seconds": {"128³": 1.0e-3, "256³": 1.2e-3}},
        "modes": {"case": "p97", "seconds": {"10 Å": 0.5}},
        "starts": {name: {"clock": 0.4, "processor": 0.3} for name in ("import bayesflex", "bayesflex --help")},
    }


SIZES = {
    "assembly": {
        "points": [
            {"n_ca": n, "gradient": 1e-7 * n, "rebuild": 1e-8 * n, "held": 1e3 * n, "peak": 7e3 * n}
            for n in (10_000, 1_000_000)
        ],
        "exponents": {"gradient": 1.0},
    }
}


def row(lines: list[str], *beginning: str) -> str:
    return next(line for line in lines if line.startswith(f"| {' | '.join(beginning)}"))


def test_numbers_are_shown_to_three_digits():
    assert [duration(x) for x in (2.0, 1.2345e-3, 45.67e-6, 0.234e-6, 0.0)] == [
        "2.00 s",
        "1.23 ms",
        "45.7 µs",
        "0.234 µs",
        "0 µs",
    ]
    assert [quantity(x, "B") for x in (12.0, 1.5e3, 2.34e7)] == ["12.0 B", "1.50 kB", "23.4 MB"]
    assert table(("a", "b"), [("1", "2")]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_a_row_says_what_is_reached(record):
    # 40,000 × 10 × 8 bytes at 1e12 / 8 bytes/s, 4e7 operations at 1e11 per second, in 4 ms; 4000 divisions at 1e10.
    shown = row(page_lines(record, None)[60:], "deformation", "4.00 ms").split(" | ")
    assert shown[1:] == ["4.00 ms", "320 kB", "L3", "40.0 M", "10.0", "400 µs", "10 %", "operations: 10 % |"]


def test_what_counts_is_shown_beside_what_is_executed(record):
    assert row(page_lines(record, None), "p97", "160,000").startswith("| p97 | 160,000 | 320,000 | 50 % |")


def test_verdicts_follow_from_the_numbers(record):
    lines = page_lines(record, SIZES)
    assert row(lines, "p97: likelihood with gradient, white").endswith("400 × | yes |")
    assert row(lines, "p97: likelihood with gradient, low-pass").endswith("200 × | **no** |")
    assert row(lines, "p97: gradient in boxes").endswith("20.0 % apart | **no** |")
    assert row(lines, "AdK: interpreter per step").endswith("20.0 µs | yes |")
    assert row(lines, "gradient against number of CA, assembly").endswith("1.00 | yes |")
    assert row(lines, "1,000,000 CA, assembly").endswith("100 ms, 7.0 GB | yes |")
    assert row(lines, "`bayesflex --help`").endswith("400 ms | yes |")

    slower = copy.deepcopy(record)
    slower["boxes"]["seconds"]["256³"] = 1.05e-3
    slower["starts"]["bayesflex --help"]["clock"] = 0.6
    slower["first_run"] = {"first": {"clock": 25.0, "processor": 40.0}, "second": {"clock": 8.0, "processor": 10.0}}
    lines = page_lines(slower, None)
    assert row(lines, "p97: gradient in boxes").endswith("5.0 % apart | yes |")
    assert row(lines, "`bayesflex --help`").endswith("600 ms | **no** |")
    assert row(lines, "compiling, first run").endswith("17.0 s | yes |")
    assert any("17.0 s on the clock, and says so. It is 30.0 s of processor time" in line for line in lines)


def test_sizes_and_other_programs_stand_in_their_tables(record):
    lines = page_lines(record, SIZES)
    assert row(lines, "10,000").startswith("| 10,000 | 1.00 | 0.10 |")
    assert row(lines, "exponent").startswith("| exponent | 1.00 | 1.00 |")
    assert row(lines, "p97, 64³ × 1.5 Å: a step", "**bayesflex").endswith(
        "1.02 ms; density part alone, from Python, 2.00 ms |"
    )
    assert "## Size" not in page_lines(record, None)


def test_the_page_is_the_same_from_the_same_numbers(record, tmp_path):
    written = []
    for name in ("first", "second"):
        (tmp_path / name / SCALE).parent.mkdir(parents=True)
        (tmp_path / name / SCALE).write_text(json.dumps(SIZES))
        page = write_page(record, tmp_path / name)
        figures = sorted((tmp_path / name).rglob("*.png"))
        written.append((page.read_bytes(), [figure.read_bytes() for figure in figures]))
        assert len(figures) == 1
        # All that the page shows is there.
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("!["):
                assert (page.parent / line[line.index("(") + 1 : -1]).is_file()
    assert written[0] == written[1]


def test_the_page_can_be_made_again_without_measuring(record, tmp_path, monkeypatch):
    page = write_page(record, tmp_path)
    before = page.read_bytes()
    page.unlink()
    monkeypatch.setattr(command, "measure", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--again", "-o", str(tmp_path)])
    command.main()
    assert page.read_bytes() == before


@pytest.mark.slow
def test_a_quick_run_measures_everything_and_nothing_exceeds_what_the_machine_can_do(tmp_path, monkeypatch):
    monkeypatch.delenv("BAYESFLEX_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick", "-o", str(tmp_path)])
    command.main()
    record = json.loads((tmp_path / NUMBERS).read_text(encoding="utf-8"))
    machine = record["machine"]
    assert machine["scalar"] < machine["vector"]
    assert machine["root"] <= machine["division"] * 1.1
    (case,) = record["cases"]
    assert len(case["kernels"]) == 17
    for row in case["kernels"]:
        assert 0.0 < row["of_limit"] < 1.1, row
        assert row["executed"] >= row["operations"]
    assert case["likelihood"]["plain twin"] > 50.0 * case["likelihood"]["low-pass"]
    assert case["trajectory"]["compiled"] < case["trajectory"]["loop"]
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "From a quick run" in page
