"""Normal modes: what they must satisfy, and what is said where there are none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator

from bayesflex import mode_solvers, synthetic
from bayesflex.chain import bonded_to_next, pairs_along_chain
from bayesflex.elastic_network import network_hessian
from bayesflex.errors import ConfigError, InputError
from bayesflex.io.nmd import write_nmd
from bayesflex.normal_modes import (
    NormalModes,
    collectivity,
    normal_modes,
    overlap,
    rigid_motions,
    structure_modes,
)
from bayesflex.structure import Structure
from bayesflex.workflows.modes import compute_modes


def globule(rng: Generator, n: int) -> np.ndarray:
    """Beads in a ball at the density of CA in proteins (one in 135 Å³), none closer than 2.5 Å."""
    radius = (135.0 * n * 0.75 / np.pi) ** (1.0 / 3.0)
    coords: list[np.ndarray] = []
    while len(coords) < n:
        trial = rng.uniform(-radius, radius, 3)
        if np.linalg.norm(trial) < radius and all(np.linalg.norm(trial - other) > 2.5 for other in coords):
            coords.append(trial)
    return np.array(coords)


def stretched(n: int) -> np.ndarray:
    """A tail along x from the origin, 3.8 Å from bead to bead, no four of them in a plane."""
    return np.array([[3.3 * k, np.cos(2.0 * k) - 1.0, np.sin(2.0 * k)] for k in range(1, n + 1)])


def trace(coords, chain="A") -> Structure:
    n = len(coords)
    return Structure(
        coords=np.asarray(coords, dtype=np.float64),
        element=np.full(n, "C"),
        atom_name=np.full(n, "CA"),
        residue_name=np.full(n, "ALA"),
        residue_number=np.arange(1, n + 1),
        insertion_code=np.full(n, ""),
        chain=np.full(n, chain),
        occupancy=np.ones(n),
        b_factor=np.zeros(n),
        is_hetero=np.zeros(n, dtype=bool),
    )


@pytest.mark.parametrize("n", [12, 50, 150])
def test_modes_are_orthonormal_internal_and_numbered_from_seven(n: int, rng: Generator):
    coords = globule(rng, n)
    modes = normal_modes(coords, 10, 15.0)
    rows = modes.vectors.reshape(10, -1)
    assert np.allclose(rows @ rows.T, np.eye(10), atol=1e-12)
    assert np.abs(rigid_motions(coords).reshape(6, -1) @ rows.T).max() < 1e-12
    assert modes.numbers.tolist() == list(range(7, 17))
    assert np.all(modes.eigenvalues > 0.0)
    assert np.all(np.diff(modes.eigenvalues) >= -1e-9)
    hessian = network_hessian(coords, 15.0)
    assert np.allclose(hessian @ rows.T, rows.T * modes.eigenvalues, atol=1e-9)
    largest = rows[np.arange(10), np.argmax(np.abs(rows), axis=1)]
    assert np.all(largest > 0.0)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(8, 40))
def test_exactly_six_motions_cost_nothing(seed: int, n: int):
    coords = globule(np.random.default_rng(seed), n)
    eigenvalues = np.linalg.eigvalsh(network_hessian(coords, 50.0).toarray())
    assert np.count_nonzero(np.abs(eigenvalues) < 1e-9) == 6
    assert normal_modes(coords, 3 * n - 6, 50.0).eigenvalues == pytest.approx(eigenvalues[6:])


def test_the_same_modes_every_time(rng: Generator):
    coords = globule(rng, 120)
    one, two = (normal_modes(coords, 8, 12.0) for _ in range(2))
    assert np.array_equal(one.vectors, two.vectors)


def test_modes_turn_with_the_model(rng: Generator):
    coords = globule(rng, 100)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    modes = normal_modes(coords, 6, 15.0)
    turned = normal_modes(coords @ rotation.T + 300.0, 6, 15.0)
    assert turned.eigenvalues == pytest.approx(modes.eigenvalues, rel=1e-6)
    for a, b in zip(modes.vectors @ rotation.T, turned.vectors, strict=True):
        assert overlap(a, b) == pytest.approx(1.0, abs=1e-6)


def test_all_modes_of_a_degenerate_set_are_found(rng: Generator):
    """Six copies about an axis: pairs of modes with the same eigenvalue, which one start vector alone cannot tell."""
    copy = globule(rng, 40) + np.array([24.0, 0.0, 0.0])
    turns = [
        np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) for a in np.arange(6) * np.pi / 3
    ]
    coords = np.concatenate([copy @ turn.T for turn in turns])
    modes = normal_modes(coords, 20, 12.0)
    exact = np.linalg.eigvalsh(network_hessian(coords, 12.0).toarray())[6:26]
    assert np.count_nonzero(np.diff(exact) < 1e-9) >= 4
    assert modes.eigenvalues == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize(("model", "cutoff"), [("assembly", 10.0), ("ring", 15.0)])
def test_methods_agree(model: str, cutoff: float):
    ca = synthetic.assembly(1000) if model == "assembly" else synthetic.hexamer(156).ca_trace()
    links = pairs_along_chain(bonded_to_next(ca))
    direct, blocks = (normal_modes(ca.coords, 20, cutoff, links=links, method=name) for name in ("factor", "blocks"))
    assert blocks.eigenvalues == pytest.approx(direct.eigenvalues, rel=1e-6)
    rows, reference = blocks.vectors.reshape(20, -1), direct.vectors.reshape(20, -1)
    assert np.allclose(rows @ rows.T, np.eye(20), atol=1e-12)
    assert np.abs(rigid_motions(ca.coords).reshape(6, -1) @ rows.T).max() < 1e-12
    # All of a degenerate set: the last mode's partner may be the one beyond.
    assert np.linalg.norm(rows @ reference[:15].T, axis=0) == pytest.approx(np.ones(15), abs=1e-7)
    assert direct.notes == ()
    assert re.fullmatch(
        r"modes from \d+ rotation-translation blocks, refined \d+ times: as those of a sparse factor.*", blocks.notes[0]
    )


def test_blocks_of_beads_in_any_order(rng: Generator):
    coords = synthetic.assembly(1000).coords
    order = rng.permutation(1000)
    modes = normal_modes(coords, 8, 15.0, method="factor")
    shuffled = normal_modes(coords[order], 8, 15.0, method="blocks")
    assert shuffled.eigenvalues == pytest.approx(modes.eigenvalues, rel=1e-6)
    for a, b in zip(shuffled.vectors, modes.vectors[:, order], strict=True):
        assert overlap(a, b) == pytest.approx(1.0, abs=1e-4)


def test_the_method_is_chosen_by_counting():
    ring = synthetic.hexamer(312).ca_trace().coords
    assert normal_modes(ring[:400], 6, 12.0).notes == ()
    assert "rotation-translation blocks" in normal_modes(ring, 6, 15.0).notes[0]
    # So many modes are cheaper by a factor.
    assert not any("blocks" in note for note in normal_modes(ring, 60, 15.0).notes)


def test_modes_that_have_not_converged_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mode_solvers, "_MAX_ITERATIONS", 1)
    notes = normal_modes(synthetic.assembly(1000).coords, 8, 15.0, method="blocks").notes
    assert re.search(
        r"refined 1 times: mode \d+ has not converged: its residual is \d+\.\d% of its eigenvalue", notes[0]
    )


def test_methods_that_cannot_be(rng: Generator):
    with pytest.raises(ConfigError, match="one of dense, factor, blocks, got 'fast'"):
        normal_modes(globule(rng, 30), 3, 15.0, method="fast")
    with pytest.raises(ConfigError, match="30 beads are too few for 20 modes"):
        normal_modes(globule(rng, 30), 20, 15.0, method="blocks")


def test_amplitudes_and_displacements_are_inverse(rng: Generator):
    modes = normal_modes(globule(rng, 30), 5, 15.0)
    amplitudes = rng.standard_normal(5)
    displacement = modes.to_displacement(amplitudes)
    assert modes.to_amplitudes(displacement) == pytest.approx(amplitudes)
    root_mean_square = np.sqrt(np.mean(np.sum(displacement**2, axis=1)))
    assert root_mean_square == pytest.approx(np.linalg.norm(amplitudes) / np.sqrt(30))


def test_collectivity_of_known_motions():
    n = 10
    together = np.full((n, 3), 1.0)
    single = np.zeros((n, 3))
    single[4, 1] = 2.0
    half = np.zeros((n, 3))
    half[:5, 0] = 1.0
    assert collectivity(np.stack([together, single, half])) == pytest.approx([1.0, 0.1, 0.5])


def test_overlap_of_known_motions():
    x, y = np.zeros((2, 3)), np.zeros((2, 3))
    x[0, 0], y[1, 1] = 2.0, 1.0
    assert overlap(x, -3.0 * x) == pytest.approx(1.0)
    assert overlap(x, y) == 0.0
    assert overlap(x, x + 2.0 * y) == pytest.approx(np.sqrt(0.5))
    assert overlap(x, np.zeros((2, 3))) == 0.0


def test_select_by_number(rng: Generator):
    modes = normal_modes(globule(rng, 30), 5, 15.0)
    chosen = modes.select((10, 8))
    assert chosen.numbers.tolist() == [10, 8]
    assert np.array_equal(chosen.vectors, modes.vectors[[3, 1]])
    with pytest.raises(ConfigError, match="mode 12 is not among the computed modes 7 to 11"):
        modes.select((7, 12))


def test_loose_residues_are_named(rng: Generator):
    coords = np.concatenate([globule(rng, 90), [[60.0, 0.0, 0.0]]])
    names = np.array([f"B {k}" for k in range(91)])
    with pytest.raises(InputError, match=r"cut-off of 12 Å.* 2 pieces.* B 90\. Raise the cut-off"):
        normal_modes(coords, 5, 12.0, names=names)


@pytest.mark.parametrize(("n", "method"), [(30, "dense"), (100, "factor"), (200, "blocks")])
def test_free_swing_is_named(n: int, method: str, rng: Generator):
    """A bead tied to a single other can swing about it in two directions."""
    ball = globule(rng, n)
    tip = ball[np.argmax(ball[:, 0])]
    coords = np.concatenate([ball, [tip + np.array([11.9, 0.0, 0.0])]])
    with pytest.raises(InputError, match=rf"2 or more internal motions cost nothing.* loose are residues {n + 1}\."):
        normal_modes(coords, 5, 12.0, method=method)


def test_springs_along_the_chain_hold_a_stretched_tail(rng: Generator):
    ball = globule(rng, 80)
    tip = ball[np.argmax(ball[:, 0])]
    coords = np.concatenate([np.delete(ball, np.argmax(ball[:, 0]), axis=0), [tip], tip + stretched(8)])
    with pytest.raises(InputError, match="Raise the cut-off"):
        normal_modes(coords, 5, 7.5)
    links = np.array([(i, i + k) for k in (1, 2, 3) for i in range(len(coords) - k)])
    assert normal_modes(coords, 5, 7.5, links=links).eigenvalues[0] > 0.0


def test_modes_of_a_few_residues_come_with_a_note(rng: Generator):
    ball = globule(rng, 150)
    tip = ball[np.argmax(ball[:, 0])]
    coords = np.concatenate([np.delete(ball, np.argmax(ball[:, 0]), axis=0), [tip], tip + stretched(4)])
    links = np.array([(i, i + k) for k in (1, 2, 3) for i in range(149, len(coords) - k)])
    modes = normal_modes(coords, 5, 11.0, links=links)
    assert modes.collectivity[0] < 0.05
    assert "modes 7" in modes.notes[0]
    assert "cut-off of 11 Å" in modes.notes[0]


@pytest.mark.parametrize(
    ("n", "n_modes", "message"), [(5, 10, "internal modes"), (2, 1, "have none"), (30, 0, "1 to 84")]
)
def test_number_of_modes_is_checked(n: int, n_modes: int, message: str, rng: Generator):
    with pytest.raises(ConfigError, match=message):
        normal_modes(globule(rng, n), n_modes, 15.0)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, np.nan])
def test_cutoff_is_checked(cutoff: float, rng: Generator):
    with pytest.raises(ConfigError, match="expected a positive number"):
        normal_modes(globule(rng, 10), 3, cutoff)


def test_unusable_coordinates(rng: Generator):
    coords = globule(rng, 20)
    broken = coords.copy()
    broken[3, 2] = np.nan
    with pytest.raises(InputError, match="not finite"):
        normal_modes(broken, 3, 15.0)
    coords[7] = coords[2]
    with pytest.raises(InputError, match=r"beads 3 and 8 .* same place"):
        normal_modes(coords, 3, 15.0)


def test_links_of_beads_that_are_not_there(rng: Generator):
    with pytest.raises(InputError, match="links name beads 0 to 20 where there are 20"):
        normal_modes(globule(rng, 20), 3, 15.0, links=np.array([[20, 0]]))


def test_beads_on_a_line_are_refused():
    with pytest.raises(InputError, match="cost nothing"):
        normal_modes(np.arange(10)[:, None] * np.array([3.8, 0.0, 0.0]), 3, 15.0)


def test_shapes_are_checked():
    with pytest.raises(InputError, match="1 eigenvalues for 2 vectors"):
        NormalModes(np.zeros((2, 4, 3)), np.ones(1), np.array([7, 8]), np.ones(2), 10.0)
    with pytest.raises(InputError, match="expected \\(n_modes, n_beads, 3\\)"):
        NormalModes(np.zeros((2, 4, 2)), np.ones(2), np.array([7, 8]), np.ones(2), 10.0)


def test_workflow_writes_table_modes_and_figure(tmp_path: Path, rng: Generator):
    structure = trace(globule(rng, 70), chain="AB")
    result = compute_modes(structure, 6, 15.0, tmp_path / "new" / "folder")
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "domains.csv",
        "modes.csv",
        "modes.nmd",
        "modes.png",
    ]
    table = np.genfromtxt(result.table, delimiter=",", names=True)
    assert table.dtype.names == ("mode", "eigenvalue", "collectivity")
    assert table["mode"].tolist() == [7, 8, 9, 10, 11, 12]
    assert table["eigenvalue"] == pytest.approx(result.modes.eigenvalues, rel=1e-8)
    domains = np.genfromtxt(result.domain_table, delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert domains.dtype.names == ("chain", "residue", "domain", "linker")
    assert domains["residue"].tolist() == structure.residue_number.tolist()
    assert domains["domain"].tolist() == (result.domains.labels + 1).tolist()
    assert result.figure.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    rows = {line.split()[0]: line.split()[1:] for line in result.nmd.read_text().splitlines() if line[:4] != "mode"}
    assert rows["chainids"] == ["AB"] * 70
    assert np.array(rows["coordinates"], float).reshape(-1, 3) == pytest.approx(structure.coords, abs=6e-4)
    last = result.nmd.read_text().splitlines()[-1].split()
    assert last[:2] == ["mode", "12"]
    assert float(last[2]) == pytest.approx(result.modes.eigenvalues[-1] ** -0.5, rel=1e-4)
    assert np.array(last[3:], float).reshape(-1, 3) == pytest.approx(result.modes.vectors[-1], abs=1e-6)


def test_names_with_blanks_stay_one_word(tmp_path: Path, rng: Generator):
    ca = trace(globule(rng, 20), chain="")
    write_nmd(tmp_path / "m.nmd", ca, structure_modes(ca, 2, 20.0))
    assert "chainids " + " ".join(["_"] * 20) in (tmp_path / "m.nmd").read_text()


def test_modes_of_another_model_are_not_written(tmp_path: Path, rng: Generator):
    modes = structure_modes(trace(globule(rng, 20)), 2, 20.0)
    with pytest.raises(InputError, match="modes of 20 beads do not belong to the 21 atoms"):
        write_nmd(tmp_path / "m.nmd", trace(globule(rng, 21)), modes)
    assert not list(tmp_path.iterdir())
