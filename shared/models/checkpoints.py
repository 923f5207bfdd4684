"""Saved models: a folder with the weights (safetensors) and a record of the network (JSON). Nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
from torch import nn

from ..core.errors import ConfigError, DreamError
from ..core.files import write_bytes, write_text
from ..core.records import from_json
from .channels import channel_config
from .preprocessing import Preprocessing
from .state_dicts import weights_sha256

MODEL_JSON = "model.json"
MODEL_WEIGHTS = "model.safetensors"
MODEL_SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """What ``model.json`` says of a saved model.

    Attributes:
        schema: version of this record.
        architecture: the name that builds the network before its channel configuration is applied; None for a module
            that was given in memory.
        mean, std, image_size: see :class:`~.preprocessing.Preprocessing`.
        channels: see :func:`~.channels.channel_config`.
        sha256: of the weights.
    """

    schema: int
    architecture: str | None
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    channels: dict[str, list[int]]
    sha256: str


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
        architecture: the name that builds the network before its channel configuration is applied; None for a module
            in memory, which is loaded with such a module only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_JSON).unlink(missing_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    write_bytes(folder / MODEL_WEIGHTS, safetensors.torch.save(state))
    record = ModelRecord(
        schema=MODEL_SCHEMA,
        architecture=architecture,
        num_classes=num_classes,
        class_names=tuple(class_names),
        mean=preprocessing.mean,
        std=preprocessing.std,
        image_size=preprocessing.image_size,
        channels=channel_config(network),
        sha256=weights_sha256(network),
    )
    write_text(folder / MODEL_JSON, json.dumps(asdict(record)) + "\n")


def read_model_record(folder: Path) -> ModelRecord:
    """The record of a saved model.

    Raises:
        ConfigError: it is of another version.
        DreamError: it is damaged.
    """
    path = folder / MODEL_JSON
    try:
        saved = json.loads(path.read_text())
        if isinstance(saved, dict) and saved.get("schema") != MODEL_SCHEMA:
            raise ConfigError(
                f"{folder} was written by another version (schema {saved.get('schema')}, not {MODEL_SCHEMA}):"
                " make the model again"
            )
        return from_json(ModelRecord, saved)
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise DreamError(f"{path} is damaged; make the model again") from error
