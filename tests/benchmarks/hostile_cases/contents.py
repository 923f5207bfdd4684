"""Hostile contents of a shard's samples: images, logits, targets and class texts, in a tar that is otherwise whole."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from forging import vouch
from PIL import Image

from . import base as b
from .base import Base, Case, Data
from .samples import replace_member

TRAINERS = (b.DISTILL, b.DALI)
OTHERS = cycle((b.GALLERY, b.SCORE, b.VERIFY, b.PRUNE))


def cases(base: Base) -> Iterator[Case]:
    for name, data in hostile_images().items():
        yield _case(base, "image", name, "png", data)
    for name, data in hostile_images("JPEG").items():
        yield _rgb_case(base, name, data)
    for name, data in _logits().items():
        yield _case(base, "logits", name, "logits.npy", data)
    for name, data in _targets().items():
        yield _case(base, "target", name, "target.npy", data)
    for name, data in {"beyond": b"99", "negative": b"-1", "text": b"cat", "empty": b"", "long": b"1" * 10**6}.items():
        yield _case(base, "class", name, "cls", data)
    yield _unpickled(base)


def _case(base: Base, kind: str, name: str, suffix: str, data: Data) -> Case:
    def make(folder: Path) -> None:
        shards = base.copy(folder, "shards")
        replace_member(shards / "000000.tar", suffix, data)
        vouch(shards)

    return Case(kind=kind, name=name, make=make, runs=(*TRAINERS, next(OTHERS)))


def _rgb_case(base: Base, name: str, data: Data) -> Case:
    def make(folder: Path) -> None:
        shards = base.copy(folder, "rgb", to="shards")
        replace_member(shards / "000000.tar", "jpg", data)
        vouch(shards)

    runs = tuple((*run, "--labels", "stored") for run in TRAINERS)
    return Case(kind="image", name=f"in jpg: {name}", make=make, runs=(*runs, b.GALLERY))


def _unpickled(base: Base) -> Case:
    """An object array as logits, which leaves the marker where it is unpickled."""

    def make(folder: Path) -> None:
        shards = base.copy(folder, "shards")
        array = np.array([b.Pickled(folder / b.MARKER)], dtype=object)
        replace_member(shards / "000000.tar", "logits.npy", npy(array), all=True)
        vouch(shards)

    return Case(kind="logits", name="pickled", make=make, runs=(*TRAINERS, b.GALLERY, b.SCORE, b.PRUNE, b.VERIFY))


def hostile_images(format: str = "PNG") -> dict[str, Data]:
    """Image files that are not what their name says: by a header that lies, by their size, or by their format."""
    whole = _saved(Image.new("L", (8, 8), 7), format)
    found: dict[str, Data] = {
        "empty": b"",
        "text": b"no image",
        "zeros": bytes(1000),
        "half": whole[: len(whole) // 2],
        "without its end": whole[:-12],
        "other size": _saved(Image.new("L", (9, 8)), format),
        "1 pixel": _saved(Image.new("L", (1, 1)), format),
        "colour": _saved(Image.new("RGB", (8, 8), (1, 2, 3)), format),
        "junk behind": whole + b"junk" * 1000,
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><image href="file:///etc/passwd"/></svg>',
        **{f"in {other}": _saved(Image.new("L", (8, 8)), other) for other in ("BMP", "TIFF", "WEBP", "GIF", "PPM")},
        "in EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(touch EXECUTED) (r) file\nshowpage\n",
    }
    if format == "JPEG":
        start = whole.index(b"\xff\xc0")
        sized = whole[: start + 5] + struct.pack(">HH", 65_500, 65_500) + whole[start + 9 :]
        cmyk = Image.new("CMYK", (32, 32))
        return found | {
            "65,500 px header": sized,
            "0 px header": whole[: start + 5] + bytes(4) + whole[start + 9 :],
            "CMYK": _saved(cmyk, "JPEG"),
            "progressive, many scans": _saved(Image.effect_noise((32, 32), 90), "JPEG", progressive=True),
            "huge EXIF": whole[:2] + (b"\xff\xe1\xff\xff" + bytes(65_533)) * 100 + whole[2:],
            "PNG": _saved(Image.new("RGB", (32, 32)), "PNG"),
        }
    return found | {
        "JPEG": _saved(Image.new("L", (8, 8)), "JPEG"),
        "16 bits": _saved(Image.fromarray(np.full((8, 8), 40_000, np.uint16)), "PNG"),
        "palette": _saved(Image.new("P", (8, 8)), "PNG"),
        "transparent": _saved(Image.new("RGBA", (8, 8), (1, 2, 3, 4)), "PNG"),
        "1 bit": _saved(Image.new("1", (8, 8)), "PNG"),
        "animated": _saved(
            Image.new("L", (8, 8)), "PNG", save_all=True, append_images=[Image.new("L", (8, 8), 9)] * 50
        ),
        "30,000 px header": png_header(30_000, 30_000) + whole[33:],
        "30,000 px": lambda: png(30_000, 30_000),
        "2^31 px header": png_header(2**31 - 1, 2**31 - 1) + whole[33:],
        "0 px": png_header(0, 0) + whole[33:],
        "wide": lambda: png(1_000_000, 1),
        "text bomb": lambda: _with_chunk(whole, b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000))),
        "profile bomb": lambda: _with_chunk(whole, b"iCCP", b"a\0\0" + zlib.compress(bytes(200_000_000))),
        "wrong CRC": whole[:29] + b"\0\0\0\0" + whole[33:],
        "chunk of 2 GB": whole[:33] + struct.pack(">I", 2**31 - 1) + whole[37:],
        "data too short": png_header(8, 8) + _chunk(b"IDAT", zlib.compress(bytes(9))) + _chunk(b"IEND", b""),
        "data too long": lambda: png_header(8, 8) + _chunk(b"IDAT", zlib.compress(bytes(10**8))) + _chunk(b"IEND", b""),
        "data no zlib": png_header(8, 8) + _chunk(b"IDAT", b"no zlib") + _chunk(b"IEND", b""),
    }


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def png(width: int, height: int) -> bytes:
    """A black grey image, which compresses to a thousandth."""
    packer = zlib.compressobj(9)
    row = bytes(width + 1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png_header(width, height) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_chunk(whole: bytes, kind: bytes, data: bytes) -> bytes:
    return whole[:33] + _chunk(kind, data) + whole[33:]


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _claimed(shape: str, descr: str = "'<f2'", data: bytes = bytes(20)) -> bytes:
    """A file whose header claims a shape, whatever follows."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data


