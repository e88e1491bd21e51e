"""Pages of real fits in a real browser: ``python -m benchmarks.pages -o pages``.

The demo, a subunit of GroEL and the p97 hexamer (5FTM into a noisy map of 5FTN) are fitted with the settings of every
user, and the page of each is opened in headless Chromium as a phone and as a projector show it. A page must be smaller
than 15 MB, draw its models and map and every curve, log no warning and no error, and ask the network for nothing.
Pictures of both are kept to be looked at. A fit that is in the folder already is not made again; GroEL and p97 need
the folder BAYESFLEX_DATA.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bayesflex.config import FitConfig
from bayesflex.io.maps import write_map
from bayesflex.io.structures import write_structure
from bayesflex.workflows.demo import run_demo
from bayesflex.workflows.fit import run_fit
from bayesflex.workflows.report import write_report
from bayesflex.workflows.run_files import REPORT_FILE, SUMMARY_FILE
from benchmarks import headless
from benchmarks.accuracy.cases import CASES

#: A page may be this large, bytes.
LIMIT = 15_000_000

#: A phone held upright, and a projector: width and height in CSS pixels.
SIZES = {"phone": (390, 844), "projector": (1920, 1080)}

#: Cases of the accuracy benchmark by what they are called here.
_FITS = {"groel": "groel-open-10", "p97": "p97-up-5"}

NAMES = ("demo", *_FITS)


@dataclass(frozen=True)
class Looked:
    """What was seen of a page."""

    name: str
    n_bytes: int
    n_charts: int
    problems: tuple[str, ...]


def make_run(name: str, out: Path, data: Path) -> None:
    """Make a fit in ``out/name`` if it is not there."""
    folder = out / name
    if (folder / SUMMARY_FILE).is_file():
        write_report(folder)
        return
    if name == "demo":
        run_demo(folder, 1)
        return
    (case,) = (case for case in CASES if case.name == _FITS[name])
    given = case.make(data, 1)
    inputs = out / f"{name}-inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    write_structure(given.start, inputs / "start.cif")
    write_map(given.density, inputs / "map.mrc")
    run_fit(inputs / "start.cif", inputs / "map.mrc", folder, FitConfig(resolution=case.resolution))


def look(page: headless.Page, path: Path, pictures: Path | None = None) -> Looked:
    """Open a page in every size and return what is wrong with it.

    Parameters
    ----------
    page
        Of a browser.
    path
        File of the page.
    pictures
        Folder for pictures of it, or None.
    """
    problems: list[str] = []
    n_charts = 0
    n_bytes = path.stat().st_size
    if n_bytes >= LIMIT:
        problems.append(f"{n_bytes} bytes, not below {LIMIT}")
    for size, (width, height) in SIZES.items():
        page.resize(width, height)
        page.open(path)
        if page.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            problems.append(f"{size}: wider than the window")
        if page.run("return document.getElementById('scene').dataset.state") != "drawn":
            problems.append(f"{size}: the view says that it is not drawn")
        drawn = page.picture("#scene canvas")
        if (np.ptp(drawn, axis=2) > 40).mean() < 0.02:
            problems.append(f"{size}: nothing to be seen in the view")
        n_charts = page.run(
            "document.querySelectorAll('.plot').forEach((e, i) => { e.dataset.looked = String(i); });"
            "return document.querySelectorAll('.plot').length;"
        )
        for index in range(n_charts):
            if not (np.ptp(page.picture(f'[data-looked="{index}"] canvas'), axis=2) > 60).any():
                problems.append(f"{size}: curve {index + 1} is empty")
        problems += [f"{size}: logged {text}" for text in page.logged()]
        problems += [f"{size}: asked for {address}" for address in page.requested()]
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            page.run("window.scrollTo(0, 0);")
            (pictures / f"{path.parent.name}-{size}.png").write_bytes(page.png(whole=True))
    return Looked(path.parent.name, n_bytes, n_charts, tuple(problems))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the fits and pictures")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; by default all")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: expected {', '.join(NAMES)}")
    if headless.CHROMIUM is None or headless.DRIVER is None:
        parser.error("no Chromium with its driver (chromium, chromedriver) on the path")
    data = Path(os.environ.get("BAYESFLEX_DATA", ""))
    found = []
    for name in options.names or NAMES:
        make_run(name, options.out, data)
        with tempfile.TemporaryDirectory() as profile, headless.browser(Path(profile)) as page:
            seen = look(page, options.out / name / REPORT_FILE, options.out / "pictures")
        found.append(seen)
        said = "; ".join(seen.problems) or "as it should be"
        print(f"{name}: {seen.n_bytes / 1e6:.1f} MB, {seen.n_charts} curves, {said}", flush=True)
    return 1 if any(seen.problems for seen in found) else 0


if __name__ == "__main__":
    sys.exit(main())
