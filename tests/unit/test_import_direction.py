"""Imports go one way, and some parts know nothing of others: read from the source, so that no import is missed."""

from __future__ import annotations

import ast
import graphlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

import bayesflex

ROOT = Path(bayesflex.__file__).parent

#: From the bottom up. A module may import from its own layer, without a cycle, and from those below.
#: A package stands for all its files, so that a new term, likelihood or figure needs no row.
LAYERS = (
    ("errors", "units", "protocols", "simd", "compiling", "team", "desk", "html_tables"),
    ("settings", "mcmc"),
    # The configuration is data: energy terms and likelihoods are built from it, and it knows none of them.
    ("config", "config_files", "structure", "density_map"),
    ("chain", "geometry", "helices", "rotations", "neighbours", "ideal_backbone", "helix_bundle", "lattice"),
    ("matching", "carrying", "rendering", "beads", "scattering", "noise", "map_preparation", "elastic_network"),
    ("residue_beads", "ligand_density", "side_chains", "expected_side_chains"),
    ("rotation_translation_blocks", "block_eigensolver", "block_preconditioner", "mode_solvers", "elastic_response"),
    ("energy", "normal_modes"),
    # Files hold modes as well as models and maps, and nothing that computes reads a file.
    ("io",),
    ("placement", "contour", "synthetic", "metrics", "overlap", "noise_spectrum", "half_maps"),
    ("likelihood",),
    ("map_target",),
    ("docking", "fourier_grid", "map_comparison", "posterior_predictive", "residual_regions", "held_out"),
    ("domains", "domain_search", "unmodelled_density"),
    (
        "deformation_kernels",
        "deformation",
        "posterior_kernels",
        "compiled_posterior",
        "posterior",
        "softening",
        "steering",
        "copies",
    ),
    ("trace",),
    ("diagnostics", "progress", "reporters", "residue_runs", "local_frames", "calibration"),
    ("convergence", "chain_places", "clusters", "uncertainty", "density_support", "domain_motions"),
    ("validation",),
    ("sampling", "plots"),
    ("report",),
    ("workflows",),
    ("cli_settings", "cli", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

#: Parts that may import these alone, besides themselves.
ONLY = {
    "mcmc": {"errors", "protocols", "compiling"},  # a flat vector and a function: no protein, no map
    "plots": {
        "errors",
        "units",
        "trace",
        "diagnostics",
        "metrics",
        "density_map",
        "structure",
        "io",
        "residue_runs",
        "uncertainty",
        "posterior_predictive",
        "calibration",
        "validation",  # what it found
    },  # they run nothing
    "geometry": {"errors", "compiling"},
    "protocols": set(),
    "errors": set(),
    "units": set(),
}

#: Parts that must not import these, though they lie below.
NEVER = {
    "energy": {"density_map", "rendering", "map_preparation", "placement", "io"},  # it knows no map
    "overlap": {"structure", "io"},  # it knows beads, no protein
    "likelihood": {"energy", "structure", "io"},
    "config": {"structure", "density_map", "io"},
    "config_files": {"structure", "density_map", "io"},
}

#: Third-party packages that only some parts may import: what talks to the terminal, and what reads files.
PACKAGES = {
    "typer": {"cli", "cli_settings"},
    "rich": {"cli", "progress"},
    # Its tables of form factors, its alignment of sequences, its solvent mask and radii.
    "gemmi": {"io", "scattering", "matching", "validation"},
    "mrcfile": {"io"},
    "mdtraj": {"io"},
    "tomllib": {"config_files"},
    "tomli_w": {"config_files"},
    "arviz": {"trace", "diagnostics", "plots"},
    "matplotlib": {"plots"},
    "jinja2": {"report"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
MODULES = [name for name in PATHS if name != "bayesflex"]
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in PATHS.items()}


def part_of(module: str) -> str:
    return module.split(".")[1]


def imported_names(tree: ast.AST) -> set[str]:
    """Full dotted names of what is imported anywhere in a file, inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
    return names


def imported_modules(module: str) -> set[str]:
    """Modules of the package that a module imports; the version alone may be taken from the root."""
    targets = set()
    for name in imported_names(TREES[module]) - {"bayesflex.__version__"}:
        if name.split(".")[0] == "bayesflex":
            home = name if name in PATHS else name.rpartition(".")[0]
            targets.add(home)
    return targets


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_layer(module):
    assert part_of(module) in LEVEL, f"add {part_of(module)} to LAYERS, at the lowest layer where its imports allow it"


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_absolute_and_not_from_the_root(module):
    assert not [name for name in imported_names(TREES[module]) if name.startswith(".")]
    assert "bayesflex" not in imported_modules(module), "import from the module where the name lives"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    part = part_of(module)
    others = {part_of(target) for target in imported_modules(module) - {"bayesflex"}} - {part}
    assert not {other for other in others if LEVEL.get(other, 0) > LEVEL[part]}, "imports from a layer above"
    assert others <= ONLY.get(part, others)
    assert not others & NEVER.get(part, set())


@pytest.mark.parametrize("module", MODULES)
def test_a_package_is_imported_only_where_it_belongs(module):
    used = {name.lstrip(".").split(".")[0] for name in imported_names(TREES[module])}
    assert not {package for package in used & PACKAGES.keys() if part_of(module) not in PACKAGES[package]}


def test_every_package_that_is_imported_is_declared():
    declared = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "dependencies"
    ]
    names = {re.match(r"[\w-]+", requirement).group().replace("-", "_") for requirement in declared}
    used = {name.split(".")[0] for tree in TREES.values() for name in imported_names(tree)}
    assert not used - names - sys.stdlib_module_names - {"bayesflex"}


def test_no_module_imports_itself_by_a_detour():
    # A package's own file is left out of its members' imports: Python runs it first in any case.
    graph = {module: imported_modules(module) - {"bayesflex"} for module in MODULES}
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", [name for name in MODULES if part_of(name) != "cli"])
def test_only_the_command_line_prints_or_ends_the_process(module):
    calls = [ast.unparse(node.func) for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
    raised = [ast.unparse(node) for node in ast.walk(TREES[module]) if isinstance(node, ast.Raise)]
    forbidden = {"print", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write", "typer.echo"}
    assert not forbidden & set(calls)
    assert not [text for text in raised if "SystemExit" in text or "typer.Exit" in text]


def test_the_check_sees_imports_inside_functions_and_by_any_spelling():
    source = "def f():\n    from bayesflex.io import maps\n    import bayesflex.energy.bonds\n    from . import x\n"
    assert imported_names(ast.parse(source)) == {"bayesflex.io.maps", "bayesflex.energy.bonds", "..x"}


def test_no_layer_is_named_twice():
    names = [name for layer in LAYERS for name in layer]
    assert len(names) == len(set(names))
    assert {name for rule in (ONLY, NEVER) for name in rule} <= set(names)
