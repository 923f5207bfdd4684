"""What the benchmarks that train students share: their options, and what they say of where they were measured."""

from __future__ import annotations

import argparse
import platform
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from dreamdistill.distill.recipe import Training
from dreamdistill.shared.core.device import cpu_count

RESULTS = Path(__file__).parents[2] / "docs/results"


def add_options(parser: argparse.ArgumentParser, *, epochs: int | None) -> None:
    """The networks, the test images and every setting of ``Training``, as ``di-distill`` has them."""
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--weights", help="of the teacher")
    parser.add_argument("--student", required=True)
    parser.add_argument("--eval", required=True, help="test images, as for di-distill --eval")
    recipe = parser.add_argument_group("of all students, as for di-distill")
    for field in fields(Training):
        kind = int if field.default is None else type(field.default)
        form: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
        recipe.add_argument(
            f"--{field.name.replace('_', '-')}", default=field.default, help=field.metadata["help"], **form
        )
    parser.set_defaults(epochs=epochs)


def training(asked: argparse.Namespace, **changes: Any) -> Training:
    """The students' recipe, as it was asked for but for the changes."""
    return Training(**{field.name: getattr(asked, field.name) for field in fields(Training)} | changes)


def measured_on(device: torch.device) -> dict[str, str]:
    """What a result says of where and when it was measured."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    count = cpu_count()
    cpu = f"{count} core{'s' * (count > 1)} of {model}"
    return {
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "date": datetime.now(tz=timezone.utc).date().isoformat(),
        "torch": torch.__version__,
    }
