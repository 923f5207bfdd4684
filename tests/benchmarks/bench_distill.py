"""A step of a training compared with its arithmetic, in turn, in one run.

    python tests/benchmarks/bench_distill.py [--teacher cifar_resnet56] [--student cifar_resnet20] [--json]

It measures milliseconds of processor time on one thread, medians of paired rounds:

    step    a step of ``di-distill`` on 32 images that are in memory, with all that it takes: views, the teacher's
            labels and feature maps, the student with its regressors, the loss, backward pass and optimizers
    eager   the same without torch.compile
    bare    compiled: the frozen teacher's forward pass, and the student's forward and backward pass with a plain loss

Processor time, and not time of day: what other programs take on a shared machine does not count. Networks have random
weights, and the images are noise; neither changes the time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from dreamdistill.distill.criterion import Distillation
from dreamdistill.distill.recipe import Training
from dreamdistill.distill.step import Step, choose_compiler, set_up
from dreamdistill.shared.core.launch import Rows
from dreamdistill.shared.models.classifier import Classifier, load_model
from dreamdistill.shared.models.students import new_network
from dreamdistill.shared.shards.batches import Batch

WARM_UP = 3  # rounds that are not timed: compilers compile, and optimizers make their state
Round = Callable[[], object]


def step_round(teacher: Classifier, student: str, training: Training) -> Round:
    """A step of the trainer, on one batch of noise."""
    network, example_NCHW = start(teacher, student), teacher.preprocessing.blank(1)
    networks: dict[str, Any] = {"student": network, "teacher": teacher.network, "example_NCHW": example_NCHW}
    compiler = choose_compiler(training, **networks, images=0, title="step")
    criterion = Distillation.of(training, **networks, compiler=compiler)
    trained, optimizers = set_up(network, criterion, training, example_NCHW)
    step = Step.of(
        trained.train(),
        criterion,
        optimizers=optimizers,
        views=criterion.views(training, teacher.preprocessing),
        example_NCHW=example_NCHW,
        compiler=compiler,
    )
    count, classes = training.batch_size, teacher.num_classes
    pixels = torch.randint(0, 256, teacher.preprocessing.blank(count).shape, dtype=torch.uint8)
    batch = Batch(pixels, torch.randn(count, classes), torch.arange(count) % classes, Rows(count))
    return lambda: step(batch)


def bare_round(teacher: Classifier, student: str, training: Training) -> Round:
    """The two networks alone, compiled."""
    network = start(teacher, student).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    labels = torch.compile(teacher.network, fullgraph=True, dynamic=False)
    forward = torch.compile(network, fullgraph=True, dynamic=False)
    x_NCHW = torch.randn(teacher.preprocessing.blank(training.batch_size).shape)
    x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.no_grad():
            wanted_NK = labels(x_NCHW)
        network.zero_grad()
        F.mse_loss(forward(x_NCHW), wanted_NK).backward()

    return run


def start(teacher: Classifier, name: str) -> torch.nn.Module:
    _, network = new_network(name, num_classes=teacher.num_classes, preprocessing=teacher.preprocessing, seed=0)
    return network


def paired_milliseconds(works: dict[str, Round], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of processor time of each work in each round. The works take turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(-WARM_UP, rounds):
        for name, work in works.items():
            started = time.process_time()
            work()
            if number >= 0:
                times[name].append(1e3 * (time.process_time() - started))
    return times


def benchmark(arguments: argparse.Namespace) -> dict[str, float]:
    torch.set_num_threads(1)
    works: dict[str, Round] = {}
    for name, make, compile in (("eager", step_round, "off"), ("step", step_round, "on"), ("bare", bare_round, "on")):
        teacher = load_model(arguments.teacher, weights="none")
        training = Training(batch_size=arguments.batch_size, compile=compile)
        works[name] = make(teacher, arguments.student, training)
    times = paired_milliseconds(works, arguments.rounds)
    ratios = [step / bare for step, bare in zip(times["step"], times["bare"], strict=True)]
    found = {name: round(statistics.median(values), 1) for name, values in times.items()}
    names = ("step", "eager", "bare")
    return {**{name: found[name] for name in names}, "over_bare": round(statistics.median(ratios), 3)}


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The benchmark's options, from these arguments or from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--teacher", default="cifar_resnet56")
    parser.add_argument("--student", default="cifar_resnet20")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main() -> None:
    arguments = options()
    result = benchmark(arguments)
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
