"""Teachers and students: a network loaded by name, how its input is normalised, and who it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, one_line
from .architectures import Architecture, find_architecture
from .checkpoints import fit_weights, is_weights_file, read_weights, weights_sha256
from .networks import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From 8-bit pixels to what the network takes: ``(pixel / 255 - mean) / std`` per channel.

    Attributes:
        mean, std: one value a channel, in units of the full pixel range; one channel means grey images.
        image_size: side of the square input, in pixels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ConfigError("--mean and --std take one number each (grey) or three each (R,G,B)")
        if min(self.std) <= 0:
            raise ConfigError("--std must be above 0")
        if self.image_size < 1:
            raise ConfigError("--image-size must be 1 or more")

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Preprocessing:
        """From a manifest's or a saved model's record."""
        return cls(mean=tuple(record["mean"]), std=tuple(record["std"]), image_size=record["image_size"])

    def describe(self) -> dict[str, Any]:
        """What a manifest or a saved model keeps."""
        return {"mean": list(self.mean), "std": list(self.std), "image_size": self.image_size}

    @property
    def channels(self) -> int:
        return len(self.mean)

    def normalize(self, images_NCHW: Tensor) -> Tensor:
        """Pixels, 0 to 255 of any dtype, to float32 network input."""
        mean, std = self._columns(images_NCHW.device)
        return (images_NCHW.float() / 255 - mean) / std

    def to_pixels(self, x_NCHW: Tensor) -> Tensor:
        """Network input to uint8 pixels: rounded, and clipped where a value has no pixel."""
        mean, std = self._columns(x_NCHW.device)
        return ((x_NCHW.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def valid_range(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Lowest and highest network input that is a pixel, shape (C, 1, 1) each."""
        mean, std = self._columns(device)
        return -mean / std, (1 - mean) / std

    def blank(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """A batch of the shape that the network takes, all 0: for a trial run."""
        return torch.zeros(count, self.channels, self.image_size, self.image_size, device=device)

    def _columns(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return (
            torch.tensor(self.mean, device=device)[:, None, None],
            torch.tensor(self.std, device=device)[:, None, None],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A frozen network and all that identifies it.

    Attributes:
        name, weights: as ``--teacher`` and ``--weights`` take them, paths made absolute.
        architecture: the name that builds such a network, before a channel table is applied.
        network: on its device, in eval mode, without gradients; logits (N, K) from (N, C, H, W).
        sha256: of the weights, whatever file format they came in.
        class_names: one a class, or empty if nobody said.
    """

    name: str
    weights: str | None
    architecture: str
    network: nn.Module
    preprocessing: Preprocessing
    num_classes: int
    class_names: tuple[str, ...]
    sha256: str

    def describe(self) -> dict[str, Any]:
        """What a manifest keeps, enough for :func:`reload_model`."""
        return {
            "name": self.name,
            "weights": self.weights,
            "sha256": self.sha256,
            **self.preprocessing.describe(),
            "num_classes": self.num_classes,
            "class_names": list(self.class_names),
        }


def load_model(
    name: str,
    *,
    weights: str | None = None,
    num_classes: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    image_size: int | None = None,
    device: torch.device | str = "cpu",
) -> Classifier:
    """Load a trained network by name.

    Args:
        name: see :mod:`.architectures`.
        weights: a ``.safetensors``, ``.pth`` or ``.pt`` file, the name of a torchvision weights entry, or ``none``
            for random weights (always the same ones); by default the best that come with the name.
        num_classes: outputs of the network, where the name leaves it open.
        mean, std, image_size: normalisation; by default what the weights say, else ImageNet's mean and std.

    Raises:
        ConfigError: the name is unknown, or weights are missing, do not fit or cannot be fetched.
    """
    architecture = find_architecture(name)
    preprocessing = Preprocessing(
        mean=mean or architecture.mean or IMAGENET_MEAN,
        std=std or architecture.std or IMAGENET_STD,
        image_size=image_size or architecture.image_size,
    )
    # A fixed seed makes `--weights none` the same teacher in every stage; other weights replace what it drew.
    network = _build(architecture, num_classes, preprocessing.channels, seed=0)
    file = Path(weights) if weights is not None and is_weights_file(weights) else None
    if weights != "none":
        state = read_weights(file) if file else architecture.pretrained(weights)
        if state is not None:
            fit_weights(network, state, name=name)
    network = network.to(device).eval().requires_grad_(False)
    outputs = count_outputs(network, preprocessing, name)
    if num_classes is not None and outputs != num_classes:
        raise ConfigError(f"{name} has {outputs} classes, but --num-classes says {num_classes}")
    return Classifier(
        name=architecture.name,
        weights=str(file.resolve()) if file else weights,
        architecture=architecture.base,
        network=network,
        preprocessing=preprocessing,
        num_classes=outputs,
        class_names=architecture.class_names if len(architecture.class_names) == outputs else (),
        sha256=weights_sha256(network),
    )


def reload_model(
    record: Mapping[str, Any],
    *,
    name: str | None = None,
    weights: str | None = None,
    device: torch.device | str = "cpu",
) -> Classifier:
    """Load the teacher that a manifest describes, from where it says or from a place given instead.

    Raises:
        ConfigError: it cannot be loaded, or what was loaded is another network than the one that made the shards.
    """
    teacher = load_model(
        name or record["name"],
        weights=weights if name or weights else record["weights"],
        num_classes=record["num_classes"],
        mean=tuple(record["mean"]),
        std=tuple(record["std"]),
        image_size=record["image_size"],
        device=device,
    )
    if teacher.sha256 != record["sha256"]:
        raise ConfigError(
            f"{teacher.name} is not the teacher of these shards, which is {record['name']} with other weights"
            f" (sha256 {record['sha256'][:12]}, not {teacher.sha256[:12]}); pass its --teacher and --weights"
        )
    return teacher


def new_student(name: str, *, num_classes: int, preprocessing: Preprocessing, seed: int) -> tuple[str, nn.Module]:
    """A network with new weights, of the named architecture, and the name that builds it (``Architecture.base``).

    Raises:
        ConfigError: the name is unknown, or it cannot take the teacher's images and classes.
    """
    architecture = find_architecture(name)
    network = _build(architecture, num_classes, preprocessing.channels, seed=seed)
    if architecture.arrives_trained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in network.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()  # type: ignore[operator]
    outputs = count_outputs(network.eval(), preprocessing, name)
    if outputs != num_classes:
        raise ConfigError(f"student {name} has {outputs} classes and the teacher {num_classes}")
    return architecture.base, network


def count_outputs(network: nn.Module, preprocessing: Preprocessing, name: str) -> int:
    """Number of classes: the width of the logits that one blank image gets.

    Raises:
        ConfigError: the network does not take such an image, or its output is not (N, K) logits.
    """
    device = next(network.parameters()).device
    size = preprocessing.image_size
    try:
        with torch.no_grad():
            logits_NK = network(preprocessing.blank(1, device))
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:  # a network checks its input as it likes
        raise ConfigError(
            f"{name} does not take {size}x{size} images of {preprocessing.channels} channels:"
            f" {one_line(error)}; check --image-size, --mean and --std"
        ) from error
    if not isinstance(logits_NK, Tensor) or logits_NK.ndim != 2:
        raise ConfigError(f"{name} does not return (N, K) logits, so it is not a classifier that can be inverted")
    return logits_NK.shape[1]


def _build(architecture: Architecture, num_classes: int | None, channels: int, *, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture.build(num_classes, channels)
