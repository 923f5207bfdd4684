"""What every hostile case is made of: a healthy folder of each kind, and helpers that spoil a copy of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forging import with_checksum, without_checksum
from forkserver import run_one

Put = Callable[[Path], object]
Data = bytes | Callable[[], bytes]  # what is large is made when its case is
MARKER = "EXECUTED"  # a file of this name in a case's folder: code of the stranger was run
QUICK = ("--epochs", "1", "--batch-size", "8")

# Command lines by name. They are run in the case's folder.
SHOW = ("di-shards", "show", "shards")
SHOW_JSON = (*SHOW, "--json")
WATCH = (*SHOW, "--watch", "--every", "0.1")
VERIFY = ("di-shards", "verify", "shards")
GALLERY = ("di-shards", "gallery", "shards")
SCORE = ("di-shards", "score", "shards")
DRY = ("di-distill", "--shards", "shards", "--dry-run")
DISTILL = ("di-distill", "--shards", "shards", *QUICK, "--loader", "webdataset", "--out", "out")
DALI = ("di-distill", "--shards", "shards", *QUICK, "--loader", "dali", "--out", "out")
PRUNE = ("di-prune", "--shards", "shards", *QUICK, "--loader", "webdataset", "--iterations", "1", "--out", "out")
ROUND = ("--recipe", "noise", "--images", "24", "--shard-size", "8", "--workers", "1", "--out", "shards")
INVERT = ("di-invert", "--teacher", "digits_cnn", *ROUND)
APPEND = (*INVERT, "--append", "--seed", "1")
STUDENT = ("di-distill", "--shards", "shards", "--student", "digits_cnn_small", *QUICK, "--loader", "webdataset")
RESUME = (*STUDENT, "--out", "model")
GO_ON = (*STUDENT, "--out", "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One hostile thing.

    Attributes:
        kind: what ``--only`` takes.
        name: what is wrong, within its kind.
        make: puts it into an empty folder, the commands' working directory.
        runs: command lines; each gets a folder of its own.
        new_process: see :class:`forkserver.Run`.
    """

    kind: str
    name: str
    make: Put
    runs: tuple[tuple[str, ...], ...]
    new_process: bool = False


class Base:
    """Healthy folders, made once: ``shards`` (digits, png), ``rgb`` (colour, jpg), ``model`` and ``stopped``.

    ``model`` is a finished student, and ``stopped`` one that has a checkpoint and no result yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._run(*INVERT)
        self.copy(root, "shards", to="scored")
        self._run("di-shards", "score", "scored")
        rgb = ("--teacher", "cifar_resnet20", "--weights", "none", "--recipe", "noise", "--images", "8")
        self._run("di-invert", *rgb, "--shard-size", "8", "--format", "jpg", "--workers", "1", "--out", "rgb")
        self._run(*STUDENT, "--out", "model")
        # A folder in the place of the weights: the training is done, and its result cannot be saved.
        (root / "stopped" / "model.safetensors").mkdir(parents=True)
        assert run_one(*STUDENT, "--out", "stopped", folder=root).code == 1
        (root / "stopped" / "model.safetensors").rmdir()
        assert (root / "stopped" / "checkpoint.pt").is_file()

    def copy(self, folder: Path, name: str, *, to: str = "") -> Path:
        """Copy a base folder into a case's folder. Returns the copy."""
        return shutil.copytree(self.root / name, folder / (to or name), ignore=shutil.ignore_patterns(".locks"))

    def json(self, path: str) -> Any:
        """The content of a base file, without its checksum."""
        return without_checksum((self.root / path).read_bytes())

    def _run(self, command: str, *arguments: str) -> None:
        done = run_one(command, *arguments, folder=self.root)
        assert done.code == 0, f"{command} {' '.join(arguments)}: {done.stderr}"


def sealed(text: str, like: bytes) -> bytes:
    """JSON text with a checksum that fits, where the file that it replaces has one: a stranger can compute it."""
    data = text.encode(errors="surrogatepass")
    if b'"checksum"' not in like[:200] or not data.startswith(b"{\n"):
        return data
    return with_checksum(data)


def put_json(path: Path, value: Any) -> None:
    """Replace a JSON file, with a checksum that fits."""
    put_text(path, json.dumps(value, indent=1) + "\n")


def put_text(path: Path, text: str | Callable[[], str]) -> None:
    """Replace a JSON file by a text, with a checksum that fits."""
    path.write_bytes(sealed(text if isinstance(text, str) else text(), path.read_bytes() if path.is_file() else b""))


def put_bytes(path: Path, data: Data) -> None:
    path.write_bytes(data if isinstance(data, bytes) else data())


def payload(marker: Path) -> str:
    """Python code that leaves the marker."""
    return f"open({str(marker)!r}, 'w').close()\n"


class Pickled:
    """An object whose unpickling leaves the marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


def put_module(path: Path, marker: Path) -> None:
    """A Python file whose import leaves the marker, and whose ``make`` builds a network for the digits."""
    path.write_text(
        payload(marker)
        + "from torch import nn\n"
        + "def make(num_classes=10):\n"
        + "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, num_classes))\n"
    )


def strange_files(*, regular: bool = False) -> Iterator[tuple[str, Put]]:
    """Things that may stand where a file is expected. Each function puts one there in place of what is there.

    Args:
        regular: regular files alone.
    """
    contents: dict[str, bytes] = {
        "empty": b"",
        "newline": b"\n",
        "not UTF-8": b"\xff\xfe\x80\x81" * 50,
        "NUL bytes": b"\0" * 5000,
        "text": b"these are only words\n" * 20,
        "list": b"[1, 2, 3]\n",
        "string": b'"text"\n',
        "number": b"7\n",
        "null": b"null\n",
        "deep lists": b"[" * 200_000,
        "deep mappings": b'{"a":' * 100_000,
        "byte order mark": b"\xef\xbb\xbf{}\n",
        "UTF-16": '{"schema": 3}'.encode("utf-16"),
        "empty mapping": b"{}\n",
        "pickle": b"\x80\x04cos\nsystem\n(S'touch EXECUTED'\ntR.",
        "zip": b"PK\x03\x04" + b"\0" * 400,
        "long line": b"a" * 5_000_000,
    }
    for name, data in contents.items():
        yield name, lambda path, data=data: _instead(path, lambda: path.write_bytes(data))
    yield "sparse, 1 GB", lambda path: _instead(path, lambda: _sparse(path, 2**30))
    yield "half", lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if regular:
        return
    yield "missing", lambda path: _instead(path, lambda: None)
    yield "folder", lambda path: _instead(path, path.mkdir)
    yield "FIFO", lambda path: _instead(path, lambda: os.mkfifo(path))
    yield "link to /dev/zero", lambda path: _instead(path, lambda: path.symlink_to("/dev/zero"))
    yield "link to itself", lambda path: _instead(path, lambda: path.symlink_to(path.name))
    yield "link to nothing", lambda path: _instead(path, lambda: path.symlink_to("nothing"))


def _instead(path: Path, put: Callable[[], Any]) -> None:
    path.unlink(missing_ok=True)
    put()


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)
