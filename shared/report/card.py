"""A model card in the form of Hugging Face: what a saved network is, how it was made, and how to load it.

It is Markdown with a head in YAML. Names come from other people's files, so every one of them is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ..core.errors import printable
from ..core.files import cut_path
from ..models.card_file import MARK
from ..models.preprocessing import Preprocessing

NAMES_SHOWN = 20  # of classes
LONGEST = 200  # letters of a name
LIMITS = (
    "It was made without the data that its teacher learned from: it can be no better than what the teacher told of"
    " them, and inherits the teacher's mistakes.",
    "The licence is not known. It depends on that of the teacher.",
)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
# Marks of Markdown; and what makes a link of a bare address, or a list or a heading at the start of a line.
_SPECIAL = re.compile(r"[\\`*_{}\[\]#|~!@]|^[-+=]|(?<=:)//|(?<=www)\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a card says.

    Attributes:
        title: of the network, such as the name of its folder.
        summary: one sentence: what it is.
        base_model: the name of its teacher; None where that has none.
        architecture: the name that builds it; None for a module that was given in memory.
        class_names: one for each class, or empty.
        figures: name -> value, for the table; values that are None are left out.
        top1: on ``measured_on``, 0 to 1; None where nobody measured it.
        command: that made it.
        tags: beside those that every card has.
        limits: sentences beside :data:`LIMITS`.
    """

    title: str
    summary: str
    base_model: str | None
    architecture: str | None
    num_classes: int
    class_names: Sequence[str]
    preprocessing: Preprocessing
    figures: Mapping[str, object]
    top1: float | None
    measured_on: str | None
    command: str
    tags: Sequence[str] = ()
    limits: Sequence[str] = ()


def model_card(card: ModelCard) -> str:
    """The text of ``README.md``."""
    measured = card.top1 is not None and card.measured_on is not None
    limits = [*card.limits, *LIMITS]
    if not measured:
        limits.insert(0, "It was not measured on real images.")
    parts = [
        f"---\n{yaml.safe_dump(_head(card, measured), sort_keys=False, allow_unicode=False, width=1000)}---",
        MARK,
        f"# {plain(card.title)}",
        card.summary and plain(card.summary),
        "## Figures",
        _figures(card.figures),
        "## How it was made",
        fenced(card.command, "sh"),
        "## How to load it",
        fenced(_loading(card), "python"),
        _input(card),
        "## Classes",
        _classes(card),
        "## Limits",
        "\n".join(f"* {plain(limit)}" for limit in limits),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: object) -> str:
    """A text of anybody's in Markdown: one line, and nothing in it is markup, a link, or HTML."""
    line = printable(str(text), LONGEST * 10).strip()
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\g<0>", line)


def fenced(text: str, language: str) -> str:
    """Lines of code. The fence is longer than any within."""
    lines = [printable(line) for line in text.split("\n")]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def _head(card: ModelCard, measured: bool) -> dict[str, Any]:
    """The metadata that the hub reads. A licence that nobody knows is not named."""
    tags = ["image-classification", "knowledge-distillation", "data-free", *card.tags]
    head: dict[str, Any] = {"library_name": "dreamdistill", "pipeline_tag": "image-classification", "tags": tags}
    if card.base_model is not None and len(card.base_model) <= LONGEST and _HUB_NAME.fullmatch(card.base_model):
        head["base_model"] = card.base_model
    head["datasets"] = []
    head["metrics"] = ["accuracy"]
    if measured and card.top1 is not None:
        data = printable(cut_path(str(card.measured_on)), LONGEST)
        result = {
            "task": {"type": "image-classification"},
            "dataset": {"name": data, "type": "image-classification"},
            "metrics": [{"type": "accuracy", "value": round(card.top1, 6)}],
        }
        head["model-index"] = [{"name": printable(card.title, LONGEST), "results": [result]}]
    return head


def _figures(figures: Mapping[str, object]) -> str:
    rows = [f"| {plain(name)} | {plain(value)} |" for name, value in figures.items() if value is not None]
    return "\n".join(["| | |", "|---|---|", *rows])


def _loading(card: ModelCard) -> str:
    module = "" if card.architecture is not None else ", network=module"
    lines = [
        "import dreamdistill as dd",
        "",
        f'classifier = dd.load("."{module})  # this folder, with model.json and model.safetensors',
        "network = classifier.network  # a torch.nn.Module in eval mode",
    ]
    if card.architecture is None:
        lines.insert(2, "# The architecture has no name: module is one that you build, as it was when this was made.")
    elif ".py:" in card.architecture:
        file = printable(cut_path(card.architecture))  # one line: the rest of it would be code
        lines.insert(2, f"# The architecture is {file}: pass code=FILE if it is not in its place.")
    return "\n".join(lines)


def _input(card: ModelCard) -> str:
    like = card.preprocessing
    side, channels = like.image_size, "grey" if like.channels == 1 else "RGB"
    mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (like.mean, like.std))
    return (
        f"Its input is {channels} images of {side}x{side} pixels, in the range 0 to 1, minus the mean ({mean}),"
        f" divided by the standard deviation ({std}). `classifier.evaluate(PATH)` does this for a folder of images."
    )


def _classes(card: ModelCard) -> str:
    if not card.class_names:
        return f"{card.num_classes:,}, without names."
    shown = [plain(printable(name, LONGEST)) for name in card.class_names[:NAMES_SHOWN]]
    more = f", and {len(card.class_names) - NAMES_SHOWN:,} more" if len(card.class_names) > NAMES_SHOWN else ""
    return f"{card.num_classes:,}: {', '.join(shown)}{more}."
