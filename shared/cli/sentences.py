"""Errors in the words of the command that was called."""

from __future__ import annotations

import errno
import re
from collections.abc import Collection

# An option, and before it perhaps the command that it belongs to, with other options of it.
_OPTION = re.compile(r"(di-[a-z]+ (?:--[a-z0-9-]+ (?:[A-Z]+ )?)*)?(?<![\w/-])(--[a-z][a-z0-9-]*)")


def of_system_error(error: OSError) -> str:
    """What the system refused, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no space left to write {error.filename or 'the result'}; free some and run the same command again"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"cannot use {error.filename}: {error.strerror}; give rights to it, or choose another folder"
    if "temporary directory" in str(error.strerror):  # torch cannot be imported without one
        return "there is no folder for temporary files that can be written: set TMPDIR to one"
    if error.errno is not None and error.filename is not None:
        return f"cannot use {error.filename}: {error.strerror}; name or make another one"
    return f"{error}; run again with --debug to see where"


def by_own_options(sentence: str, own: Collection[str]) -> str:
    """A sentence in which the options that a command lacks are words: ``--image-size`` becomes ``image size``.

    What can go wrong in several commands is found in one place, which does not know their options. What follows the
    name of another command stays: ``di-invert --overwrite``.

    Args:
        own: the options that it has, ``--lr``.
    """

    def word(found: re.Match[str]) -> str:
        return found[0] if found[1] or found[2] in own else found[2][2:].replace("-", " ")

    return _OPTION.sub(word, sentence)
