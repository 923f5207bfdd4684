"""The run of ``di-run compress``: choose once, then run the pipeline that was chosen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ...invert.inputs import Inputs
from ...shared.core.launch import require_alone
from ..plan import load_pipeline
from ..running import run as run_pipeline
from .choosing import Choice, choose, chosen_recipe, examine
from .config import CompressConfig
from .pipeline_file import write, written
from .report import CompressReport


def run(config: CompressConfig) -> CompressReport:
    """Make the network smaller and export it. What an earlier call has done is not done again.

    Raises:
        ConfigError: the network, the target or the images cannot be used, or the time is too short.
        DreamError: a stage failed.
    """
    require_alone("di-run")
    path = written(config) or _chosen(config)
    pipeline = load_pipeline(str(path), {"overwrite": True} if config.overwrites else {})
    return CompressReport.of(run_pipeline(pipeline), pipeline)


def dry_run(config: CompressConfig) -> dict[str, Any]:
    """What :func:`run` would choose on this machine as it is now, and the seconds that it expects."""
    inputs, choice = _examine_and_choose(config)
    return {
        "images": choice.images,
        "recipe": inputs.recipe_name,
        "steps_an_image": chosen_recipe(inputs, choice).steps,
        "repair_steps": choice.steps,
        "epochs": choice.epochs,
        "seconds": choice.seconds,
    }


def _examine_and_choose(config: CompressConfig) -> tuple[Inputs, Choice]:
    inputs, rates = examine(config)
    return inputs, choose(rates, seconds=60 * config.minutes, num_classes=inputs.teacher.num_classes)


def _chosen(config: CompressConfig) -> Path:
    inputs, choice = _examine_and_choose(config)
    path = write(config, choice, inputs)
    shorter = f" at {choice.shortened:g} of the recipe's steps" if choice.shortened < 1 else ""
    print(
        f"compress: {choice.images:,} images{shorter} and {choice.steps:,} steps of repair, about"
        f" {choice.seconds / 60:.0f} minutes; they stand in {path}",
        file=sys.stderr,
        flush=True,
    )
    return path
