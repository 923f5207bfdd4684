"""Configuration: frozen dataclasses whose fields carry their own help, read from flat mappings.

A field made with :func:`setting` is at once a Python argument, a command line option and a YAML key, all of one
name. :func:`from_mapping` is the only way in for text (command line, environment, YAML), so there is one set of
rules for what a value may look like. This module knows neither click nor torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union

import yaml

from .errors import ConfigError, nearest, one_line
from .launch import is_restart

T = TypeVar("T")


def setting(default: Any = MISSING, *, help: str, choices: tuple[str, ...] = ()) -> Any:
    """A configuration field.

    Args:
        default: value when nothing is given; a field without one is required.
        help: one line, shown by ``--help``.
        choices: the valid values of a text field, if they are few.
    """
    return field(default=default, metadata={"help": help, "choices": choices})


def overlay(cls: type) -> Any:
    """A field that maps setting names of ``cls`` to new values, for a preset that is chosen later.

    The settings of ``cls`` become settings of this class.
    """
    return field(default_factory=dict, metadata={"overlay": cls})


def nested(base: Any) -> Any:
    """A field that holds another configuration, ``base`` unless changed; its settings become settings of this class."""
    return field(default=base, metadata={"nested": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """What every stage takes."""

    out: Path = setting(help="folder for the result")
    seed: int = setting(0, help="seed of every random choice of the run")
    device: str = setting("auto", help="auto, cpu, cuda or cuda:N")
    overwrite: bool = setting(False, help="delete an earlier result in the output folder first")

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError("--seed must be 0 or more")

    @property
    def overwrites(self) -> bool:
        """Whether to delete an earlier result. A job that torchrun or SLURM started again deletes nothing."""
        return self.overwrite and not is_restart()


@dataclass(frozen=True, slots=True)
class Setting:
    """One field as the command line sees it."""

    name: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def settings_of(cls: type) -> dict[str, Setting]:
    """Every setting of a configuration class, those of its overlays included, by name."""
    hints = typing.get_type_hints(cls)
    found: dict[str, Setting] = {}
    for item in dataclasses.fields(cls):
        if inner := item.metadata.get("overlay"):
            # The default of an overlaid setting is the preset's affair, so here it has none.
            found |= {name: dataclasses.replace(s, default=None) for name, s in settings_of(inner).items()}
        elif item.metadata.get("nested"):
            inner = settings_of(type(item.default))
            found |= {name: dataclasses.replace(s, default=getattr(item.default, name)) for name, s in inner.items()}
        else:
            default = None if item.default is MISSING else item.default
            found[item.name] = Setting(
                item.name, hints[item.name], default, item.metadata["help"], item.metadata["choices"]
            )
    return found


def from_mapping(cls: type[T], values: Mapping[str, Any], *, source: str = "the configuration") -> T:
    """Build ``cls`` from a flat mapping of setting names (dashes or underscores) to text or YAML values.

    Raises:
        ConfigError: a key is unknown (the nearest known one is named), a value cannot be read, or one is missing.
    """
    known = settings_of(cls)
    coerced: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise ConfigError(f"unknown option {key!r} in {source}{nearest(name, known)}")
        coerced[name] = coerce(known[name], value)
    arguments: dict[str, Any] = {}
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        if inner := item.metadata.get("overlay"):
            arguments[item.name] = {name: coerced[name] for name in settings_of(inner) if name in coerced}
        elif item.metadata.get("nested"):
            base: Any = item.default
            changes = {name: coerced[name] for name in settings_of(type(base)) if name in coerced}
            arguments[item.name] = dataclasses.replace(base, **changes)
        elif item.name in coerced:
            arguments[item.name] = coerced[item.name]
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{known[item.name].flag} is required")
    return cls(**arguments)


def to_mapping(config: Any) -> dict[str, Any]:
    """The flat mapping that :func:`from_mapping` reads back: plain JSON and YAML values only."""
    flat: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if item.metadata.get("nested"):
            value = to_mapping(value)
        flat |= value if item.metadata.keys() & {"overlay", "nested"} else {item.name: value}
    return {name: _plain(value) for name, value in flat.items()}


def fingerprint(values: Any) -> str:
    """sha256 over the canonical JSON of ``values``: equal for equal settings, whatever their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        loaded = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {one_line(error)}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} must hold 'option: value' lines")
    return loaded


def coerce(setting: Setting, value: Any) -> Any:
    """Turn text or a YAML value into the type of a setting.

    Tuples are written ``a,b,c``. YAML's ``null``, and ``auto`` for a number, mean "not given" where the type allows it.

    Raises:
        ConfigError: the value does not have the setting's type, or is not one of its choices.
    """
    kind, optional = strip_optional(setting.type)
    if value is None or (optional and kind is int and value == "auto"):
        if optional:
            return None
        raise ConfigError(f"{setting.flag} needs a value")
    try:
        result = _convert(kind, value)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{setting.flag} must be {describe(kind)}, not {value!r}") from error
    if setting.choices and result not in setting.choices:
        hint = nearest(str(value), setting.choices)
        raise ConfigError(f"{setting.flag} must be one of {', '.join(setting.choices)}, not {value!r}{hint}")
    return result


def describe(kind: Any) -> str:
    """A type in the words of an error message or a help text."""
    kind, _ = strip_optional(kind)
    if typing.get_origin(kind) is tuple:
        return f"{describe(typing.get_args(kind)[0]).split(' ', 1)[1]}s separated by commas"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    return names[kind]


def strip_optional(kind: Any) -> tuple[Any, bool]:
    """``int | None`` -> (int, True); other types are their own."""
    if typing.get_origin(kind) in (Union, types.UnionType):
        inner = [a for a in typing.get_args(kind) if a is not type(None)]
        return inner[0], True
    return kind, False


def _convert(kind: Any, value: Any) -> Any:
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
        if not parts:
            raise ValueError("empty")
        return tuple(_convert(inner, part) for part in parts)
    if kind is bool:
        if isinstance(value, bool):
            return value
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(value).lower()]
    if isinstance(value, bool | list | tuple | dict) or (kind is int and isinstance(value, float)):
        raise TypeError(value)
    return kind(value.strip() if isinstance(value, str) and kind is not str else value)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
