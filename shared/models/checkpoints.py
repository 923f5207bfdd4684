"""Weights on disk: reading any user's file, and our own result folders (safetensors + JSON, nothing pickled)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, DreamError, one_line
from ..core.files import write_bytes, write_text
from .channels import channel_config

MODEL_JSON = "model.json"
MODEL_WEIGHTS = "model.safetensors"
MODEL_SCHEMA = 1
_WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def is_weights_file(text: str) -> bool:
    """Whether a ``--weights`` value means a file, rather than an entry's name."""
    return text.endswith(_WEIGHT_SUFFIXES) or Path(text).is_file()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file or a torch file (with ``weights_only=True``).

    Wrappers that training scripts put around it (``state_dict``, ``model``, a ``module.`` prefix) are taken off.

    Raises:
        ConfigError: the file is missing or holds no state dict.
    """
    if not path.is_file():
        raise ConfigError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a file that is something else, torch's unpickler may raise anything
        raise ConfigError(f"{path} cannot be read as weights: {one_line(error)}") from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ConfigError(f"{path} holds no state dict; save it with torch.save(model.state_dict(), path)")
    return {key.removeprefix("module."): value for key, value in loaded.items()}


def fit_weights(network: nn.Module, state: Mapping[str, Tensor], *, name: str) -> None:
    """Load a state dict into a network, in place; only BatchNorm's batch counters may be missing.

    Raises:
        ConfigError: a key or a shape does not fit; the first misfit is named.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or unknown or shapes:
        if shapes:
            key = shapes[0]
            misfit = f"{key} is {tuple(state[key].shape)} in the weights and {tuple(own[key].shape)} in the network"
        else:
            misfit = f"the weights lack {missing[0]}" if missing else f"the network lacks {unknown[0]}"
        raise ConfigError(
            f"the weights do not fit {name}: {misfit} ({len(missing)} keys missing, {len(unknown)} unknown,"
            f" {len(shapes)} of another shape); check --teacher, --weights and --num-classes"
        )
    network.load_state_dict(state, strict=False)


def weights_sha256(network: nn.Module) -> str:
    """Identity of a network's weights: names, shapes and values, not the file they came in."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        if not key.endswith("num_batches_tracked"):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_model(
    folder: Path, network: nn.Module, *, architecture: str, num_classes: int, class_names: Sequence[str], **input: Any
) -> None:
    """Write a network so that ``--teacher folder`` loads it; the JSON comes last and makes it valid.

    Args:
        architecture: the name that builds the network, before its channel table is applied.
        input: ``mean``, ``std`` and ``image_size`` (:meth:`~.teachers.Preprocessing.describe`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_JSON).unlink(missing_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    write_bytes(folder / MODEL_WEIGHTS, safetensors.torch.save(state))
    record = {
        "schema": MODEL_SCHEMA,
        "architecture": architecture,
        "num_classes": num_classes,
        "class_names": list(class_names),
        **input,
        "widths": channel_config(network),
        "sha256": weights_sha256(network),
    }
    write_text(folder / MODEL_JSON, json.dumps(record) + "\n")


def read_model_json(folder: Path) -> dict[str, Any]:
    """The description of a saved model.

    Raises:
        DreamError: it is damaged or of another version.
    """
    try:
        saved = json.loads((folder / MODEL_JSON).read_text())
    except (OSError, ValueError) as error:
        raise DreamError(f"{folder / MODEL_JSON} is damaged; make the model again") from error
    if saved.get("schema") != MODEL_SCHEMA:
        raise ConfigError(f"{folder} was written by another version (schema {saved.get('schema')}, not {MODEL_SCHEMA})")
    return saved
