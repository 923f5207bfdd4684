"""What Adam moves: the images' pixels, or their spectrum.

Adam's steps are of one size in every coordinate. Taken in pixels, most of their energy is in high frequencies, where
natural images have least: such images look like noise, and teach like it. Taken in the spectrum divided by the
amplitudes of natural images, which fall with 1/f, steps and starting noise have that spectrum (Field 1987; Olah et al.
2017 paint networks' features so).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

GREY = 1 / 0.4  # of the starting noise: grey to colour, as ratio of standard deviations


class Basis(Protocol):
    """Coordinates of images of one size, (N, C, H, W); linear and invertible."""

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        """Coordinates of noise images."""
        ...

    def images(self, coordinates: Tensor) -> Tensor: ...

    def coordinates(self, x_NCHW: Tensor) -> Tensor: ...


class Pixels:
    """The images themselves, started from normal noise."""

    def __init__(self, channels: int, size: int, device: torch.device) -> None:
        self.shape = (channels, size, size)
        self.device = device

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        return self.coordinates(torch.randn(count, *self.shape, generator=generator, device=self.device))

    def images(self, coordinates: Tensor) -> Tensor:
        return coordinates

    def coordinates(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW.contiguous(memory_format=torch.channels_last)


class Spectrum:
    """The real Fourier transform, divided by amplitudes that fall with 1/f^falloff: (N, C, H, W // 2 + 1, 2).

    Started from noise of that spectrum, mostly grey, of unit variance.
    """

    def __init__(self, channels: int, size: int, device: torch.device, *, falloff: float = 1.0) -> None:
        self.channels, self.size = channels, size
        down = torch.fft.fftfreq(size, device=device)[:, None]
        right = torch.fft.rfftfreq(size, device=device)[None]
        # The mean colour has no frequency; it gets the lowest one's amplitude.
        amplitude = (down.square() + right.square()).sqrt().clamp(min=1 / size) ** -falloff
        self.amplitude_HF = amplitude / amplitude.square().mean().sqrt() * size

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        shape = (count, self.channels, self.size, self.size)
        device = self.amplitude_HF.device
        colour = torch.randn(shape, generator=generator, device=device)
        grey = torch.randn((count, 1, *shape[2:]), generator=generator, device=device)
        spectrum = torch.fft.rfft2(colour + GREY * grey) * self.amplitude_HF
        x_NCHW = torch.fft.irfft2(spectrum, s=shape[2:])
        return self.coordinates((x_NCHW - x_NCHW.mean((0, 2, 3), keepdim=True)) / x_NCHW.std((0, 2, 3), keepdim=True))

    def images(self, coordinates: Tensor) -> Tensor:
        spectrum = torch.view_as_complex(coordinates) * self.amplitude_HF
        return torch.fft.irfft2(spectrum, s=(self.size, self.size))

    def coordinates(self, x_NCHW: Tensor) -> Tensor:
        return torch.view_as_real(torch.fft.rfft2(x_NCHW) / self.amplitude_HF).contiguous()


def make_basis(name: str, channels: int, size: int, device: torch.device, *, falloff: float) -> Basis:
    """The basis of a recipe: ``pixels``, or ``spectrum`` with amplitudes of 1/f^falloff."""
    if name == "pixels":
        return Pixels(channels, size, device)
    return Spectrum(channels, size, device, falloff=falloff)
