"""What the tool remembers for a user between commands, in a folder of the user's own.

It must not lie in a shard folder or beside a model: those may come from somebody else, and could vouch for themselves.
What is remembered only saves work or questions. A folder that cannot be written is no error.
"""

from __future__ import annotations

import os
from pathlib import Path


def state_folder(kind: str) -> Path:
    """The folder for one kind of state: ``$XDG_STATE_HOME/dreamdistill/KIND``, by default in ``~/.local/state``.

    It may not exist yet.
    """
    base = os.environ.get("XDG_STATE_HOME")
    try:
        home = Path(base) if base else Path.home() / ".local" / "state"
    except RuntimeError:  # no home: a folder that cannot be written
        home = Path(os.devnull)
    return home / "dreamdistill" / kind
