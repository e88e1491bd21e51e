"""The example notebooks run from top to bottom, and what their cells show is a table or a figure.

The cells are run here as Jupyter runs them, without a kernel: each in turn in one namespace, and the last expression
of each is what it shows.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "examples"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(path: Path) -> list[str]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, object]) -> object:
    """Run a cell and return the value of its last line where that is an expression, else None."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_there_is_a_notebook():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_its_output(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    shown = [run_cell(source, names) for source in code_cells(path)]
    tables = [value for value in shown if hasattr(value, "_repr_html_") and not isinstance(value, Figure)]
    pages = [value._repr_html_() for value in tables]
    assert [type(value).__name__ for value in tables] == [
        "Structure",
        "DensityMap",
        "Validation",
        "FitResult",
    ]
    assert all(page.startswith("<table>") and "script" not in page for page in pages)
    assert "cc_mask" in pages[3]
    assert sum(isinstance(value, Figure) for value in shown) == 2
    summary = names["result"].summary  # type: ignore[attr-defined]
    assert summary["rmsd_to_reference"]["fitted"] < summary["rmsd_to_reference"]["start"]
    assert {"view.cxc", "validation.json", "summary.json"} <= {file.name for file in (tmp_path / "fitted").iterdir()}
