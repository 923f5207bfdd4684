"""Typed records from JSON: what is read, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from dreamdistill.shared.core.files import read_limited
from dreamdistill.shared.core.records import (
    OtherSchemaError,
    check_range,
    check_sha256,
    from_json,
    parse_json,
    read_record_file,
    write_record_file,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    sizes: tuple[int, ...]
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    share: float
    inner: Inner
    more: tuple[Inner, ...]
    table: dict[str, list[int]]
    free: dict[str, Any]
    done: bool = False


GOOD = Outer(
    share=0.5,
    inner=Inner(sizes=(1, 2), name=None),
    more=(Inner(sizes=(), name="a"),),
    table={"x": [1, 2]},
    free={"y": [None, {"z": 1}]},
)


def test_what_is_written_is_read_back() -> None:
    assert from_json(Outer, json.loads(json.dumps(asdict(GOOD)))) == GOOD
    assert from_json(Outer, {**asdict(GOOD), "share": 1, "inner": {"sizes": [3], "name": "n"}, "more": []}).share == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": "0.5"}, r"Outer\.share is no float: '0\.5'"),
        ({"share": True}, r"Outer\.share is no float"),
        ({"done": 1}, r"Outer\.done is no bool"),
        ({"inner": {"sizes": [1.5], "name": None}}, r"Outer\.inner\.sizes is no int: 1\.5"),
        ({"inner": {"sizes": [1]}}, r"Outer\.inner lacks 'name'"),
        ({"inner": []}, r"Outer\.inner is no dict"),
        ({"table": {"x": 3}}, r"Outer\.table is no list"),
        ({"surplus": 1}, "unknown field 'surplus'"),
    ],
)
def test_what_is_no_such_record_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(Outer, {**json.loads(json.dumps(asdict(GOOD))), **change})


def test_a_file_keeps_its_record_and_a_checksum_that_anyone_can_compute(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record_file(path, GOOD, schema=3)
    assert read_record_file(path, Outer, schema=3) == GOOD
    first, second, *rest = path.read_bytes().splitlines(keepends=True)
    assert (first, second) == (b"{\n", b' "checksum": "%s",\n' % hashlib.sha256(b"".join(rest)).hexdigest().encode())
    inode = path.stat().st_ino
    write_record_file(path, GOOD, schema=3)
    assert path.stat().st_ino == inode  # the same bytes are not written again
    with pytest.raises(OtherSchemaError, match="schema 3"):
        read_record_file(path, Outer, schema=4)
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
    with pytest.raises(ValueError, match="checksum"):
        read_record_file(path, Outer, schema=3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": NaN}', "finite"),
        (b'{"a": -Infinity}', "finite"),
        (b'{"a": 1e999}', "finite"),
        (b"[" * 100 + b"]" * 100, "too many levels"),
        (b"[" * 100_000, "too many levels"),
        (b'{"a": ' + b"1" * 5000 + b"}", "digits"),
        (b"\xff\xfe{}", "decode"),
        (b'{"a": 1', "delimiter"),
        (b"", "Expecting value"),
    ],
)
def test_strict_json(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(data)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(bytes(101))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, message in (
        ("link", "no regular file"),
        ("pipe", "no regular file"),
        ("folder", "no regular file"),
        ("large", "larger than 100"),
    ):
        with pytest.raises(ValueError, match=message):
            read_limited(tmp_path / name, 100)
    with pytest.raises(FileNotFoundError):
        read_limited(tmp_path / "nothing", 100)


def test_ranges() -> None:
    check_range("share", 0.5, 0, 1)
    for value in (-0.1, 1.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"share must lie in 0\.\.1"):
            check_range("share", value, 0, 1)
    check_sha256("digest", "0f" * 32)
    for text in ("0F" * 32, "0" * 63, "0" * 64 + "\n", ""):
        with pytest.raises(ValueError, match="digest is no sha256"):
            check_sha256("digest", text)
