from __future__ import annotations

import pytest

from bayesflex.errors import InputError
from bayesflex.io.output_folder import make_folder, require_new_or_empty


def test_a_new_or_an_empty_folder_is_accepted_and_left_as_it_is(tmp_path):
    require_new_or_empty(tmp_path / "new" / "below")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    require_new_or_empty(tmp_path / "empty")


@pytest.mark.parametrize("name", ["thesis.txt", ".hidden"])
def test_a_folder_with_anything_in_it_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"new or empty.*{name}\. Add --resume\."):
        require_new_or_empty(tmp_path, remedy="Add --resume.")


def test_a_file_in_the_folder_s_place_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="out: expected an output folder, got a file"):
        require_new_or_empty(tmp_path / "out")
    with pytest.raises(InputError, match=r"out/below: expected an output folder, got a file"):
        require_new_or_empty(tmp_path / "out" / "below")


def test_a_folder_is_made_with_those_above_it(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        make_folder(tmp_path / "file" / "below")
