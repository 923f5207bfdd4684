"""Typed records from JSON: frozen dataclasses whose fields' types are checked as they are read.

What stands in a manifest, a commit record or a saved model is read through :func:`from_json`, so that a damaged or
foreign file is noticed where it is opened, and not where a value is used. Writing is ``dataclasses.asdict`` and
``json``; tuples become lists.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union

T = TypeVar("T")


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
    if kind is float and type(value) is int:
        return float(value)
    return _expect(value, kind, where)


def _read_record(kind: Any, value: Any, where: str) -> Any:
    content = _expect(value, dict, where)
    hints = typing.get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    if unknown := content.keys() - fields.keys():
        raise ValueError(f"{where} has an unknown field {min(unknown)!r}")
    for name, item in fields.items():
        if name not in content and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where} lacks {name!r}")
    return kind(**{name: _read(hints[name], item, f"{where}.{name}") for name, item in content.items()})


def _expect(value: Any, kind: type, where: str) -> Any:
    # Not isinstance: True is no number.
    if type(value) is not kind:
        raise ValueError(f"{where} is no {kind.__name__}: {value!r:.60}")
    return value
