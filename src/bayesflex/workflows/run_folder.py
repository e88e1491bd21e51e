"""RunFolder: the output folder of a fit from before it exists to when it is whole, and what ``--resume`` asks of it.

A folder with ``config.toml`` and no ``summary.json`` holds a fit that was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from bayesflex import __version__
from bayesflex.config import FitConfig, load_config, load_records
from bayesflex.errors import InputError
from bayesflex.io.output_folder import make_folder, require_new_or_empty
from bayesflex.workflows.mode_choice import MODE_SCORES_FILE, ModeChoice, read_mode_scores, write_mode_scores
from bayesflex.workflows.results import CONFIG_FILE, SUMMARY_FILE, saved_config, write_text

#: Settings that decide how fast a fit runs, or how it is written, and not what it finds.
_FREE_SETTINGS = ("threads", "uncertainty_as_b_factors")

_CHECKPOINTS = "checkpoint"
_STOPWATCH = "seconds.json"


class RunFolder:
    """The folder of one fit; nothing is made before :meth:`begin`.

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
        if not resume:
            remedy = "Choose another with -o, or go on with an interrupted fit in it by --resume."
            require_new_or_empty(path, remedy=remedy)
        elif (path / SUMMARY_FILE).is_file():
            raise InputError(f"{path}: the fit in this folder is complete; there is nothing to resume.")
        elif not (path / CONFIG_FILE).is_file():
            raise InputError(
                f"{path}: expected a folder with an interrupted fit to resume, got one without {CONFIG_FILE}. "
                "Check the name given with -o, or leave out --resume to begin a fit."
            )

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
                f"{'; '.join(differences)}. Repeat the command that began it and add --resume, or begin a new fit."
            )

    def begin(self, config: FitConfig, inputs: Mapping[str, str]) -> None:
        """Make the folder, with the configuration in it.

        Raises
        ------
        InputError
            If the operating system refuses.
        """
        make_folder(self.path)
        if not self.resume:
            write_text(self.path / CONFIG_FILE, saved_config(config, inputs))
        make_folder(self.checkpoints)

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
            described |= {name: str(path), f"{name}_sha256": digest}
    return described


def _hashes(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name.endswith("_sha256")}
