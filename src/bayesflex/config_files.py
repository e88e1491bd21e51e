"""Configuration files: settings read from TOML with flags laid over them, and written with every run.

Settings come from defaults, a TOML file and command-line flags, later ones winning (:func:`load_config`). The settings
themselves, and what each may be, are in ``config``.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import tomli_w

from bayesflex.config import POSE_FORM, FitConfig, parse_modes
from bayesflex.errors import ConfigError
from bayesflex.settings import checked, wrong

#: Tables of a saved configuration that describe a run and set nothing.
_RECORDS = ("input", "provenance")

#: What is expected where a text stands for a list of numbers.
_LISTS = {
    "stages": "resolutions in Å with commas between them (20,12,8)",
    "temperatures": "how many temperatures (8), or which, with commas between them (1,1.5,2,3)",
    "pose": POSE_FORM,
}

#: Bytes of the largest configuration file that is read, and dots in one of its lines: the parser takes time in
#: proportion to the bytes, and to the square of the parts of a dotted key.
_LARGEST_FILE, _MOST_DOTS = 2**20, 1000


def load_config(path: Path | None, overrides: Mapping[str, object]) -> FitConfig:
    """Return the settings of a TOML file with others laid over them; what neither names has its default.

    Parameters
    ----------
    path
        File with the settings at its top level or in a table ``[fit]``, or None. The tables ``[input]`` and
        ``[provenance]`` of a saved configuration are passed over, so that ``config.toml`` of a run can be given again.
    overrides
        Settings by name, such as flags that were given. ``modes`` may be a count or a text for :func:`parse_modes`,
        ``stages`` a text of numbers, in the file and here alike.

    Raises
    ------
    ConfigError
        If the file cannot be read, a key is unknown, a value cannot be used, or the resolution is missing.
    """
    values: dict[str, object] = {}
    for source, given in ((str(path), _read_settings(path) if path else {}), ("", overrides)):
        for key, value in given.items():
            try:
                item = _field(key)
                values[key] = checked(item, _converted(item, value))
            except ConfigError as error:
                raise ConfigError(f"{source}: {error}" if source else str(error)) from None
    if "resolution" not in values:
        raise ConfigError(
            "resolution: expected the resolution of the map in Å, got none. "
            "Give --resolution 5 (or your map's), or resolution = 5 in the configuration file."
        )
    return FitConfig(**values)  # type: ignore[arg-type]  # each was checked above


def config_to_toml(config: FitConfig, inputs: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """Return a configuration as TOML, to be read back by :func:`load_config`.

    Parameters
    ----------
    config
        The settings; those that are None are left out, since TOML has no word for it and it is their default.
    inputs, provenance
        What was read (paths, hashes) and by what (versions), for the tables ``[input]`` and ``[provenance]``.
    """
    settings = {item.name: getattr(config, item.name) for item in fields(config)}
    tables = {"fit": settings, "input": dict(inputs), "provenance": dict(provenance)}
    return tomli_w.dumps({name: _without_none(table) for name, table in tables.items() if table})


def load_records(path: Path) -> dict[str, dict[str, Any]]:
    """Return the tables ``[input]`` and ``[provenance]`` of a saved configuration, empty where it has none.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    content = _read_toml(path)
    return {name: dict(content.get(name, {})) for name in _RECORDS}


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in table.items() if value is not None
    }


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise ValueError(f"more than {_LARGEST_FILE} bytes")
        if any(line.count(b".") > _MOST_DOTS for line in content.splitlines()):
            raise ValueError(f"a line with more than {_MOST_DOTS} dots")
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: the configuration file cannot be read ({error.strerror}). Check the path given with --config."
        ) from None
    # Beside its own errors: text that is not UTF-8, whole numbers of thousands of digits, tables in tables without end.
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: expected a TOML file, got something else ({error}). Write one setting a line: resolution = 5.0"
        ) from None


def _read_settings(path: Path) -> dict[str, object]:
    content = _read_toml(path)
    table = content.pop("fit", {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: fit: expected a table [fit], got {table!r}")
    top = {key: value for key, value in content.items() if key not in _RECORDS}
    for key in top.keys() & table.keys():
        raise ConfigError(f"{path}: {key}: set both at the top level and in [fit]. Keep one of them.")
    return {**top, **table}


def _field(name: str) -> Field[Any]:
    """Return a field of the configuration by its name."""
    known = {item.name: item for item in fields(FitConfig)}
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
    hint = f"Did you mean {nearest[0]}?" if nearest else "Settings are listed by `bayesflex fit --help`."
    raise ConfigError(f"{name}: unknown setting. {hint}")


def _converted(item: Field[Any], value: object) -> object:
    """Turn what a file or flag may hold for a setting into the one form that :class:`FitConfig` takes."""
    if item.name == "modes":
        if isinstance(value, int) and not isinstance(value, bool):
            return parse_modes(str(value))
        return parse_modes(value) if isinstance(value, str) else value
    if item.name == "observations" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if item.name in _LISTS and isinstance(value, str):
        try:
            return tuple(float(part) for part in value.split(",") if part.strip())
        except ValueError:
            raise wrong(item.name, _LISTS[item.name], value) from None
    if item.name == "temperatures" and isinstance(value, int) and not isinstance(value, bool):
        return (float(value),)
    return value
