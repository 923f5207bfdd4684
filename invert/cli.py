"""``di-invert``: images out of a teacher."""

from __future__ import annotations

import sys
from typing import Any

from ..shared.commandline import run_command, stage_command
from .config import InvertConfig


def _run(config: InvertConfig) -> Any:
    from .stage import run  # imports torch, which --help can do without

    return run(config)


def _dry_run(config: InvertConfig) -> dict[str, Any]:
    from .stage import dry_run

    return dry_run(config)


command = stage_command(
    "di-invert",
    InvertConfig,
    help="Make a synthetic data set from a trained classifier alone: images, and the classifier's logits for each.",
    run=_run,
    dry_run=_dry_run,
)


def main() -> None:
    sys.exit(run_command(command))
