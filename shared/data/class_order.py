"""Which class of the network each name or label of a set means: by its name, as a number, or sorted.

Names are one where they differ in case, or in what stands between their words: ``Fire_Truck`` is ``fire truck``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..core.errors import ConfigError, listed, nearest

MOST_CLASSES = 2**16  # of a set whose classes are new
_NUMBER = re.compile(r"\s*([+-]?[0-9]{1,9})(\.0*)?\s*", re.ASCII)  # pandas writes 3.0 where other rows are empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """The classes of the network that is measured.

    Attributes:
        number: how many; labels lie below it. None where the set itself has to say: its classes are new to the network.
        names: by class, empty if they are not known.
    """

    number: int | None
    names: Sequence[str] = ()

    def check(self, label: int, where: str) -> int:
        """A label, if there is such a class.

        Args:
            where: what has the label, for the message: ``x.csv: row 7``.

        Raises:
            ConfigError: there is none.
        """
        if 0 <= label < (MOST_CLASSES if self.number is None else self.number):
            return label
        if self.number is None:
            raise ConfigError(f"{where} has label {label}: count the new classes from 0 on, up to {MOST_CLASSES - 1:,}")
        raise ConfigError(
            f"{where} has label {label}, and the teacher has {self.number} classes: labels must lie in"
            f" 0..{self.number - 1}"
        )

    def find(self, name: str, where: str) -> int:
        """The class of a name.

        Raises:
            ConfigError: none or several have this name.
        """
        places = [place for place, own in enumerate(self.names) if own == name]
        places = places or [place for place, own in enumerate(self.names) if _plain(own) == _plain(name)]
        if len(places) == 1:
            return places[0]
        if not self.names:
            raise ConfigError(f"{where} has label {name!r:.80}, and the teacher has no class names: give class numbers")
        if places:
            raise ConfigError(f"{where} has label {name!r:.80}, the name of {len(places)} classes: give class numbers")
        known = f"{listed(self.names)}{nearest(name, self.names)}"
        raise ConfigError(f"{where} has label {name!r:.80}, and the teacher's classes are {known}")


def as_number(label: str) -> int | None:
    """The whole number that a text is, or None."""
    found = _NUMBER.fullmatch(label)
    return int(found[1]) if found else None


def match_names(names: Sequence[str], class_names: Sequence[str]) -> list[int] | None:
    """For each name of a set the network's class of that name; None where the two do not have the same names.

    Args:
        names: of the set's classes, in its order.
        class_names: the network's.
    """
    for form in (str, _plain):  # as they are first: plain forms of two classes may be one
        places = {form(name): place for place, name in enumerate(class_names)}
        own = [form(name) for name in names]
        if len(places) == len(class_names) == len(set(own)) == len(own) and places.keys() == set(own):
            return [places[name] for name in own]
    return None


def other_places(names: Sequence[str], class_names: Sequence[str]) -> str | None:
    """A remark where a set has only some of the network's names, and not at their places. It keeps its own order."""
    own, theirs = Counter(map(_plain, names)), Counter(map(_plain, class_names))
    places = {_plain(name): place for place, name in enumerate(class_names)}
    for place, name in enumerate(names):
        plain = _plain(name)
        if own[plain] == theirs[plain] == 1 and places[plain] != place:
            return (
                f"not all of its classes have names of the teacher's, so they are numbered in the set's own order"
                f" ({listed(names)}): {name!r} is class {place}, and the teacher's class {places[plain]}"
            )
    return None


def order_classes(names: Sequence[str], class_names: Sequence[str] = ()) -> tuple[list[str], str | None]:
    """Folder names in the order of their classes, and a remark for the user where another order may be meant.

    Folders with the network's own class names have its order. Numbers are sorted as numbers: with 0 to K-1, padded or
    not, each is its class. All others are sorted as texts, as torchvision's ImageFolder sorts all.

    Args:
        names: of the folders, each once.
        class_names: the network's, if they are known.
    """
    by_text = sorted(names)
    if places := match_names(by_text, class_names):
        return [name for _, name in sorted(zip(places, by_text, strict=True))], None
    numbers = {int(name) for name in names if re.fullmatch("[0-9]{1,9}", name)}
    if len(numbers) == len(names):
        by_number = sorted(names, key=int)
        if by_number == by_text:
            return by_number, None
        return (
            by_number,
            f"the class folders are sorted as numbers ({listed(by_number)}), where torchvision sorts texts",
        )
    if remark := other_places(by_text, class_names):
        return by_text, remark
    if sorted(names, key=_natural) == by_text:
        return by_text, None
    return by_text, (
        f"the class folders are sorted as texts, as torchvision does ({listed(by_text)}): if the network counts its"
        " classes in another order, rename them to 0, 1, 2, ..."
    )


def number_labels(labels: Iterable[tuple[str, str]], classes: Classes, name: str) -> tuple[dict[str, int], str | None]:
    """The class of each label of a list, and a remark for the user where another order may be meant.

    Labels that are all names of the network's are that. Else numbers are class numbers. Other texts are the network's
    names, or, where it has none, they are sorted.

    Args:
        labels: the labels with where each stands, for messages: ``x.csv: row 7``.
        name: of the set.

    Raises:
        ConfigError: a label is none of the network's classes, or the number of classes is another.
    """
    first: dict[str, str] = {}
    for label, where in labels:
        first.setdefault(label, where)
    numbers = {label: as_number(label) for label in first}
    texts = [label for label, number in numbers.items() if number is None]
    if classes.names:
        try:
            return {label: classes.find(label, where) for label, where in first.items()}, None
        except ConfigError:
            for label in texts:
                classes.find(label, first[label])
    if not texts:
        return {
            label: classes.check(number, first[label]) for label, number in numbers.items() if number is not None
        }, None
    if len(texts) < len(numbers):
        raise ConfigError(f"{first[texts[0]]} has label {texts[0]!r:.80}, where others are class numbers: use one kind")
    order = sorted(texts)
    numbered = {label: place for place, label in enumerate(order)}
    if classes.number is None:
        return numbered, None
    if len(texts) != classes.number:
        raise ConfigError(
            f"{name} has {len(texts)} classes and the network {classes.number}; use"
            " labels of all of the network's classes, or class numbers"
        )
    return numbered, (
        f"the labels are sorted as texts ({listed(order)}), since the teacher has no class names: if the network counts"
        " its classes in another order, write class numbers"
    )


def names_by_number(numbers: Mapping[str, int]) -> tuple[str, ...]:
    """The labels of a list in the order of their classes, where they are names; empty where they are numbers."""
    names = sorted(numbers, key=numbers.__getitem__)
    return () if any(as_number(name) is not None for name in names) else tuple(names)


def same_names(one: Iterable[str], other: Iterable[str]) -> list[str]:
    """The names of the second that the first has too, as people read them."""
    known = set(map(_plain, one))
    return [name for name in other if _plain(name) in known]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.casefold()).strip()


def _natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts the numbers in names as numbers."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split("([0-9]+)", name) if part]
