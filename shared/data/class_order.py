"""Which class each folder of an ImageFolder is: by its name, as a number, or sorted as torchvision does."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SHOWN = 4  # names in a remark


def order_classes(names: Sequence[str], class_names: Sequence[str] = ()) -> tuple[list[str], str | None]:
    """Folder names in the order of their classes, and a remark for the user where another order may be meant.

    Folders with the network's own class names have its order. Numbers are sorted as numbers: with 0 to K-1, padded or
    not, each is its class. All others are sorted as texts, as torchvision's ImageFolder sorts all.

    Args:
        names: of the folders, each once.
        class_names: the network's, if they are known.
    """
    by_text = sorted(names)
    if sorted(class_names) == by_text:
        return list(class_names), None
    numbers = {int(name) for name in names if re.fullmatch("[0-9]{1,9}", name)}
    if len(numbers) == len(names):
        by_number = sorted(names, key=int)
        if by_number == by_text:
            return by_number, None
        return by_number, f"the class folders are sorted as numbers ({_list(by_number)}), where torchvision sorts texts"
    if sorted(names, key=_natural) == by_text:
        return by_text, None
    return by_text, (
        f"the class folders are sorted as texts, as torchvision does ({_list(by_text)}): if the network counts its"
        " classes in another order, rename them to 0, 1, 2, ..."
    )


def _natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts the numbers in names as numbers."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split("([0-9]+)", name) if part]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
