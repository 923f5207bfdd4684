"""Configuration: frozen dataclasses whose fields carry their own help, bounds and group, read from flat mappings.

A field made with :func:`setting` is at once a Python argument, a command line option and a YAML key, all with one name.
:func:`from_mapping` is the only way in for text (command line, environment, YAML), so there is one set of rules for
what a value may look like. This module knows neither click nor torch.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError, nearest
from .launch import is_restart
from .values import OPTIONS, Bounds, Setting, check, coerce

T = TypeVar("T")
S = TypeVar("S", bound="Settings")

GENERAL = "General"  # the group of settings that every stage has


def setting(
    default: Any = MISSING,
    *,
    help: str,
    choices: tuple[str, ...] = (),
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    below: float | None = None,
    unset: str = "",
    group: str = OPTIONS,
    advanced: bool = False,
) -> Any:
    """A configuration field.

    Args:
        default: value when nothing is given; a field without one is required.
        help: one line, shown by ``--help``.
        choices: the valid values of a text field, if they are few.
        min, max: smallest and largest valid number; of a tuple, for each of its numbers.
        above, below: the same, without the bound itself.
        unset: what holds when nothing is given and the default is None, shown as the default.
        group: heading in the help.
        advanced: shown by ``--help-all`` alone.
    """
    shown = {"help": help, "unset": unset, "group": group, "advanced": advanced}
    return field(default=default, metadata={"choices": choices, "bounds": Bounds(min, max, above, below), **shown})


def same_as(settings: type[Settings], name: str, **changes: Any) -> Any:
    """A field that is the same setting as another class's.

    Args:
        changes: to its ``help``, ``group`` or ``advanced``.
    """
    item = {each.name: each for each in dataclasses.fields(settings)}[name]
    return field(default=item.default, metadata={**item.metadata, **changes})


def changes_to(
    settings: type[Settings], *, preset: Settings | None = None, group: str | None = None, advanced: bool = False
) -> Any:
    """A field that maps setting names of another class to values that replace those of a preset.

    The settings of that class become settings of the class that has this field.

    Args:
        preset: what is changed; None where the stage chooses it later, by name.
        group: heading in the help, in place of the settings' own.
        advanced: makes all of them advanced.
    """
    metadata = {"changes_to": settings, "preset": preset, "group": group, "advanced": advanced}
    return field(default_factory=dict, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The base of every configuration class. Its fields are made with :func:`setting` or :func:`changes_to`.

    Raises:
        ConfigError: a value lies outside the bounds or the choices of its field, or :meth:`check` refuses the whole.
    """

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if "help" in item.metadata and value is not None:
                check(_option(item, None), value)
        self.check()

    def check(self) -> None:
        """Refuse values that do not go together. Subclasses override it."""

    def changed(self: S, changes: Mapping[str, Any]) -> S:
        """These settings with some replaced."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig(Settings):
    """What every stage takes."""

    out: Path = setting(help="folder for the result")
    seed: int = setting(0, help="seed of every random choice of the run", min=0, group=GENERAL, advanced=True)
    device: str = setting("auto", help="auto, cpu, cuda or cuda:N", group=GENERAL, advanced=True)
    code: tuple[Path, ...] = setting(
        (),
        help="your own Python files that shards and saved models may name, wherever they say that these lie",
        group=GENERAL,
        advanced=True,
    )
    overwrite: bool = setting(
        False, help="delete an earlier result in the output folder first", group=GENERAL, advanced=True
    )

    @property
    def overwrites(self) -> bool:
        """Whether to delete an earlier result. A job that torchrun or SLURM started again deletes nothing."""
        return self.overwrite and not is_restart()


@functools.cache  # a pipeline has many stages of a few classes
def settings_of(cls: type) -> dict[str, Setting]:
    """Every setting of a configuration class by name, those of its presets included; inherited ones come last."""
    hints = typing.get_type_hints(cls)
    items = {item.name: item for item in dataclasses.fields(cls)}
    found: dict[str, Setting] = {}
    for name in dict.fromkeys([*cls.__annotations__, *items]):
        item = items[name]
        inner = item.metadata.get("changes_to")
        if inner is None:
            found[item.name] = _option(item, hints[item.name])
            continue
        preset, group = item.metadata["preset"], item.metadata["group"]
        for name, option in settings_of(inner).items():
            found[name] = dataclasses.replace(
                option,
                # Where the preset is chosen later, its values are not known here.
                default=None if preset is None else getattr(preset, name),
                group=group or option.group,
                advanced=option.advanced or item.metadata["advanced"],
            )
    return found


def from_mapping(cls: type[T], values: Mapping[str, Any], *, source: str = "the configuration") -> T:
    """Build ``cls`` from a flat mapping of setting names (dashes or underscores) to text or YAML values.

    Raises:
        ConfigError: a key is unknown (the nearest known one is named) or given twice, a value cannot be read, or one
            is missing.
    """
    known = settings_of(cls)
    coerced: dict[str, Any] = {}
    for name, value in by_name(values, source=source).items():
        if name not in known:
            raise ConfigError(f"unknown option {name!r:.80} in {source}{nearest(name, known)}")
        coerced[name] = coerce(known[name], value)
    arguments: dict[str, Any] = {}
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        if inner := item.metadata.get("changes_to"):
            arguments[item.name] = {name: coerced[name] for name in settings_of(inner) if name in coerced}
        elif item.name in coerced:
            arguments[item.name] = coerced[item.name]
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{known[item.name].flag} is required")
    return cls(**arguments)


def by_name(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """The same values by names with underscores.

    Raises:
        ConfigError: an option stands there twice, once with dashes.
    """
    named = {key.replace("-", "_"): value for key, value in values.items()}
    if len(named) != len(values):
        twice = next(key for key in values if "-" in key and key.replace("-", "_") in values)
        raise ConfigError(f"{source} has {twice!r:.80} twice, with dashes and with underscores: delete one")
    return named


def to_mapping(config: Settings) -> dict[str, Any]:
    """The flat mapping that :func:`from_mapping` reads back: plain JSON and YAML values only."""
    flat: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if "changes_to" in item.metadata:
            preset = item.metadata["preset"]
            flat |= value if preset is None else to_mapping(preset.changed(value))
        else:
            flat[item.name] = value
    return {name: _plain(value) for name, value in flat.items()}


def asked_for(config: Settings) -> dict[str, Any]:
    """The settings that somebody gave and that ask for something: no defaults, and nothing that is 0 or off."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        found |= value if "changes_to" in item.metadata else {item.name: value} if value != item.default else {}
    return {name: value for name, value in found.items() if value}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two plain mappings: ``lr 0.05, now 0.1; epochs auto, now 3``. Keys of one alone do not."""
    changed = [name for name in before if name in now and before[name] != now[name]]
    return "; ".join(f"{name} {_as_text(before[name])}, now {_as_text(now[name])}" for name in changed)


def fingerprint(values: Any) -> str:
    """sha256 over the canonical JSON of ``values``: equal for equal settings, whatever their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _option(item: dataclasses.Field[Any], kind: Any) -> Setting:
    default = None if item.default is MISSING else item.default
    return Setting(item.name, kind, default, **item.metadata)


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_as_text, value))[:80]
    if isinstance(value, bool):
        return "on" if value else "off"
    return "not given" if value is None else str(value)[:80]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
