"""Hostile tars and indexes of a shard, with a commit record that fits them, and without."""

from __future__ import annotations

import gzip
import re
import tarfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from forging import vouch

from . import base as b
from .base import Base, Case
from .samples import Members, read_members, write_members

TRAINERS = (b.DISTILL, b.DALI)
OTHERS = cycle((b.VERIFY, b.GALLERY, b.SCORE, b.PRUNE))


def cases(base: Base) -> Iterator[Case]:
    for name, spoil in _spoiled_tars(base).items():
        yield from _case(base, "tar", name, "tar", spoil)
    for name, put in b.strange_files():
        yield from _case(base, "tar", f"file: {name}", "tar", put)
    for name, spoil in _spoiled_indexes().items():
        yield from _case(base, "idx", name, "idx", spoil)
    for name, put in b.strange_files():
        yield from _case(base, "idx", f"file: {name}", "idx", put)


def _case(base: Base, kind: str, name: str, suffix: str, spoil: b.Put) -> Iterator[Case]:
    def make(folder: Path, seal: bool = True) -> None:
        shards = base.copy(folder, "shards")
        spoil(shards / f"000000.{suffix}")
        if seal and (shards / "000000.tar").is_file():
            vouch(shards)

    yield Case(kind=kind, name=name, make=make, runs=(*TRAINERS, next(OTHERS)))
    runs = (next(OTHERS),)
    yield Case(kind=kind, name=f"{name}, record of before", make=lambda folder: make(folder, seal=False), runs=runs)


