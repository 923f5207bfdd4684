"""GPU day, part b: the paper's CIFAR-10 case in minutes, on CIFAR-10 JPEG.

A ResNet-34 teacher is trained on real images by the fast recipe of ``pipelines/teachers/cifar10.py``. ``di-invert``
makes as many ``natural`` images from it as fit in their time, and is stopped as a batch system stops it. ``di-distill``
trains a ResNet-18 student from these images for the rest. Student and teacher are measured on the real test images. The
published student took 42 hours of a GPU, and is 2.2 points below its teacher (Yin et al. 2020).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from gpu.cifar_data import Images, decode, find_tar, noise
from gpu.part import Run, run_part
from torch import Tensor, nn

from dreamdistill.distill import stage as distill
from dreamdistill.distill.config import DistillConfig
from dreamdistill.invert import stage as invert
from dreamdistill.invert.config import InvertConfig
from dreamdistill.pipelines.teachers.cifar10 import FAST, epochs_within, train
from dreamdistill.shared.core.errors import StoppedError
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.shards.folder import ShardFolder

SHARES = {"teacher": 90 / 390, "images": 150 / 390}  # of the time; the student has the rest
END = 8  # seconds for the last measurement
RESERVE = 0.08  # share of the student's time that stays unused, lest a slower epoch cost the result
REHEARSAL = 20  # seconds, in place of those that the part is given
AGAIN = 10.0  # seconds to the next signal, at which di-invert stops at once
MOST_IMAGES = 51_200


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What differs between the real case and its rehearsal."""

    teacher: str = "cifar_resnet34"
    student: str = "cifar_resnet18"
    teacher_batch: int = FAST.batch_size
    images: int = MOST_IMAGES
    steps: int = 200
    shard: int = 256  # images of a shard, and of a batch of the inversion
    student_batch: int = 256  # a step of 32 images, the default, takes a GPU about as long


TINY = Sizes(
    teacher="cifar_resnet20",
    student="cifar_resnet20",
    teacher_batch=16,
    images=8000,
    steps=2,
    shard=8,
    student_batch=64,
)


def measure(run: Run) -> None:
    sizes = TINY if run.rehearse else Sizes()
    seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        seconds[name] = round(time.monotonic() - started, 1)
        run.write(seconds=seconds)

    with timed("decoding"):
        images, test, data = load(run)
        run.write(data=data)
    if run.rehearse:
        run = replace(run, seconds=run.seconds - run.left() + REHEARSAL)
    total = run.left() - END
    known = NETWORKS[sizes.teacher]
    preprocessing = Preprocessing(mean=known.mean, std=known.std, image_size=known.image_size)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with timed("teacher"):
            epochs = train_teacher(
                sizes, images, preprocessing, SHARES["teacher"] * total, folder / "teacher.safetensors"
            )
        del images
        teacher = load_model(sizes.teacher, weights=str(folder / "teacher.safetensors"), device=run.device)
        teacher_N = predictions(teacher.network, test, preprocessing)
        run.write(teacher={"network": sizes.teacher, "epochs": epochs, "top1": _share(teacher_N, test.labels_N)})
        with timed("images"):
            shards = make_images(run, sizes, folder, SHARES["images"] * total)
        run.write(images={"count": shards.num_samples, "agreement": round(shards.agreement, 4)})
        with timed("student"):
            epochs = train_student(run, sizes, folder)
        student = load_model(str(folder / "student"), device=run.device)
        student_N = predictions(student.network, test, preprocessing)
        top1, agreement = _share(student_N, test.labels_N), _share(student_N, teacher_N)
    run.write(student={"network": sizes.student, "epochs": epochs, "top1": top1, "agreement": agreement})
    lost = 100 * (run.result["teacher"]["top1"] - top1)
    run.write(
        f"{data}: teacher {run.result['teacher']['top1']:.2%}, student {top1:.2%} of {shards.num_samples} images,"
        f" agreement {agreement:.2%}, {run.seconds - run.left():.0f} s in all",
        points_lost=round(lost, 2),
    )


def load(run: Run) -> tuple[Images, Images, str]:
    """Training images and test images on the device, and what they are."""
    tars = [find_tar(run.data, part) for part in ("train", "test")]
    if run.rehearse or None in tars:
        counts = (64, 32) if run.rehearse else (50_000, 10_000)
        images = [noise(count, seed) for seed, count in enumerate(counts)]
        return images[0].to(run.device), images[1].to(run.device), "noise"
    train, test = (decode(tar) for tar in tars if tar is not None)
    return train.to(run.device), test.to(run.device), "CIFAR-10 JPEG"


