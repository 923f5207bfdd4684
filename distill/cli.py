"""``di-distill``: a student out of shards."""

from __future__ import annotations

import sys
from typing import Any

from ..shared.commandline import run_command, stage_command
from .config import DistillConfig


def _run(config: DistillConfig) -> Any:
    from .stage import run  # imports torch, which --help can do without

    return run(config)


def _dry_run(config: DistillConfig) -> dict[str, Any]:
    from .stage import dry_run

    return dry_run(config)


command = stage_command(
    "di-distill",
    DistillConfig,
    help="Train a student on the shards that di-invert wrote.",
    run=_run,
    dry_run=_dry_run,
)


def main() -> None:
    sys.exit(run_command(command))
