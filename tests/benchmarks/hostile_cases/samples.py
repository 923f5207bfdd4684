"""The members of a shard's tar, read and written again with an index that fits."""

from __future__ import annotations

import contextlib
import io
import tarfile
from pathlib import Path

from .base import Data

Members = list[tuple[tarfile.TarInfo, bytes]]


def read_members(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(_bare(info), file.read()) for info in tar if (file := tar.extractfile(info)) is not None]


def _bare(info: tarfile.TarInfo) -> tarfile.TarInfo:
    bare = tarfile.TarInfo(info.name)
    bare.mode = info.mode
    return bare


def write_members(path: Path, members: Members, *, format: int = tarfile.USTAR_FORMAT) -> None:
    """Write the tar, and beside it the index: DALI's version 1.2, a line for each run of members with one key."""
    with tarfile.open(path, "w", format=format, errors="surrogateescape") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    lines: dict[str, list[str]] = {}
    with contextlib.suppress(tarfile.TarError, OSError), tarfile.open(path, errors="surrogateescape") as tar:
        for info in tar:
            key, _, suffix = info.name.partition(".")
            lines.setdefault(key, []).append(f"{suffix} {info.offset_data} {info.size} {info.name}")
    text = "\n".join([f"v1.2 {len(lines)}", *(" ".join(parts) for parts in lines.values())]) + "\n"
    path.with_suffix(".idx").write_bytes(text.encode(errors="surrogateescape"))


def replace_member(path: Path, suffix: str, data: Data, *, all: bool = False) -> None:
    """Give the first sample's member of that suffix other content, or every sample's."""
    members = read_members(path)
    data = data if isinstance(data, bytes) else data()
    for number, (info, _) in enumerate(members):
        if info.name.split(".", 1)[1] == suffix:
            members[number] = info, data
            if not all:
                break
    write_members(path, members)
