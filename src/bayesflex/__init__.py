"""Flexible fitting of atomic structures into cryo-EM density maps.

Lengths are in Å, energies in kcal/mol (low is good), temperatures in K, masses in Da, log densities in nats (high is
good); map arrays are (nz, ny, nx), voxel sizes and origins (x, y, z).

The public names below are imported when they are first used, so that ``import bayesflex`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bayesflex import errors, normal_modes, synthetic
    from bayesflex.config import FitConfig
    from bayesflex.config_files import load_config
    from bayesflex.density_map import DensityMap
    from bayesflex.io.maps import read_map, write_map
    from bayesflex.io.structures import read_structure, write_structure
    from bayesflex.structure import Structure
    from bayesflex.validation import Validation, validate
    from bayesflex.workflows.fit import FitResult, fit
    from bayesflex.workflows.simulate import simulate

#: Where each public name lives; submodules stand for themselves.
_HOMES = {
    "DensityMap": "bayesflex.density_map",
    "FitConfig": "bayesflex.config",
    "FitResult": "bayesflex.workflows.fit",
    "Structure": "bayesflex.structure",
    "Validation": "bayesflex.validation",
    "fit": "bayesflex.workflows.fit",
    "load_config": "bayesflex.config_files",
    "read_map": "bayesflex.io.maps",
    "read_structure": "bayesflex.io.structures",
    "simulate": "bayesflex.workflows.simulate",
    "validate": "bayesflex.validation",
    "write_map": "bayesflex.io.maps",
    "write_structure": "bayesflex.io.structures",
}
_SUBMODULES = ("errors", "normal_modes", "synthetic")

__all__ = [
    "DensityMap",
    "FitConfig",
    "FitResult",
    "Structure",
    "Validation",
    "__version__",
    "errors",
    "fit",
    "load_config",
    "normal_modes",
    "read_map",
    "read_structure",
    "simulate",
    "synthetic",
    "validate",
    "write_map",
    "write_structure",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _SUBMODULES:
        value = import_module(f"bayesflex.{name}")
    else:
        raise AttributeError(f"module 'bayesflex' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names without importing them."""
    return sorted(__all__)
