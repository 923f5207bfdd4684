"""The training loop: steps, epochs, learning rates and checkpoints, for any student, views and criterion.

It runs in one process, or in a group of processes that take each step together. The steps are the same, but for
rounding.
"""

from __future__ import annotations

import contextlib
import functools
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ..shared.core.errors import DreamError
from ..shared.core.numerics import derive_seed, lr_factor
from ..shared.core.pacing import Allowance
from ..shared.core.records import from_json
from ..shared.models.compiling import Compiler
from ..shared.models.epochs import Epoch
from ..shared.models.results import ResultFolder
from ..shared.shards.batches import Batch, Loader
from .criterion import Criterion
from .distributed import ALONE, Group
from .events import EventFile
from .interpolation import FirstWeights
from .progress import MeanLosses, Measure, TrainingProgress
from .recipe import Training
from .step import Step, set_up
from .views import View

SAVING = 1 / 20  # largest share of the run's time that its checkpoints take; a resumed run repeats as little
LONGEST_WARMUP = 0.1  # share of a training: with many images a few epochs are all of it
COPIES = 8  # of the network, which a checkpoint is never larger than: its weights, and what the optimizers keep


def train(
    student: nn.Module,
    loader: Loader,
    criterion: Criterion,
    *,
    views: Callable[[Batch], View],
    training: Training,
    example_NCHW: Tensor,
    folder: ResultFolder,
    seed: int,
    title: str,
    measure: Measure | None = None,
    group: Group = ALONE,
    compiler: Compiler | None = None,
    first: FirstWeights | None = None,
) -> None:
    """Train the student in place. Where the folder has a checkpoint, the training goes on from it.

    Args:
        student: on the device to train on.
        loader: gives this process's rows of each batch, or whole batches if the views need them.
        criterion: the objective. What it trains beside the student goes into the checkpoint too.
        views: what the student sees of a batch (:class:`~.views.Views`). Random numbers come from torch's default
            generators, which are seeded at the start of each epoch.
        training: epochs, warm-up, learning rate and momentum.
        example_NCHW: any network input.
        folder: gets ``checkpoint.pt`` and ``metrics.jsonl`` from the group's first process, at the end of the first
            epoch, of the last, and of as many in between as :data:`SAVING` allows.
        title: for the progress bar.
        measure: measures the student after an epoch, as often as :data:`~.progress.MEASURING` allows; only the first
            process needs it.
        group: the processes that train this student together.
        compiler: of the step (:func:`~.step.choose_compiler`); None runs it eager.
        first: the weights that the training begins with, if they are wanted after it: a resumed run gets them again.

    Raises:
        DreamError: the loss became NaN, or the checkpoint is damaged or of a run with other settings.
    """
    device = next(student.parameters()).device
    torch.manual_seed(seed)  # for the first weights of what the criterion adds to the student
    network, optimizers = set_up(student, criterion, training, example_NCHW)
    epochs = training.passes(len(loader))
    steps = epochs * len(loader)
    warmup = min(training.warmup_epochs * len(loader), round(LONGEST_WARMUP * steps))
    schedulers = [LambdaLR(each, lambda step: lr_factor(step, steps, warmup=warmup)) for each in optimizers]
    parts: dict[str, Any] = {
        "network": network,
        "loader": loader,
        **{f"optimizer {number}": optimizer for number, optimizer in enumerate(optimizers)},
        **{f"scheduler {number}": scheduler for number, scheduler in enumerate(schedulers)},
    }
    if first is not None:
        parts["first weights"] = first
    if group.is_first:
        folder.begin()
    history = _restore(folder, parts, device, group)
    step = Step.of(
        network,
        criterion,
        optimizers=optimizers,
        views=views,
        example_NCHW=example_NCHW.to(next(student.parameters())),
        group=group,
        compiler=compiler,
    )
    done = len(history)
    saving = Allowance(SAVING)
    with contextlib.ExitStack() as stack:
        stack.callback(criterion.release, network)
        progress: TrainingProgress | None = None
        if group.is_first:
            events = EventFile(folder.events, done=done) if training.tensorboard else None
            shown = TrainingProgress(title, epochs=epochs, steps=len(loader), done=done, measure=measure, events=events)
            progress = stack.enter_context(shown)
        for epoch in range(done + 1, epochs + 1):
            started = time.monotonic()
            torch.manual_seed(derive_seed(seed, epoch - 1))  # a resumed run draws what an uninterrupted one draws
            network.train()
            show = functools.partial(progress.step, epoch) if progress is not None else lambda number, read: None
            losses = _one_epoch(step, loader, schedulers, group, show)
            entry = Epoch(
                epoch=epoch,
                loss=losses.pop("loss"),
                seconds=round(time.monotonic() - started, 3),
                parts=losses,
                lr=optimizers[0].param_groups[0]["lr"],
            )
            if progress is not None:
                entry = progress.epoch(entry, student)
            history.append(entry)
            if group.is_first and (saving.is_due or epoch == epochs):
                with saving.spend():
                    _save(folder, parts, history)
    student.eval()


def _one_epoch(
    step: Step,
    loader: Loader,
    schedulers: Sequence[LambdaLR],
    group: Group,
    show: Callable[[int, Callable[[], dict[str, float]]], None],
) -> dict[str, float]:
    """A step for each batch. Returns the mean losses of the images, by name.

    Args:
        show: called with the number of each step, and with a function that reads the losses so far.
    """
    losses = MeanLosses()
    for number, batch in enumerate(loader, 1):
        if batch.rows.total < 2:
            continue  # a BatchNorm has no variance of one image
        losses.add(step(batch), batch.rows.total)
        for scheduler in schedulers:
            scheduler.step()
        show(number, losses.read)
    found = losses.read(group)  # the epoch's one host sync, but for those of long epochs
    if not found["loss"] < float("inf"):
        raise DreamError("the training loss became NaN; run again with --overwrite and a lower --lr")
    return found


def _restore(folder: ResultFolder, parts: dict[str, Any], device: torch.device, group: Group) -> list[Epoch]:
    """Load the checkpoint that the first process finds, in all processes. Returns its history, [] without one.

    Raises:
        DreamError: it is damaged, or of other settings.
    """
    size = sum(tensor.nbytes for tensor in parts["network"].state_dict().values())
    found = group.from_first(folder.read_checkpoint(COPIES * size + 2**26) if group.is_first else None)
    if found is None:
        return []
    try:
        saved = torch.load(io.BytesIO(found), map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        return [from_json(Epoch, line) for line in saved["history"]]
    except Exception as error:  # torch's unpickler may raise anything
        raise folder.damaged_checkpoint() from error


def _save(folder: ResultFolder, parts: dict[str, Any], history: list[Epoch]) -> None:
    # Written from memory: on a full disk, torch.save to a file raises a RuntimeError that does not name the cause.
    buffer = io.BytesIO()
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"history": [asdict(epoch) for epoch in history], **states}, buffer)
    folder.write_metrics(history)  # first: with the last checkpoint there, no later call comes back here
    folder.write_checkpoint(buffer.getbuffer())
