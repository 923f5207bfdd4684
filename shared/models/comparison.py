"""Whether a network is the one on record: its weights, its input, and what it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.errors import ConfigError
from .checkpoints import ModelRecord
from .identity import ClassifierRecord, Probes, computes_the_same, difference
from .preprocessing import Preprocessing
from .probes import probe_logits

if TYPE_CHECKING:
    from .classifier import Classifier


def check_same(found: Classifier, record: ClassifierRecord) -> None:
    """Refuse a classifier that is not the teacher on record.

    Raises:
        ConfigError: its weights, its normalisation, or what it computes are others.
    """
    if found.sha256 != record.sha256:
        raise ConfigError(
            f"{found.title} is not the teacher of these shards, which is {record.title} with other weights"
            f" (sha256 {record.sha256[:12]}, not {found.sha256[:12]}); pass its --teacher and --weights"
        )
    if found.preprocessing != Preprocessing.of(record):
        raise ConfigError(
            f"{found.title} has the weights of these shards' teacher, but another --mean, --std or --image-size:"
            f" it was {list(record.mean)}, {list(record.std)}, {record.image_size}"
        )
    if record.probe_logits:
        check_computation(found.probe_logits, record.probe_logits, title=found.title, then="when it made these shards")


def check_saved(found: Classifier, saved: ModelRecord) -> None:
    """Refuse a saved model that is not what was saved.

    Raises:
        ConfigError: its weights, or what it computes for the input that it was saved for, are others.
    """
    if found.sha256 != saved.sha256:
        raise ConfigError(f"{found.title} was saved from another network than it loads: make the model again")
    if found.preprocessing == saved.preprocessing:
        logits = found.probe_logits
    else:
        logits = probe_logits(found.network, saved.preprocessing, title=found.title)
    check_computation(logits, saved.probe_logits, title=found.title, then="when it was saved")


def check_computation(found: Probes, recorded: Probes, *, title: str, then: str) -> None:
    """Refuse a network with the weights of the one on record that computes something else with them.

    Args:
        then: when the record was made.

    Raises:
        ConfigError: it does.
    """
    if not computes_the_same(found, recorded):
        raise ConfigError(
            f"{title} has the same weights as {then}, but computes something else with them: the logits of fixed"
            f" images differ by {difference(found, recorded):.2g} of their spread, so its code, a flag of it or a"
            " library has changed; use those of then, or make it and all that follows from it again"
        )
