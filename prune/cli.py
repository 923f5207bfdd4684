"""``di-prune``: a smaller teacher."""

from __future__ import annotations

import sys
from typing import Any

from ..shared.commandline import run_command, stage_command
from .config import PruneConfig


def _run(config: PruneConfig) -> Any:
    from .stage import run  # imports torch, which --help can do without

    return run(config)


def _dry_run(config: PruneConfig) -> dict[str, Any]:
    from .stage import dry_run

    return dry_run(config)


command = stage_command(
    "di-prune",
    PruneConfig,
    help="Remove the least important channels of the shards' teacher, and repair it by distillation.",
    run=_run,
    dry_run=_dry_run,
)


def main() -> None:
    sys.exit(run_command(command))
