"""Damaged and hostile files are read or refused: no other error, no memory beyond what the file can hold."""

from __future__ import annotations

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from benchmarks.fuzz import READERS, mutated, run, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayesflex.config_files import load_config
from bayesflex.density_map import DensityMap
from bayesflex.errors import BayesflexError, ConfigError, InputError
from bayesflex.io.maps import read_map, write_map
from bayesflex.io.packed import most_unpacked, unpacked
from bayesflex.io.structures import read_structure, write_structure

FILES = seeds()
IN_ONE_FOLDER = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_or_refuse(path):
    message = None
    try:
        READERS[path.suffix if path.suffix != ".gz" else path.with_suffix("").suffix](path)
    except BayesflexError as error:
        message = str(error)
    assert message is None or path.name in message or "Give --resolution" in message


@IN_ONE_FOLDER
@given(which=st.sampled_from(range(len(FILES))), seed=st.integers(0, 2**32))
def test_mutated_files(tmp_path, which, seed):
    suffix, content = FILES[which]
    path = tmp_path / f"input{suffix}"
    path.write_bytes(mutated(np.random.default_rng(seed), suffix, content))
    read_or_refuse(path)


@IN_ONE_FOLDER
@given(suffix=st.sampled_from([".pdb", ".cif", ".mrc", ".toml", ".mrc.gz"]), content=st.binary(max_size=3000))
def test_files_of_anything(tmp_path, suffix, content):
    path = tmp_path / f"input{suffix}"
    path.write_bytes(content)
    read_or_refuse(path)


@IN_ONE_FOLDER
@given(words=st.dictionaries(st.integers(0, 55), st.integers(-(2**31), 2**31 - 1), max_size=6))
def test_headers_of_anything(tmp_path, words):
    header = bytearray(next(content for suffix, content in FILES if suffix == ".mrc"))
    for word, value in words.items():
        struct.pack_into("<i", header, 4 * word, value)
    path = tmp_path / "input.mrc"
    path.write_bytes(header)
    read_or_refuse(path)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@IN_ONE_FOLDER
@given(
    value=VALUES,
    name=st.sampled_from(
        ["resolution", "modes", "stages", "origin", "chains", "observations", "temperatures", "rigid"]
    ),
)
def test_settings_of_any_kind(value, name):
    message = None
    try:
        load_config(None, {"resolution": 5.0} | {name: value})
    except ConfigError as error:
        message = str(error)
    assert message is None or name in message


def edges(path, nx, ny, nz):
    """Write a header that claims a grid."""
    content = bytearray(next(content for suffix, content in FILES if suffix == ".mrc"))
    struct.pack_into("<3i", content, 0, nx, ny, nz)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wb") as file:
        file.write(content)


@pytest.mark.parametrize("name", ["claim.mrc", "claim.mrc.gz"])
def test_a_claim_of_a_thousand_million_voxels_takes_no_memory(tmp_path, name):
    edges(tmp_path / name, 1000, 1000, 1000)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=name):
            read_map(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_an_extended_header_that_is_missing_takes_no_memory(tmp_path):
    content = bytearray(next(content for suffix, content in FILES if suffix == ".mrc"))
    struct.pack_into("<i", content, 92, 2**31 - 1)
    (tmp_path / "a.mrc").write_bytes(content)
    tracemalloc.start()
    try:
        assert any("extended header" in note for note in read_map(tmp_path / "a.mrc").notes)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def bomb(n_bytes):
    """So many zeros, gzipped."""
    return gzip.compress(bytes(n_bytes), 9)


@pytest.mark.parametrize("suffix", [".pdb.gz", ".cif.gz"])
def test_a_gzipped_file_may_not_unpack_to_more_than_files_do(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("bayesflex.io.packed._ALWAYS", 2**16)
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(bomb(2**22))
    with pytest.raises(InputError, match=r"gzipped bytes unpack to more than"):
        read_structure(path)


def test_a_gzipped_map_may_not_unpack_to_more_than_its_header_says(tmp_path):
    header = next(content for suffix, content in FILES if suffix == ".mrc")
    path = tmp_path / "bomb.mrc.gz"
    path.write_bytes(gzip.compress(header + bytes(2**24), 9))
    with pytest.raises(InputError, match="cut short or is not a map"):
        read_map(path)


def test_a_real_gzipped_map_that_is_mostly_zeros_is_read(tmp_path):
    values = np.zeros((60, 60, 60), dtype=np.float32)
    values[30, 30, 30] = 1.0
    write_map(DensityMap(values, np.ones(3), np.zeros(3)), tmp_path / "masked.mrc.gz")
    np.testing.assert_array_equal(read_map(tmp_path / "masked.mrc.gz").values, values)


def test_what_may_be_unpacked_grows_with_the_file():
    assert most_unpacked(0) == 2**28
    assert most_unpacked(2**28) == 300 * 2**28


def test_unpacking_gives_what_was_packed(tmp_path):
    assert unpacked(tmp_path / "a", gzip.compress(b"abc") + gzip.compress(b"def")) == b"abcdef"


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 20_000, "a = " + "9" * 10_000, "a" + ".a" * 20_000 + " = 1", "resolution = 1" + "0" * 500],
    ids=["nested", "digits", "dotted", "overflow"],
)
def test_hostile_toml(tmp_path, text):
    path = tmp_path / "fit.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"fit\.toml"):
        load_config(path, {})


def test_a_configuration_of_megabytes_is_refused(tmp_path):
    path = tmp_path / "fit.toml"
    path.write_text("# " + "x" * 2**20)
    with pytest.raises(ConfigError, match="more than"):
        load_config(path, {})


def test_letters_of_several_bytes_in_fields_of_fixed_width(tmp_path):
    path = tmp_path / "a.pdb"
    line = "ATOM      1  CA  ALA A   1      11.104   6.134  -6.504  1.00  0.00           C  \n"
    path.write_text(line.replace(" CA ", " Cé "))
    read_or_refuse(path)
    path.write_bytes(line.encode().replace(b"CA  ALA", b"CA \xc3ALA"))
    read_or_refuse(path)


def test_a_residue_without_a_number(tmp_path):
    path = tmp_path / "a.cif"
    _, content = next((suffix, content) for suffix, content in FILES if suffix == ".cif")
    protein = tmp_path / "whole.cif"
    protein.write_bytes(content)
    lines = protein.read_text().splitlines()
    header = [line for line in lines if line.startswith("_atom_site.")]
    columns = {name.strip(): index for index, name in enumerate(header)}
    for index, line in enumerate(lines):
        if line.startswith("ATOM"):
            cells = line.split()
            cells[columns["_atom_site.auth_seq_id"]] = cells[columns["_atom_site.label_seq_id"]] = "?"
            lines[index] = " ".join(cells)
            break
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match="has no number"):
        read_structure(path)


@pytest.mark.parametrize(
    "name", ["a b.cif", 'it\'s "it".pdb', "é 北京.cif", "-dash.pdb", "a;b&c$(d).cif", "a%20b#c?.pdb"]
)
def test_names_of_files(tmp_path, name):
    model = read_structure_of(tmp_path, ".pdb")
    path = tmp_path / name
    write_structure(model, path)
    assert read_structure(path).n_atoms == model.n_atoms


def read_structure_of(folder, suffix):
    path = folder / f"seed{suffix}"
    path.write_bytes(next(content for kind, content in FILES if kind == suffix))
    return read_structure(path)


@pytest.mark.slow
def test_twenty_thousand_mutated_files():
    """The run of a hundred thousand is ``python -m benchmarks.fuzz``."""
    assert run(20_000, seed=2) == []
