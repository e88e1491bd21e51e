"""From the flat vector to coordinates: each part does what its equation says."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from scipy.linalg import expm, logm

from bayesflex.deformation import APPROACHES, Deformation
from bayesflex.deformation_kernels import haar, jacobian_factors
from bayesflex.errors import ConfigError
from bayesflex.geometry import rotation_of_vector

N, N_MODES = 9, 4


def make(approach: str, rigid: bool, seed: int = 0) -> Deformation:
    rng = np.random.default_rng(seed)
    modes = np.linalg.qr(rng.normal(size=(3 * N, N_MODES)))[0].T.reshape(N_MODES, N, 3)
    if approach == "local":
        modes = modes[:0]
    return Deformation(approach, rng.normal(scale=8.0, size=(N, 3)) + [10.0, -5.0, 3.0], modes, rigid)


def vector(deformation: Deformation, rng, turn: float = 1.0) -> np.ndarray:
    theta = rng.normal(size=deformation.n_dim)
    theta[deformation.rotation] *= turn / max(np.linalg.norm(theta[deformation.rotation]), 1e-12)
    return theta


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("approach", APPROACHES)
def test_coordinates_follow_eq_9_and_the_rigid_part(approach, rigid, rng):
    deformation = make(approach, rigid)
    theta = vector(deformation, rng)
    expected = deformation.start.copy()
    for q, mode in zip(theta[deformation.amplitudes], deformation.modes, strict=True):
        expected += q * mode
    if approach != "global":
        expected += theta[deformation.displacements].reshape(N, 3)
    if rigid:
        centre = deformation.start.mean(axis=0)
        x, y, z = theta[deformation.rotation]
        rotation = expm(np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]))
        expected = (rotation @ (expected - centre).T).T + centre + theta[deformation.translation]
    np.testing.assert_allclose(deformation.coordinates(theta), expected, atol=1e-12)
    np.testing.assert_allclose(deformation.coordinates(np.zeros_like(theta)), deformation.start, atol=1e-13)


@pytest.mark.parametrize("n", [1023, 1024, 2061])
@pytest.mark.parametrize("bodies", [False, True])
def test_blocks_of_beads_make_no_difference(n, bodies, rng):
    """A model of several blocks against its beads in portions of their own, and the way back against its transpose."""
    start, modes = rng.normal(scale=30.0, size=(n, 3)), rng.normal(size=(5, n, 3)) / np.sqrt(3.0 * n)
    share = np.array([np.linspace(0.0, 1.0, n), np.linspace(1.0, 0.0, n)]) if bodies else None
    whole = Deformation("combined", start, modes, True, bodies=share)
    theta = vector(whole, rng)
    moved = theta[whole.displacements].reshape(n, 3) + np.einsum("m,mni->ni", theta[whole.amplitudes], whole.modes)
    expected = start + moved
    for k in range(whole.n_bodies):
        omega, shift = theta[whole.motions].reshape(-1, 2, 3)[k]
        middle = share[k] @ start / share[k].sum()
        turn = rotation_of_vector(omega)
        expected += share[k][:, None] * ((start - middle) @ turn.T + middle + shift - start)
    centre = start.mean(axis=0)
    expected = (expected - centre) @ rotation_of_vector(theta[whole.rotation]).T + centre + theta[whole.translation]
    coords = whole.coordinates(theta)
    np.testing.assert_allclose(coords, expected, atol=1e-11)
    gradient = rng.normal(size=(n, 3))
    got = whole.pull_back(theta, coords, gradient)
    for part in whole.parts:
        direction = np.zeros_like(theta)
        direction[part] = rng.normal(size=part.stop - part.start)
        step = 1e-6 / np.linalg.norm(direction)
        ahead, back = theta + step * direction, theta - step * direction
        change = np.sum(gradient * (whole.coordinates(ahead) - whole.coordinates(back)))
        change += whole.log_density(ahead) - whole.log_density(back)
        assert got @ direction == pytest.approx(change / (2.0 * step), rel=1e-5, abs=1e-4)


def with_bodies(approach: str, rigid: bool, seed: int = 0) -> Deformation:
    plain = make(approach, rigid, seed)
    share = np.clip(np.arange(N) / 3.0 - 1.0, 0.0, 1.0)
    return Deformation.tethered(approach, plain.start, plain.modes, rigid, np.array([1.0 - share, share]))


def turned(theta: np.ndarray, deformation: Deformation, turn: float) -> np.ndarray:
    theta = theta.copy()
    for first in range(deformation.motions.start, deformation.motions.stop, 6):
        theta[first : first + 3] *= turn / np.linalg.norm(theta[first : first + 3])
    return theta


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("approach", APPROACHES)
def test_arrays_are_of_one_kind(approach, rigid):
    """What takes them is compiled once for each kind, for seconds."""
    usual = numba.typeof(make("combined", True).arrays)
    assert numba.typeof(make(approach, rigid).arrays) == usual
    assert numba.typeof(with_bodies(approach, rigid).arrays) == usual


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("approach", APPROACHES)
def test_bodies_move_their_residues_and_linkers_in_part(approach, rigid, rng):
    """Plain NumPy, one body after the other, with the rotation as a matrix exponential."""
    deformation = with_bodies(approach, rigid)
    theta = turned(vector(deformation, rng), deformation, 2.0)
    start = deformation.start
    expected = start.copy()
    for body, weights in enumerate(deformation.bodies):
        x, y, z, *shift = theta[deformation.motions][6 * body : 6 * body + 6]
        rotation = expm(np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]))
        centre = np.average(start, axis=0, weights=weights)
        expected += weights[:, None] * ((start - centre) @ rotation.T + centre + shift - start)
    expected += np.tensordot(theta[deformation.amplitudes], deformation.modes[: deformation.n_modes], 1)
    if approach != "global":
        expected += theta[deformation.displacements].reshape(N, 3)
    if rigid:
        centre = start.mean(axis=0)
        expected = (expected - centre) @ rotation_of_vector(theta[deformation.rotation]).T + centre
        expected += theta[deformation.translation]
    np.testing.assert_allclose(deformation.coordinates(theta), expected, atol=1e-11)


def test_a_body_stays_rigid_and_a_whole_one_moves_all():
    deformation = with_bodies("global", False)
    theta = np.zeros(deformation.n_dim)
    theta[deformation.motions][6:] = [0.0, 1.5, 1.0, 9.0, -4.0, 2.0]
    moved = deformation.coordinates(theta)
    inside = deformation.bodies[1] == 1.0
    between = [np.linalg.norm(c[inside][:, None] - c[inside], axis=-1) for c in (moved, deformation.start)]
    np.testing.assert_allclose(*between, atol=1e-11)
    still = deformation.bodies[0] == 1.0
    np.testing.assert_allclose(moved[still], deformation.start[still], atol=1e-12)
    whole = Deformation("global", deformation.start, deformation.modes, bodies=np.ones((1, N)))
    as_one = np.concatenate([np.zeros(N_MODES), [0.3, -1.0, 0.4, 1.0, 2.0, 3.0]])
    rigid = Deformation("global", deformation.start, deformation.modes, rigid=True)
    np.testing.assert_allclose(whole.coordinates(as_one), rigid.coordinates(as_one), atol=1e-11)
    assert whole.log_density(as_one) == pytest.approx(rigid.log_density(as_one))


@pytest.mark.parametrize("approach", ["local", "combined"])
def test_with_displacements_bodies_leave_the_volume_of_r_as_it_is(approach, rng):
    """|∂r/∂x| is the same wherever the bodies are: flat x keeps p(r)."""
    deformation = with_bodies(approach, True)
    determinants = []
    for turn in (1e-3, 2.5):
        theta = turned(vector(deformation, rng), deformation, turn)
        jacobian = np.empty((3 * N, 3 * N))
        for column, index in enumerate(range(deformation.displacements.start, deformation.displacements.stop)):
            step = np.zeros(deformation.n_dim)
            step[index] = 1e-3
            change = deformation.coordinates(theta + step) - deformation.coordinates(theta - step)
            jacobian[:, column] = change.ravel() / 2e-3
        determinants.append(np.linalg.det(jacobian))
    np.testing.assert_allclose(determinants, 1.0, rtol=1e-8)


def test_half_a_turn_of_a_body_is_outside():
    deformation = with_bodies("global", False)
    theta = np.zeros(deformation.n_dim)
    theta[deformation.motions][6:9] = [0.0, 0.0, math.pi]
    assert deformation.log_density(theta) == -math.inf
    with pytest.raises(ConfigError, match="weights of shape"):
        Deformation("global", deformation.start, deformation.modes, bodies=np.ones((1, N + 1)))


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("approach", APPROACHES)
def test_parts_fill_the_vector_without_overlap(approach, rigid):
    deformation = make(approach, rigid)
    parts = [deformation.amplitudes, deformation.displacements, deformation.rotation, deformation.translation]
    covered = np.concatenate([np.arange(deformation.n_dim)[part] for part in parts])
    np.testing.assert_array_equal(covered, np.arange(deformation.n_dim))
    has_modes, has_local = APPROACHES[approach]
    assert deformation.n_dim == has_modes * N_MODES + has_local * 3 * N + rigid * 6


def test_coordinates_of_the_start_are_not_its_memory():
    deformation = make("global", rigid=False)
    assert not np.shares_memory(deformation.coordinates(np.zeros(N_MODES)), deformation.start)
    empty = Deformation("local", deformation.start, np.zeros((0, N, 3)))
    assert not np.shares_memory(empty.coordinates(np.zeros(3 * N)), empty.start)


def left_jacobian(omega):
    first, second = jacobian_factors(omega @ omega)
    cross = np.array([[0.0, -omega[2], omega[1]], [omega[2], 0.0, -omega[0]], [-omega[1], omega[0], 0.0]])
    return np.eye(3) + first * cross + second * cross @ cross


@pytest.mark.parametrize("angle", [0.0, 1e-6, 9e-4, 1.1e-3, 0.5, 2.0, 3.1])
def test_haar_density_is_the_closed_form(angle, rng):
    """The volume of SO(3) in a rotation vector is (2 - 2 cos a) / a², one at a = 0; so is its gradient's."""
    direction = rng.normal(size=3)
    omega = angle * direction / np.linalg.norm(direction)
    value, per_omega = haar(omega @ omega)
    gradient = per_omega * omega
    expected = math.log((2.0 - 2.0 * math.cos(angle)) / angle**2) if angle > 0.1 else -(angle**2) / 12.0
    assert value == pytest.approx(expected, abs=1e-12)
    # the same measure is the determinant of the Jacobian
    assert value == pytest.approx(math.log(np.linalg.det(left_jacobian(omega))), abs=1e-8)
    if angle:
        h = 1e-4 * angle
        up, down = (haar((angle + s * h) ** 2)[0] for s in (1, -1))
        assert gradient @ omega / angle == pytest.approx((up - down) / (2.0 * h), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-12, 1.5, np.inf, np.nan])
