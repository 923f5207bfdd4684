"""What a file is that holds no weights, and what its owner can do."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ..core.file_kinds import file_kind

_UNPACK = "unpack it, and name the weights file in it"
_CONVERT = "convert the network to PyTorch, and save torch.save(network.state_dict(), 'weights.pth')"
_STATE_DICT = "save torch.save(network.state_dict(), 'weights.pth') where it was trained"
_ARRAYS = "save a state dict with torch.save or safetensors"
_REMEDIES = {
    "packed": _UNPACK,
    "tar": _UNPACK,
    "network": _CONVERT,
    "arrays": _ARRAYS,
    "text": "name the weights file itself",
    "image": "name the weights file itself",
}


def describe_other(path: Path) -> str | None:
    """What a file is in place of weights, and what to do, as the end of a sentence; None if nothing is known of it.

    Raises:
        OSError: it cannot be read.
    """
    kind = file_kind(path)
    if kind is None or kind.sort == "torch":
        return None
    if kind.sort == "zip":
        return _describe_archive(path)
    if kind.sort == "pickle":
        return f"{kind.what} that torch.save did not write: {_STATE_DICT}"
    return f"{kind.what}: {kind.remedy or _REMEDIES[kind.sort]}"


def _describe_archive(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        names = [name.rpartition("/")[2] for name in archive.namelist()]
    if "constants.pkl" in names:
        return (
            "is a TorchScript program: in Python, save torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth'),"
            " and name that"
        )
    if "data.pkl" in names:  # torch.save wrote it
        return None
    if any(name.startswith("serialized_exported_program") or name == "archive_format" for name in names):
        return f"is a program of torch.export: {_STATE_DICT}"
    if any(name.endswith((".h5", ".keras")) for name in names):
        return f"is a network of Keras: {_CONVERT}"
    if names and all(name.endswith(".npy") for name in names):
        return f"holds NumPy arrays: {_ARRAYS}"
    return f"is a zip archive of other files: {_UNPACK}"
