"""State dicts: reading the weights file of any user, fitting it into a network, and the identity of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, one_line

_WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def is_weights_file(text: str) -> bool:
    """Whether a ``--weights`` value means a file, rather than an entry's name."""
    return text.endswith(_WEIGHT_SUFFIXES) or Path(text).is_file()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file or a torch file (with ``weights_only=True``).

    Wrappers that training scripts add (``state_dict``, ``model``, a ``module.`` prefix) are removed.

    Raises:
        ConfigError: the file is missing or holds no state dict.
    """
    if not path.is_file():
        raise ConfigError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler may raise anything for a file that is something else
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
    """Identity of a network's weights: names, shapes and values, whatever file they came in; sha256 in hex."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        if not key.endswith("num_batches_tracked"):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
