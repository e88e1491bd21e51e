"""Trace: shapes are checked, the file holds everything, and ArviZ stays quiet."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bayesflex.errors import InputError
from bayesflex.structure import Structure
from bayesflex.trace import Trace, import_arviz, load_trace, save_trace, to_inference_data

N_CHAINS, N_DRAWS, N_CA, N_MODES = 3, 7, 5, 2


@pytest.fixture
def trace(rng: np.random.Generator) -> Trace:
    per_draw = (N_CHAINS, N_DRAWS)
    return Trace(
        coords=rng.normal(size=(*per_draw, N_CA, 3)).astype(np.float32),
        amplitudes=rng.normal(size=(*per_draw, N_MODES)),
        mode_numbers=np.array([7, 9]),
        residues=np.array(["A 1", "A 2", "A 2B", "B 1", "Ä 3"]),
        sample_stats={
            "lp": rng.normal(size=per_draw),
            "diverging": rng.random(per_draw) < 0.5,
            "n_steps": rng.integers(1, 20, per_draw),
        },
        log_likelihood=rng.normal(size=per_draw),
        potential_energy=rng.normal(size=per_draw),
    )


def test_a_saved_trace_comes_back_bit_for_bit(trace: Trace, tmp_path: Path) -> None:
    save_trace(trace, tmp_path / "trace.nc")
    back = load_trace(tmp_path / "trace.nc")
    for name in ("coords", "amplitudes", "mode_numbers", "residues", "log_likelihood", "potential_energy"):
        expected, got = getattr(trace, name), getattr(back, name)
        np.testing.assert_array_equal(got, expected, err_msg=name)
        assert got.dtype.kind == expected.dtype.kind
    assert back.coords.dtype == np.float32
    assert back.sample_stats.keys() == trace.sample_stats.keys()
    for name, expected in trace.sample_stats.items():
        np.testing.assert_array_equal(back.sample_stats[name], expected, err_msg=name)
        assert back.sample_stats[name].dtype == expected.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["trace.nc"]


def test_a_trace_without_modes_or_with_one_draw_can_be_saved(trace: Trace, tmp_path: Path) -> None:
    small = Trace(
        coords=trace.coords[:1, :1],
        amplitudes=np.zeros((1, 1, 0)),
        mode_numbers=np.zeros(0, dtype=np.int64),
        residues=trace.residues,
        sample_stats={"lp": np.zeros((1, 1))},
        log_likelihood=np.zeros((1, 1)),
        potential_energy=np.zeros((1, 1)),
    )
    save_trace(small, tmp_path / "trace.nc")
    back = load_trace(tmp_path / "trace.nc")
    assert (back.n_chains, back.n_draws, back.n_ca, back.amplitudes.shape) == (1, 1, N_CA, (1, 1, 0))


def test_the_same_trace_gives_the_same_file(trace: Trace, tmp_path: Path) -> None:
    save_trace(trace, tmp_path / "one.nc")
    save_trace(trace, tmp_path / "two.nc")
    assert (tmp_path / "one.nc").read_bytes() == (tmp_path / "two.nc").read_bytes()


def test_inference_data_follows_the_schema_of_arviz(trace: Trace) -> None:
    data = to_inference_data(trace)
    assert data.posterior["position"].dims == ("chain", "draw", "residue", "xyz")
    assert data.posterior["amplitude"].sel(mode=9).shape == (N_CHAINS, N_DRAWS)
    assert data.posterior["position"].sel(residue="A 2B", xyz="y").to_numpy()[1, 3] == trace.coords[1, 3, 2, 1]
    assert data.sample_stats["lp"].attrs["units"] == "nats"
    assert data.sample_stats["potential_energy"].attrs["units"] == "kcal/mol"
    assert import_arviz().rhat(data, var_names=["amplitude"])["amplitude"].shape == (N_MODES,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coords", np.zeros((N_CHAINS, N_DRAWS, N_CA))),
        ("coords", np.zeros((N_CHAINS, 0, N_CA, 3))),
        ("amplitudes", np.zeros((N_CHAINS, N_DRAWS, N_MODES + 1))),
        ("residues", np.array(["A 1"])),
        ("log_likelihood", np.zeros(N_CHAINS)),
        ("potential_energy", np.zeros((N_DRAWS, N_CHAINS))),
        ("sample_stats", {"lp": np.zeros((N_CHAINS, N_DRAWS)), "step_size": np.zeros(N_CHAINS)}),
        ("sample_stats", {"step_size": np.zeros((N_CHAINS, N_DRAWS))}),
    ],
)
def test_contradicting_shapes_are_refused_by_name(trace: Trace, name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"trace: {name}"):
        replace(trace, **{name: value})


def test_chain_means_are_taken_in_double_precision(trace: Trace) -> None:
    far = replace(trace, coords=trace.coords + np.float32(1000.0))
    means = far.chain_means()
    assert means.shape == (N_CHAINS, N_CA, 3)
    assert means.dtype == np.float64
    np.testing.assert_allclose(means, far.coords.astype(np.float64).mean(axis=1), rtol=1e-14)


def test_files_that_hold_no_trace_are_refused(trace: Trace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_trace(tmp_path / "missing.nc")
    (tmp_path / "text.nc").write_text("not netCDF")
    with pytest.raises(InputError, match="not netCDF"):
        load_trace(tmp_path / "text.nc")
    other = import_arviz().from_dict(posterior={"mu": np.zeros((2, 4))})
    other.to_netcdf(str(tmp_path / "other.nc"), engine="h5netcdf")
    with pytest.raises(InputError, match=r"expected a trace .* got \['posterior'\]"):
        load_trace(tmp_path / "other.nc")


def test_a_folder_that_does_not_exist_is_named(trace: Trace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent/trace\.nc"):
        save_trace(trace, tmp_path / "absent" / "trace.nc")


def test_a_full_disk_is_an_error_that_names_the_file(trace: Trace, tmp_path: Path) -> None:
    # In a process of its own: HDF5 is known to crash it. A limit on file sizes stands for the full disk.
    save_trace(trace, tmp_path / "trace.nc")
    before = (tmp_path / "trace.nc").read_bytes()
    code = f"""