def test_half_a_turn_and_more_is_outside(factor):
    deformation = make("global", rigid=True)
    theta = np.zeros(deformation.n_dim)
    theta[deformation.rotation] = [0.0, 0.0, math.pi * factor]
    assert deformation.log_density(theta) == -math.inf
    theta[deformation.rotation] = [0.0, 0.0, math.pi * (1.0 - 1e-9)]
    assert math.isfinite(deformation.log_density(theta))


@pytest.mark.parametrize("angle", [0.0, 1e-5, 1.1e-4, 1e-3, 0.3, 1.5, 3.0])
def test_left_jacobian_is_the_derivative_of_the_rotation(angle, rng):
    """R(omega + d) R(omega)ᵀ = R(J d) to first order."""
    direction = rng.normal(size=3)
    omega = angle * direction / np.linalg.norm(direction)
    jacobian = left_jacobian(omega)
    h = 1e-5
    for axis in range(3):
        step = h * np.eye(3)[axis]
        turns = [np.real(logm(rotation_of_vector(omega + s * step) @ rotation_of_vector(omega).T)) for s in (1.0, -1.0)]
        generator = (turns[0] - turns[1]) / (2.0 * h)
        column = [generator[2, 1], generator[0, 2], generator[1, 0]]
        np.testing.assert_allclose(jacobian[:, axis], column, atol=1e-8)


