"""Saved models: a folder with the weights (safetensors) and a record of the network (JSON). Nothing is pickled."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from ..core.errors import ConfigError, DreamError, one_line
from ..core.files import sha256_of_file, write_bytes
from ..core.places import MODEL_JSON
from ..core.records import OtherSchemaError, check_range, check_sha256, read_record_file, write_record_file
from .channels import channel_config
from .dropped import check_apart, dropped_blocks
from .identity import Probes, check_description, check_probes, check_text
from .preprocessing import Preprocessing
from .probes import probe_logits
from .state_dicts import weights_sha256

MODEL_WEIGHTS = "model.safetensors"
MODEL_SCHEMA = 4
_WIDEST = 2**20  # channels of a layer
_LONGEST = 2**14  # numbers in the entry of a layer: those of an option A shortcut are its channels
_MOST_DROPPED = 2**12  # blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """What ``model.json`` says of a saved model.

    Attributes:
        architecture: the name that builds the network, whole and in its first widths; None for a module that was given
            in memory.
        mean, std, image_size: see :class:`~.preprocessing.Preprocessing`.
        dropped: names of the blocks that the network has lost (:mod:`.dropped`).
        channels: see :func:`~.channels.channel_config`.
        sha256: of the weights.
        file_sha256: of the file ``model.safetensors``.
        probe_logits: what the network computes for the probes (:mod:`.probes`).

    Raises:
        ValueError: a value lies outside its range.
    """

    architecture: str | None
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    dropped: tuple[str, ...]
    channels: dict[str, list[int]]
    sha256: str
    file_sha256: str
    probe_logits: Probes

    def __post_init__(self) -> None:
        if self.architecture is not None:
            check_text("architecture", self.architecture)
        check_description(self.mean, self.std, self.image_size, self.num_classes, self.class_names)
        check_range("the number of dropped blocks", len(self.dropped), 0, _MOST_DROPPED)
        for name in self.dropped:
            check_text("dropped", name)
        check_apart(self.dropped)
        for name, widths in self.channels.items():
            check_range(f"the length of channels[{name!r:.80}]", len(widths), 1, _LONGEST)
            for width in widths:
                check_range(f"channels[{name!r:.80}]", width, -1, _WIDEST)  # -1 stands for no channel, see PadShortcut
        check_sha256("sha256", self.sha256)
        check_sha256("file_sha256", self.file_sha256)
        check_probes(self.probe_logits, self.num_classes)

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(mean=self.mean, std=self.std, image_size=self.image_size)


def save_model(
    folder: Path,
    network: nn.Module,
    *,
    architecture: str | None,
    num_classes: int,
    class_names: Sequence[str],
    preprocessing: Preprocessing,
) -> None:
    """Write a network so that ``--teacher folder`` loads it; the JSON comes last and makes it valid.

    Args:
        architecture: the name that builds the network, whole and in its first widths; None for a module in memory,
            which is loaded with such a module only.

    Raises:
        ConfigError: the network's logits are no finite numbers, or not the same each time, or its state cannot be kept.
    """
    weights = safetensors_of(network, title=f"the network for {folder}")
    try:
        record = ModelRecord(
            architecture=architecture,
            num_classes=num_classes,
            class_names=tuple(class_names),
            mean=preprocessing.mean,
            std=preprocessing.std,
            image_size=preprocessing.image_size,
            dropped=dropped_blocks(network),
            channels=channel_config(network),
            sha256=weights_sha256(network),
            file_sha256=hashlib.sha256(weights).hexdigest(),
            probe_logits=probe_logits(network, preprocessing, title="the network to be saved"),
        )
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{folder} cannot keep this network: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_JSON).unlink(missing_ok=True)
    write_bytes(folder / MODEL_WEIGHTS, weights)
    write_record_file(folder / MODEL_JSON, record, schema=MODEL_SCHEMA)


def safetensors_of(network: nn.Module, *, title: str) -> bytes:
    """The state of a network as a safetensors file.

    Raises:
        ConfigError: something of it is no dense tensor of plain numbers, which alone such a file holds.
    """
    try:
        # Each tensor as a copy: safetensors refuses tied weights that share their memory.
        return safetensors.torch.save(
            {
                key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for key, value in network.state_dict().items()
            }
        )
    except Exception as error:  # what else a state holds raises its own kinds of error
        raise ConfigError(
            f"{title} cannot be saved, since its state_dict holds more than dense tensors: {one_line(error)}"
        ) from error


def read_model_record(folder: Path) -> ModelRecord:
    """The record of a saved model.

    Raises:
        ConfigError: it is of another version.
        DreamError: it is damaged.
    """
    path = folder / MODEL_JSON
    try:
        return read_record_file(path, ModelRecord, schema=MODEL_SCHEMA)
    except OtherSchemaError as error:
        raise ConfigError(
            f"{folder} was written by another version ({error}, not {MODEL_SCHEMA}): make the model again"
        ) from error
    except (OSError, ValueError) as error:
        raise DreamError(f"{path} is damaged ({one_line(error)}); make the model again") from error


def check_weights_file(folder: Path, saved: ModelRecord) -> None:
    """Check that the weights of a saved model are those of its record.

    Raises:
        ConfigError: they are missing.
        DreamError: they are damaged.
    """
    path = folder / MODEL_WEIGHTS
    if not path.is_file():
        raise ConfigError(f"there is no weights file {path}: make the model again")
    if sha256_of_file(path) != saved.file_sha256:
        raise DreamError(f"{path} is damaged: it is not the file that {MODEL_JSON} describes; make the model again")
