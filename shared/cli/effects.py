"""Warnings: one sentence each on stderr, also for settings that have no effect in this run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping

from ..core.config import Settings, asked_for, settings_of
from ..core.errors import printable

_recorders: list[list[str]] = []  # of the contexts that are open in this process


def warn(text: str) -> None:
    """Print a warning, one sentence."""
    print(printable(f"warning: {text}"), file=sys.stderr, flush=True)
    for recorder in _recorders:
        recorder.append(text)


@contextlib.contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """A context that keeps the warnings that this process prints meanwhile, for a report."""
    found: list[str] = []
    _recorders.append(found)
    try:
        yield found
    finally:
        _recorders[:] = [recorder for recorder in _recorders if recorder is not found]


def warn_of_no_effect(config: Settings, reasons: Mapping[str, str]) -> None:
    """Print a warning for each setting that the user gave for nothing. Each room knows its own, and why.

    Args:
        reasons: setting -> why it has no effect in this run, whether it was given or not.
    """
    known, given = settings_of(type(config)), asked_for(config)
    for name, reason in reasons.items():
        if name in given:
            warn(f"{known[name].flag} has no effect: {reason}")
