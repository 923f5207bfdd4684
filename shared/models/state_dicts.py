"""State dicts: those of saved models, fitting one into a network, and the identity of weights."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, one_line

State = Mapping[str, Tensor]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file of ours, by the network's keys. Users' files: :mod:`.weights_files`.

    Raises:
        ConfigError: it is missing or is none.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"there is no weights file {path}")
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # safetensors' own kind of error, or that of the file system
        raise ConfigError(f"{path} cannot be read as weights: {one_line(error)}") from error


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in a safetensors file by key, from its header alone.

    Raises:
        ConfigError: the file is missing or is none.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"there is no weights file {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    except Exception as error:  # safetensors' own kind of error, or that of the file system
        raise ConfigError(f"{path} cannot be read as weights: {one_line(error)}") from error


def tensors_of(state: State) -> list[tuple[str, ...]]:
    """The keys of each tensor of a network's own state dict: several where it is tied, as for a layer that is used
    twice. BatchNorm's batch counters are left out: old files lack them."""
    found: dict[object, list[str]] = {}
    for key, value in state.items():
        if not _is_counter(key):
            memory = (value.data_ptr(), value.shape, value.stride()) if value.numel() else key
            found.setdefault(memory, []).append(key)
    return [tuple(keys) for keys in found.values()]


def without_auxiliary(state: State, auxiliary: tuple[str, ...]) -> State:
    """A state dict without the keys that begin so: weights that the network has no use for."""
    return {key: value for key, value in state.items() if not key.startswith(auxiliary)} if auxiliary else state


def fit_weights(network: nn.Module, state: State, *, name: str) -> None:
    """Load a state dict into a network, in place. Only BatchNorm's batch counters may be missing, and all but one of
    the names of a tied tensor: safetensors keeps one.

    Raises:
        ConfigError: a key, a shape or the kind of numbers does not fit; the first misfit is named.
    """
    own = network.state_dict()
    missing = [keys[0] for keys in tensors_of(own) if not any(key in state for key in keys)]
    unknown = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or unknown or shapes:
        if shapes:
            key = shapes[0]
            misfit = f"{key} is {tuple(state[key].shape)} in the weights and {tuple(own[key].shape)} in the network"
        elif missing:
            misfit = f"the weights lack {missing[0]}" + (f", and have {unknown[0]!r:.200}" if unknown else "")
        else:
            misfit = f"the network lacks {unknown[0]!r:.200}"
        raise ConfigError(
            f"the weights do not fit {name}: {misfit} ({len(missing)} keys missing, {len(unknown)} unknown,"
            f" {len(shapes)} of another shape); check --teacher, --weights and --num-classes"
        )
    state = {key: value for key, value in state.items() if not (_is_counter(key) and value.is_floating_point())}
    for key, value in own.items():
        if key in state and not _converts(state[key], value):
            raise ConfigError(
                f"the weights do not fit {name}: {key} is {state[key].dtype} there, and {value.dtype} in the network"
            )
    # Which version of its layers' code a state is of stands beside its tensors, and most files lose it. Where shapes
    # fit, it is the network's own.
    versioned = OrderedDict(state)
    versioned._metadata = own._metadata  # type: ignore[attr-defined]
    network.load_state_dict(versioned, strict=False)


def _converts(given: Tensor, own: Tensor) -> bool:
    """Whether weights of one number format mean the same in another: fractions in fractions, whole numbers in whole.

    Whole numbers may have been saved as fractions, by those who convert a whole state dict to float16.
    """
    if given.is_complex() != own.is_complex():
        return False
    if given.is_floating_point() and not own.is_floating_point():
        return bool((given.isfinite() & (given == given.round())).all())
    return given.is_floating_point() == own.is_floating_point()


def _is_counter(key: str) -> bool:
    """Whether a tensor counts the batches that a BatchNorm has seen, which changes nothing of what it computes."""
    return key.endswith("num_batches_tracked")


def weights_sha256(network: nn.Module) -> str:
    """Identity of a network's weights: names, shapes and values, whatever file they came in; sha256 in hex."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        if not _is_counter(key):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