def _spoiled_tars(base: Base) -> dict[str, b.Put]:
    def cut(size: Callable[[int], int]) -> b.Put:
        return lambda path: path.write_bytes(path.read_bytes()[: size(path.stat().st_size)])

    def members(change: Callable[[Members], Members], format: int = tarfile.USTAR_FORMAT) -> b.Put:
        return lambda path: write_members(path, change(read_members(path)), format=format)

    def bytes_at(offset: int, data: bytes) -> b.Put:
        def put(path: Path) -> None:
            old = path.read_bytes()
            path.write_bytes(old[:offset] + data + old[offset + len(data) :])

        return put

    def added(info: tarfile.TarInfo, data: bytes = b"", *, first: bool = True) -> b.Put:
        return members(lambda found: [(info, data), *found] if first else [*found, (info, data)])

    def special(kind: bytes, name: str, link: str = "", size: int = 0) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, size
        info.devmajor, info.devminor = 1, 5  # /dev/zero
        return info

    def replaced(kind: bytes, link: str) -> b.Put:
        """The first image is a special member."""
        return members(lambda found: [(special(kind, found[0][0].name, link), b""), *found[1:]])

    def renamed(change: Callable[[str], str]) -> b.Put:
        def each(found: Members) -> Members:
            for info, _ in found:
                info.name = change(info.name)
            return found

        return members(each)

    def sizes(text: bytes) -> b.Put:
        return bytes_at(124, text.ljust(12, b"\0"))

    return {
        "cut in a header": cut(lambda size: 100),
        "cut after a header": cut(lambda size: 512),
        "cut in a member": cut(lambda size: 700),
        "cut in the middle": cut(lambda size: size // 2 + 77),
        "cut to whole blocks": cut(lambda size: size // 1024 * 512),
        "no end": cut(lambda size: size - 10240),
        "one byte less": cut(lambda size: size - 1),
        "only zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
        "gzip": lambda path: path.write_bytes(gzip.compress(path.read_bytes())),
        "gzip bomb": lambda path: path.write_bytes(gzip.compress(bytes(2**30), 1)),
        "hard link to a secret": replaced(tarfile.LNKTYPE, "/etc/passwd"),
        "link to a secret": replaced(tarfile.SYMTYPE, "/etc/passwd"),
        "link to itself": replaced(tarfile.SYMTYPE, "00000000.png"),
        "device": replaced(tarfile.CHRTYPE, ""),
        "FIFO": replaced(tarfile.FIFOTYPE, ""),
        "folder": replaced(tarfile.DIRTYPE, ""),
        "sparse member": replaced(tarfile.GNUTYPE_SPARSE, ""),
        "unknown type": replaced(b"Z", ""),
        "link, added": added(special(tarfile.SYMTYPE, "link.png", "../../x")),
        "names with ..": renamed(lambda name: f"../../{name}"),
        "absolute names": renamed(lambda name: f"/tmp/{name}"),
        "names in a folder": renamed(lambda name: f"a.b/{name}"),
        "names without a dot": renamed(lambda name: name.replace(".", "_")),
        "all names the same": renamed(lambda name: "00000000." + name.split(".", 1)[1]),
        "names with newlines": renamed(lambda name: "a\nb" + name),
        "names with escapes": renamed(lambda name: "\x1b[2J[red]" + name),
        "names not UTF-8": renamed(lambda name: "\udcff\udcfe" + name),
        "no names": renamed(lambda name: ""),
        "pipe names": renamed(lambda name: f"pipe:touch {b.MARKER};{name}"),
        "PAX headers": members(_with_pax, tarfile.PAX_FORMAT),
        "GNU long names": members(lambda found: [(_long(info), data) for info, data in found], tarfile.GNU_FORMAT),
        "PAX size": added(_pax_info({"size": "99999999999999"}), b"x"),
        "member twice": members(lambda found: [*found[:4], *found[:4], *found[4:]]),
        "image twice": members(lambda found: [found[0], *found]),
        "no image": members(lambda found: found[1:]),
        "no logits": members(lambda found: [found[0], *found[2:]]),
        "no target": members(lambda found: [*found[:2], *found[3:]]),
        "no class": members(lambda found: [*found[:3], *found[4:]]),
        "no last member": members(lambda found: found[:-1]),
        "another order": members(lambda found: [found[1], found[0], *found[2:]]),
        "backwards": members(lambda found: found[::-1]),
        "no members": members(lambda found: []),
        "one sample": members(lambda found: found[:4]),
        "a sample too many": members(lambda found: [*found, *_again(found[:4])]),
        "surprise member": added(tarfile.TarInfo("00000000.exe"), b"surprise"),
        "pickle beside": members(lambda found: [_named("00000000.pkl", _pickle()), *found]),
        "pyd beside": members(lambda found: [*found[:4], _named("00000000.pyd", _pickle()), *found[4:]]),
        "pth beside": members(lambda found: [*found[:4], _named("00000000.pth", _pickle()), *found[4:]]),
        "size negative": sizes(b"-0000000001"),
        "size huge": sizes(b"77777777777"),
        "size in base 256": sizes(b"\x80" + b"\x7f" * 11),
        "size no number": sizes(b"many"),
        "wrong header checksum": bytes_at(148, b"0000000\0"),
        "other image sizes": members(lambda found: found),
        "of another shard": lambda path: path.write_bytes((path.parent / "000001.tar").read_bytes()),
    }


def _pickle() -> bytes:
    return b"cposix\nsystem\n(S'touch %s'\ntR." % b.MARKER.encode()


def _named(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), data


def _again(found: Members) -> Members:
    return [_named(info.name.replace("0000000", "0000009", 1), data) for info, data in found]


def _with_pax(found: Members) -> Members:
    for info, _ in found:
        info.pax_headers = {"comment": "x" * 10_000, "mtime": "nan", "SCHILY.xattr.a": "b"}
    return found


def _pax_info(headers: dict[str, str]) -> tarfile.TarInfo:
    info = tarfile.TarInfo("00000000.txt")
    info.pax_headers = headers
    return info


def _long(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.name = "d" * 300 + info.name
    return info


def _spoiled_indexes() -> dict[str, b.Put]:
    def lines(change: Callable[[list[str]], list[str]]) -> b.Put:
        return lambda path: path.write_text("\n".join(change(path.read_text().split("\n"))))

    def first(pattern: str, put: str) -> b.Put:
        """Replace in the line of the first sample."""
        return lines(lambda found: [found[0], re.sub(pattern, put, found[1], count=1), *found[2:]])

    def swapped(found: list[str]) -> list[str]:
        one, two = found[1].split(), found[2].split()
        one[5], two[5] = two[5], one[5]  # the positions of the logits
        return [found[0], " ".join(one), " ".join(two), *found[3:]]

    offset, length = r"(?<=^png )\d+", r"(?<=^png )(\d+) \d+"
    return {
        "lines swapped": lines(lambda found: [found[0], found[2], found[1], *found[3:]]),
        "logits swapped": lines(swapped),
        "beyond the file": first(offset, "40959"),
        "far beyond the file": first(offset, str(2**40)),
        "offset of 2^63": first(offset, str(2**63 - 1)),
        "offset of 2^64": first(offset, str(2**64 + 512)),
        "negative offset": first(offset, "-512"),
        "offset no number": first(offset, "many"),
        "offset in a header": first(offset, "511"),
        "size too large": first(length, r"\1 40000"),
        "size huge": first(length, rf"\1 {2**62}"),
        "size negative": first(length, r"\1 -1"),
        "size zero": first(length, r"\1 0"),
        "overlap": first(length, r"\1 5000"),
        "other version": lines(lambda found: [found[0].replace("v1.2", "v9.9"), *found[1:]]),
        "version of before": lines(lambda found: [found[0].replace("v1.2", "v1.1"), *found[1:]]),
        "count huge": lines(lambda found: [f"v1.2 {10**12}", *found[1:]]),
        "count zero": lines(lambda found: ["v1.2 0", *found[1:]]),
        "count negative": lines(lambda found: ["v1.2 -8", *found[1:]]),
        "one line less": lines(lambda found: [*found[:4], *found[5:]]),
        "line twice": lines(lambda found: [*found[:4], *found[3:]]),
        "only the head": lines(lambda found: [*found[:1], ""]),
        "no image": first(r"^png \S+ \S+ \S+ ", ""),
        "other suffix": first("^png", "exe"),
        "image twice": first("^(png \\S+ \\S+ \\S+ )", r"\1\1"),
        "odd words": first("$", " png"),
        "other names": first(r"\S+\.png", "../../../etc/passwd"),
        "long line": first("$", " png 1 1 x" * 200_000),
        "binary": lambda path: path.write_bytes(bytes(range(256)) * 16),
        "of another shard": lambda path: path.write_bytes((path.parent / "000001.idx").read_bytes()),
        "windows lines": lambda path: path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n")),
    }
