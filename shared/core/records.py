"""Typed records in JSON files: frozen dataclasses, read back with a checksum, and with every type and range checked.

What stands in a manifest, a commit record, a saved model or a score is written by :func:`write_record_file` and read by
:func:`read_record_file`, so that a damaged or foreign file is noticed where it is opened, and not where a value is
used. A record checks the ranges of its own values in ``__post_init__``, by raising ``ValueError``.

The second line of a file holds the sha256 of all lines after it (``tail -n +3 FILE | sha256sum``). It finds damage. It
is no signature: whoever can write the file can write a checksum that fits.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union

from .files import read_limited, write_bytes

T = TypeVar("T")

LARGEST = 64 * 2**20  # bytes of a file of records; the largest manifest known is 1 MB
DEEPEST = 32  # levels of lists and mappings in one another
_HEAD = re.compile(rb'\{\n "checksum": "([0-9a-f]{64})",\n')


class OtherSchemaError(ValueError):
    """The file is of another version of its format.

    Attributes:
        found: its schema; None if it names none.
    """

    def __init__(self, found: Any) -> None:
        super().__init__(f"schema {found!r:.20}")
        self.found = found


def record_bytes(record: Any, *, schema: int) -> bytes:
    """The content of the file of a record, a dataclass."""
    body = json.dumps({"schema": schema, **dataclasses.asdict(record)}, indent=1).removeprefix("{\n").encode() + b"\n"
    return b'{\n "checksum": "%s",\n' % hashlib.sha256(body).hexdigest().encode() + body


def write_record_file(path: Path, record: Any, *, schema: int) -> None:
    """Write a record (:func:`~.files.write_bytes`). A file that holds the same bytes already is left alone.

    Raises:
        OSError: the file cannot be written.
    """
    data = record_bytes(record, schema=schema)
    if not path.is_file() or path.read_bytes() != data:  # a thousand other processes may read it meanwhile
        write_bytes(path, data)


def read_record_file(path: Path, cls: type[T], *, schema: int) -> T:
    """Read the record that :func:`write_record_file` wrote.

    Args:
        cls: the dataclass of the record (:func:`from_json`).

    Raises:
        OSError: the file cannot be read; FileNotFoundError where there is none.
        OtherSchemaError: it is of another version.
        ValueError: it is damaged, or no such record.
    """
    data = read_limited(path, LARGEST)
    value = parse_json(data)
    if not isinstance(value, dict):
        raise ValueError("it holds no record")
    found, head = value.pop("schema", None), _HEAD.match(data)
    if head is not None and hashlib.sha256(data[head.end() :]).hexdigest().encode() != head[1]:
        raise ValueError("the checksum does not fit")
    if found != schema or type(found) is not int:
        raise OtherSchemaError(found)
    if head is None:
        raise ValueError("there is no checksum")
    del value["checksum"]
    return from_json(cls, value)


def parse_json(data: bytes) -> Any:
    """Strict JSON: UTF-8, no key twice in a mapping, finite numbers, at most :data:`DEEPEST` levels.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_mapping, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise ValueError("too many levels") from error
    _check_depth(value, DEEPEST)
    return value


def from_json(cls: type[T], value: Any) -> T:
    """The record that a JSON value describes.

    Fields may be int, float, str, bool, ``X | None``, ``tuple[X, ...]``, ``dict[str, X]``, ``Mapping[str, Any]`` or
    another record. A field with a default may be missing.

    Args:
        cls: a dataclass.

    Raises:
        ValueError: the value is not such a record; the message names the first wrong field.
    """
    return _read(cls, value, cls.__name__)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number of a record that lies outside its range; for ``__post_init__``.

    Raises:
        ValueError: it does, or is no finite number.
    """
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in {low}..{high}, not {value}")


def check_sha256(name: str, value: str) -> None:
    """Refuse a text that is no sha256 in hexadecimal; for ``__post_init__``.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"{name} is no sha256: {value!r:.80}")


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _read(next(a for a in arguments if a is not type(None)), value, where)
    if dataclasses.is_dataclass(kind):
        return _read_record(kind, value, where)
    if origin is tuple:
        return tuple(_read(arguments[0], item, where) for item in _expect(value, list, where))
    if origin is list:
        return [_read(arguments[0], item, where) for item in _expect(value, list, where)]
    if origin in (dict, Mapping):
        return {_expect(k, str, where): _read(arguments[1], v, where) for k, v in _expect(value, dict, where).items()}
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    return _expect(value, kind, where)


def _read_record(kind: Any, value: Any, where: str) -> Any:
    content, fields = _expect(value, dict, where), _fields(kind)
    if unknown := content.keys() - fields.keys():
        raise ValueError(f"{where} has an unknown field {min(unknown)!r:.60}")
    for name, (_, is_required) in fields.items():
        if is_required and name not in content:
            raise ValueError(f"{where} lacks {name!r}")
    return kind(**{name: _read(fields[name][0], item, f"{where}.{name}") for name, item in content.items()})


@functools.cache
def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """Name -> type of a record's field, and whether it must be there. Cached, since the types stand there as text."""
    hints, missing = typing.get_type_hints(kind), dataclasses.MISSING
    return {
        item.name: (hints[item.name], item.default is missing and item.default_factory is missing)
        for item in dataclasses.fields(kind)
    }


def _expect(value: Any, kind: type, where: str) -> Any:
    # Not isinstance: True is no number.
    if type(value) is not kind:
        raise ValueError(f"{where} is no {kind.__name__}: {value!r:.60}")
    return value


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in a mapping")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.20} is no finite number")
    return number


def _check_depth(value: Any, left: int) -> None:
    if isinstance(value, dict | list):
        if left == 0:
            raise ValueError("too many levels")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, left - 1)