def train_teacher(sizes: Sizes, images: Images, preprocessing: Preprocessing, seconds: float, out: Path) -> int:
    """Train the teacher within this time, and save its weights. Returns the number of epochs."""
    started = time.monotonic()
    torch.manual_seed(0)
    network = NETWORKS[sizes.teacher].build(num_classes=10, in_channels=3).to(images.pixels_NCHW.device)
    given = network, images.pixels_NCHW, images.labels_N, preprocessing
    recipe = replace(FAST, batch_size=sizes.teacher_batch)
    recipe = replace(recipe, epochs=epochs_within(seconds - (time.monotonic() - started), *given, recipe=recipe))
    train(*given, recipe=recipe)
    _keep_within_float16(network.eval(), preprocessing.normalize(images.pixels_NCHW[:64]))
    safetensors.torch.save_file({key: value.cpu().contiguous() for key, value in network.state_dict().items()}, out)
    return recipe.epochs


@torch.no_grad()
def _keep_within_float16(network: nn.Module, x_NCHW: Tensor) -> None:
    """Scale logits down where few steps on noise have made them too large to be stored. No class changes."""
    scale = min(1.0, 100 / float(network(x_NCHW).abs().max()))
    for parameter in network.get_submodule("linear").parameters():
        parameter.mul_(scale)


def make_images(run: Run, sizes: Sizes, folder: Path, seconds: float) -> ShardFolder:
    """Run ``di-invert`` for this time. SIGTERM, which a batch system sends too, lets it finish the current shard."""
    config = InvertConfig(
        teacher=sizes.teacher,
        weights=str(folder / "teacher.safetensors"),
        recipe="natural",
        changes={"steps": (sizes.steps,), "batch_size": sizes.shard},
        images=sizes.images,
        shard_size=sizes.shard,
        out=folder / "shards",
        compile="off" if run.rehearse else "on",
        workers=1,
        device=str(run.device),
    )
    over = threading.Event()

    def stop() -> None:
        wait = seconds
        while not over.wait(wait):  # again, in case the first signal comes before the stage handles it
            os.kill(os.getpid(), signal.SIGTERM)
            wait = AGAIN

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # before and after the stage handles it
    (stopping := threading.Thread(target=stop)).start()
    with contextlib.suppress(StoppedError):
        invert.run(config)
    over.set()
    stopping.join()
    signal.signal(signal.SIGTERM, before)
    return ShardFolder.open(config.out)


def train_student(run: Run, sizes: Sizes, folder: Path) -> int:
    """Train the student for the rest of the time. Two epochs are timed first. Returns the number of epochs."""

    def config(name: str, epochs: int) -> DistillConfig:
        changes = {"epochs": epochs, "batch_size": sizes.student_batch, "warmup_epochs": max(1, epochs // 10)}
        return DistillConfig(
            shards=folder / "shards", student=sizes.student, out=folder / name, changes=changes, device=str(run.device)
        )

    started = time.monotonic()
    distill.run(trial := config("trial", 2))
    whole = time.monotonic() - started
    metrics = trial.out / "metrics.jsonl"
    first, second = (json.loads(line)["seconds"] for line in metrics.read_text().splitlines())
    # The folder's first file is written when the training begins, and this one when it ends.
    both = metrics.stat().st_mtime - (trial.out / "config.yaml").stat().st_mtime
    epoch = second + max(0.0, both - first - second) / 2  # with its checkpoint
    once = whole - 2 * epoch  # loading, compiling
    epochs = max(1, int(((1 - RESERVE) * (run.left() - END) - once) / epoch))
    run.write(student_timing={"seconds_an_epoch": round(epoch, 3), "seconds_once": round(once, 2), "epochs": epochs})
    distill.run(config("student", epochs))
    return epochs


@torch.no_grad()
def predictions(network: nn.Module, images: Images, preprocessing: Preprocessing) -> Tensor:
    """The classes that a network names, (N,)."""
    network.eval()
    parts = images.pixels_NCHW.split(1000)
    return torch.cat([network(preprocessing.normalize(pixels_NCHW)).argmax(1) for pixels_NCHW in parts])


def _share(found_N: Tensor, expected_N: Tensor) -> float:
    """The share of equal classes."""
    result: Any = (found_N == expected_N).double().mean()
    return round(float(result), 4)


if __name__ == "__main__":
    run_part(measure)
