"""What Adam moves: the pixels of the images, or their spectrum.

Adam takes steps of one size in every parameter. In pixels, most of the energy of such steps is in high frequencies,
where natural images have least. The images then look like noise, and students learn little from them. In the spectrum,
divided by the amplitudes of natural images (they fall with 1/f: Field 1987), both the steps and the starting noise have
the spectrum of natural images. Olah et al. (2017) draw feature visualisations in this way.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..shared.models.classifier import Preprocessing
from .recipe import Recipe

GREY = 1 / 0.4  # ratio of grey to colour in the starting noise, in standard deviations


class Parametrization(Protocol):
    """A batch of square images, and the parameters that describe them.

    The engine uses these methods and nothing else. A generator network is one more class, with its name in
    :data:`PARAMETRIZATIONS` and in the choices of the recipe's ``parametrization``.
    """

    @classmethod
    def from_noise(
        cls, count: int, size: int, *, recipe: Recipe, preprocessing: Preprocessing, generator: torch.Generator
    ) -> Parametrization:
        """Random images of ``size`` pixels a side, on the generator's device."""
        ...

    def parameters(self) -> list[Tensor]:
        """What the optimiser moves: leaf tensors that require a gradient."""
        ...

    def images(self) -> Tensor:
        """The images, (N, C, H, W) in the teacher's normalised space, differentiable in the parameters."""
        ...

    def resize(self, size: int) -> None:
        """Go on with images of ``size`` pixels a side. Afterwards, :meth:`parameters` returns other tensors."""
        ...


class Pixels:
    """The images themselves, (N, C, H, W), starting from normal noise."""

    def __init__(self, x_NCHW: Tensor) -> None:
        self._set(x_NCHW)

    @classmethod
    def from_noise(
        cls, count: int, size: int, *, recipe: Recipe, preprocessing: Preprocessing, generator: torch.Generator
    ) -> Pixels:
        shape = (count, preprocessing.channels, size, size)
        return cls(torch.randn(shape, generator=generator, device=generator.device))

    def parameters(self) -> list[Tensor]:
        return [self.pixels_NCHW]

    def images(self) -> Tensor:
        return self.pixels_NCHW

    def resize(self, size: int) -> None:
        self._set(_resized(self.pixels_NCHW.detach(), size))

    def _set(self, x_NCHW: Tensor) -> None:
        self.pixels_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last).requires_grad_()


class Spectrum:
    """The real Fourier transform, divided by amplitudes that fall with 1/f^falloff: (N, C, H, W // 2 + 1, 2).

    It starts from noise of that spectrum, mostly grey, with mean 0 and variance 1 in each channel.
    """

    def __init__(self, x_NCHW: Tensor, *, falloff: float = 1.0) -> None:
        self.falloff = falloff
        self._set(x_NCHW)

    @classmethod
    def from_noise(
        cls, count: int, size: int, *, recipe: Recipe, preprocessing: Preprocessing, generator: torch.Generator
    ) -> Spectrum:
        device = generator.device
        colour = torch.randn((count, preprocessing.channels, size, size), generator=generator, device=device)
        grey = torch.randn((count, 1, size, size), generator=generator, device=device)
        spectrum = torch.fft.rfft2(colour + GREY * grey) * natural_amplitude(size, recipe.falloff, device)
        x_NCHW = torch.fft.irfft2(spectrum, s=(size, size))
        x_NCHW = (x_NCHW - x_NCHW.mean((0, 2, 3), keepdim=True)) / x_NCHW.std((0, 2, 3), keepdim=True)
        return cls(x_NCHW, falloff=recipe.falloff)

    def parameters(self) -> list[Tensor]:
        return [self.spectrum_NCHF2]

    def images(self) -> Tensor:
        size = self.spectrum_NCHF2.shape[2]
        return torch.fft.irfft2(torch.view_as_complex(self.spectrum_NCHF2) * self.amplitude_HF, s=(size, size))

    def resize(self, size: int) -> None:
        self._set(_resized(self.images().detach(), size))

    def _set(self, x_NCHW: Tensor) -> None:
        self.amplitude_HF = natural_amplitude(x_NCHW.shape[-1], self.falloff, x_NCHW.device).to(x_NCHW.dtype)
        self.spectrum_NCHF2 = self._spectrum(x_NCHW).requires_grad_()

    def _spectrum(self, x_NCHW: Tensor) -> Tensor:
        return torch.view_as_real(torch.fft.rfft2(x_NCHW) / self.amplitude_HF).contiguous()


def within(x_NCHW: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The images clamped to the range ``low`` to ``high``, (C, 1, 1) each.

    The gradient is that of the clamped images, but for values beyond the range that it would move further out: there it
    is 0. The gradient of a plain clamp is 0 in both directions, so values that have left the range would not come back.
    """
    return _Within.apply(x_NCHW, low, high)


class _Within(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor, low: Tensor, high: Tensor) -> Tensor:
        clamped = x_NCHW.clamp(low, high)
        ctx.save_for_backward(x_NCHW, clamped)
        return clamped

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x_NCHW, clamped = ctx.saved_tensors
        # Descent goes against the gradient, so it leads back where gradient and excess have one sign.
        leads_back = (x_NCHW - clamped).mul_(gradients[0]).ge_(0)  # in place: each copy costs as much as the arithmetic
        return leads_back.mul_(gradients[0]), None, None


PARAMETRIZATIONS: dict[str, type[Parametrization]] = {"pixels": Pixels, "spectrum": Spectrum}


def natural_amplitude(size: int, falloff: float, device: torch.device) -> Tensor:
    """Amplitudes 1/f^falloff of the real Fourier transform of square images, (size, size // 2 + 1).

    Their mean square is ``size``², so that parameters and pixels are of one order. The mean colour has no frequency; it
    gets the amplitude of the lowest one.
    """
    down = torch.fft.fftfreq(size, device=device)[:, None]
    right = torch.fft.rfftfreq(size, device=device)[None]
    amplitude = (down.square() + right.square()).sqrt().clamp(min=1 / size) ** -falloff
    return amplitude / amplitude.square().mean().sqrt() * size


def _resized(x_NCHW: Tensor, size: int) -> Tensor:
    if x_NCHW.shape[-1] == size:
        return x_NCHW
    return F.interpolate(x_NCHW, size=(size, size), mode="bilinear", align_corners=False)
