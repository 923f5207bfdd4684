"""Errors that a user can mend: one plain sentence each, with the exit code of the command."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import ClassVar

LONGEST = 20_000  # characters of a sentence
# Control characters, marks that turn the direction of a line, and halves of characters that no encoding can write.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class DreamError(Exception):
    """The run failed; the message says what to do next."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return printable(super().__str__())


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


def printable(text: str, longest: int = LONGEST) -> str:
    """A text from a file or a command line as one line that a terminal shows and does not obey.

    Control characters are written as ``\\x1b`` and ``\\n``. The middle of a long text is left out.
    """
    if len(text) > longest:
        text = f"{text[: longest // 2]} ... {text[-longest // 2 :]}"
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion to append to an error: ``; did you mean 'resnet50'?``, or nothing if no name is near."""
    matches = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.6)  # its time grows with the square
    return f"; did you mean {matches[0]!r}?" if matches else ""


def listed(names: Sequence[str], most: int = 4) -> str:
    """The first names, for a sentence: ``cat, dog, ...``."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def one_line(error: BaseException, length: int = 200) -> str:
    """What a library's error says in its first paragraph, or its kind if it says nothing, as a part of one sentence."""
    return " ".join(str(error).strip().partition("\n\n")[0].split())[:length] or type(error).__name__


def named(error: BaseException) -> str:
    """A library's error with its kind: ``RuntimeError: CUDA error: out of memory``."""
    return f"{type(error).__name__}: {one_line(error)}"
