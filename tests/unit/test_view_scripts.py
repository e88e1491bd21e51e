"""Scripts for ChimeraX and VMD: names are read back as they were by the rules of each, and Tcl itself runs VMD's."""

from __future__ import annotations

from pathlib import Path

import pytest
from view_scripts import chimerax_arguments, run_in_tcl

from bayesflex.errors import InputError
from bayesflex.io.view_scripts import Scene, chimerax_word, tcl_word, write_chimerax, write_vmd

NAMES = [
    "map.mrc",
    "../my maps/EMD 3299.map",
    "it's; quit",
    'a "quoted" name.cif',
    "dollar $HOME [exec ls] {brace.pdb",
    "back\\slash.pdb",
    "Ångström-α.cif",
    "#1.mrc",
    "-o.mrc",
    "'single'.mrc",
]


def scene(**changes) -> Scene:
    given = {
        "density": "../map.mrc",
        "contour": 0.125,
        "fitted": "fitted.cif",
        "fitted_pdb": "fitted.pdb",
        "start": "../model.pdb",
        "attributes": ("uncertainty.defattr", "bayesflex_sd"),
    }
    return Scene(**(given | changes))


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_word_to_chimerax(name):
    assert chimerax_arguments(f"open {chimerax_word(name)} models #2") == ["open", name, "models", "#2"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_word_to_tcl(name):
    tkinter = pytest.importorskip("tkinter", reason="Python was built without Tcl")
    tcl = tkinter.Tcl()
    tcl.eval("proc seen {args} {return $args}")
    assert tcl.splitlist(tcl.eval(f"seen {tcl_word(name)} end")) == (name, "end")


@pytest.mark.parametrize("word", [chimerax_word, tcl_word])
def test_a_line_break_in_a_name_is_refused(word):
    with pytest.raises(InputError, match="line breaks"):
        word("a\nexec rm.mrc")


def test_chimerax_shows_map_models_and_morph(tmp_path):
    write_chimerax(scene(), tmp_path / "view.cxc")
    lines = lines_of(tmp_path / "view.cxc")
    opened = [chimerax_arguments(line)[1] for line in lines if line.startswith("open")]
    assert opened == ["../map.mrc", "fitted.cif", "uncertainty.defattr", "../model.pdb"]
    assert "volume #1 style surface step 1 level 0.125" in lines
    assert "color byattribute r:bayesflex_sd #2 palette cyan:white:maroon" in lines
    assert any(line.startswith("morph #3,2") for line in lines)
    # Models are numbered as they are opened: what is coloured must be open by then.
    assert lines.index("color #3 gray") > lines.index('open "../model.pdb"')


def test_without_a_start_there_is_no_morph(tmp_path):
    write_chimerax(scene(start=None), tmp_path / "view.cxc")
    text = "\n".join(lines_of(tmp_path / "view.cxc"))
    assert "morph" not in text
    assert "#3" not in text


def test_a_map_whose_header_was_overruled_is_put_in_its_place(tmp_path):
    write_chimerax(scene(voxel_size=(1.5, 1.5, 2.0), origin=(-3.0, 0.0, 7.25)), tmp_path / "view.cxc")
    assert "volume #1 voxelSize 1.5,1.5,2 origin -3,0,7.25" in lines_of(tmp_path / "view.cxc")


@pytest.mark.parametrize("name", ["plain.pdb", 'a $b [c] {d "e".pdb'])
def test_vmd_loads_the_files_beside_the_script(tmp_path, name):
    folder = tmp_path / "out put"
    folder.mkdir()
    write_vmd(scene(start=name), folder / "view.tcl")
    calls = run_in_tcl(folder / "view.tcl")
    loaded = [call[2:] for call in calls if call[:2] == ("mol", "new")]
    assert [(Path(file).name, options) for file, *options in loaded] == [
        ("map.mrc", ["type", "ccp4", "waitfor", "all"]),
        (name, ["type", "pdb", "waitfor", "all"]),
        ("fitted.pdb", ["type", "pdb", "waitfor", "all"]),
    ]
    assert all(Path(file).is_relative_to(folder) for file, *_ in loaded)
    assert ("mol", "representation", "Isosurface", "0.125", "0", "0", "0", "1", "1") in calls


def test_vmd_is_not_given_what_it_does_not_read(tmp_path):
    write_vmd(scene(density="map.mrc.gz", start="model.cif.gz", fitted_pdb=None), tmp_path / "view.tcl")
    text = (tmp_path / "view.tcl").read_text(encoding="utf-8")
    assert "map.mrc.gz" not in text
    assert "model.cif.gz" not in text
    assert '"fitted.cif"] type pdbx' in text
    run_in_tcl(tmp_path / "view.tcl")
