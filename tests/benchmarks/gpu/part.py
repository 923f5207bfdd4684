"""What the parts of the GPU day share: options, results that are written as they come, time left, and host syncs.

A part is a script: ``python tests/benchmarks/gpu/PART.py --out FILE.json --seconds 60 [--rehearse] [--data FOLDER]``.
It needs the checkout and ``tests/benchmarks`` on PYTHONPATH, which ``gpu_day.py`` sets.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from dreamdistill.invert import stage as invert
from dreamdistill.invert.config import InvertConfig
from dreamdistill.shared.core.files import write_text
from dreamdistill.shared.models.cost import paired_seconds

T = TypeVar("T")
ROOT = Path(__file__).parents[3]
SYNC = "called a synchronizing CUDA operation"  # in torch's warning of a host sync


def _began() -> float:
    """When gpu_day.py started this part, or now; the clock is the machine's, not the process's."""
    return float(os.environ.get("GPU_DAY_BEGAN", time.monotonic()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a part.

    Attributes:
        seconds: the time that the part may take, from ``started`` on.
        rehearse: use tiny networks on the CPU, to try the code.
        data: the folder that ``fetch.py`` filled, if there is one.
        result: what was measured so far; ``summary`` in it holds lines for people.
    """

    out: Path
    seconds: float
    rehearse: bool
    data: Path | None
    started: float = field(default_factory=_began)
    result: dict[str, Any] = field(default_factory=lambda: {"summary": []})

    @property
    def device(self) -> torch.device:
        return torch.device("cuda" if torch.cuda.is_available() and not self.rehearse else "cpu")

    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.monotonic() - self.started)

    def write(self, *summary: str, **values: Any) -> None:
        """Add results, and write the file at once: a part that is killed keeps what it has."""
        on_gpu = self.device.type == "cuda"
        self.result.setdefault("device", torch.cuda.get_device_name() if on_gpu else "cpu")
        self.result.update(values)
        self.result["summary"] += summary
        write_text(self.out, json.dumps(self.result, indent=1) + "\n")


def run_part(measure: Callable[[Run], None]) -> None:
    """Measure, with the options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--data", type=Path)
    measure(Run(**vars(parser.parse_args())))


def noise_shards(folder: Path, *, teacher: str, images: int, device: torch.device) -> Path:
    """Shards of noise images with the logits of a teacher with random weights: they cost nothing but their encoding."""
    invert.run(
        InvertConfig(
            teacher=teacher,
            weights="none",
            recipe="noise",
            changes={"batch_size": min(images, 256)},
            images=images,
            out=folder,
            compile="off",
            workers=1,
            device=str(device),
        )
    )
    return folder


def without_host_syncs(measure: Callable[[], T], device: torch.device) -> T:
    """What ``measure`` returns. On a GPU, operations in it that wait for the GPU are errors.

    If there is one, its place is printed, and the measurement is made again with waiting allowed.
    """
    if device.type != "cuda":
        return measure()
    torch.cuda.set_sync_debug_mode("error")
    try:
        return measure()
    except RuntimeError as error:
        if SYNC not in str(error):
            raise
        traceback.print_exc()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return measure()


@contextlib.contextmanager
def count_host_syncs(device: torch.device) -> Iterator[Counter[str]]:
    """Counts the operations inside that wait for the GPU, by their place in the code. It is filled at the end."""
    places: Counter[str] = Counter()
    if device.type != "cuda":
        yield places
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for warning in caught:
        if SYNC in str(warning.message):
            path = Path(warning.filename).resolve()
            name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else Path(*path.parts[-3:])
            places[f"{name}:{warning.lineno}"] += 1


def steady_seconds(work: Callable[[], object], device: torch.device, *, rounds: int) -> float:
    """Median seconds of one call :func:`without_host_syncs`. The first calls, which compile and capture, may wait."""
    for _ in range(3):
        work()
    (seconds,) = without_host_syncs(lambda: paired_seconds([work], device=device, rounds=rounds), device)
    return seconds


def with_noise_statistics(network: nn.Module, x_NCHW: torch.Tensor) -> nn.Module:
    """The network in eval mode, with BatchNorm statistics of this noise: random weights then keep values in range."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        network.train()(x_NCHW)
    return network.eval()
