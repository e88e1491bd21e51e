"""The page of a run: what it holds, where it puts it, and that nothing from a file becomes part of its markup."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from bayesflex.contour import contour_level
from bayesflex.density_map import DensityMap
from bayesflex.metrics import metrics_table
from bayesflex.protocols import Record
from bayesflex.report import RunData, render_page
from bayesflex.report.attention import residues_to_look_at
from bayesflex.report.charts import chart_of_shells, charts_along_model, charts_of_iterations
from bayesflex.report.embedding import encoded, script_json
from bayesflex.report.scene import displacement, residue_names, scene, volume
from bayesflex.report.tables import changes, facts, key_numbers, title
from bayesflex.synthetic import two_domain_protein
from bayesflex.validation import validate
from bayesflex.workflows.simulate import simulate

HOSTILE = """</script><script>alert(1)</script><img src=x onerror='alert(2)'>"&<!--{{ 7 * 7 }}"""
TYPES = {"uint8": "<u1", "int32": "<i4", "float32": "<f4"}


def decoded(packed) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["base64"]), TYPES[packed["type"]])


class Elements(HTMLParser):
    """What a browser would make of a page: elements with attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    @property
    def data(self):
        (index,) = (
            i for i, (_, attributes) in enumerate(e for e in self.elements if e[0] == "script") if attributes.get("id")
        )
        return json.loads(self.scripts[index])


def some_map(coords: np.ndarray, voxel: float = 3.0) -> DensityMap:
    """Blobs at the CA, on a grid whose axes all differ."""
    origin = coords.min(axis=0) - np.array([15.0, 18.0, 21.0])
    size = np.ceil((np.ptp(coords, axis=0) + np.array([30.0, 36.0, 42.0])) / voxel).astype(int)
    axes = [origin[k] + voxel * np.arange(size[k]) for k in range(3)]
    values = np.zeros(size[::-1])
    for centre in coords:
        x, y, z = (np.exp(-((axis - c) ** 2) / 18.0) for axis, c in zip(axes, centre, strict=True))
        values += z[:, None, None] * y[None, :, None] * x[None, None, :]
    return DensityMap(values.astype(np.float32), np.full(3, voxel), origin)


def some_metrics(n: int = 30, modes=(7, 8)):
    rows = [
        Record(
            chain,
            i,
            "warmup-1" if i < 10 else "sampling",
            {"cc_centred": 0.5 + 0.01 * i, "energy": 10.0 * chain, "log_density": -float(i)}
            | {f"amplitude_{mode}": float(mode * i) for mode in modes},
        )
        for chain in range(2)
        for i in range(n)
    ]
    return metrics_table(rows)


SUMMARY = {
    "cc_centred": {"start": 0.5, "fitted": 0.9},
    "energy": {"start": 0.0, "fitted": 12.0},
    "rmsd_start_to_fitted": 3.25,
    "radius_90": {"median": 0.5, "max": 1.25},
    "r_hat_max": 1.02,
    "ess_min": 123.4,
    "grid": [10, 11, 12],
    "voxel_size": [2.0, 2.0, 2.5],
    "seconds": {"total": 12.3},
    "warnings": ["A sentence to read."],
    "findings": ["Something is as it should be."],
}


@pytest.fixture(scope="module")
def run() -> RunData:
    """A run with all its parts."""
    start = two_domain_protein(60)
    fitted = start.with_coords(start.coords + np.array([3.0, 0.0, 4.0]))
    ca = fitted.ca_trace().coords
    rng = np.random.default_rng(3)
    return RunData(
        name="out",
        settings={"resolution": 8.0, "deformation": "combined", "modes": (7, 8), "chains": 2, "iterations": 20},
        inputs={"model": "some/model.cif", "map": "some/map.mrc", "model_sha256": "ab", "map_sha256": "cd"},
        provenance={"bayesflex": "1.2.3", "python": "3.11"},
        command="bayesflex fit some/model.cif some/map.mrc --config out/config.toml -o again",
        summary=SUMMARY,
        start=start,
        fitted=fitted,
        density=some_map(ca),
        density_name="map.mrc",
        ensemble=ca + 0.3 * rng.standard_normal((30, len(ca), 3)),
        residues={
            "sd": np.linspace(0.1, 0.5, 60),
            "radius_90": np.linspace(0.2, 1.0, 60),
            "support": np.ones(60),
            "smoc": np.full(60, 0.75),
            "prior_only": (np.arange(60) > 55).astype(float),
        },
        validation={"start": {"cc_mask": 0.25}, "fitted": {"cc_mask": 0.8125, "notes": ["What was left out."]}},
        metrics=some_metrics(),
    )


@pytest.fixture(scope="module")
def page(run) -> Elements:
    return Elements(render_page(run))


def test_the_page_says_what_was_fitted_into_what_and_how_to_do_it_again(page):
    text = " ".join(" ".join(page.texts).split())
    assert "model.cif fitted into map.mrc" in text
    for said in (
        "A sentence to read.",
        "Something is as it should be.",
        "0.500 → 0.900",
        "0.8125",
        "What was left out.",
        "bayesflex fit some/model.cif some/map.mrc --config out/config.toml -o again",
        "python 3.11",
        "10 × 11 × 12 voxels of 2 × 2 × 2.5 Å",
        "normal modes (2 modes from 7 on)",
        "3Dmol.js incorporates code from",
        "Copyright (c) 2022 Leon Sorokin",
    ):
        assert said in text


def test_the_page_loads_nothing(page):
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster")
    ]
    assert addresses == ["data:,"]  # no icon either
    assert not [attributes for tag, attributes in page.elements if tag == "style" and attributes]
    styles = render_page(RunData(name="x"))
    assert "@import" not in styles
    assert "url(" not in styles.split("</style>")[1]


def test_only_the_page_s_own_scripts_may_run(page):
    (policy,) = (a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    kinds = [attributes.get("type") for tag, attributes in page.elements if tag == "script"]
    assert kinds == ["application/json", None, None, None]
    for script in page.scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == 3


def test_the_same_run_gives_the_same_page(run):
    assert render_page(run) == render_page(run)


@pytest.mark.parametrize(
    "part",
    [
        "summary",
        "start",
        "fitted",
        "density",
        "ensemble",
        "metrics",
        "command",
        "settings",
        "residues",
        "validation",
        "all",
    ],
)
def test_a_page_is_made_of_what_there_is(run, part):
    empty = {"settings": {}, "residues": {}, "validation": {}}.get(part)
    lacking = RunData(name="out") if part == "all" else replace(run, **{part: empty})
    assert Elements(render_page(lacking)).data


def hostile_run(run: RunData) -> RunData:
    start, fitted = (
        replace(
            structure,
            chain=np.full(structure.n_atoms, HOSTILE),
            residue_name=np.full(structure.n_atoms, HOSTILE),
            insertion_code=np.full(structure.n_atoms, HOSTILE),
            name=HOSTILE,
        )
        for structure in (run.start, run.fitted)
    )
    return replace(
        run,
        name=HOSTILE,
        start=start,
        fitted=fitted,
        settings=dict(run.settings) | {"origin": HOSTILE, "likelihood": HOSTILE, "deformation": HOSTILE},
        inputs={"model": HOSTILE, "map": HOSTILE, "map_sha256": HOSTILE, "reference": HOSTILE},
        provenance={"bayesflex": HOSTILE, HOSTILE: HOSTILE},
        command=HOSTILE,
        summary=SUMMARY | {"warnings": [HOSTILE], "findings": [HOSTILE]},
        validation={"fitted": {"notes": [HOSTILE], HOSTILE: 3.0}},
        density_name=HOSTILE,
        notes=(HOSTILE,),
    )


def test_nothing_from_a_file_becomes_markup(run, page):
    text = render_page(hostile_run(run))
    attacked = Elements(text)

    def shape(elements):
        # Rows of tables differ in number; what kinds of elements and attributes there are does not.
        return {(tag, *sorted(attributes)) for tag, attributes in elements}

    assert shape(attacked.elements) - shape(page.elements) <= {("p", "class")}
    assert len(attacked.scripts) == len(page.scripts)
    assert attacked.scripts[1:] == page.scripts[1:]
    assert not [name for _, attributes in attacked.elements for name in attributes if name.startswith("on")]
    assert attacked.data["scene"]["chains"] == [HOSTILE]
    assert HOSTILE in attacked.texts
    assert "7 * 7" in text
    assert "49" not in " ".join(attacked.texts)


def test_names_of_a_file_are_labels_alone(run):
    shown = scene(hostile_run(run))
    assert shown["residue_kinds"] == ["UNK"]
    assert set(shown["atom_names"]) <= {"N", "CA", "C", "O", "P", "OP2", "O2P", "N1", "N3", ""} | {
        f"{name}{prime}" for name in ("O5", "C5", "O3") for prime in "'*"
    }


def test_json_in_a_script_cannot_end_it():
    text = script_json({"a": HOSTILE})
    assert not {"<", ">", "&"} & set(text)
    assert text.isascii()
    assert json.loads(text) == {"a": HOSTILE}


def test_an_array_of_another_type_is_refused():
    with pytest.raises(ValueError, match="float64"):
        encoded(np.zeros(3))


def test_coordinates_reach_the_page_where_they_are(run):
    shown = scene(run)
    index = decoded(shown["atom_residue"])
    names = np.array(shown["atom_names"])[decoded(shown["atom_name"])]
    ca = names == "CA"
    for name, structure in (("start", run.start), ("fitted", run.fitted)):
        coords = decoded(shown["models"][name]).reshape(-1, 3)
        np.testing.assert_allclose(coords[ca], structure.ca_trace().coords, atol=1e-3)
    assert index[ca].tolist() == list(range(60))
    assert shown["has_backbone"]
    assert shown["residue_names"] == residue_names(run.fitted)
    np.testing.assert_allclose(decoded(shown["residue_values"]["displacement"]), 5.0, atol=1e-5)


def test_ligands_are_shown_and_water_and_side_chains_are_not(run):
    start = run.start
    names = np.where(start.residue_index == 3, "LIG", start.residue_name)
    names = np.where(start.residue_index == 4, "HOH", names)
    ligand = np.isin(start.residue_index, [3, 4])
    model = replace(start, residue_name=names, is_ligand=ligand)
    shown = scene(replace(run, start=model, fitted=None, ensemble=None, residues={}))
    residues = decoded(shown["atom_residue"])
    assert np.count_nonzero(residues == 3) == np.count_nonzero((start.residue_index == 3) & (start.element != "H"))
    assert not np.any(residues == 4)
    assert set(np.array(shown["atom_names"])[decoded(shown["atom_name"])[residues == 3]]) == {""}


def test_displacement_of_a_residue_without_ca_is_that_of_its_centroid(run):
    start = run.start
    last = start.residue_index == 59
    start = replace(start, atom_name=np.where(last, "X", start.atom_name))
    shift = np.zeros((start.n_atoms, 3))
    shift[np.flatnonzero(last)[0]] = [0.0, 0.0, float(last.sum())]
    moved = displacement(start, start.with_coords(start.coords + shift))
    assert moved[-1] == pytest.approx(1.0)
    assert not moved[:-1].any()


def test_the_ensemble_is_thinned(run):
    shown = scene(run)["ensemble"]
    draws = decoded(shown["coords"]).reshape(shown["number"], -1, 3)
    assert shown["number"] == 20
    np.testing.assert_allclose(draws[0], run.ensemble[0], atol=1e-3)
    np.testing.assert_allclose(draws[-1], run.ensemble[-1], atol=1e-3)


@pytest.mark.parametrize("voxel", [1.0, 2.0, 4.0])
def test_the_map_lies_where_it_lies(voxel):
    # Its highest voxel is at an atom, whatever the crop and the resampling.
    origin, peak = np.array([-5.0, 3.0, 11.0]), np.array([20.0, 35.0, 51.0])
    axes = [origin[k] + voxel * np.arange(n) for k, n in enumerate(np.array([60, 80, 100]) // int(voxel))]
    x, y, z = (np.exp(-((axis - c) ** 2) / 50.0) for axis, c in zip(axes, peak, strict=True))
    values = (z[:, None, None] * y[None, :, None] * x[None, None, :]).astype(np.float32)
    shown = volume(DensityMap(values, np.full(3, voxel), origin), peak[None], 10.0)
    grid = decoded(shown["values"]).reshape(shown["size"]).astype(float)  # x, y, z
    grid = shown["offset"] + shown["scale"] * grid
    assert shown["level"] == pytest.approx(0.5, abs=0.1)
    inside = np.argwhere(grid > shown["level"]) * shown["unit"] + shown["origin"]
    np.testing.assert_allclose(inside.mean(axis=0), peak, atol=0.3)
    # Half the height of a Gaussian of SD 5 Å is 5.89 Å from its middle.
    radius = (0.75 / np.pi * len(inside) * np.prod(shown["unit"])) ** (1 / 3)
    assert radius == pytest.approx(5.89, abs=0.4)
    low, high = shown["range"]
    assert low < shown["level"] < high <= grid.max() + 2 * shown["scale"]


def test_a_model_outside_its_density_still_gets_a_surface(run):
    away = run.fitted.ca_trace().coords + 500.0
    shown = volume(run.density, away, 8.0)
    assert np.count_nonzero(decoded(shown["values"]) * shown["scale"] + shown["offset"] > shown["level"]) > 0


def test_a_flat_map_is_no_reason_to_fail(run):
    flat = run.density.with_values(np.zeros_like(run.density.values))
    assert Elements(render_page(replace(run, density=flat))).data["scene"]["map"]


def test_curves_against_the_iteration():
    made = charts_of_iterations(some_metrics(3_000))
    assert made["iterations"][0] == 0
    assert made["iterations"][-1] == 2_999
    assert made["thinned"] == 3
    assert len(made["iterations"]) <= 1_002
    by_name = {chart["name"]: chart for chart in made["charts"]}
    assert set(by_name) == {"cc_centred", "energy", "log_density"}
    assert by_name["log_density"]["curves"][1] == [-float(i) for i in made["iterations"]]
    assert [chart["title"] for chart in made["amplitudes"]] == ["Mode 7", "Mode 8"]
    assert [(stage["name"], stage["begin"], stage["warmup"]) for stage in made["stages"]] == [
        ("warmup-1", 0, True),
        ("sampling", 10, False),
    ]


def test_a_chain_that_is_behind_has_gaps():
    rows = [Record(0, i, "sampling", {"cc_centred": 0.5}) for i in range(4)]
    rows += [Record(1, i, "sampling", {"cc_centred": np.inf if i else 0.25}) for i in range(2)]
    (chart,) = charts_of_iterations(metrics_table(rows))["charts"]
    assert chart["curves"] == [[0.5] * 4, [0.25, None, None, None]]


def test_curves_along_the_model(run):
    made = charts_along_model(run)
    assert [chart["name"] for chart in made["charts"]] == ["displacement", "uncertainty", "local-fit", "support"]
    assert made["residues"] == list(range(60))
    assert made["prior_only"] == [56, 57, 58, 59]
    assert made["charts"][1]["curves"][0]["values"][0] == pytest.approx(0.1)
    assert charts_along_model(RunData(name="x")) is None


def resolutions(value: float) -> dict[str, dict[str, float | None]]:
    """As ``validation.json`` has them."""
    return {
        "resolution_0.5": {"masked": None, "unmasked": value},
        "resolution_0.143": {"masked": value, "unmasked": 2.0 * value},
    }


def test_resolutions_are_named_as_the_validation_names_them():
    protein = two_domain_protein(60)
    found = validate(protein, simulate(protein, resolution=8.0), 8.0).numbers()
    labels = [row.label for row in changes(RunData(name="x", validation={"start": found, "fitted": found}))]
    assert [label for label in labels if label.startswith("Map–model FSC")] == [
        "Map–model FSC is 0.5 at, masked",
        "Map–model FSC is 0.143 at, masked",
    ]


def shells(**columns):
    return {"frequency": np.array([0.02, 0.04, 0.06])} | columns


def test_the_curves_of_the_fourier_shells():
    columns = shells(
        start_masked=np.array([0.9, 0.4, 0.1]),
        fitted_masked=np.array([0.99, 0.9, np.nan]),
        fitted_unmasked=np.full(3, np.nan),
        half_maps_masked=np.array([1.0, 0.95, 0.5]),
    )
    found = chart_of_shells(RunData(name="x", settings={"resolution": 5.0}, shells=columns))
    assert found["frequency"] == [0.02, 0.04, 0.06]
    assert found["limits"] == [0.5, 0.143]
    assert found["resolution"] == 5.0
    assert [(curve["label"], curve["dashed"], curve["values"]) for curve in found["curves"]] == [
        ("initial model", False, [0.9, 0.4, 0.1]),
        ("fitted model", False, [0.99, 0.9, None]),
        ("half maps", False, [1.0, 0.95, 0.5]),
    ]
    text = render_page(RunData(name="x", shells=columns))
    assert 'id="shells"' in text
    assert ", and of the half maps" in text


@pytest.mark.parametrize(
    "columns", [{}, shells(), shells(start_masked=np.full(3, np.nan)), {"start_masked": np.ones(3)}]
)
def test_without_fourier_shells_there_is_no_chart(columns):
    run = RunData(name="x", shells=columns)
    assert chart_of_shells(run) is None
    assert 'id="shells"' not in render_page(run)


def test_residues_to_look_at(run):
    marks = np.zeros(60)
    marks[[3, 7]] = 1.0
    smoc = np.full(60, 0.9) + 0.001 * (np.arange(60) % 5)
    smoc[[7, 20]] = 0.6, np.nan
    support = np.ones(60)
    support[7] = 0.25
    columns = {"ramachandran_outlier": marks, "ca_clash": np.where(np.arange(60) == 3, np.nan, 0.0)}
    columns |= {"smoc": smoc, "support": support, "prior_only": np.zeros(60), "q_score": np.full(60, np.nan)}
    found = residues_to_look_at(replace(run, residues=columns))
    assert [(one.index, one.reasons) for one in found] == [
        (7, ("Ramachandran outlier", "little density: 0.25 of the median", "low SMOC: 0.60")),
        (3, ("Ramachandran outlier",)),
    ]
    assert found[0].name == residue_names(run.fitted)[7]
    page = Elements(render_page(replace(run, residues=columns)))
    buttons = [a["data-residue"] for tag, a in page.elements if tag == "button" and "data-residue" in a]
    assert buttons == ["7", "3"]
    assert residues_to_look_at(RunData(name="x")) == []


def test_of_many_residues_those_with_the_most_reasons_are_listed(run):
    columns = {"ca_clash": np.ones(60), "ramachandran_outlier": (np.arange(60) >= 55).astype(float)}
    text = render_page(replace(run, residues=columns))
    assert text.count("data-residue=") == 30
    assert "30 of 60 are listed" in text
    assert text.index(">A 56 ") < text.index(">A 1 ")


@pytest.mark.parametrize(("contour", "expected"), [(None, None), (0.75, 0.75), (50.0, 50.0)])
def test_the_surface_begins_at_the_contour_that_is_given(run, contour, expected):
    shown = scene(replace(run, contour=contour))["map"]
    ca = run.fitted.ca_trace().coords
    assert shown["level"] == (contour_level(run.density, ca) if expected is None else expected)
    low, high = shown["range"]
    assert low < shown["level"] <= high


def test_numbers_before_and_after():
    validation = {
        "start": {
            "cc_mask": 0.8,
            "smoc": 0.5,
            "map_model_fsc": resolutions(9.0),
            "half_map_fsc": None,
            "ca_clashes": 3,
        },
        "fitted": {
            "cc_mask": 0.7,
            "smoc": 0.5,
            "map_model_fsc": resolutions(4.0),
            "half_map_fsc": resolutions(3.5),
            "ca_clashes": 4,
        },
    }
    rows = changes(RunData(name="x", summary=SUMMARY, validation=validation))
    assert [(row.label.split()[0], row.before, row.after, row.improved) for row in rows] == [
        ("Correlation", "0.5000", "0.9000", True),
        ("Structural", "0", "12", None),
        ("cc_mask:", "0.8000", "0.7000", False),
        ("Map–model", "9.00", "4.00", True),
        ("Half-map", "–", "3.50", None),
        ("SMOC,", "0.5000", "0.5000", None),
        ("Clashes", "3", "4", False),
    ]
    (row,) = changes(RunData(name="x", validation={"fitted": {"cc_box": -0.00001, "smoc": None}}))
    assert (row.before, row.after, row.improved) == ("–", "0.0000", None)
    assert changes(RunData(name="x")) == []


def test_what_is_not_known_is_not_claimed():
    assert key_numbers(RunData(name="x")) == []
    assert facts(RunData(name="x")) == []
    assert title(RunData(name="x")) == ("model", "map")


@pytest.mark.slow
def test_a_large_run_makes_a_page_of_moderate_size():
    # As large as p97: 35,000 atoms, 4368 CA, 128 voxels along each edge, four chains and ten modes.
    one = two_domain_protein(546)
    parts = [one.coords + np.array([0.0, 0.0, 25.0 * k]) for k in range(8)]
    large = one.select(np.tile(np.arange(one.n_atoms), 8)).with_coords(np.concatenate(parts))
    large = replace(large, chain=np.repeat([f"chain {k}" for k in range(8)], one.n_atoms))
    ca = large.ca_trace().coords
    rng = np.random.default_rng(1)
    low, high = ca.min(axis=0) - 20.0, ca.max(axis=0) + 20.0
    density = DensityMap(rng.normal(size=(128, 128, 128)).astype(np.float32), (high - low) / 127.0, low)
    run = RunData(
        name="large",
        settings={"resolution": 6.0},
        start=large,
        fitted=large,
        density=density,
        ensemble=ca + rng.normal(size=(50, *ca.shape)),
        residues={name: rng.random(large.n_residues) for name in ("sd", "radius_90", "support", "contraction")},
        metrics=some_metrics(1_500, range(7, 17)),
    )
    assert len(ca) == 4368
    assert len(render_page(run).encode()) < 15e6
