"""What a training shows while it runs: steps, time left, losses by name, and how good the student is by now."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Protocol

import torch
from torch import Tensor, nn

from ..shared.cli.progress import PLAIN_EVERY, ProgressBar
from ..shared.core.pacing import Allowance
from ..shared.models.epochs import Epoch
from .distributed import ALONE, Group
from .events import EventFile

MEASURING = 1 / 50  # largest share of the run's time that measuring the student takes


class Measure(Protocol):
    """Measures a student, in eval mode: the figures of an :class:`~..shared.models.epochs.Epoch` by name.

    Attributes:
        seconds: that it takes, as far as is known.
    """

    @property
    def seconds(self) -> float: ...

    def __call__(self, student: nn.Module) -> dict[str, float]: ...


class MeanLosses:
    """Means over images of the losses of steps, by name. Adding to them does not wait for the device."""

    def __init__(self) -> None:
        self._names: list[str] = ["loss"]
        self._total = torch.zeros(1)
        self._images = 0

    def add(self, losses: dict[str, Tensor], images: int) -> None:
        self._names = list(losses)
        values = torch.stack(list(losses.values()))
        self._total = self._total.to(values.device) + values * images
        self._images += images

    def read(self, group: Group = ALONE) -> dict[str, float]:
        """The means, over the processes of the group too. Waits for the device, and for the others of the group."""
        values = group.mean(self._total).tolist()
        return {name: value / max(1, self._images) for name, value in zip(self._names, values, strict=True)}


class TrainingProgress:
    """The progress of a training in its first process. A context manager.

    Args:
        epochs, steps: of the training, and of each epoch.
        done: epochs that an earlier call has done.
        measure: None measures nothing.
        events: where figures go besides the terminal.
    """

    def __init__(
        self, title: str, *, epochs: int, steps: int, done: int, measure: Measure | None, events: EventFile | None
    ) -> None:
        self._bar = ProgressBar(title, total=epochs * steps, unit="steps", done=done * steps, larger=("epochs", steps))
        if 0 < done < epochs:
            self._bar.log(f"{title}: going on at epoch {done + 1} of {epochs}")
        self._steps = steps
        self._measure = measure
        self._measuring = Allowance(MEASURING, seconds=measure.seconds if measure else 0.0)
        self._events = events
        self._next_read = time.monotonic() + PLAIN_EVERY

    def __enter__(self) -> TrainingProgress:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._events is not None:
            self._events.close()
        self._bar.__exit__(kind, error, trace)

    def step(self, epoch: int, number: int, read: Callable[[], dict[str, float]]) -> None:
        """Show a step.

        Args:
            epoch, number: of the step, from 1.
            read: gives the mean losses of the epoch so far. It is called every few seconds: it waits for the device.
        """
        figures: dict[str, float] = {}
        if time.monotonic() >= self._next_read:
            figures = read()
            self._next_read = time.monotonic() + PLAIN_EVERY
        self._bar.update((epoch - 1) * self._steps + number, **figures)

    def epoch(self, entry: Epoch, student: nn.Module) -> Epoch:
        """Show an epoch that is done. Returns it with what was measured of the student, if there was time for it."""
        if self._measure is not None and self._measuring.is_due:
            with self._measuring.spend():
                entry = replace(entry, **self._measure(student))
        self._bar.update(entry.epoch * self._steps, **entry.figures())
        if self._events is not None:
            self._events.add(entry)
        return entry
