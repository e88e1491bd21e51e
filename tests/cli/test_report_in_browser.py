"""The page of a run in a real browser: it draws, logs no error, asks for nothing, and its controls do what they say.

Chromium and its driver come with the system (Debian: ``chromium`` and ``chromium-driver``).
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks import headless

from bayesflex.io.structures import read_structure
from bayesflex.report import RunData, render_page
from bayesflex.workflows.report import read_run
from bayesflex.workflows.simulate import simulate

pytestmark = pytest.mark.slow

SHORT = ["--stages", 25, "--stage-iterations", 3, "--warmup-iterations", 4, "--iterations", 6, "--chains", 2]
PHONE, DESKTOP = (390, 844), (1280, 900)
LIMIT = 15_000_000


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if headless.CHROMIUM is None or headless.DRIVER is None:
        reason = "no Chromium with its driver (chromium, chromedriver) on the path"
        if os.environ.get("BAYESFLEX_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with headless.browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def demo(run, tmp_path_factory) -> Path:
    """The page of the demo, by the command."""
    out = tmp_path_factory.mktemp("demo") / "out"
    outcome = run("demo", "-o", out)
    assert outcome.code == 0, outcome.err
    return out / "report.html"


@pytest.fixture(scope="module")
def groel(run, data_dir, tmp_path_factory) -> Path:
    """The page of a short fit of a subunit of GroEL."""
    out = tmp_path_factory.mktemp("groel") / "out"
    arguments = ["fit", data_dir / "groel" / "1oel.pdb", data_dir / "groel" / "1sx4A.ccp4", "-o", out]
    outcome = run(*arguments, "--resolution", 10, *SHORT, "--steps", 5)
    assert outcome.code == 0, outcome.err
    return out / "report.html"


@pytest.fixture(scope="module")
def p97(data_dir, tmp_path_factory) -> Path:
    """A page as large as that of a fit of p97 (35,000 atoms, a map of 128³): a model moved as a fit would move it."""
    start = read_structure(data_dir / "p97" / "5ftm.pdb.gz")
    moved = start.coords + 6.0 * np.sin(start.coords[:, ::-1] / 40.0)
    fitted = start.with_coords(moved)
    ca = fitted.ca_trace().coords
    rng = np.random.default_rng(1)
    run = RunData(
        name="p97",
        settings={"resolution": 6.0},
        start=start,
        fitted=fitted,
        density=simulate(fitted, resolution=6.0, voxel=1.6, box=128, kernel="gaussian"),
        density_name="5ftm.mrc",
        ensemble=ca + 0.3 * rng.standard_normal((50, *ca.shape)),
        residues={name: rng.random(fitted.n_residues) for name in ("sd", "radius_90", "support", "contraction")},
    )
    path = tmp_path_factory.mktemp("p97") / "report.html"
    path.write_text(render_page(run), encoding="utf-8")
    return path


def changed(one: np.ndarray, other: np.ndarray) -> float:
    """The share of what is coloured in either picture that differs to the eye."""
    coloured = (np.ptp(one, axis=2) > 40) | (np.ptp(other, axis=2) > 40)
    return float((np.abs(one - other).max(axis=2) > 20)[coloured].mean())


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The share of pixels that differ to the eye."""
    return float((np.abs(one - other).max(axis=2) > 20).mean())


def assert_clean(page) -> None:
    assert page.logged() == []
    assert page.requested() == []


@pytest.mark.parametrize("case", ["demo", "groel", "p97"])
def test_the_page_draws_offline(browser, case, request):
    path = request.getfixturevalue(case)
    assert path.stat().st_size < LIMIT
    for size in (DESKTOP, PHONE):
        browser.resize(*size)
        browser.open(path)
        assert browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert browser.run("return document.getElementById('scene').dataset.state") == "drawn"
        drawn = browser.picture("#scene canvas")
        assert drawn.shape[1] > 0.8 * (size[0] if size is PHONE else 800)
        coloured = np.ptp(drawn, axis=2) > 40
        assert coloured.mean() > 0.02  # ribbons, not the white of an empty view
        # All of it is to be seen: nothing is drawn along the edges.
        inner = drawn[4:-4, 4:-4]
        edges = np.concatenate([inner[:2].reshape(-1, 3), inner[:, :2].reshape(-1, 3), inner[:, -2:].reshape(-1, 3)])
        assert (edges > 200).all()
        for selector in (
            ("[data-residue-chart]", "[data-run-chart]", "#shells") if case != "p97" else ("[data-residue-chart]",)
        ):
            assert (np.ptp(browser.picture(f"{selector} canvas"), axis=2) > 60).any()
        assert_clean(browser)


