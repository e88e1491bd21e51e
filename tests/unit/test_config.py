from __future__ import annotations

import dataclasses
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesflex.config import FIRST_MODE, FitConfig, parse_modes
from bayesflex.config_files import config_to_toml, load_config
from bayesflex.errors import ConfigError
from bayesflex.settings import setting_of

FIELDS = {item.name: item for item in dataclasses.fields(FitConfig)}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def values_of(item: dataclasses.Field) -> st.SearchStrategy:
    """Every value that a setting allows, from its type and Setting alone."""
    setting = setting_of(item)
    declared = str(item.type)
    if item.name == "modes":
        return st.lists(st.integers(FIRST_MODE, 500), min_size=1, max_size=20, unique=True).map(tuple)
    if item.name == "stages":
        return st.lists(st.floats(1001.0, 1e6), max_size=5, unique=True).map(lambda s: tuple(sorted(s, reverse=True)))
    if item.name == "temperatures":
        count = st.integers(1, 1000).map(lambda n: (float(n),))
        hotter = st.lists(st.floats(1.001, 1e6), min_size=1, max_size=5, unique=True)
        return st.just(()) | count | hotter.map(lambda t: (1.0, *sorted(t)))
    if item.name == "pose":
        return st.just(())  # has no meaning without dock
    if item.name == "origin":
        positions = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3)
        return st.sampled_from([None, "nstart", "origin"]) | positions.map(lambda p: ",".join(map(repr, p)))
    if item.name == "evaluation":
        return st.one_of(st.just("auto"), st.lists(st.sampled_from(["grid", "pairs"]), min_size=1).map(",".join))
    if item.name == "observations":
        return st.sampled_from(["resolution", "voxels"]) | st.floats(1.0, 1e9).map(repr)
    if item.name == "resolution":
        return st.floats(1e-3, 1000.0)
    if declared.startswith("bool"):
        return st.booleans()
    if declared.startswith("int"):
        return st.integers(int(setting.minimum or 0), 2**63 - 1)
    if declared.startswith("str"):
        words = st.sampled_from(setting.choices) if setting.choices else st.text(string.printable)
        return words | st.none() if "None" in declared else words
    edge = setting.open_interval
    numbers = st.floats(
        setting.minimum,
        setting.maximum,
        allow_nan=False,
        allow_infinity=False,
        exclude_min=edge and setting.minimum is not None,
        exclude_max=edge and setting.maximum is not None,
    )
    return numbers | st.none() if "None" in declared else numbers


configs = st.builds(FitConfig, **{name: values_of(item) for name, item in FIELDS.items()})


@given(config=configs)
def test_a_configuration_comes_back_from_its_file(config, tmp_path_factory):
    inputs = {"model": "model.cif", "model_sha256": "ab" * 32, "reference": None}
    path = tmp_path_factory.mktemp("config") / "config.toml"
    write(path, config_to_toml(config, inputs, {"version": "0.1.0", "threads_used": 2}))
    assert load_config(path, {}) == config


@given(pose=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=6))
def test_a_pose_comes_back_to_the_last_bit(pose, tmp_path_factory):
    config = FitConfig(resolution=5.0, dock=True, pose=tuple(pose))
    path = tmp_path_factory.mktemp("config") / "config.toml"
    write(path, config_to_toml(config, {}, {}))
    assert load_config(path, {}) == config


def test_a_pose_needs_docking():
    with pytest.raises(ConfigError, match=r"pose: .*without --dock"):
        FitConfig(resolution=5.0, pose=(0.0,) * 6)


def test_a_saved_configuration_keeps_what_was_read_and_by_what(tmp_path):
    import tomllib

    text = config_to_toml(FitConfig(resolution=5.0), {"map": "map.mrc", "mask": None}, {"numpy": "2.0"})
    content = tomllib.loads(text)
    assert content["input"] == {"map": "map.mrc"}
    assert content["provenance"] == {"numpy": "2.0"}
    assert content["fit"]["modes"] == list(range(7, 17))
    assert "sigma" not in content["fit"], "None is left out"


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_says_what_it_is_and_allows_its_default(name):
    item = FIELDS[name]
    setting = setting_of(item)
    assert setting.help.endswith("."), "one sentence"
    assert "\n" not in setting.help
    config = FitConfig(resolution=5.0)
    if item.default is not dataclasses.MISSING:
        assert getattr(config, name) == item.default


