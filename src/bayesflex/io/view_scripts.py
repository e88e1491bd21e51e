"""Scripts that show a fit in ChimeraX and VMD.

Files are named relative to the folder of the script: both programs are told, or find out, where that is. A name is
quoted as each program reads it, whatever it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path

#: Frames of the morph from the start to the fitted model.
_MORPH_FRAMES = 50

#: What VMD calls the formats of models, by suffix.
_VMD_MODELS = {".pdb": "pdb", ".ent": "pdb", ".cif": "pdbx", ".mmcif": "pdbx"}


@dataclass(frozen=True)
class Scene:
    """What the scripts show; paths are relative to the folder of the scripts, or absolute.

    Parameters
    ----------
    density
        The map.
    contour
        Value of its surface.
    fitted
        The fitted model.
    fitted_pdb
        The same in PDB format, which VMD reads best, or None.
    start
        The model as given, or None where it is in no file.
    attributes
        Attribute file of the uncertainty, and the attribute to colour by.
    voxel_size, origin
        Edges and place (x, y, z), Å, of a map whose header was overruled; None where the header counts.
    """

    density: str
    contour: float
    fitted: str
    fitted_pdb: str | None
    start: str | None
    attributes: tuple[str, str]
    voxel_size: tuple[float, float, float] | None = None
    origin: tuple[float, float, float] | None = None


def write_chimerax(scene: Scene, path: Path) -> None:
    """Write a command script for ChimeraX: ``open view.cxc``, which runs it in its folder.

    In a session without models, 1 is the map, 2 the fitted model, 3 the model as given and 4 the morph between the two.

    Raises
    ------
    InputError
        If the file cannot be written, or a name cannot be written on a line.
    """
    lines = [
        "# A fit by bayesflex. In a new session of ChimeraX: open view.cxc",
        f"open {chimerax_word(scene.density)}",
    ]
    if scene.voxel_size is not None and scene.origin is not None:
        lines.append(f"volume #1 voxelSize {_triple(scene.voxel_size)} origin {_triple(scene.origin)}")
    lines += [
        f"volume #1 style surface step 1 level {scene.contour:.6g}",
        "color #1 lightgray",
        "transparency #1 70",
        f"open {chimerax_word(scene.fitted)}",
        f"open {chimerax_word(scene.attributes[0])} models #2",
    ]
    if scene.start is not None:
        lines += [
            f"open {chimerax_word(scene.start)}",
            f"morph #3,2 frames {_MORPH_FRAMES}",
            "hide #4 models",
            "show #2,3 models",
            "color #3 gray",
        ]
    lines += [
        "hide #2,3 atoms" if scene.start is not None else "hide #2 atoms",
        "cartoon #2,3" if scene.start is not None else "cartoon #2",
        f"color byattribute r:{scene.attributes[1]} #2 palette cyan:white:maroon",
        "lighting soft",
        "view",
    ]
    if scene.start is not None:
        lines.append("# To see the motion: hide #2,3 models; show #4 models; coordset slider #4")
    _write(lines, path)


def write_vmd(scene: Scene, path: Path) -> None:
    """Write a Tcl script for VMD: ``vmd -e view.tcl``.

    What VMD does not read, such as a gzipped file, is left out with a comment.

    Raises
    ------
    InputError
        If the file cannot be written, or a name cannot be written on a line.
    """
    lines = [
        "# A fit by bayesflex: vmd -e view.tcl",
        "set folder [file dirname [file normalize [info script]]]",
    ]
    if Path(scene.density).suffix.lower() in (".gz", ".bz2"):
        lines.append("# The map is compressed, which VMD does not read: unpack it and load it as ccp4.")
    else:
        lines += [
            f"mol new [file join $folder {tcl_word(scene.density)}] type ccp4 waitfor all",
            "mol delrep 0 top",
            "mol color ColorID 2",
            "mol material Transparent",
            f"mol representation Isosurface {scene.contour:.6g} 0 0 0 1 1",
            "mol addrep top",
        ]
    models = [("the model as given", scene.start, "ColorID 6"), ("the fitted model", scene.fitted, "Chain")]
    if scene.fitted_pdb is not None:
        models[1] = (models[1][0], scene.fitted_pdb, models[1][2])
    for name, file, colour in models:
        if file is None:
            continue
        kind = _VMD_MODELS.get(Path(file).suffix.lower())
        if kind is None:
            lines.append(f"# {name[0].upper()}{name[1:]} is in a file that VMD does not read: unpack or convert it.")
            continue
        lines += [
            f"mol new [file join $folder {tcl_word(file)}] type {kind} waitfor all",
            "mol delrep 0 top",
            f"mol color {colour}",
            "mol material Opaque",
            "mol selection all",
            "mol representation NewCartoon",
            "mol addrep top",
        ]
    lines.append("display resetview")
    _write(lines, path)


def chimerax_word(text: str) -> str:
    """Return a text as one word of a ChimeraX command.

    ChimeraX ends an argument at a blank, and a command at a semicolon, outside of quotes. In double quotes it reads
    the escapes of Python.

    Raises
    ------
    InputError
        If the text has a line break or another control character, see :func:`can_be_named`.
    """
    _require_printable(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def tcl_word(text: str) -> str:
    """Return a text as one word of Tcl in which nothing is substituted.

    In double quotes Tcl reads backslashes, dollars and brackets, each of which a backslash makes itself.

    Raises
    ------
    InputError
        If the text has a line break or another control character.
    """
    _require_printable(text)
    return '"' + "".join(f"\\{letter}" if letter in '\\"$[]{}' else letter for letter in text) + '"'


def can_be_named(text: str) -> bool:
    """Tell whether a file of this name can be named on a line of a script."""
    return text.isprintable()


def _require_printable(text: str) -> None:
    if not can_be_named(text):
        raise InputError(f"file name {text!r}: expected one without line breaks and control characters")


def _triple(values: tuple[float, float, float]) -> str:
    return ",".join(f"{value:.6g}" for value in values)


def _write(lines: list[str], path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
