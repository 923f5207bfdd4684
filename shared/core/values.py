"""One setting: its type, its choices and bounds, and how text becomes its value."""

from __future__ import annotations

import math
import os
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from .errors import ConfigError, nearest

LARGEST = 2**62  # of whole numbers; libraries take 64 bits
OPTIONS = "Options"  # the group of settings that name none
_TRUTHS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a number must lie; each bound is None where there is none.

    Attributes:
        min, max: smallest and largest valid value.
        above, below: the same, without the bound itself.
    """

    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None

    def __str__(self) -> str:
        """In words: ``above 0 and at most 1``; empty without bounds."""
        words = {"{} or more": self.min, "above {}": self.above, "at most {}": self.max, "below {}": self.below}
        return " and ".join(text.format(f"{bound:g}") for text, bound in words.items() if bound is not None)

    @property
    def limits_above_or_excludes(self) -> bool:
        """Whether there is more to say than "so many or more", which help pages leave out."""
        return any(bound is not None for bound in (self.max, self.above, self.below))

    def problem(self, value: Any) -> str | None:
        """What the value, or the first wrong one of a tuple, must be and is not; None if all is well."""
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                return f"a finite number, not {number}"
            if not isinstance(number, str | Path) and not self._holds(number):
                return f"{self}, not {number}"
        return None

    def _holds(self, number: float) -> bool:
        return (
            (self.min is None or number >= self.min)
            and (self.max is None or number <= self.max)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """One field as the command line sees it; see :func:`~.config.setting`."""

    name: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    bounds: Bounds = Bounds()
    unset: str = ""
    group: str = OPTIONS
    advanced: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def coerce(option: Setting, value: Any) -> Any:
    """Turn text or a YAML value into the type of a setting, and check it.

    Tuples are written ``a,b,c``. YAML's ``null``, and ``auto`` for a number, mean "not given" where the type allows it.
    Where the choices are on and off, ``true`` and ``no`` mean them too.

    Raises:
        ConfigError: the value does not have the setting's type, or lies outside its choices or bounds.
    """
    kind, optional = strip_optional(option.type)
    if value is None or (optional and kind is int and value == "auto"):
        if optional:
            return None
        raise ConfigError(f"{option.flag} needs a value")
    if {"on", "off"} <= set(option.choices) and str(value).lower() in _TRUTHS:
        return "on" if _TRUTHS[str(value).lower()] else "off"
    if option.default == () and value == []:  # as a configuration that was written has it
        return ()
    try:
        result = _convert(kind, value)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ConfigError(f"{option.flag} must be {describe(kind)}, not {_shown(value)}") from error
    check(option, result)
    return result


def check(option: Setting, value: Any) -> None:
    """Refuse a value that lies outside a setting's choices or bounds.

    Raises:
        ConfigError: it does.
    """
    if option.choices and value not in option.choices:
        hint = nearest(str(value), option.choices)
        raise ConfigError(f"{option.flag} must be one of {', '.join(option.choices)}, not {_shown(value)}{hint}")
    if problem := option.bounds.problem(value):
        raise ConfigError(f"{option.flag} must be {problem}")


def _convert(kind: Any, value: Any) -> Any:
    """Text or a YAML value as a value of a type: int, float, bool, str, Path, or a tuple of one of them.

    Raises:
        KeyError, OverflowError, TypeError, ValueError: it is none.
    """
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
        if not parts:
            raise ValueError("empty")
        return tuple(_convert(inner, part) for part in parts)
    if kind is bool:
        return value if isinstance(value, bool) else _TRUTHS[str(value).lower()]
    if isinstance(value, bool | list | tuple | dict) or (kind is int and isinstance(value, float)):
        raise TypeError(value)
    result = kind(value.strip() if isinstance(value, str) and kind is not str else value)
    if kind is int and abs(result) > LARGEST:
        raise ValueError("too large")
    if isinstance(result, str | Path) and b"\0" in os.fsencode(
        result
    ):  # half a character of UTF-16 raises a ValueError here
        raise ValueError("no text")
    return result


def _shown(value: Any) -> str:
    """A value as an error message quotes it: lists and mappings may be of any size, so they are not written out."""
    if isinstance(value, list | tuple | dict):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a number of so many digits"
    return f"{value!r:.80}"


def describe(kind: Any) -> str:
    """A type in the words of an error message or a help text."""
    kind, _ = strip_optional(kind)
    if typing.get_origin(kind) is tuple:
        return f"{describe(typing.get_args(kind)[0]).split(' ', 1)[1]}s separated by commas"
    return _NAMES[kind]


def strip_optional(kind: Any) -> tuple[Any, bool]:
    """``int | None`` -> (int, True); other types are returned as they are."""
    if typing.get_origin(kind) in (Union, types.UnionType):
        inner = [a for a in typing.get_args(kind) if a is not type(None)]
        return inner[0], True
    return kind, False
