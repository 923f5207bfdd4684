"""GPU day, part d: images a second of ``di-distill``, against the bare networks.

Shards of noise, and networks with random weights: the time is the same. Epochs after the first are timed, with all that
an epoch takes: reading, views, teacher, student, feature distillation, optimizer. *Bare* is the teacher's forward pass
and the student's forward and backward pass on images that are on the device already, eager and compiled.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu.part import Run, count_host_syncs, noise_shards, run_part, steady_seconds
from torch import Tensor

from dreamdistill.distill import stage
from dreamdistill.distill.config import DistillConfig
from dreamdistill.shared.core.numerics import autocast
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.students import new_network
from dreamdistill.shared.shards.loaders import dali_is_installed

COMPILING = 50  # seconds that compiling the networks of a case may take (estimated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Two networks, how many images there are, and how many are in a step."""

    title: str
    teacher: str
    student: str
    images: int
    batch_size: int
    epochs: int = 4


CASES = (
    Case(title="ResNet-50 to ResNet-18, 224 px", teacher="resnet50", student="resnet18", images=1024, batch_size=128),
    Case(
        title="ResNet-34 to ResNet-18, 32 px",
        teacher="cifar_resnet34",
        student="cifar_resnet18",
        images=4096,
        batch_size=256,
    ),
)
TINY = (
    Case(title="digits CNN, 8 px", teacher="digits_cnn", student="digits_cnn_small", images=16, batch_size=8, epochs=2),
)


def measure(run: Run) -> None:
    loaders = ["webdataset", *(["dali"] if dali_is_installed() else [])]
    training: dict[str, Any] = {}
    cases = TINY if run.rehearse else CASES
    for compile in (False, True):
        form = "compiled" if compile else "eager"
        for case in cases:
            if compile and not run.rehearse and run.left() < COMPILING:
                continue
            found: dict[str, Any] = training.setdefault(case.title, {"batch_size": case.batch_size}).setdefault(
                form, {}
            )
            found["bare"] = bare(run, case, compile=compile)
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                shards = noise_shards(folder / "shards", teacher=case.teacher, images=case.images, device=run.device)
                for loader in loaders:
                    found[loader] = distill(run, case, shards, folder / loader, loader, compile=compile)
                    found[f"{loader}_over_bare"] = round(found[loader]["images_a_second"] / found["bare"], 3)
                    run.write(training=training)
            rates = ", ".join(f"{found[loader]['images_a_second']} ({loader})" for loader in loaders)
            run.write(f"{case.title}, {form}: {rates} images/s, bare {found['bare']}")


def distill(run: Run, case: Case, shards: Path, out: Path, loader: str, *, compile: bool) -> dict[str, Any]:
    """Images a second of the command, and where its steps wait for the device."""
    changes = {"epochs": case.epochs, "batch_size": case.batch_size, "warmup_epochs": 1, "loader": loader}
    changes |= {"compile": "on" if compile else "off"}
    config = DistillConfig(shards=shards, student=case.student, out=out, changes=changes, device=str(run.device))
    with count_host_syncs(run.device) as places:
        stage.run(config)
    seconds = [json.loads(line)["seconds"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "images_a_second": round(case.images / max(1e-3, statistics.median(seconds[1:])), 1),
        "seconds_of_epochs": seconds,
        "steps": case.epochs * case.images // case.batch_size,
        "host_syncs": dict(places.most_common(12)),  # those of all steps, and of each epoch's end
    }


def bare(run: Run, case: Case, *, compile: bool) -> float:
    """Images a second of the two networks alone."""
    device = run.device
    teacher = load_model(case.teacher, weights="none", device=device)
    _, student = new_network(case.student, num_classes=teacher.num_classes, preprocessing=teacher.preprocessing, seed=0)
    for network in (teacher.network, student.to(device).train()):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x_NCHW = torch.randn_like(teacher.preprocessing.blank(case.batch_size, device))
    x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)

    def loss(x_NCHW: Tensor) -> Tensor:
        with autocast(x_NCHW):
            with torch.no_grad():
                wanted_NK = teacher.network(x_NCHW)
            return (student(x_NCHW).float() - wanted_NK.float()).square().mean()

    mode = "reduce-overhead" if device.type == "cuda" else None
    forward: Callable[[Tensor], Tensor] = torch.compile(loss, dynamic=False, mode=mode) if compile else loss

    def step() -> None:
        student.zero_grad()
        if compile and device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        forward(x_NCHW).backward()

    return round(case.batch_size / steady_seconds(step, device, rounds=1 if run.rehearse else 10), 1)


if __name__ == "__main__":
    run_part(measure)
