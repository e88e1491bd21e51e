"""Write ``docs/performance.md`` from the numbers of a run. No number on that page is typed, but those of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bayesflex.io.atomic import atomic_path
from bayesflex.plots.style import save_figure
from benchmarks import sections
from benchmarks.comparison import comparison_lines, target_lines
from benchmarks.figure import draw_roofline
from benchmarks.prose import COUNTING, HEAD, KERNELS
from benchmarks.record import FOREMOST, machine_of

PAGE = "performance.md"
FIGURES = "figures/performance"
FIGURE, NUMBERS, SCALE, ESS, THREADS = (
    f"{FIGURES}/{name}" for name in ("roofline.png", "numbers.json", "scale.json", "ess.json", "threads.json")
)

Record = dict[str, Any]


def write_page(record: Record, docs: Path) -> Path:
    """Write the page, its figure and the numbers into a folder of pages; return the page.

    Times against the size of the model, effective draws, and chains on threads are shown where ``python -m
    benchmarks.scale``, ``benchmarks.ess`` and ``benchmarks.threads`` have left their numbers.
    """
    (docs / FIGURES).mkdir(parents=True, exist_ok=True)
    sizes, ess, threads = (_read(docs / name) for name in (SCALE, ESS, THREADS))
    figure = draw_roofline(_foremost(record)["kernels"], machine_of(record))
    save_figure(figure, docs / FIGURE)
    _write(docs / NUMBERS, json.dumps(record, indent=1) + "\n")
    _write(docs / PAGE, "\n".join(page_lines(record, sizes, ess, threads)) + "\n")
    return docs / PAGE


def _read(path: Path) -> Record | None:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _foremost(record: Record) -> Record:
    """Return the case that the figure shows: p97, or the only one of a quick run."""
    return next((case for case in record["cases"] if case["name"] == FOREMOST), record["cases"][0])


def page_lines(
    record: Record, sizes: Record | None, ess: Record | None = None, threads: Record | None = None
) -> list[str]:
    """Return the page, line by line."""
    foremost = _foremost(record)
    lines = ["# Performance", "", *HEAD, ""]
    if record["quick"]:
        lines += ["**From a quick run: few samples, one model. Only to see that all is there.**", ""]
    lines += ["## In short", "", *target_lines(record, sizes), ""]
    lines += ["## The machine", "", *sections.machine_lines(record), ""]
    lines += ["## Roofline", "", *COUNTING, "", f"![What each kernel reaches, {foremost['name']}]({FIGURE})", ""]
    for case in record["cases"]:
        title = f"{case['name']}: {case['n_ca']:,} CA, {case['n_voxels']}³ × {case['voxel']:g} Å"
        lines += [f"### {title}", "", *sections.kernel_lines(case), ""]
    lines += ["### Pairs that count", "", *sections.pair_lines(record["cases"]), ""]
    lines += ["### What limits each kernel, and what was tried", "", *KERNELS, ""]
    lines += ["## Likelihood against plain NumPy", "", *sections.twin_lines(record["cases"]), ""]
    if "boxes" in record:
        lines += ["## Empty map", "", *sections.box_lines(record["boxes"]), ""]
    lines += ["## A step of a trajectory", "", *sections.step_lines(record["cases"]), ""]
    if "starts" in record:
        lines += ["## Start-up", "", *sections.start_lines(record), ""]
    if threads is not None:
        lines += ["## Chains on threads", "", *sections.thread_lines(threads), ""]
    if ess is not None:
        lines += ["## Effective draws", "", *sections.ess_lines(ess), ""]
    if sizes is not None:
        lines += ["## Size", "", *sections.size_lines(sizes), ""]
    return [*lines, "## Other programs", "", *comparison_lines(record)]
