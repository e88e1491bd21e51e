"""Diagnostics: R-hat, ESS and E-BFMI equal ArviZ's, correlations and shells do as they are defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bayesflex.diagnostics import (
    cc_centred,
    cc_mask,
    cc_uncentred,
    energy_bfmi,
    fourier_shell_correlation,
    r_hat_and_ess,
    tail_ess,
)
from bayesflex.errors import InputError
from bayesflex.trace import import_arviz


def autoregressive(rng: np.random.Generator, n_chains: int, n_draws: int, phi: np.ndarray) -> np.ndarray:
    """Stationary AR(1) draws, one quantity per coefficient, shape (n_chains, n_draws, len(phi))."""
    noise = rng.normal(size=(n_chains, n_draws, len(phi)))
    draws = noise / np.sqrt(1.0 - phi**2)
    for t in range(1, n_draws):
        draws[:, t] = phi * draws[:, t - 1] + noise[:, t]
    return draws


@pytest.mark.parametrize(
    ("n_chains", "n_draws"), [(2, 4), (2, 5), (2, 6), (2, 7), (3, 8), (2, 9), (4, 11), (4, 100), (3, 101)]
)
def test_r_hat_and_ess_equal_those_of_arviz(rng: np.random.Generator, n_chains: int, n_draws: int) -> None:
    draws = autoregressive(rng, n_chains, n_draws, np.linspace(-0.9, 0.97, 30))
    draws[..., ::3] = np.round(draws[..., ::3])  # ties, as rejected proposals make them
    draws[0, :, 1::5] += 3.0  # chains that disagree
    draws[..., 2::5] *= np.linspace(1.0, 5.0, n_chains)[:, np.newaxis, np.newaxis]  # in spread alone
    moving = np.ptp(draws, axis=(0, 1)) > 0
    arviz = import_arviz()
    r_hat, ess = r_hat_and_ess(draws)
    columns = [draws[..., i] for i in np.flatnonzero(moving)]
    with np.errstate(all="ignore"):  # ArviZ divides by zero where every chain stands still
        expected = [(float(arviz.rhat(x, method="rank")), float(arviz.ess(x, method="bulk"))) for x in columns]
        tails = [float(arviz.ess(x, method="tail")) for x in columns]
    np.testing.assert_allclose(np.column_stack([r_hat, ess])[moving], expected, rtol=1e-12)
    np.testing.assert_allclose(tail_ess(draws)[moving], tails, rtol=1e-12)
    assert np.isnan(tail_ess(draws)[~moving]).all()


def test_energies_explored_slowly_have_a_small_bfmi_as_arviz_says(rng: np.random.Generator) -> None:
    energy = np.moveaxis(autoregressive(rng, 4, 1000, np.array([0.0, 0.97])), 2, 0)
    arviz = import_arviz()
    for values in energy:
        np.testing.assert_allclose(energy_bfmi(values), arviz.bfmi(values), rtol=1e-12)
    assert energy_bfmi(energy[0]).min() > 1.5  # independent values differ by √2 standard deviations
    assert energy_bfmi(energy[1]).max() < 0.3
    assert np.isnan(energy_bfmi(np.ones((2, 5)))).all()


def test_one_chain_is_judged_by_its_halves(rng: np.random.Generator) -> None:
    draws = rng.normal(size=(1, 400, 2))
    draws[0, :, 1] += np.linspace(0.0, 10.0, 400)  # drifts
    r_hat, ess = r_hat_and_ess(draws)
    assert r_hat[0] < 1.05
    assert ess[0] > 200
    assert r_hat[1] > 1.5
    assert ess[1] < 20
    assert ess[1] == pytest.approx(float(import_arviz().ess(draws[..., 1])), rel=1e-12)


def test_ess_of_a_long_autoregressive_chain_is_the_known_one(rng: np.random.Generator) -> None:
    phi = np.array([0.0, 0.5, 0.8])
    _, ess = r_hat_and_ess(autoregressive(rng, 4, 5000, phi))
    np.testing.assert_allclose(ess, 20_000 * (1 - phi) / (1 + phi), rtol=0.15)


def test_quantities_that_cannot_be_judged_are_nan_and_leave_the_others_alone(rng: np.random.Generator) -> None:
    draws = rng.normal(size=(4, 50, 4))
    alone = r_hat_and_ess(draws[..., 3:])
    draws[..., 0] = 5.0
    draws[1, 3, 1] = np.nan
    draws[..., 2] = np.arange(4)[:, np.newaxis]  # each chain stands still
    r_hat, ess = r_hat_and_ess(draws)
    assert np.isnan(r_hat[:2]).all()
    assert np.isnan(ess[:2]).all()
    assert r_hat[2] == np.inf
    assert ess[2] < 10
    assert (r_hat[3], ess[3]) == (alone[0][0], alone[1][0])


def test_fewer_than_four_draws_are_nan(rng: np.random.Generator) -> None:
    draws = rng.normal(size=(4, 3, 2))
    assert np.isnan([*r_hat_and_ess(draws), tail_ess(draws)]).all()


def test_blocks_do_not_show(rng: np.random.Generator) -> None:
    draws = rng.normal(size=(2, 6, 5000)).astype(np.float32)
    whole, part = r_hat_and_ess(draws), r_hat_and_ess(draws[..., 2000:2100])
    np.testing.assert_array_equal(whole[0][2000:2100], part[0])
    np.testing.assert_array_equal(whole[1][2000:2100], part[1])


maps = arrays(np.float64, (3, 4, 5), elements=st.floats(-100, 100, width=32))


@settings(deadline=None, max_examples=60)
@given(maps, maps, st.floats(0.1, 50), st.floats(-50, 50))
def test_centred_correlation_ignores_scale_and_offset(
    a: np.ndarray, b: np.ndarray, scale: float, offset: float
) -> None:
    if np.ptp(a) < 1e-3 or np.ptp(b) < 1e-3:
        return
    value = cc_centred(a, b)
    assert -1.0 - 1e-12 <= value <= 1.0 + 1e-12
    assert value == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-7)
    assert cc_centred(scale * a + offset, b) == pytest.approx(value, abs=1e-7)
    assert cc_uncentred(scale * a, b) == pytest.approx(cc_uncentred(a, b), abs=1e-9)


def test_uncentred_correlation_is_the_cosine_and_keeps_the_mean(rng: np.random.Generator) -> None:
    a, b = np.array([[[3.0, 4.0]]]), np.array([[[4.0, 3.0]]])
    assert cc_uncentred(a, b) == pytest.approx(24.0 / 25.0)
    assert cc_centred(a, b) == pytest.approx(-1.0)
    noise = rng.normal(size=(2, 8, 8, 8)) + 100.0
    assert cc_uncentred(*noise) > 0.999
    assert abs(cc_centred(*noise)) < 0.2


def test_correlation_in_single_precision_keeps_its_digits(rng: np.random.Generator) -> None:
    a = (rng.normal(size=(40, 40, 40)) + 1e3).astype(np.float32)
    b = (a + rng.normal(size=a.shape)).astype(np.float32)
    assert cc_centred(a, b) == pytest.approx(cc_centred(a.astype(np.float64), b.astype(np.float64)), abs=1e-12)


def test_masked_correlation_looks_inside_alone(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 6, 6, 6))
    mask = rng.random((6, 6, 6)) < 0.4
    b[mask] = 2.0 * a[mask] + 3.0
    assert cc_mask(a, b, mask) == pytest.approx(1.0)
    assert cc_mask(a, b, np.ones_like(mask)) == cc_centred(a, b)
    assert np.isnan(cc_mask(a, b, np.zeros_like(mask)))


def test_correlation_with_a_map_without_contrast_is_nan(rng: np.random.Generator) -> None:
    a = rng.normal(size=(5, 5, 5))
    assert np.isnan(cc_uncentred(a, np.zeros_like(a)))
    assert np.isnan(cc_centred(a, np.full_like(a, 0.1)))


def test_maps_on_different_grids_are_refused() -> None:
    a, b = np.zeros((2, 3, 4)), np.zeros((4, 3, 2))
    for correlation in (cc_uncentred, cc_centred):
        with pytest.raises(InputError, match="same grid"):
            correlation(a, b)
    with pytest.raises(InputError, match="mask"):
        cc_mask(a, a, np.zeros((2, 3, 4)))
    with pytest.raises(InputError, match="same"):
        fourier_shell_correlation(a, b, np.ones(3))


def slow_shells(a: np.ndarray, b: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    """Every coefficient of the full transform, one by one."""
    fa, fb = np.fft.fftn(a), np.fft.fftn(b)
    lengths = np.array(a.shape[::-1]) * voxel
    n_shells = int(np.floor(0.5 / voxel.max() * lengths.max() + 1e-9))
    sums = np.zeros((n_shells + 1, 3))
    for k, j, i in np.ndindex(*a.shape):
        index = [np.fft.fftfreq(n)[m] / d for n, m, d in zip(a.shape[::-1], (i, j, k), voxel, strict=True)]
        shell = int(np.rint(np.linalg.norm(index) * lengths.max()))
        if 1 <= shell <= n_shells:
            x, y = fa[k, j, i], fb[k, j, i]
            sums[shell] += (x * y.conjugate()).real, abs(x) ** 2, abs(y) ** 2
    return sums[1:, 0] / np.sqrt(sums[1:, 1] * sums[1:, 2])


@pytest.mark.parametrize("shape", [(8, 8, 8), (6, 7, 9), (5, 8, 6)])
def test_shells_equal_a_plain_sum_over_the_full_transform(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    a, b = rng.normal(size=(2, *shape))
    voxel = np.array([1.0, 1.3, 0.9])
    frequency, fsc = fourier_shell_correlation(a, b + a, voxel)
    np.testing.assert_allclose(fsc, slow_shells(a, b + a, voxel), atol=1e-12)
    assert np.all(np.diff(frequency) > 0)
    assert frequency[-1] <= 0.5 / 1.3 + 1e-9


def test_shells_find_the_frequency_from_which_maps_differ(rng: np.random.Generator) -> None:
    n, voxel = 32, 2.0
    a = rng.normal(size=(n, n, n))
    frequencies = np.fft.fftfreq(n, voxel)
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(frequencies, frequencies, frequencies)))
    low = np.fft.ifftn(np.where(radius < 0.1, np.fft.fftn(a), 0.0)).real
    high = np.fft.ifftn(np.where(radius < 0.1, 0.0, np.fft.fftn(rng.normal(size=a.shape)))).real
    frequency, fsc = fourier_shell_correlation(a, 3.0 * low + high, np.full(3, voxel))
    assert frequency[0] == pytest.approx(1 / 64)
    assert frequency[-1] == pytest.approx(0.25)
    np.testing.assert_allclose(fsc[frequency < 0.09], 1.0, atol=1e-12)
    assert np.abs(fsc[frequency > 0.115]).max() < 0.2
    assert np.isnan(fourier_shell_correlation(a, np.zeros_like(a), np.full(3, voxel))[1]).all()
