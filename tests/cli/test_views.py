"""The scripts that a fit writes name files that are there, also where names have blanks and quotes."""

from __future__ import annotations

import ast
import re
import shutil

SHORT = ["--resolution", 8, "--stages", 12, "--stage-iterations", 2, "--warmup-iterations", 4, "--iterations", 4]


def test_every_file_that_view_cxc_opens_is_there(run, files, tmp_path):
    folder = tmp_path / 'my "maps"; $x [y]'
    folder.mkdir()
    model, density = folder / "it's a model.cif", folder / "a map.mrc"
    shutil.copy(files / "model.cif", model)
    shutil.copy(files / "map.mrc", density)
    out = folder / "out put"
    outcome = run("fit", model, density, "-o", out, *SHORT, "--chains", 1, "--steps", 3, "--modes", 2)
    assert outcome.code == 0, outcome.err
    text = (out / "view.cxc").read_text(encoding="utf-8")
    names = [ast.literal_eval(word) for word in re.findall(r'^open ("(?:\\.|[^"\\])*")', text, flags=re.MULTILINE)]
    assert len(names) == 4
    assert {(out / name).resolve() for name in names} == {
        density.resolve(),
        model.resolve(),
        out / "fitted.cif",
        out / "uncertainty.defattr",
    }
    assert (out / "view.tcl").read_text(encoding="utf-8").count("mol new") == 3
    nmd = (out / "modes.nmd").read_text(encoding="utf-8")
    assert nmd.count("\nmode ") >= 2
