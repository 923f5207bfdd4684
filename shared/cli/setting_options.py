"""A field of a configuration as an option of the command line."""

from __future__ import annotations

import itertools
import typing
from pathlib import Path
from typing import Any

import click

from ..core.values import Setting, coerce, strip_optional
from .help import GroupedOption


def option_of(setting: Setting) -> click.Option:
    """The command line's option for a field of a configuration.

    Of an option that is given twice the last one counts, but names and files add up.
    """
    kind, _ = strip_optional(setting.type)
    is_switch, adds_up = kind is bool, kind in (tuple[str, ...], tuple[Path, ...])
    # The click default stays None, which tells "not given" from "given the default".
    facts = [str(setting.bounds)] if setting.bounds.limits_above_or_excludes else []
    default = setting.unset if setting.default is None else _plain(setting.default)
    if default and not is_switch:
        facts.append(f"default: {default}")
    return GroupedOption(
        [f"{setting.flag}/--no-{setting.flag[2:]}" if is_switch else setting.flag, setting.name],
        type=None if is_switch else _SettingType(setting),
        default=None,
        multiple=adds_up,
        callback=_joined if adds_up else None,
        help=setting.help + (f"  [{'; '.join(facts)}]" if facts else ""),
        group=setting.group,
        advanced=setting.advanced,
    )


def _joined(_context: click.Context, _option: click.Parameter, lists: tuple[tuple[Any, ...], ...]) -> Any:
    return tuple(itertools.chain.from_iterable(lists)) if lists else None


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


class _SettingType(click.ParamType):
    """Reads a value as the configuration does: YAML and the command line have the same rules."""

    name = "setting"

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "|".join(self.setting.choices) or _metavar(self.setting.type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return coerce(self.setting, value)

    def split_envvar_value(self, rv: str) -> list[str]:
        """A list in the environment is one value, with commas, as on the command line."""
        return [rv]


def _metavar(kind: Any) -> str:
    """A type in the short words of a help page."""
    kind, _ = strip_optional(kind)
    if typing.get_origin(kind) is tuple:
        inner = _metavar(typing.get_args(kind)[0])
        return f"{inner},{inner},..."
    return {int: "N", float: "X", Path: "PATH"}.get(kind, "TEXT")