def _logits() -> dict[str, bytes]:
    good = np.zeros(10, np.float16)
    return {
        "11 classes": npy(np.zeros(11, np.float16)),
        "no classes": npy(np.zeros(0, np.float16)),
        "two dimensions": npy(np.zeros((1, 10), np.float16)),
        "no dimension": npy(np.float16(1)),
        "float64": npy(good.astype(np.float64)),
        "int64": npy(good.astype(np.int64)),
        "complex": npy(good.astype(np.complex64)),
        "big endian": npy(good.astype(">f2")),
        "texts": npy(np.array(["a"] * 10)),
        "records": npy(np.zeros(10, dtype=[("a", "<f4"), ("b", "<i8")])),
        "dates": npy(np.zeros(10, dtype="datetime64[s]")),
        "NaN": npy(np.full(10, np.nan, np.float16)),
        "one NaN": npy(np.array([np.nan] + [0] * 9, np.float16)),
        "infinite": npy(np.full(10, np.inf, np.float16)),
        "half": npy(good)[:70],
        "longer": npy(good) + b"more",
        "empty": b"",
        "zip": b"PK\x03\x04" + bytes(100),
        "text": json.dumps([0.0] * 10).encode(),
        "10^12 claimed": _claimed("(1000000000000,)"),
        "negative shape": _claimed("(-10,)"),
        "2^70 claimed": _claimed(f"({2**70},)"),
        "shape no tuple": _claimed("10"),
        "header with code": _claimed("(__import__('os').system('touch EXECUTED'),)"),
        "dtype with code": _claimed("(10,)", "__import__('os').system('touch EXECUTED')"),
        "deep header": _claimed("(" * 3000 + "10" + ")" * 3000),
        "object claimed": _claimed("(1,)", "'|O'", b"cposix\nsystem\n(S'touch EXECUTED'\ntR."),
        "version 9": b"\x93NUMPY\x09\x00" + npy(good)[8:],
    }


def _targets() -> dict[str, bytes]:
    return {
        **{str(value): npy(np.int64(value)) for value in (10, -1, 2**40, -(2**63))},
        "float": npy(np.float32(1.5)),
        "NaN": npy(np.float64("nan")),
        "vector": npy(np.zeros(3, np.int64)),
        "list of one": npy(np.zeros(1, np.int64)),
        "int8": npy(np.int8(3)),
        "bool": npy(np.bool_(True)),
        "text": npy(np.array("3")),
        "empty": b"",
        "claimed": _claimed("(1000000000000,)", "'<i8'"),
    }
