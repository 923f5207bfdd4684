"""``di-invert``: images out of a teacher."""

from __future__ import annotations

import sys

from ..shared.cli.commandline import run_command, stage_command
from .config import InvertConfig

command = stage_command(
    "di-invert",
    InvertConfig,
    package=__package__,
    help="Make a synthetic data set from a trained classifier alone: images, and the classifier's logits for each.",
)


def main() -> None:
    sys.exit(run_command(command))
