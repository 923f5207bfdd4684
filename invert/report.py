"""The last table of ``di-invert``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..shared.cli.outcome import Outcome
from .config import InvertConfig


def outcome(config: InvertConfig, report: Any) -> Outcome:
    """Of an :class:`~.stage.InvertReport`."""
    out = config.out
    return Outcome(
        rows={"result": out, **asdict(report)},
        next_steps={
            "look at the images": f"di-shards gallery {out}",
            "train a student": f"di-distill --shards {out}",
            "prune the teacher": f"di-prune --shards {out}",
        },
    )
