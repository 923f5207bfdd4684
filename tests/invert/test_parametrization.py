"""Parametrizations: from images and back, gradients, sizes, the range of pixels, the spectrum of the noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dreamdistill.invert.engine import Engine
from dreamdistill.invert.parametrization import PARAMETRIZATIONS, Parametrization, Pixels, Spectrum, within
from dreamdistill.invert.recipe import Recipe
from dreamdistill.shared.models.classifier import Preprocessing, load_model

CPU = torch.device("cpu")
RECIPE = Recipe(steps=(1,), falloff=1.5)
FROM_IMAGES: dict[str, Callable[[Tensor], Parametrization]] = {
    "pixels": Pixels,
    "spectrum": lambda x: Spectrum(x, falloff=1.5),
}


def colours(size: int) -> Preprocessing:
    return Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, image_size=size)


def noise(name: str, count: int, size: int, *, seed: int, recipe: Recipe = RECIPE) -> Parametrization:
    generator = torch.Generator().manual_seed(seed)
    kind = PARAMETRIZATIONS[name]
    return kind.from_noise(count, size, recipe=recipe, preprocessing=colours(size), generator=generator)


def random_images(size: int) -> Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
@pytest.mark.parametrize("size", [7, 8, 32])
def test_images_are_those_it_was_made_from(name: str, size: int) -> None:
    x = random_images(size)
    torch.testing.assert_close(FROM_IMAGES[name](x).images().detach(), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_noise_has_unit_variance_and_follows_the_seed(name: str) -> None:
    first, again, other = (noise(name, 64, 32, seed=seed).images().detach() for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (64, 3, 32, 32)
    assert first.std() == pytest.approx(1, abs=0.02)
    assert first.mean() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
@pytest.mark.parametrize("size", [8, 12])
def test_resize_interpolates_the_images_and_renews_the_parameters(name: str, size: int) -> None:
    x = random_images(8)
    parametrization = FROM_IMAGES[name](x)
    before = parametrization.parameters()
    parametrization.resize(size)
    after = parametrization.parameters()
    expected = x if size == 8 else F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    torch.testing.assert_close(parametrization.images().detach(), expected, atol=1e-5, rtol=0)
    assert not {id(tensor) for tensor in before} & {id(tensor) for tensor in after}
    assert all(tensor.is_leaf and tensor.requires_grad for tensor in after)


def test_images_within_the_range_are_clamped_and_pass_every_gradient_but_those_that_lead_out() -> None:
    low, high = torch.tensor([-1.0, -2.0]).double(), torch.tensor([1.0, 0.5]).double()
    values = torch.tensor([-3.0, -1.5, -1.0, 0.0, 0.5, 1.0, 2.0]).double()
    x = values.repeat(1, 2, 1, 1).transpose(2, 3).requires_grad_()  # (1, 2, 7, 1): each value in both channels
    columns = low[:, None, None], high[:, None, None]
    expected = values.clip(low[:, None], high[:, None])[None, :, :, None]
    for gradient in (1.0, -1.0):
        images = within(x, *columns)
        assert torch.equal(images, expected)
        (found,) = torch.autograd.grad((gradient * images).sum(), x)
        leads_out = (x < columns[0]) if gradient > 0 else (x > columns[1])  # descent goes against the gradient
        assert torch.equal(found, torch.where(leads_out, 0.0, gradient))
    inner = torch.linspace(-0.9, 0.4, 8).double().reshape(1, 2, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: within(x, *columns).square(), (inner,))


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_descent_brings_values_back_from_beyond_the_range(name: str) -> None:
    """A plain clamp would leave them there: it has no gradient outside."""
    low, high = torch.full((1, 1, 1), -1.0), torch.full((1, 1, 1), 1.0)
    goal = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    parametrization = {"pixels": Pixels, "spectrum": Spectrum}[name](3 * goal.sign())
    optimizer = torch.optim.Adam(parametrization.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (within(parametrization.images(), low, high) - goal).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(parametrization.images().detach(), goal, atol=0.1, rtol=0)


@pytest.mark.parametrize("falloff", [1.0, 1.5])
def test_amplitudes_fall_with_the_frequency(falloff: float) -> None:
    """Against numpy in float64: the mean amplitude at each frequency, and the effect of one step in a parameter."""
    recipe = RECIPE.changed({"falloff": falloff})
    x = noise("spectrum", 512, 32, seed=0, recipe=recipe).images().detach().double().numpy()[:, 0]
    amplitude = np.abs(np.fft.rfft2(x)).mean(0)
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None])
    inner = (frequency > 0) & (np.fft.rfftfreq(32)[None] > 0) & (np.fft.rfftfreq(32)[None] < 0.5)
    slope = np.polyfit(np.log(frequency[inner]), np.log(amplitude[inner]), 1)[0]
    assert slope == pytest.approx(-falloff, abs=0.05)
    low, high = (largest_change(falloff, *place) for place in ((1, 1), (10, 10)))
    assert low / high == pytest.approx(10**falloff, rel=0.01)


def largest_change(falloff: float, row: int, column: int) -> float:
    """The largest change of a pixel when one parameter of a spectrum changes by 1."""
    spectrum = Spectrum(torch.zeros(1, 1, 32, 32), falloff=falloff)
    with torch.no_grad():
        spectrum.parameters()[0][0, 0, row, column, 0] = 1
    return spectrum.images().abs().max().item()


def test_the_gradient_reaches_the_spectrum() -> None:
    spectrum = Spectrum(torch.randn(1, 2, 6, 6, dtype=torch.float64))
    weights = torch.randn(1, 2, 6, 6, dtype=torch.float64)

    def loss(_: Tensor) -> Tensor:
        return (spectrum.images() * weights).square().sum()

    assert torch.autograd.gradcheck(loss, (spectrum.parameters()[0],))


def test_pixels_are_the_images_themselves() -> None:
    pixels = Pixels(torch.randn(2, 1, 4, 4))
    assert pixels.parameters()[0] is pixels.images()


class Halved(Pixels):
    """Images of half the size of what Adam moves."""

    def images(self) -> Tensor:
        return self.pixels_NCHW / 2


@pytest.mark.parametrize("name", [*PARAMETRIZATIONS, "halved"])
@pytest.mark.parametrize("shift", ["batch", "window"])
def test_the_engine_reaches_the_targets(name: str, shift: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each parametrization, and with one that only this test knows."""
    if name == "halved":
        name = "pixels"
        monkeypatch.setitem(PARAMETRIZATIONS, name, Halved)
    teacher = load_model("digits_cnn")
    recipe = Recipe(
        steps=(60, 60),
        scales=(0.5, 1.0),
        lr=0.1,
        alpha_feature=0.3,
        jitter=1,
        parametrization=name,
        shift=shift,
        clip=True,
    )
    targets = torch.arange(20) % 10
    x = Engine(teacher, recipe).synthesize(targets, seed=0).x
    low, high = teacher.preprocessing.valid_range(CPU)
    assert (x >= low).all()
    assert (x <= high).all()
    assert (teacher.network(x).argmax(1) == targets).float().mean() >= 0.8
