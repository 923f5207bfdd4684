"""Torch-Pruning beside di-prune: the same teacher, multiply-adds and images, and the repair of this project for both.

    pip install torch-pruning
    python tests/benchmarks/rival_pruning.py --teacher cifar_resnet20 --weights FILE --shards shards --macs 0.5 \
        --eval TEST.tar --epochs 125 --importance taylor --out runs/rival --json

Its own groups, importance and iterations choose the channels; then ``dd.distill`` trains what is left. Shortcuts of
option A, which it does not know, become the 1x1 convolutions that compute the same; they are not counted as work.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import dreamdistill as dd
from dreamdistill.distill.recipe import REPAIR
from dreamdistill.shared.data.accuracy import top1
from dreamdistill.shared.data.labelled import open_labelled
from dreamdistill.shared.models.cost import count_macs
from dreamdistill.shared.models.networks import PadShortcut

STEPS = 400  # iterations of a pruning from all channels to none


class Shortcut(nn.Conv2d):
    """Option A as a convolution that is not trained."""


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    for name in ("teacher", "weights", "shards", "eval", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--macs", type=float, default=0.5, help="share that is left")
    parser.add_argument("--importance", choices=("taylor", "magnitude"), default="taylor")
    parser.add_argument("--epochs", type=int, default=125)
    parser.add_argument("--lr", type=float, default=REPAIR.lr)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="it always prints JSON")
    asked = parser.parse_args()

    started = time.monotonic()
    teacher = dd.load(asked.teacher, weights=asked.weights)
    shards = dd.ShardFolder.open(asked.shards, teacher=teacher)
    network = dd.load(asked.teacher, weights=asked.weights).network
    example_NCHW = teacher.preprocessing.blank(1)
    whole = count_macs(network, example_NCHW)
    for name, module in list(network.named_modules()):
        if isinstance(module, PadShortcut):
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, as_convolution(module))
    with torch.no_grad():
        torch.testing.assert_close(network(example_NCHW), teacher.network(example_NCHW))
    prune(network, shards, asked, target=asked.macs * whole)
    images = open_labelled(asked.eval, teacher.num_classes)
    raw = top1(network, images, teacher.preprocessing)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    for module in network.modules():
        if isinstance(module, Shortcut):
            module.requires_grad_(False)
    macs = counted(network, example_NCHW)
    student = dd.distill(
        shards, student=network, out=asked.out, epochs=asked.epochs, lr=asked.lr, eval=asked.eval, seed=asked.seed
    )
    report: dict[str, Any] = {
        "top1_before": student.report["teacher_top1"],
        "top1_raw": raw,
        "top1_after": student.report["student_top1"],
        "macs_before": whole,
        "macs_after": macs,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(report))


def as_convolution(shortcut: PadShortcut) -> Shortcut:
    """The 1x1 convolution that computes the same."""
    source = shortcut.source
    found = Shortcut(shortcut.in_channels, len(source), 1, shortcut.stride, bias=False)
    with torch.no_grad():
        found.weight.zero_()
        for row, column in enumerate(source.tolist()):
            if column >= 0:
                found.weight[row, column] = 1
    return found


def counted(network: nn.Module, example_NCHW: torch.Tensor) -> int:
    """Multiply-adds without those of the shortcuts, which the network itself has not."""
    extra: list[int] = []

    def note(module: nn.Module, _inputs: Any, out: torch.Tensor) -> None:
        assert isinstance(module, Shortcut)
        extra.append(module.weight.numel() * out.shape[2] * out.shape[3])

    hooks = [module.register_forward_hook(note) for module in network.modules() if isinstance(module, Shortcut)]
    total = count_macs(network, example_NCHW)
    for hook in hooks:
        hook.remove()
    return total - sum(extra)


def prune(network: nn.Module, shards: dd.ShardFolder, asked: argparse.Namespace, *, target: float) -> None:
    """Torch-Pruning's own loop, in place, until the multiply-adds are at the target."""
    tp: Any = importlib.import_module("torch_pruning")  # not among the project's requirements: the rival's own package
    network.requires_grad_(True)
    example_NCHW = next(iter(shards.batches(batch_size=2, shuffle=False)))[0][:1]
    importance = (
        tp.importance.GroupTaylorImportance()
        if asked.importance == "taylor"
        else (tp.importance.GroupMagnitudeImportance(p=2))
    )
    pruner = tp.pruner.BasePruner(
        network,
        example_NCHW,
        importance=importance,
        global_pruning=True,
        pruning_ratio=1.0,
        max_pruning_ratio=0.9,
        iterative_steps=STEPS,
        ignored_layers=[module for module in network.modules() if isinstance(module, nn.Linear)],
        root_module_types=[nn.Conv2d],
    )
    batches = list(shards.batches(batch_size=64, seed=asked.seed))
    for step in range(STEPS):
        if counted(network, example_NCHW) <= target:
            return
        if asked.importance == "taylor":
            network.zero_grad()
            images, _, targets = batches[step % len(batches)]
            F.cross_entropy(network(images), targets).backward()
        pruner.step()
    raise SystemExit("the target was not reached")


if __name__ == "__main__":
    main()
