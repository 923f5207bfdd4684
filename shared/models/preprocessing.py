"""From 8-bit pixels to network input and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from .identity import ClassifierRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From 8-bit pixels to what the network takes: ``(pixel / 255 - mean) / std`` in each channel.

    Attributes:
        mean, std: one value for each channel, in units of the full pixel range; one channel means grey images.
        image_size: side of the square input, in pixels.

    Raises:
        ConfigError: mean and std are not one or three numbers each, or lie outside 0..1, or std or image_size is not
            positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ConfigError("--mean and --std take one number each (grey) or three each (R,G,B)")
        if min(self.std) <= 0 or max(self.std) > 1 or min(self.mean) < 0 or max(self.mean) > 1:
            raise ConfigError(
                f"--mean {_text(self.mean)} and --std {_text(self.std)} must lie in 0..1, and --std above 0: they are"
                " shares of the range of pixels, so divide values for pixels of 0..255 by 255"
            )
        if self.image_size < 1:
            raise ConfigError("--image-size must be 1 or more")

    @classmethod
    def of(cls, record: ClassifierRecord) -> Preprocessing:
        """The preprocessing of a classifier on record."""
        return cls(mean=record.mean, std=record.std, image_size=record.image_size)

    @property
    def channels(self) -> int:
        return len(self.mean)

    def normalize(self, images_NCHW: Tensor) -> Tensor:
        """Pixels, 0 to 255 of any dtype, to float32 network input."""
        mean, std = self._columns(images_NCHW.device)
        return (images_NCHW.float() / 255 - mean) / std

    @torch.no_grad()
    def logits(self, network: nn.Module, pixels_NCHW: Tensor) -> Tensor:
        """Logits (N, K) of pixels, 0 to 255 of any dtype, (N, C, H, W), on the network's device."""
        device = next(network.parameters()).device
        return network(self.normalize(pixels_NCHW.to(device)))

    def to_pixels(self, x_NCHW: Tensor) -> Tensor:
        """Network input to uint8 pixels: rounded, and clipped to the range of pixels."""
        return self._levels(x_NCHW).round().clamp(0, 255).to(torch.uint8)

    def share_clipped(self, x_NCHW: Tensor) -> float:
        """Share of values, 0 to 1, that :meth:`to_pixels` moves by more than half a level."""
        levels = self._levels(x_NCHW)
        return float(((levels < -0.5) | (levels > 255.5)).float().mean())

    def valid_range(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Lowest and highest network input that is a pixel, shape (C, 1, 1) each."""
        mean, std = self._columns(device)
        return -mean / std, (1 - mean) / std

    def blank(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """A batch of the shape that the network takes, all 0: for a trial run."""
        return torch.zeros(count, self.channels, self.image_size, self.image_size, device=device)

    def noise(self, device: torch.device | str = "cpu") -> Tensor:
        """One image of normal noise, (1, C, H, W), the same in each call: no layer of a network is silent for it."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, self.channels, self.image_size, self.image_size, generator=generator).to(device)

    def _levels(self, x_NCHW: Tensor) -> Tensor:
        """Network input in units of pixels, 0 to 255 where it is valid; float32, not rounded."""
        mean, std = self._columns(x_NCHW.device)
        return (x_NCHW.float() * std + mean) * 255

    def _columns(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return _column(self.mean, device), _column(self.std, device)


def _text(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)


def _column(values: tuple[float, ...], device: torch.device) -> Tensor:
    """One value for each channel, float32 (C, 1, 1). Made on the device: a copy from the host would wait for it."""
    return torch.stack([torch.full((1, 1), value, device=device) for value in values])
