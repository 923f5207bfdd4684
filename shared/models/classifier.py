"""Classifiers, loaded by name or given in memory: a network, how its input is normalised, and its identity.

A teacher, a student and a verifier are all classifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from .architectures import find_architecture
from .comparison import check_same, check_saved
from .cost import count_macs
from .identity import IN_MEMORY, MANIFEST_OF_SHARDS, ClassifierRecord, Probes
from .loading import NO_WEIGHTS, load_weights, weights_file
from .networks import IMAGENET_MEAN, IMAGENET_STD
from .preprocessing import Preprocessing
from .probes import count_outputs, probe_logits
from .state_dicts import weights_sha256


class Classifier:
    """A frozen network with all that identifies it.

    Args:
        network: takes (N, C, H, W) and returns logits (N, K). It is put in eval mode, and its parameters are frozen.
        mean, std: normalisation, one number for each channel, in units of the full pixel range (0 to 1).
        image_size: side of the square input, in pixels.
        class_names: one for each class; None or empty where they are unknown.
        name, weights: what loads it again, as ``--teacher`` and ``--weights`` take them; None for a module in memory.
        architecture: the name that builds such a network, whole and in its first widths.

    Attributes:
        preprocessing: mean, std and image_size in one.
        num_classes: width of the logits.
        sha256: of the weights, whatever file format they came in.

    Raises:
        ConfigError: the network does not take such images, does not return logits, or the class names do not fit.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
        class_names: Sequence[str] | None = None,
        name: str | None = None,
        weights: str | None = None,
        architecture: str | None = None,
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.preprocessing = Preprocessing(mean=tuple(mean), std=tuple(std), image_size=image_size)
        self.name = name
        self.weights = weights
        self.architecture = architecture
        self.num_classes = count_outputs(network, self.preprocessing, self.title)
        self._sizes = {image_size}  # of images, that the network takes
        self.class_names = tuple(class_names or ())
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ConfigError(f"{self.title} has {self.num_classes} classes, and {len(self.class_names)} class names")
        self.sha256 = weights_sha256(network)

    @property
    def title(self) -> str:
        """The name for people."""
        return self.name or f"{IN_MEMORY} ({type(self.network).__name__})"

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of a forward pass of one image (:func:`~.cost.count_macs`), counted when first asked for."""
        device = next(self.network.parameters()).device
        return count_macs(self.network, self.preprocessing.blank(1, device))

    def logits(self, pixels_NCHW: Tensor) -> Tensor:
        """Logits (N, K) of pixels, 0 to 255 of any dtype, (N, C, H, W), on the network's device."""
        return self.preprocessing.logits(self.network, pixels_NCHW)

    def check_size(self, image_size: int) -> None:
        """Refuse images of a side that the network does not take. Each side that it takes is tried once.

        Raises:
            ConfigError: see :func:`~.probes.count_outputs`.
        """
        if image_size not in self._sizes:
            count_outputs(self.network, replace(self.preprocessing, image_size=image_size), self.title)
            self._sizes.add(image_size)

    @cached_property
    def probe_logits(self) -> Probes:
        """What the network computes for the probes (:mod:`.probes`). Computed when it is first asked for.

        Raises:
            ConfigError: it is no finite numbers, or not the same each time.
        """
        return probe_logits(self.network, self.preprocessing, title=self.title)

    def record(self) -> ClassifierRecord:
        """What a manifest keeps, enough for :func:`reload_model`.

        Raises:
            ConfigError: a manifest cannot keep it, or see :attr:`probe_logits`.
        """
        probes = self.probe_logits
        try:
            return ClassifierRecord(
                name=self.name,
                weights=self.weights,
                sha256=self.sha256,
                mean=self.preprocessing.mean,
                std=self.preprocessing.std,
                image_size=self.preprocessing.image_size,
                num_classes=self.num_classes,
                class_names=self.class_names,
                probe_logits=probes,
            )
        except ValueError as error:
            raise ConfigError(f"{self.title} cannot be kept in a manifest: {error}") from error


def load_model(
    name: str,
    *,
    weights: str | None = None,
    num_classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    class_names: Sequence[str] | None = None,
    network: nn.Module | None = None,
    named_by: str | None = None,
    code: Sequence[Path] = (),
    device: torch.device | str = "cpu",
) -> Classifier:
    """Load a trained network by name.

    Args:
        name: see :mod:`.architectures`.
        weights: a ``.safetensors``, ``.pth`` or ``.pt`` file, the name of a torchvision weights entry, or ``none``
            for random weights (always the same); by default the best of the name.
        num_classes: outputs of the network, where the name leaves it open.
        mean, std, image_size: normalisation; by default what the weights say, else ImageNet's mean and std.
        class_names: one for each class; by default what the weights say.
        network: a module of the architecture, for a saved model whose architecture was a module in memory. It loses
            the dropped blocks and gets the saved channels and weights, in place.
        named_by, code: see :func:`~.architectures.find_architecture`.

    Raises:
        ConfigError: the name is unknown or not allowed, or weights are missing, do not fit or cannot be fetched, or a
            saved model computes something else than when it was saved.
        DreamError: a saved model is damaged.
    """
    architecture = find_architecture(name, network=network, named_by=named_by, code=code)
    if weights != NO_WEIGHTS and architecture.trained is not None:
        architecture = architecture.trained
    preprocessing = Preprocessing(
        mean=tuple(mean or architecture.mean or IMAGENET_MEAN),
        std=tuple(std or architecture.std or IMAGENET_STD),
        image_size=image_size or architecture.image_size,
    )
    # A fixed seed makes `--weights none` the same teacher in every stage; other weights replace what it drew.
    built = architecture.network(num_classes, preprocessing.channels, seed=0)
    build = partial(architecture.build, num_classes, preprocessing.channels)
    load_weights(built, architecture, weights, name=name, build=build)
    file = weights_file(weights)
    loaded = Classifier(
        built.to(device),
        mean=preprocessing.mean,
        std=preprocessing.std,
        image_size=preprocessing.image_size,
        class_names=class_names,
        name=architecture.name,
        weights=str(file.resolve()) if file else weights,
        architecture=architecture.base,
    )
    if num_classes is not None and loaded.num_classes != num_classes:
        raise ConfigError(f"{name} has {loaded.num_classes} classes, but --num-classes says {num_classes}")
    if not class_names and len(architecture.class_names) == loaded.num_classes:
        loaded.class_names = architecture.class_names
    if architecture.saved is not None and weights is None:
        check_saved(loaded, architecture.saved)
    return loaded


def reload_model(
    record: ClassifierRecord,
    *,
    name: str | None = None,
    weights: str | None = None,
    code: Sequence[Path] = (),
    device: torch.device | str = "cpu",
) -> Classifier:
    """Load the classifier that a manifest describes, from its recorded place or from a place given instead.

    Args:
        name, weights: where it is now, as the user says.
        code: Python files that the manifest may name, see :func:`~.architectures.find_architecture`.

    Raises:
        ConfigError: it cannot be loaded, or what was loaded is another network than the one that made the shards.
    """
    if name is None and record.name is None:
        raise ConfigError("the teacher of these shards was a network in memory: pass it again, or --teacher NAME")
    found = load_model(
        name or str(record.name),
        weights=weights if name or weights else record.weights,
        num_classes=record.num_classes,
        mean=record.mean,
        std=record.std,
        image_size=record.image_size,
        class_names=record.class_names,
        named_by=MANIFEST_OF_SHARDS if name is None else None,
        code=code,
        device=device,
    )
    check_same(found, record)
    return found
