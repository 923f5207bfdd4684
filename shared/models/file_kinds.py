"""What a file is that holds no weights, by its first bytes: a wrong file, or one that was not really downloaded."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

_HEAD = 512  # bytes that are looked at
_TORCH_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began a file before it wrote archives
_UNPACK = "unpack it, and name the weights file in it"
_CONVERT = "convert the network to PyTorch, and save torch.save(network.state_dict(), 'weights.pth')"
_AGAIN = "fetch it again"
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (rb"version https://git-lfs", "is a Git LFS pointer, in place of the weights", "fetch them with 'git lfs pull'"),
    (rb"(?i)\s*(<!doctype|<html|<\?xml|<head)", "is a web page: the download gave no file", _AGAIN),
    (rb"\s*[\[{]\s*[\"\]}]", "is a JSON text", "name the weights file itself"),
    (rb"\x1f\x8b", "is compressed (gzip)", _UNPACK),
    (rb"BZh\d", "is compressed (bzip2)", _UNPACK),
    (rb"\xfd7zXZ\0", "is compressed (xz)", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "is compressed (zstd)", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "is a 7z archive", _UNPACK),
    (rb"Rar!", "is a RAR archive", _UNPACK),
    (rb"(?s).{257}ustar", "is a tar archive", _UNPACK),
    (rb"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras and TensorFlow write it", _CONVERT),
    (rb"(?s).{4}TFL3", "is a TensorFlow Lite network", _CONVERT),
    (rb"\x93NUMPY", "is a NumPy array", "save a state dict with torch.save or safetensors"),
    (rb"(?s)\x08[\x01-\x14]([\x12\x3a\x42]|\x1a.?[\w.]*\x22).*", "is an ONNX network", _CONVERT),
)
_STATE_DICT = "save torch.save(network.state_dict(), 'weights.pth') where it was trained"


def describe_other(path: Path) -> str | None:
    """What a file is in place of weights, and what to do, as the end of a sentence; None if nothing is known of it.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return f"is empty: {_AGAIN}"
    if head.startswith(b"PK"):
        return _describe_archive(path)
    for pattern, what, instead in _KINDS:
        if re.match(pattern, head):
            return f"{what}: {instead}"
    if re.match(rb"\x80[\x02-\x05]", head) and not head.startswith(_TORCH_PICKLE):
        return f"is a Python pickle that torch.save did not write: {_STATE_DICT}"
    return None


def _describe_archive(path: Path) -> str | None:
    if not zipfile.is_zipfile(path):
        return f"is damaged, as after an interrupted download (its end is missing): {_AGAIN}"
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
        return "holds NumPy arrays: save a state dict with torch.save or safetensors"
    return f"is a zip archive of other files: {_UNPACK}"
