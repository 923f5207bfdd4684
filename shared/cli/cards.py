"""A stage's model card: written beside its weights, or a warning where somebody else's README stands."""

from __future__ import annotations

from pathlib import Path

from ..models.card_file import CARD, write_card_file
from ..report.card import ModelCard, model_card
from .effects import warn


def save_card(folder: Path, card: ModelCard) -> None:
    """Write the card of the network in this folder."""
    if not write_card_file(folder, model_card(card)):
        warn(f"{folder / CARD} is not a card of ours, and is left as it is: move it away, and delete report.json")
