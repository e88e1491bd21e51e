"""The demo: a protein made by the program is fitted into the map of its other state, and the answer is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesflex.config import FitConfig
from bayesflex.geometry import rotation_angle, superimpose
from bayesflex.io.maps import write_map
from bayesflex.io.output_folder import make_folder, require_new_or_empty
from bayesflex.io.structures import write_structure
from bayesflex.protocols import Reporter
from bayesflex.reporters import LogReporter, NullReporter
from bayesflex.synthetic import DEFAULT_OPENING, Layout, two_domain_layout, two_domain_pair
from bayesflex.workflows.fit import FitResult, fit
from bayesflex.workflows.preparation import as_table
from bayesflex.workflows.report import KnownInputs, report_or_warning
from bayesflex.workflows.results import saved_config, write_result, write_summary
from bayesflex.workflows.run_files import CONFIG_FILE, LOG_FILE, write_text
from bayesflex.workflows.run_folder import described_files
from bayesflex.workflows.simulate import simulate

Array = NDArray[np.float64]

N_RESIDUES = 200
#: Resolution (Å) of the map and its noise in units of the clean map's standard deviation.
RESOLUTION, NOISE = 5.0, 0.3
#: What was made for the demo, so that the fit can be repeated by hand.
INPUTS = "inputs"


def run_demo(out: Path, seed: int, reporter: Reporter | None = None) -> FitResult:
    """Fit the closed state of a two-domain protein into the map of its open state.

    Parameters
    ----------
    out
        Folder to write, new or empty: what a fit writes, and in ``inputs`` the model, the map and the answer.
    seed
        Of the map's noise and of the fit.
    reporter
        Listener of the fit, told at the end how the result compares with the truth.

    Raises
    ------
    InputError
        If the folder is not empty or a file cannot be written.
    """
    require_new_or_empty(out)
    closed, opened = two_domain_pair(N_RESIDUES)
    density = simulate(opened, resolution=RESOLUTION, noise=NOISE, seed=seed)
    make_folder(out / INPUTS)
    start_path, map_path, answer_path = (out / INPUTS / name for name in ("start.cif", "map.mrc", "answer.cif"))
    write_structure(closed, start_path)
    write_map(density, map_path)
    write_structure(opened, answer_path)

    shown: Reporter = NullReporter() if reporter is None else reporter
    log = LogReporter(out / LOG_FILE)
    # More iterations than usual let every loop settle.
    config = FitConfig(resolution=RESOLUTION, warmup_iterations=200, iterations=200, seed=seed)
    files = described_files({"model": start_path, "map": map_path, "reference": answer_path})
    result = replace(fit(closed, density, config, reference=opened, reporters=(shown, log)), inputs=files)
    write_text(out / CONFIG_FILE, saved_config(result.config, files))
    write_result(result, out)
    report_or_warning(out, KnownInputs(closed, density, result.summary), shown.message)
    write_summary(result.summary, out)

    layout, start = two_domain_layout(N_RESIDUES), closed.ca_trace().coords
    distances = result.summary["rmsd_to_reference"]
    angle = opening(start, result.fitted.ca_trace().coords, layout)
    rows = [
        ("", "start", "fitted", "truth"),
        ("CA RMSD to the truth, Å", f"{distances['start']:.2f}", f"{distances['fitted']:.2f}", "0"),
        ("opening of the hinge, degrees", "0.0", f"{angle:.1f}", f"{DEFAULT_OPENING:.1f}"),
    ]
    text = as_table([(label, "".join(f"{cell:>8}" for cell in cells)) for label, *cells in rows])
    for listener in (shown, log):
        listener.message(text)
        listener.message(f"Again by hand: bayesflex fit {start_path} {map_path} --config {out / CONFIG_FILE} -o again")
    return result


def opening(closed: Array, other: Array, layout: Layout) -> float:
    """Return by how many degrees the second domain is turned, seen from the first, between two CA traces (n_ca, 3)."""
    first, second = layout.first_domain, layout.second_domain
    turn = superimpose(closed[first], other[first]).rotation.T @ superimpose(closed[second], other[second]).rotation
    return math.degrees(rotation_angle(turn))
