"""Bases: there and back, gradients, and the spectrum of what they start from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dreamdistill.invert.engine import Engine
from dreamdistill.invert.parametrization import Pixels, Spectrum, make_basis
from dreamdistill.invert.recipe import Recipe
from dreamdistill.shared.models.classifier import load_model

CPU = torch.device("cpu")
BASES = ["pixels", "spectrum"]


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("size", [7, 8, 32])
def test_there_and_back(name: str, size: int) -> None:
    basis = make_basis(name, 3, size, CPU, falloff=1.5)
    x = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(basis.images(basis.coordinates(x)), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", BASES)
def test_the_start_is_of_unit_variance_and_the_seeds(name: str) -> None:
    basis = make_basis(name, 3, 32, CPU, falloff=1.5)
    first, again, other = (basis.start(64, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    x = basis.images(first)
    assert x.shape == (64, 3, 32, 32)
    assert x.std() == pytest.approx(1, abs=0.02)
    assert x.mean() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("falloff", [1.0, 1.5])
def test_amplitudes_fall_with_the_frequency(falloff: float) -> None:
    """Against numpy in float64: the mean amplitude at each frequency, and what one step in each coordinate does."""
    basis = Spectrum(1, 32, CPU, falloff=falloff)
    x = basis.images(basis.start(512, torch.Generator().manual_seed(0))).double().numpy()[:, 0]
    amplitude = np.abs(np.fft.rfft2(x)).mean(0)
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None])
    inner = (frequency > 0) & (np.fft.rfftfreq(32)[None] > 0) & (np.fft.rfftfreq(32)[None] < 0.5)
    slope = np.polyfit(np.log(frequency[inner]), np.log(amplitude[inner]), 1)[0]
    assert slope == pytest.approx(-falloff, abs=0.05)
    low, high = (np.abs(_moved_by_one(basis, *place)).max() for place in ((1, 1), (10, 10)))
    assert low / high == pytest.approx(10**falloff, rel=0.01)


def _moved_by_one(basis: Spectrum, row: int, column: int) -> np.ndarray:
    step = torch.zeros(1, 1, 32, 17, 2)
    step[0, 0, row, column, 0] = 1
    return basis.images(step).numpy()


def test_the_gradient_reaches_the_spectrum() -> None:
    basis = Spectrum(2, 6, CPU)
    basis.amplitude_HF = basis.amplitude_HF.double()
    start = torch.randn(1, 2, 6, 4, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: (basis.images(z) * weights).square().sum(), (start,))


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("shift", ["batch", "window"])
def test_every_basis_and_shift_finds_the_targets(basis: str, shift: str) -> None:
    teacher = load_model("digits_cnn")
    recipe = Recipe(
        steps=(60, 60),
        scales=(0.5, 1.0),
        lr=0.1,
        alpha_feature=0.3,
        jitter=1,
        parametrization=basis,
        shift=shift,
        clip=True,
    )
    targets = torch.arange(20) % 10
    x = Engine(teacher, recipe).synthesize(targets, seed=0).x
    low, high = teacher.preprocessing.valid_range(CPU)
    assert (x >= low - 1e-4).all()
    assert (x <= high + 1e-4).all()
    assert (teacher.network(x).argmax(1) == targets).float().mean() >= 0.8


def test_pixels_are_themselves() -> None:
    x = torch.randn(2, 1, 4, 4)
    assert torch.equal(Pixels(1, 4, CPU).images(x), x)