def test_translation_has_a_gaussian():
    deformation = make("local", rigid=True)
    theta = np.zeros(deformation.n_dim)
    theta[deformation.translation] = [30.0, 0.0, -60.0]
    assert deformation.log_density(theta) == pytest.approx(-0.5 * (1.0 + 4.0))
    assert make("local", rigid=False).log_density(np.zeros(3 * N)) == 0.0


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("make", [make, with_bodies])
def test_resetting_the_gauge_keeps_the_coordinates(rigid, make, rng):
    deformation = make("combined", rigid)
    theta = vector(deformation, rng, turn=2.0)
    kept = theta.copy()
    reset = deformation.reset_gauge(theta)
    np.testing.assert_array_equal(theta, kept)
    np.testing.assert_allclose(deformation.coordinates(reset), deformation.coordinates(theta), atol=1e-12)
    flat = deformation.modes.reshape(N_MODES, -1)
    np.testing.assert_allclose(flat @ reset[deformation.displacements], 0.0, atol=1e-12)
    np.testing.assert_allclose(deformation.reset_gauge(reset), reset, atol=1e-12)
    np.testing.assert_array_equal(reset[deformation.rotation], theta[deformation.rotation])
    np.testing.assert_array_equal(reset[deformation.motions], theta[deformation.motions])


