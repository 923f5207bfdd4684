"""The command that a configuration stands for: with the options that are not at their defaults, and no others."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from ..core.config import Settings, settings_of
from ..core.errors import printable
from ..core.files import cut_path
from ..core.values import Setting, strip_optional

SAYS_NOTHING = ("overwrite",)  # of what the result is


def command_line(program: str, config: Settings, *arguments: str, for_others: bool = False) -> str:
    """One line for a POSIX shell, which does what the configuration says.

    Args:
        arguments: that stand between the program and its options.
        for_others: absolute paths are cut to their last part: a page that is passed on need not tell them.
    """
    known = settings_of(type(config))
    words = [program, *arguments]
    for name, value in options_given(config).items():
        words += _option(known[name], value, for_others)
    return " ".join(shlex.quote(printable(word)) for word in words)


def options_given(config: Settings) -> dict[str, Any]:
    """Every setting that is not at its default, also those that are off or 0."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if "changes_to" in item.metadata:
            preset = item.metadata["preset"]
            found |= {k: v for k, v in value.items() if preset is None or getattr(preset, k) != v}
        elif item.default is dataclasses.MISSING or value != item.default:
            found[item.name] = value
    return {name: value for name, value in found.items() if name not in SAYS_NOTHING}


def _option(setting: Setting, value: Any, for_others: bool) -> list[str]:
    if value is None:  # only a whole number can be taken back in words
        return [setting.flag, "auto"] if strip_optional(setting.type)[0] is int else []
    if isinstance(value, bool):
        return [setting.flag if value else f"--no-{setting.flag[2:]}"]
    if isinstance(value, tuple):
        return [setting.flag, ",".join(_word(each, for_others) for each in value)] if value else []
    return [setting.flag, _word(value, for_others)]


def _word(value: Any, for_others: bool) -> str:
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    return cut_path(str(value)) if for_others else str(value)
