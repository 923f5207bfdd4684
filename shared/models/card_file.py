"""The file of a model card, ``README.md`` beside saved weights. A README that somebody else wrote is left alone."""

from __future__ import annotations

from pathlib import Path

from ..core.files import read_limited, write_text

CARD = "README.md"
MARK = "<!-- This card was written by dreamdistill, and is written again with the model. -->"
_LARGEST = 2**20  # bytes


def may_replace(path: Path) -> bool:
    """Whether a card may be written here: there is nothing, or a card of ours."""
    try:
        return MARK.encode() in read_limited(path, _LARGEST)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def write_card_file(folder: Path, text: str) -> bool:
    """Write a card that holds :data:`MARK`, atomically. Returns whether it was written."""
    path = folder / CARD
    if not may_replace(path):
        return False
    write_text(path, text)
    return True
