"""Warnings of settings that have no effect in this run: each room knows its own, and why."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from ..core.config import Settings, asked_for, settings_of
from ..core.errors import printable


def warn_of_no_effect(config: Settings, reasons: Mapping[str, str]) -> None:
    """Print a warning on stderr for each setting that the user gave for nothing.

    Args:
        reasons: setting -> why it has no effect in this run, whether it was given or not.
    """
    known, given = settings_of(type(config)), asked_for(config)
    for name, reason in reasons.items():
        if name in given:
            print(printable(f"warning: {known[name].flag} has no effect: {reason}"), file=sys.stderr, flush=True)
