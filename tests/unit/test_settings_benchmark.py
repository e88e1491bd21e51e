"""The benchmark of settings changes one at a time, keeps its rows, and its page holds what the rows say."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from benchmarks.accuracy.cases import CASES
from benchmarks.accuracy.page import write_between
from benchmarks.accuracy.settings import (
    BEGIN,
    DEFAULT,
    END,
    NAMES,
    RESULTS,
    VARIATIONS,
    changed,
    table_lines,
    with_row,
)

from bayesflex.config import FitConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "accuracy.md"
CONFIG = FitConfig(resolution=5.0)


def row(setting: str, value: float | str, case: str, rmsd: float, outliers: int = 0) -> dict[str, str]:
    return {
        "setting": setting,
        "value": str(value),
        "case": case,
        "rmsd_fitted": f"{rmsd:.4f}",
        "outliers": str(outliers),
    }


@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda variation: variation.setting)
def test_a_setting_is_changed_alone_and_not_to_its_default(variation):
    for value in variation.values:
        config = changed(CONFIG, variation.setting, value)
        differing = [one.name for one in fields(FitConfig) if getattr(config, one.name) != getattr(CONFIG, one.name)]
        assert differing == [variation.setting]
        assert replace(config, **{variation.setting: getattr(CONFIG, variation.setting)}) == CONFIG
    assert changed(CONFIG, *DEFAULT) is CONFIG


def test_all_cases_exist():
    assert set(NAMES) <= {case.name for case in CASES}


def test_the_table_compares_with_the_defaults():
    rows: list[dict[str, str]] = []
    for one in (
        row("contact_energy", 1.0, NAMES[0], 2.0, 3),
        row("contact_energy", 1.0, NAMES[1], 0.25, 1),
        row(*DEFAULT, NAMES[1], 0.5),
        row(*DEFAULT, NAMES[0], 1.0, -1),
        row("contact_energy", 1.0, NAMES[0], 4.0, 2),  # replaces the first
    ):
        rows = with_row(rows, one)
    assert len(rows) == 4
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table_lines(rows)[2:]]
    assert lines[0] == ["**defaults**", "1.00", "0.50", *["–"] * (len(NAMES) - 2), "1.00", "-1"]
    # 4 times and half as far: √2 times in the geometric mean
    assert lines[1] == ["`contact_energy` 1.0 (default 0.3)", "4.00", "0.25", *["–"] * (len(NAMES) - 2), "1.41", "3"]


def test_the_table_is_written_between_its_own_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_between(page, (BEGIN, END), ["new"])
    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_the_page_holds_the_kept_results():
    from benchmarks.accuracy.rows import read_rows

    rows = read_rows(RESULTS)
    assert rows
    assert "\n".join([BEGIN, *table_lines(rows), END]) in PAGE.read_text(encoding="utf-8")