@pytest.mark.parametrize("approach", ["local", "global"])
def test_without_redundancy_there_is_no_gauge(approach, rng):
    deformation = make(approach, rigid=True)
    theta = vector(deformation, rng)
    np.testing.assert_array_equal(deformation.reset_gauge(theta), theta)


def test_wrong_settings_are_named():
    good = make("combined", rigid=False)
    with pytest.raises(ConfigError, match="expected one of local, global, combined, got 'wobbly'"):
        Deformation("wobbly", good.start, good.modes)
    with pytest.raises(ConfigError, match="do not belong to 5 atoms"):
        Deformation("combined", good.start[:5], good.modes)


def test_with_a_prior_on_q_alone_r_keeps_its_posterior_and_q_learns_nothing():
    """A Gaussian toy in closed form: r = r_0 + qA + x, x flat, q ~ N(0, S), log P(r) quadratic.

    Precision of (q, x) is JᵀΛJ + diag(1/S, 0); the marginals follow by inversion, with x made proper by a tiny ridge.
    """
    deformation = make("combined", rigid=False)
    rng = np.random.default_rng(4)
    root = rng.normal(size=(3 * N, 3 * N))
    precision = root @ root.T + np.eye(3 * N)
    variance = 4.0
    jacobian = np.hstack([deformation.modes.reshape(N_MODES, -1).T, np.eye(3 * N)])
    full = jacobian.T @ precision @ jacobian
    full[:N_MODES, :N_MODES] += np.eye(N_MODES) / variance
    covariance = np.linalg.inv(full)
    np.testing.assert_allclose(covariance[:N_MODES, :N_MODES], variance * np.eye(N_MODES), atol=1e-6)
    np.testing.assert_allclose(jacobian @ covariance @ jacobian.T, np.linalg.inv(precision), atol=1e-6)
    np.testing.assert_allclose(covariance[:N_MODES] @ jacobian.T, 0.0, atol=1e-6)  # q is independent of r


def test_with_priors_on_q_and_x_collective_motion_is_cheap():
    """x ~ N(0, τ²), q ~ N(0, S): r - r_0 ~ N(0, AᵀSA + τ²I)."""
    deformation = make("combined", rigid=False)
    rng = np.random.default_rng(4)
    variance, tau2 = 4.0, 0.25
    flat = deformation.modes.reshape(N_MODES, -1)
    theta = np.empty((20_000, deformation.n_dim))
    theta[:, deformation.amplitudes] = rng.normal(scale=math.sqrt(variance), size=(len(theta), N_MODES))
    theta[:, deformation.displacements] = rng.normal(scale=math.sqrt(tau2), size=(len(theta), 3 * N))
    moved = np.array([(deformation.coordinates(row) - deformation.start).ravel() for row in theta])
    expected = variance * flat.T @ flat + tau2 * np.eye(3 * N)
    # the standard error of a covariance is at most its largest variance times √(2 / n): 4.25 / 100
    assert np.abs(moved.T @ moved / len(theta) - expected).max() < 5.0 * 4.25 / 100.0
    along = np.var(moved @ flat.T, axis=0)
    np.testing.assert_allclose(along, variance + tau2, rtol=0.06)
