"""Hostile sets of real images, for ``--eval`` and ``--real``: tars and folders."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from PIL import Image

from . import base as b
from .base import Base, Case, Data, put_bytes
from .contents import hostile_images

RUNS = (
    (*b.DISTILL, "--eval", "real.tar"),
    (*b.SCORE, "--real", "real.tar"),
    (*b.PRUNE, "--eval", "real.tar"),
)


def cases(base: Base) -> Iterator[Case]:
    turn = cycle(RUNS)
    for name, data in _tars().items():
        yield _file(base, name, lambda path, data=data: put_bytes(path, data), next(turn), next(turn))
    for name, put in b.strange_files():
        yield _file(base, f"file: {name}", put, next(turn))
    for name, image in hostile_images().items():
        yield _file(base, f"image: {name}", lambda path, image=image: _put_tar(path, image), next(turn))
        yield _folder(
            base, f"image: {name}", lambda folder, image=image: put_bytes(folder / "c3/x.png", image), next(turn)
        )
    for name, put in _folders().items():
        yield _folder(base, name, put, *RUNS[:2])
    for spec in _specs():
        runs = ((*b.DISTILL, "--eval", spec), (*b.SCORE, "--real", spec))
        yield Case(kind="eval", name=f"named {spec[:40]!r}", make=lambda folder: _start(base, folder), runs=runs)


def _put_tar(path: Path, image: Data) -> None:
    data = image if isinstance(image, bytes) else image()
    path.write_bytes(_tar([("0.png", data), ("0.cls", b"3"), ("1.png", _image()), ("1.cls", b"3")]))


def _start(base: Base, folder: Path) -> None:
    base.copy(folder, "shards")


def _file(base: Base, name: str, put: b.Put, *runs: tuple[str, ...]) -> Case:
    def make(folder: Path) -> None:
        _start(base, folder)
        (folder / "real.tar").write_bytes(_tar([("0.png", _image()), ("0.cls", b"3")]))
        put(folder / "real.tar")

    return Case(kind="eval", name=name, make=make, runs=runs)


def _folder(base: Base, name: str, put: b.Put, *runs: tuple[str, ...]) -> Case:
    def make(folder: Path) -> None:
        _start(base, folder)
        for label in range(10):
            (folder / f"real.tar/c{label}").mkdir(parents=True)
            (folder / f"real.tar/c{label}/1.png").write_bytes(_image())
        put(folder / "real.tar")

    return Case(kind="eval", name=f"folder: {name}", make=make, runs=runs)


def _image() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 9).save(buffer, "PNG")
    return buffer.getvalue()


def _tar(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", errors="surrogateescape") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _tars() -> dict[str, Data]:
    good = [("0.png", _image()), ("0.cls", b"3")]
    labels = {
        "beyond": b"10",
        "negative": b"-1",
        "fraction": b"1.5",
        "empty": b"",
        "text": b"cat",
        "5,000 digits": b"9" * 5000,
        "10^30": b"1" + b"0" * 30,
        "other digits": "٣".encode(),
        "underscore": b"0_3",
        "not UTF-8": b"\xff\xfe",
        "long": b" " * 10**6 + b"3",
    }
    whole = _tar(good)
    found: dict[str, Data] = {f"label {name}": _tar([good[0], ("0.cls", label)]) for name, label in labels.items()}
    return found | {
        "no members": _tar([]),
        "no label": _tar(good[:1]),
        "no image": _tar(good[1:]),
        "label twice": _tar([*good, ("0.cls", b"4")]),
        "names alike": _tar(good * 3),
        "names with ..": _tar([("../../0.png", good[0][1]), ("../../0.cls", b"3")]),
        "names with escapes": _tar([("\x1b[2J[/]\n.png", good[0][1])]),
        "names not UTF-8": _tar([("\udcff.png", good[0][1])]),
        "no names": _tar([("", good[0][1]), (".", b"")]),
        "pickle beside": _tar([*good, ("0.pkl", b"cos\nsystem\n(S'touch EXECUTED'\ntR.")]),
        "large member": lambda: _tar([*good, ("1.bin", bytes(10**8))]),
        "cut": whole[:700],
        "gzip cut": gzip.compress(whole)[:-20],
        "gzip bomb": lambda: gzip.compress(bytes(2**30), 1),
        "gzip bomb in a member": lambda: gzip.compress(whole[: len(whole) - 10240 + 2048] + _huge_member(), 1),
        "gzip bomb in a header": lambda: gzip.compress(_huge_member(tarfile.GNUTYPE_LONGNAME), 1),
        "bzip2": bz2.compress(whole)[:-5],
        "xz": lzma.compress(whole)[:-5],
        "xz, other checksum": lzma.compress(whole).replace(b"\x00", b"\x01", 1),
        "link": _link(tarfile.SYMTYPE),
        "hard link": _link(tarfile.LNKTYPE),
        "device": _link(tarfile.CHRTYPE),
    }


def _huge_member(kind: bytes = tarfile.REGTYPE) -> bytes:
    """A member of 3 GB of zeros, as far as its header goes, and 1 GB of it."""
    info = tarfile.TarInfo("9.png")
    info.type = kind
    info.size = 3 * 2**30
    return info.tobuf() + bytes(2**30)


def _link(kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for suffix in ("png", "cls"):
            info = tarfile.TarInfo(f"0.{suffix}")
            info.type, info.linkname = kind, "/dev/zero"
            tar.addfile(info)
    return buffer.getvalue()


def _folders() -> dict[str, b.Put]:
    import os
    import shutil

    def replaced(put: b.Put) -> b.Put:
        def each(folder: Path) -> None:
            (folder / "c3/1.png").unlink()
            put(folder / "c3/1.png")

        return each

    return {
        "image a FIFO": replaced(lambda path: os.mkfifo(path)),
        "image a device": replaced(lambda path: path.symlink_to("/dev/zero")),
        "image a folder": replaced(lambda path: path.mkdir()),
        "image a link to itself": replaced(lambda path: path.symlink_to(path.name)),
        "image a link to nothing": replaced(lambda path: path.symlink_to("nothing")),
        "image a secret": replaced(lambda path: path.symlink_to("/etc/passwd")),
        "image sparse, 1 GB": replaced(lambda path: b._sparse(path, 2**30)),
        "empty class": lambda folder: (folder / "c3/1.png").unlink(),
        "no classes": lambda folder: [shutil.rmtree(path) for path in folder.iterdir()],
        "link to its parent": lambda folder: (folder / "c3/up").symlink_to(".."),
        "link to the root": lambda folder: (folder / "c3/root").symlink_to("/proc/self"),
        "a class more": lambda folder: (folder / "zz").mkdir(),
        "class named by escapes": lambda folder: (folder / "c3").rename(folder / "\x1b[2J[red]\nerror: x"),
        "class not UTF-8": lambda folder: (folder / "c3").rename(folder / "c3\udcff"),
        "other files": lambda folder: (folder / "c3/evil.py").write_text(b.payload(folder.parent / b.MARKER)),
        "long name": lambda folder: (folder / "c3/1.png").rename(folder / f"c3/{'n' * 250}.png"),
    }


def _specs() -> tuple[str, ...]:
    return (
        "torchvision:CIFAR10:nowhere",
        "torchvision:FakeData:shards",
        "torchvision:ImageFolder:shards",
        "torchvision:DatasetFolder:shards",
        "torchvision:VisionDataset:shards",
        "torchvision:Kinetics:shards",
        "torchvision:VOCDetection:shards",
        "torchvision:CocoDetection:shards",
        "torchvision:os:shards",
        "torchvision:__builtins__:shards",
        "torchvision:__path__:x",
        "torchvision:folder:x",
        "torchvision:wrap_dataset_for_transforms_v2:x",
        "torchvision::",
        "torchvision:CIFAR10:" + "x" * 5000,
        "torchvision:CIFAR10:\x1b[2J[/]\n",
        "pipe:touch EXECUTED",
        "http://127.0.0.1:9/x.tar",
        "x" * 5000,
        "\x1b[2J[/]\nerror: x",
        "\udcff",
        "/dev/zero",
        "/proc/self/mem",
        ".",
        "shards/000000.tar",
    )
