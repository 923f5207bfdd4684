"""Folders and files that users name: what marks a folder of ours, and what was named in place of it."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

MANIFEST = "manifest.json"  # marks a shard folder
MODEL_JSON = "model.json"  # marks a saved model


def is_saved_model(folder: Path) -> bool:
    return (folder / MODEL_JSON).is_file()


def is_shard_folder(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def is_address(path: str | PathLike[str]) -> bool:
    """Whether a path is an address of a network, such as ``s3://bucket/shards``, which no command reads."""
    return re.match(r"[a-z][a-z0-9+.-]+:/", str(path)) is not None
