"""What the benchmarks that train students share: their options, and a record of hardware, date and versions."""

from __future__ import annotations

import argparse
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from dreamdistill.distill.recipe import Training
from dreamdistill.shared.core.config import settings_of
from dreamdistill.shared.core.device import cpu_count

RESULTS = Path(__file__).parents[2] / "docs/results"


def add_options(parser: argparse.ArgumentParser, *, epochs: int | None) -> None:
    """The networks, the test images and every setting of ``Training``, as ``di-distill`` has them."""
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--weights", help="weights of the teacher")
    parser.add_argument("--student", required=True)
    parser.add_argument("--eval", required=True, help="test images, as for di-distill --eval")
    recipe = parser.add_argument_group("settings of all students, as for di-distill")
    for option in settings_of(Training).values():
        kind: Any = int if option.default is None else type(option.default)
        form: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
        recipe.add_argument(option.flag, default=option.default, help=option.help, **form)
    parser.set_defaults(epochs=epochs)


def training(asked: argparse.Namespace, **changes: Any) -> Training:
    """The students' settings: the options, with these changes."""
    return Training(**{name: getattr(asked, name) for name in settings_of(Training)} | changes)


def measured_on(device: torch.device) -> dict[str, str]:
    """Hardware, date and versions, for a result."""
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