import resource, sys
from pathlib import Path
from bayesflex.errors import InputError
from bayesflex.trace import load_trace, save_trace
path = Path({str(tmp_path / "trace.nc")!r})
trace = load_trace(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    save_trace(trace, path)
except InputError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{tmp_path}/trace.nc: cannot be written (File too large)")
    assert result.stderr == ""
    assert (tmp_path / "trace.nc").read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["trace.nc"]


def test_arviz_reads_the_file(trace: Trace, tmp_path: Path) -> None:
    save_trace(trace, tmp_path / "trace.nc")
    data = import_arviz().from_netcdf(str(tmp_path / "trace.nc"))
    try:
        assert data.groups() == ["posterior", "log_likelihood", "sample_stats"]
        np.testing.assert_array_equal(data.sample_stats["diverging"], trace.sample_stats["diverging"])
        assert data.posterior["position"].encoding["zlib"]
    finally:
        data.close()


def test_labels_name_chain_number_and_insertion_code() -> None:
    text = np.array(["CA", "CA", "CA"])
    structure = Structure(
        coords=np.zeros((3, 3)),
        element=np.array(["C", "C", "C"]),
        atom_name=text,
        residue_name=text,
        residue_number=np.array([12, 12, -3]),
        insertion_code=np.array(["", "B", ""]),
        chain=np.array(["A", "A", ""]),
        occupancy=np.ones(3),
        b_factor=np.zeros(3),
        is_hetero=np.zeros(3, dtype=bool),
    )
    assert structure.residue_labels.tolist() == ["A 12", "A 12B", "-3"]


@pytest.mark.parametrize("cache_is_writable", [True, False])
def test_the_first_import_of_a_day_is_quiet(tmp_path: Path, cache_is_writable: bool) -> None:
    cache = tmp_path / "cache"
    if cache_is_writable:
        cache.mkdir()
    else:
        cache.write_text("a file where a folder should be")
    code = "from bayesflex.trace import import_arviz; print(import_arviz().__name__)"
    command = [sys.executable, "-W", "error::FutureWarning", "-c", code]
    environment = {"XDG_CACHE_HOME": str(cache), "MPLCONFIGDIR": str(tmp_path), "HOME": str(tmp_path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "arviz\n", "")


def test_arviz_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, bayesflex.trace; print('arviz' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
