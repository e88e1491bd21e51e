"""What ``fit --dock`` does before all else: the model is put where docking finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bayesflex.config import FitConfig
from bayesflex.density_map import require_same_grid
from bayesflex.docking.pose import moved
from bayesflex.docking.solutions import dock
from bayesflex.sampling import thread_count
from bayesflex.workflows.docking_report import docking_warnings, poses_table, solution_table
from bayesflex.workflows.preparation import Inputs, with_usable_resolution


@dataclass(frozen=True, eq=False)
class DockedInputs:
    """The inputs of a fit with the model where it belongs.

    Parameters
    ----------
    inputs
        With the model moved, all of it.
    config
        With the ``pose``.
    warnings
        Sentences for the user.
    poses
        Content of ``poses.csv``, empty where nothing was searched.
    """

    inputs: Inputs
    config: FitConfig
    warnings: tuple[str, ...] = ()
    poses: str = ""


def docked(inputs: Inputs, config: FitConfig, say: Callable[[str], None]) -> DockedInputs:
    """Return the inputs of a fit with the model where it belongs.

    Parameters
    ----------
    inputs
        Of the fit.
    config
        Where ``dock`` is not set, nothing is done. Where ``pose`` is given, nothing is searched.
    say
        Told what is searched and what was found, then each warning.

    Raises
    ------
    InputError
        As :func:`bayesflex.docking.solutions.dock`; also if the mask is on another grid or the resolution is finer than
        a voxel.
    """
    if not config.dock:
        return DockedInputs(inputs, config)
    structure = inputs.structure
    warnings: tuple[str, ...] = ()
    poses = ""
    if config.pose:
        say("docking: the pose is that of the configuration; nothing is searched")
    else:
        usable, _ = with_usable_resolution(config, inputs.density)
        if inputs.mask is not None:
            require_same_grid(inputs.mask, inputs.density, "mask")
        found = dock(
            structure,
            inputs.density,
            usable.resolution,
            fixed=inputs.fixed,
            mask=inputs.mask,
            n_threads=thread_count(config),
            on_progress=say,
        )
        say(solution_table(found, structure, inputs.density))
        poses = poses_table(found, structure, inputs.density)
        warnings = docking_warnings(found, inputs.density.name)
        for warning in warnings:
            say(f"Warning: {warning}")
        config = replace(config, pose=found.best.motion)
    placed = structure.with_coords(moved(structure.coords, config.pose))
    return DockedInputs(replace(inputs, structure=placed), config, warnings, poses)