@pytest.mark.parametrize("name", [name for name, item in FIELDS.items() if "None" in str(item.type)])
def test_a_setting_that_may_be_none_is_none_by_default(name):
    # A saved file leaves out None, so that only this default brings it back.
    assert FIELDS[name].default is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("resolution", 0.0, "a number above 0"),
        ("resolution", -3.0, "a number above 0"),
        ("resolution", float("nan"), "a number above 0"),
        ("resolution", float("inf"), "a number above 0"),
        ("resolution", "five", "a number above 0"),
        ("resolution", None, "a number above 0"),
        ("resolution", True, "a number above 0"),
        ("resolution", 10**400, "a number above 0"),
        ("deformation", "both", "one of local, global, combined"),
        ("deformation", 3, "one of local, global, combined"),
        ("modes", (7, 7), "each mode once"),
        ("modes", (7.5,), "a whole number"),
        ("modes", 10, "a list"),
        ("rigid", 1, "true or false"),
        ("rigid", "yes", "true or false"),
        ("chains", 0, "a whole number of at least 1"),
        ("chains", 2.0, "a whole number"),
        ("chains", True, "a whole number"),
        ("iterations", -1, "a whole number of at least 1"),
        ("seed", -1, "a whole number of at least 0"),
        ("likelihood", "poisson", "one of marginal, half-maps, gaussian"),
        ("evaluation", "fast", "auto, grid, pairs, or a list of grid and pairs"),
        ("evaluation", "auto,grid", "auto, grid, pairs, or a list of grid and pairs"),
        ("observations", "many", "resolution, voxels, or a number of at least 1"),
        ("observations", "0.5", "resolution, voxels, or a number of at least 1"),
        ("observations", "nan", "resolution, voxels, or a number of at least 1"),
        ("sigma", 0.0, "a number above 0"),
        ("temperature", 0, "a number above 0"),
        ("bond_constant", -1.0, "a number of at least 0"),
        ("target_acceptance", 1.0, "between 0 and 1, neither included"),
        ("stages", (8.0, 12.0), "coarse to fine"),
        ("temperatures", (2.5,), "a whole number of temperatures"),
        ("temperatures", (2.0, 3.0), "rise from 1 on"),
        ("temperatures", (1.0, 3.0, 2.0), "rise from 1 on"),
        ("temperatures", (0.0,), "a number above 0"),
        ("stages", (12.0, 4.0), "coarser than the last one"),
        ("stages", (12.0, float("nan")), "a number above 0"),
        ("pose", (1.0, 2.0), "six numbers"),
        ("pose", (1.0, 2.0, 3.0, 4.0, 5.0, float("nan")), "a number"),
        ("origin", "centre", "nstart, origin, or three finite numbers"),
        ("origin", "1,2", "nstart, origin, or three finite numbers"),
        ("origin", "1,2,inf", "nstart, origin, or three finite numbers"),
        ("voxel", float("inf"), "a number above 0"),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(name, value, expected):
    with pytest.raises(ConfigError) as caught:
        FitConfig(**{"resolution": 5.0, name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}: expected ")
    assert expected in message
    assert "got" in message
    assert "--" + name.replace("_", "-") in message


def test_modes_below_seven_are_explained():
    with pytest.raises(ConfigError, match=r"modes: expected numbers from 7 on.*--rigid"):
        FitConfig(resolution=5.0, modes=(6, 7))


def test_numbers_are_stored_in_one_form():
    config = FitConfig(resolution=5, chains=np.int64(3), modes=[7, 8], sigma=np.float32(2.0))
    assert type(config.resolution) is float
    assert type(config.chains) is int
    assert config.modes == (7, 8)
    assert type(config.sigma) is float


@pytest.mark.parametrize(
    ("text", "modes"),
    [
        ("10", tuple(range(7, 17))),
        ("auto", ()),
        ("1", (7,)),
        ("7-10", (7, 8, 9, 10)),
        ("7,9,12", (7, 9, 12)),
        ("7, 9-11", (7, 9, 10, 11)),
        ("7,", None),
        ("0", None),
        ("", None),
        ("-3", None),
        ("3-9", None),
        ("10-7", None),
        ("7,7", None),
        ("ten", None),
        ("1e9", None),
        ("99999999999999999999999", None),
        ("7-99999999999999999999999", None),
    ],
)
def test_modes_are_a_count_a_range_or_a_list(text, modes):
    if modes is None:
        with pytest.raises(ConfigError, match="modes: expected") as caught:
            parse_modes(text)
        assert repr(text) in str(caught.value)
    else:
        assert parse_modes(text) == modes


@pytest.mark.parametrize("written", ["3", '"3"', '"7-9"', "[7, 8, 9]", '"7,8,9"'])
def test_modes_in_a_file_may_be_a_number_a_text_or_a_list(tmp_path, written):
    path = write(tmp_path / "fit.toml", f"resolution = 5\nmodes = {written}\n")
    assert load_config(path, {}).modes == (7, 8, 9)


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = write(tmp_path / "fit.toml", "[fit]\nresolution = 8.0\nchains = 2\nsteps = 5\n")
    config = load_config(path, {"steps": 7, "stages": "20,12"})
    assert (config.resolution, config.chains, config.steps, config.iterations) == (8.0, 2, 7, 100)
    assert config.stages == (20.0, 12.0)


@pytest.mark.parametrize(
    ("written", "expected"), [("8", (8.0,)), ("'8'", (8.0,)), ("'1,1.5,2'", (1.0, 1.5, 2.0)), ("[1, 3]", (1.0, 3.0))]
)
def test_temperatures_in_a_file_may_be_a_number_a_text_or_a_list(tmp_path, written, expected):
    path = write(tmp_path / "fit.toml", f"resolution = 5\ntemperatures = {written}\n")
    assert load_config(path, {}).temperatures == expected


def test_settings_may_stand_at_the_top_level(tmp_path):
    path = write(tmp_path / "fit.toml", "resolution = 8\nrigid = true\n[input]\nmodel = 'a.cif'\n")
    assert load_config(path, {}) == FitConfig(resolution=8.0, rigid=True)


def test_a_number_of_observations_may_be_written_as_a_number(tmp_path):
    for text, value in (("250", 250.0), ("250.5", 250.5), ("'250'", 250.0), ("'voxels'", "voxels")):
        path = write(tmp_path / "fit.toml", f"resolution = 8\nobservations = {text}\n")
        found = load_config(path, {}).observations
        assert (found if isinstance(value, str) else float(found)) == value


def test_resolution_must_be_given_somewhere():
    with pytest.raises(ConfigError, match=r"resolution: expected .* got none\. Give --resolution"):
        load_config(None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resolutoin = 5", r"fit.toml: resolutoin: unknown setting\. Did you mean resolution\?"),
        ("resolution = 5\n[fit]\nwater = 1", r"fit.toml: water: unknown setting\. Settings are listed"),
        ("resolution = 5\n[fit]\nresolution = 6", r"fit.toml: resolution: set both"),
        ("resolution = 5\nchains = 'four'", r"fit.toml: chains: expected a whole number of at least 1, got 'four'"),
        ("resolution = 0", r"fit.toml: resolution: expected a number above 0, got 0"),
        ("resolution = 5\nstages = 'a,b'", r"fit.toml: stages: expected resolutions in Å"),
        ("resolution = 5\ntemperatures = 'hot'", r"fit.toml: temperatures: expected how many temperatures"),
        ("fit = 3", r"fit.toml: fit: expected a table"),
        ("resolution 5", r"fit.toml: expected a TOML file"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path / "fit.toml", text), {})


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: the configuration file cannot be read"):
        load_config(tmp_path / "none.toml", {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.toml: expected a TOML file"):
        load_config(tmp_path / "binary.toml", {})


raw_values = st.integers() | st.floats() | st.booleans() | st.text(string.printable)


@given(values=st.dictionaries(st.sampled_from(sorted(FIELDS)), raw_values))
def test_any_value_makes_a_configuration_or_an_error_of_one_line(values):
    message = ""
    try:
        load_config(None, values)
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message
