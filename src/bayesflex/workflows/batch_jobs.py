"""The jobs of a batch: which model goes into which map under which settings, from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from bayesflex.config import FitConfig
from bayesflex.config_files import load_config
from bayesflex.errors import ConfigError, InputError
from bayesflex.workflows.run_folder import FitFiles

#: Columns that name files, by what they are in a fit.
_FILES = ("model", "map", "reference", "mask", "fixed", "half1", "half2")
_REQUIRED = ("name", "model", "map")

#: Names of jobs are names of folders on any system.
_FORBIDDEN = frozenset('/\\:*?"<>|\0')
#: Names that the batch's own files have.
_TAKEN = frozenset({"batch.csv", "batch.html", "jobs.json"})

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class Job:
    """One fit of a batch.

    Parameters
    ----------
    name
        Of the job and of its folder.
    files
        What is fitted into what; absolute paths.
    config
        Settings.
    """

    name: str
    files: FitFiles
    config: FitConfig

    def record(self) -> dict[str, object]:
        """Return all that decides what comes out, in a form that JSON keeps as it is."""
        settings = {item.name: getattr(self.config, item.name) for item in fields(FitConfig)}
        settings = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        settings.pop("threads")
        return {"files": {name: str(path) for name, path in self.files.named().items() if path}, "settings": settings}


def read_jobs(path: Path, config: Path | None = None) -> tuple[Job, ...]:
    """Read the jobs of a batch.

    Parameters
    ----------
    path
        CSV file with a heading: ``name``, ``model`` and ``map``; where wanted ``reference``, ``mask``, ``fixed``,
        ``half1``, ``half2``; and any setting of a fit by its name. Names of files are taken from the folder of the CSV
        file. An empty cell is one that is not given.
    config
        TOML file with settings of all jobs, over which those of the CSV file win; or None.

    Raises
    ------
    InputError
        If the file cannot be read, a column is unknown or missing, or a name is no name of a folder or is there twice.
    ConfigError
        If a setting cannot be used.
    """
    rows = _rows(path)
    jobs: dict[str, Job] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        missing = [name for name in _REQUIRED if not row.get(name)]
        if missing:
            raise InputError(f"{where}: expected a {missing[0]}, got none.")
        name = row["name"]
        if name.startswith(".") or name.endswith((".", " ")) or _FORBIDDEN & set(name) or name.lower() in _TAKEN:
            raise InputError(f"{where}: {name!r} cannot be the name of a folder; take letters, digits, - and _.")
        # File systems may not tell upper from lower case.
        if name.casefold() in jobs:
            raise InputError(f"{where}: the name {name!r} is there twice; each job needs its own.")
        files = {key: (path.parent / row[key]).absolute() if row.get(key) else None for key in _FILES}
        if (files["half1"] is None) != (files["half2"] is None):
            raise InputError(f"{where}: expected both half maps or none, got one.")
        try:
            settings = {key: _typed(key, text) for key, text in row.items() if key not in (*_FILES, "name") and text}
            settled = load_config(config, settings)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        jobs[name.casefold()] = Job(name, _fit_files(files), settled)
    return tuple(jobs.values())


def _fit_files(files: Mapping[str, Path | None]) -> FitFiles:
    model, density, half1, half2 = (files[name] for name in ("model", "map", "half1", "half2"))
    if model is None or density is None:
        raise ValueError("a job has a model and a map")
    halves = None if half1 is None or half2 is None else (half1, half2)
    return FitFiles(model, density, files["reference"], files["mask"], files["fixed"], halves)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return number and cells of each line of a CSV file that is not empty, by the names of its columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            heading = [name.strip() for name in next(reader, [])]
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as a table of jobs ({reason}). Expected a CSV file.") from error
    known = {*_FILES, "name", *(item.name for item in fields(FitConfig))}
    unknown = [name for name in heading if name not in known]
    if unknown or not {*_REQUIRED} <= set(heading) or len(set(heading)) < len(heading):
        raise InputError(
            f"{path}: expected the columns {', '.join(_REQUIRED)}, others of {', '.join(_FILES[2:])}, and settings of "
            f"a fit, each once, got {', '.join(unknown or heading) or 'nothing'}."
        )
    for line, cells in lines:
        if any(cells) and len(cells) != len(heading):
            raise InputError(f"{path}, line {line}: expected {len(heading)} cells as in the heading, got {len(cells)}.")
    rows = [(line, dict(zip(heading, cells, strict=True))) for line, cells in lines if any(cells)]
    if not rows:
        raise InputError(f"{path}: expected at least one job, got none.")
    return rows


def _typed(name: str, text: str) -> object:
    """Return a cell as the type of its setting, where it is one; what is not is refused with the other settings."""
    kind = next(str(item.type) for item in fields(FitConfig) if item.name == name).removesuffix(" | None")
    if kind == "bool" and text.lower() in (*_TRUE, *_FALSE):
        return text.lower() in _TRUE
    for number in {"int": (int,), "float": (int, float)}.get(kind, ()):
        try:
            return number(text)
        except ValueError:
            continue
    return text