def test_the_controls_do_what_they_say(browser, demo):
    browser.resize(*DESKTOP)
    browser.open(demo)
    seen = {"chain": browser.picture("#scene")}
    for mode in ("displacement", "sd", "smoc"):
        browser.set(f'input[value="{mode}"]', True)
        seen[mode] = browser.picture("#scene")
    assert changed(seen["chain"], seen["displacement"]) > 0.3
    assert changed(seen["displacement"], seen["sd"]) > 0.1
    assert changed(seen["sd"], seen["smoc"]) > 0.1
    assert "or less" in browser.element("#colour-key").text
    browser.set('input[value="sd"]', True)
    assert "Å or more" in browser.element("#colour-key").text

    browser.set("#show-ensemble", True)
    with_ensemble = browser.picture("#scene")
    assert changed(seen["sd"], with_ensemble) > 0.01
    browser.set("#show-ensemble", False)
    assert difference(seen["sd"], browser.picture("#scene")) < 0.001

    # Without models, the surface alone: it shrinks as the level rises.
    for name in ("fitted", "start"):
        browser.set(f"#show-{name}", False)
    browser.set("#opacity", 100)
    areas, levels = [], []
    for level in (20, 80, 140):
        browser.set("#contour", level)
        areas.append((browser.picture("#scene canvas").min(axis=2) < 250).mean())
        levels.append(float(browser.element("#contour-value").text))
    assert areas[0] > areas[1] > areas[2] > 0.005
    assert levels == sorted(levels)
    browser.set("#show-map", False)
    assert (browser.picture("#scene canvas")[12:-12, 12:-12] > 250).all()  # without the rounded corners

    browser.set("#show-start", True)
    assert (np.ptp(browser.picture("#scene canvas"), axis=2) > 40).mean() > 0.005  # alone, it has the colours
    assert_clean(browser)


def test_a_curve_leads_to_its_residue(browser, demo):
    browser.resize(*DESKTOP)
    browser.open(demo)
    before = browser.picture("#scene")
    browser.run(
        "const u = document.querySelector('[data-residue-chart] .u-over'), r = u.getBoundingClientRect();"
        "for (const kind of ['mousemove', 'mousedown', 'mouseup', 'click']) u.dispatchEvent(new MouseEvent(kind,"
        "{bubbles: true, clientX: r.x + r.width / 2, clientY: r.y + 20}));"
    )
    browser.wait_until("return document.getElementById('picked').textContent.includes('moved')")
    assert browser.element("#picked").text.startswith(("A 9", "A 10"))  # the middle of 200 residues
    assert difference(before, browser.picture("#scene")) > 0.001
    assert_clean(browser)


def test_a_residue_of_the_list_is_found_in_the_view(browser, demo):
    browser.resize(*PHONE)
    browser.open(demo)
    name = browser.element("[data-residue]").text
    before = browser.picture("#scene")
    browser.run("document.querySelector('[data-residue]').click();")
    browser.wait_until("return document.getElementById('picked').textContent.includes('moved')")
    assert browser.element("#picked").text.startswith(name)
    assert difference(before, browser.picture("#scene")) > 0.001
    assert_clean(browser)


def test_the_surface_begins_at_the_contour_of_view_cxc(browser, demo):
    script = (demo.parent / "view.cxc").read_text(encoding="utf-8")
    level = float(re.search(r"level (\S+)", script).group(1))
    browser.resize(*DESKTOP)
    browser.open(demo)
    assert float(browser.element("#contour-value").text) == pytest.approx(level, rel=5e-3)  # three digits
    assert browser.run("return JSON.parse(document.getElementById('data').textContent).scene.map.level") == (
        pytest.approx(level, rel=1e-5)
    )


def test_the_curve_of_another_mode(browser, demo):
    browser.resize(*DESKTOP)
    browser.open(demo)
    before = browser.picture("#amplitude canvas")
    browser.set("#mode", "1")
    assert difference(before, browser.picture("#amplitude canvas")) > 0.001
    assert_clean(browser)


def test_hostile_names_run_nothing(browser, demo, tmp_path):
    attack = "</script><script>document.title='attacked'</script><img src=x onerror=\"document.title='attacked'\">"
    found = read_run(demo.parent)
    start, fitted = (
        replace(model, chain=np.full(model.n_atoms, attack), residue_name=np.full(model.n_atoms, attack), name=attack)
        for model in (found.start, found.fitted)
    )
    hostile = replace(
        found,
        name=attack,
        start=start,
        fitted=fitted,
        inputs=dict.fromkeys(found.inputs, attack),
        command=attack,
        density_name=attack,
        summary=dict(found.summary) | {"warnings": [attack]},
        notes=(attack,),
    )
    path = tmp_path / "report.html"
    path.write_text(render_page(hostile), encoding="utf-8")
    browser.resize(*PHONE)
    browser.open(path)
    assert browser.run("return document.title").startswith("script>")  # the last part of what reads as a path
    assert browser.run("return document.images.length") == 0
    assert attack in browser.element("#colour-key").text
    assert browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert_clean(browser)


def test_without_webgl_the_rest_is_there(browser, demo, tmp_path):
    # As on a machine whose browser has none: the canvas gives no such context.
    text = demo.read_text(encoding="utf-8")
    path = tmp_path / "report.html"
    block = (
        "for (const kind of [HTMLCanvasElement, OffscreenCanvas]) {"
        "const get = kind.prototype.getContext;"
        "kind.prototype.getContext = function (name, ...rest) {"
        "return name.includes('webgl') ? null : get.call(this, name, ...rest); }; }"
    )
    path.write_text(text, encoding="utf-8")
    browser.resize(*DESKTOP)
    identifier = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": block})
    try:
        browser.open(path)
        assert "needs WebGL" in browser.element("#no-scene").text
        assert (np.ptp(browser.picture("[data-run-chart] canvas"), axis=2) > 60).any()
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", identifier)
        browser.logged()
