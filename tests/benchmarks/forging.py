"""Records of a shard folder changed so that all checksums fit, as anyone can."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def with_checksum(text: bytes) -> bytes:
    """A record as JSON of one value a line, with the checksum that fits in its second line."""
    body = text.removeprefix(b"{\n")
    return b'{\n "checksum": "%s",\n' % hashlib.sha256(body).hexdigest().encode() + body


def without_checksum(data: bytes) -> Any:
    value = json.loads(data)
    if isinstance(value, dict):
        value.pop("checksum", None)
    return value


def forge(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the record in a file."""
    record = without_checksum(path.read_bytes())
    change(record)
    path.write_bytes(with_checksum(json.dumps(record, indent=1).encode() + b"\n"))


def vouch(folder: Path, number: int = 0) -> None:
    """Make the commit record of a shard fit its tar and its index, where these are files."""
    record, tar, index = (folder / f"{number:06d}.{suffix}" for suffix in ("json", "tar", "idx"))
    files: dict[str, Any] = {}
    if tar.is_file():
        files |= {"bytes": tar.stat().st_size, "sha256": hashlib.sha256(tar.read_bytes()).hexdigest()}
    if index.is_file():
        files |= {"index_sha256": hashlib.sha256(index.read_bytes()).hexdigest()}
    forge(record, lambda content: content.update(files))
