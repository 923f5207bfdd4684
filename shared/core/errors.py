"""Errors that a user can mend: one plain sentence each, with the exit code of the command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class DreamError(Exception):
    """The run failed; the message says what to do next."""

    exit_code: ClassVar[int] = 1


class ConfigError(DreamError, ValueError):
    """What was asked for cannot be done: a bad option, name, file or combination of them."""

    exit_code = 2


class PartialError(DreamError):
    """Part of the work is done and kept; the same command does the rest."""

    exit_code = 3


class StoppedError(BaseException):
    """Stopped by a signal with work left; run the same command again (EX_TEMPFAIL).

    Not an Exception, like KeyboardInterrupt: code that handles the errors of a library must not handle this one.
    """

    exit_code: ClassVar[int] = 75


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion to append to an error: ``; did you mean 'resnet50'?``, or nothing if no name is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def one_line(error: BaseException, length: int = 200) -> str:
    """What a library's error says in its first paragraph, or its kind if it says nothing, as a part of one sentence."""
    return " ".join(str(error).strip().partition("\n\n")[0].split())[:length] or type(error).__name__


def named(error: BaseException) -> str:
    """A library's error with its kind: ``RuntimeError: CUDA error: out of memory``."""
    return f"{type(error).__name__}: {one_line(error)}"
