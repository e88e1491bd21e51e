"""RunFolder: the output folder of a fit from before it exists to when it is whole, and what ``--resume`` asks of it.

A folder with ``config.toml`` and no ``summary.json`` holds a fit that was interrupted. One process at a time writes it.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from bayesflex import __version__
from bayesflex.config import FitConfig
from bayesflex.config_files import load_config, load_records
from bayesflex.errors import InputError
from bayesflex.io.atomic import remove_unfinished
from bayesflex.io.folder_lock import FolderLock
from bayesflex.io.output_folder import make_folder, require_new_or_empty
from bayesflex.workflows.mode_choice import MODE_SCORES_FILE, ModeChoice, read_mode_scores, write_mode_scores
from bayesflex.workflows.results import saved_config
from bayesflex.workflows.run_files import CONFIG_FILE, SUMMARY_FILE, write_text

#: Settings that decide how fast a fit runs, or how it is written, and not what it finds.
_FREE_SETTINGS = ("threads", "uncertainty_as_b_factors")

_CHECKPOINTS = "checkpoint"
_STOPWATCH = "seconds.json"
#: Settings as they were asked for, before those left to the program were filled in.
_ASKED = "asked.toml"

#: Names of the inputs of a fit, in the table ``[input]`` of its configuration.
_INPUTS = ("model", "map", "reference", "mask", "fixed", "half1", "half2")


@dataclass(frozen=True)
class FitFiles:
    """The files of a fit.

    Parameters
    ----------
    model, map
        What is fitted into what.
    reference, mask, fixed, half_maps
        As of :func:`bayesflex.workflows.fit.run_fit`.
    """

    model: Path
    map: Path
    reference: Path | None = None
    mask: Path | None = None
    fixed: Path | None = None
    half_maps: tuple[Path, Path] | None = None

    def named(self) -> dict[str, Path | None]:
        """Return the files by their names in the configuration."""
        halves = self.half_maps or (None, None)
        paths = (self.model, self.map, self.reference, self.mask, self.fixed, *halves)
        return dict(zip(_INPUTS, paths, strict=True))


def begun_fit(out: Path, settings: Mapping[str, object]) -> tuple[FitFiles, FitConfig]:
    """Return what the interrupted fit in a folder was given: its files, and its settings with others laid over them.

    Raises
    ------
    InputError
        If the folder holds no interrupted fit, or one of the files is no longer where it was.
    ConfigError
        If its configuration cannot be read, or a setting cannot be used.
    """
    folder = RunFolder(out, resume=True)
    asked = folder.checkpoints / _ASKED
    config = load_config(asked if asked.is_file() else out / CONFIG_FILE, settings)
    given = load_records(out / CONFIG_FILE)["input"]
    paths = {name: Path(str(given[name])) for name in _INPUTS if name in given}
    if not {"model", "map"} <= paths.keys():
        raise InputError(
            f"{out / CONFIG_FILE}: expected the files of the fit in [input], got none. Give MODEL and MAP too."
        )
    for name, path in paths.items():
        if not path.is_file():
            raise InputError(
                f"{path}: the {name} of the interrupted fit in {out} is no longer there. Put it back, or repeat the "
                "command that began the fit with the files where they are now, and add --resume."
            )
    halves = (paths["half1"], paths["half2"]) if {"half1", "half2"} <= paths.keys() else None
    files = FitFiles(
        paths["model"], paths["map"], paths.get("reference"), paths.get("mask"), paths.get("fixed"), halves
    )
    return files, config


class RunFolder:
    """The folder of one fit; nothing is made before :meth:`begin`.

    A context manager: the folder is held from its entry where a fit goes on in it, from :meth:`begin` where it is new.

    Parameters
    ----------
    path
        The folder.
    resume
        Whether it holds an interrupted fit to go on with.

    Raises
    ------
    InputError
        If it is not empty, or with ``resume`` holds nothing to go on with.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self.resume = resume
        self.checkpoints = path / _CHECKPOINTS
        self.begun = False
        self._lock = FolderLock(path, f"Wait for it to end, or stop it; then go on with {self.how_to_go_on}.")
        if not resume:
            remedy = "Choose another with -o, or go on with an interrupted fit in it by --resume."
            require_new_or_empty(path, remedy=remedy)
        elif (path / SUMMARY_FILE).is_file():
            self.end()  # where a kill came in between
            raise InputError(f"{path}: the fit in this folder is complete; there is nothing to resume.")
        elif not (path / CONFIG_FILE).is_file():
            raise InputError(
                f"{path}: expected a folder with an interrupted fit to resume, got one without {CONFIG_FILE}. "
                "Check the name given with -o, or leave out --resume to begin a fit."
            )

    @property
    def how_to_go_on(self) -> str:
        """The command that goes on with the fit, as it is typed."""
        return f"bayesflex fit --resume {shlex.quote(str(self.path))}"

    def __enter__(self) -> RunFolder:
        if self.resume:
            self._hold()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A fit of which nothing is lost, whatever ended it: the user is told.
        if self.begun and error is not None:
            error.add_note(f"What was done is kept; to go on: {self.how_to_go_on}")
        self._lock.give_back()

    def _hold(self) -> None:
        self._lock.take()
        self.begun = self.resume
        remove_unfinished(self.path)

    def require_same(self, config: FitConfig, inputs: Mapping[str, str]) -> None:
        """Check that the interrupted fit is the one asked for.

        Raises
        ------
        InputError
            If a setting, the content of an input or the program's version differs, or the saved ones cannot be read.
        """
        path = self.path / CONFIG_FILE
        saved_settings = load_config(path, {})
        records = load_records(path)
        differences = [
            f"{item.name} ({getattr(saved_settings, item.name)!r}, now {getattr(config, item.name)!r})"
            for item in fields(FitConfig)
            if item.name not in _FREE_SETTINGS and getattr(saved_settings, item.name) != getattr(config, item.name)
        ]
        hashes, before = _hashes(inputs), _hashes(records["input"])
        differences += [
            f"the content of the {name.removesuffix('_sha256')}"
            for name in dict.fromkeys([*before, *hashes])
            if before.get(name) != hashes.get(name)
        ]
        version = records["provenance"].get("bayesflex")
        if version != __version__:
            differences.append(f"the version of bayesflex ({version}, now {__version__})")
        if differences:
            raise InputError(
                f"{self.path}: the interrupted fit cannot be resumed, since it was begun with other inputs: "
                f"{'; '.join(differences)}. Go on with it as it was begun by {self.how_to_go_on}, or begin a new fit."
            )

    def begin(self, config: FitConfig, inputs: Mapping[str, str], asked: FitConfig | None = None) -> None:
        """Make the folder, with the configuration in it; may be repeated as more of that is settled.

        Parameters
        ----------
        config, inputs
            Settings with every choice filled in, and what was read.
        asked
            Settings as they were given.

        Raises
        ------
        InputError
            If the operating system refuses, or another process came first.
        """
        make_folder(self.path)
        if not self.begun:
            self._hold()
            require_new_or_empty(self.path)
        if not self.resume:
            write_text(self.path / CONFIG_FILE, saved_config(config, inputs))
        self.begun = True
        make_folder(self.checkpoints)
        if not self.resume:
            write_text(self.checkpoints / _ASKED, saved_config(config if asked is None else asked, {}))

    def settle(self, config: FitConfig, choice: ModeChoice, inputs: Mapping[str, str]) -> None:
        """Keep the modes that were chosen: their scores, and the configuration with them in it.

        Raises
        ------
        InputError
            If the operating system refuses.
        """
        write_mode_scores(choice, self.path / MODE_SCORES_FILE)
        write_text(self.path / CONFIG_FILE, saved_config(config, inputs))

    def settled(self, config: FitConfig) -> tuple[FitConfig, ModeChoice] | None:
        """Return the settings of an interrupted fit with the modes that it chose, or None where it had not yet.

        Parameters
        ----------
        config
            The settings asked for, modes open.

        Raises
        ------
        InputError, ConfigError
            If the saved configuration or the scores cannot be read.
        """
        path = self.path / MODE_SCORES_FILE
        saved = load_config(self.path / CONFIG_FILE, {})
        if not saved.modes or not path.is_file():
            return None
        choice = read_mode_scores(path, config.deformation)
        return choice.applied_to(config), choice

    def seconds_before(self) -> float:
        """Return how long the chains ran in earlier sessions."""
        path = self.checkpoints / _STOPWATCH
        return float(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else 0.0

    def stopped_after(self, seconds: float) -> None:
        """Keep how long the chains ran so far, for the session that goes on."""
        write_text(self.checkpoints / _STOPWATCH, json.dumps(seconds))

    def end(self) -> None:
        """Remove the checkpoints."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)


def described_files(files: Mapping[str, Path | None]) -> dict[str, str]:
    """Return the path and SHA-256 of each file that was given, for the table ``[input]`` of the configuration."""
    described: dict[str, str] = {}
    for name, path in files.items():
        if path is not None:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            # Absolute, so that the fit can be gone on with from anywhere.
            described |= {name: str(path.absolute()), f"{name}_sha256": digest}
    return described


def _hashes(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name.endswith("_sha256")}
