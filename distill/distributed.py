"""Several processes that train one student: the group that ``torchrun`` started, and what its members share.

Each works on its rows of every batch (:class:`~..shared.loaders.Rows`), and a step is the step that one process would
take with the whole batch. A process alone is a group of one, and touches nothing of ``torch.distributed``.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..shared.core.errors import ConfigError, DreamError
from ..shared.core.launch import Place, Rows, find_place, under_torchrun
from ..shared.core.signals import ignore_stops

T = TypeVar("T")
# How long to wait for one another, since the first measures the teacher meanwhile. A death is noticed at once.
PATIENCE = timedelta(days=1)
_SIGNS_OF_DEATH = ("by peer", "Broken pipe", "Connection refused", "NCCL")  # of another process, in torch's errors


@dataclass(frozen=True, slots=True)
class Group:
    """All processes of a training, seen from the one at ``place``."""

    place: Place = Place()

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and tells people."""
        return self.place.rank == 0

    def from_first(self, value: T) -> T:
        """The first process's value, everywhere, so that all decide alike; file systems may show them different files.

        Waits for the first process.
        """
        if self.place.world == 1:
            return value
        from torch import distributed

        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the processes, the same bits everywhere."""
        if self.place.world == 1:
            return value
        from torch import distributed

        total = value.clone()
        distributed.all_reduce(total)
        return total / self.place.world

    def together(self, student: nn.Module, example_NCHW: Tensor) -> Callable[[Tensor, Rows], tuple[Tensor, ...]]:
        """The student's forward, of rows of a batch; its BatchNorms take the statistics of the whole batch.

        After ``backward`` of a loss, each parameter's gradient is the mean over the processes. Parameters and their
        names stay the student's own; those of the first process are copied to all.

        Args:
            student: returns several tensors, all of which the loss must take.
            example_NCHW: any input.
        """
        if self.place.world == 1:
            return lambda x_NCHW, rows: student(x_NCHW)
        from torch.nn.parallel import DistributedDataParallel

        from .batchnorm import GlobalBatchNorm

        # Buffers need no copying at each step, since running statistics come out the same everywhere. torch 2.15 gave
        # the option another name.
        known = inspect.signature(DistributedDataParallel).parameters
        copying = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {copying: False, "gradient_as_bucket_view": True}
        parallel = DistributedDataParallel(student, **options)
        # After its first backward it lays the gradients out anew, which changes the order of sums and their rounding.
        # With that behind it, a run that goes on from a checkpoint is, bit by bit, one that never stopped.
        student.eval()
        torch.stack([out.sum() for out in parallel(example_NCHW)]).sum().backward()
        student.zero_grad()

        def forward(x_NCHW: Tensor, rows: Rows) -> tuple[Tensor, ...]:
            with GlobalBatchNorm() if rows.is_part else contextlib.nullcontext():
                return parallel(x_NCHW)

        return forward


ALONE = Group()


def torchrun_place() -> Place:
    """This process's place among those that ``torchrun`` started, or on its own without it."""
    return find_place() if under_torchrun() else Place()


@contextlib.contextmanager
def joined(place: Place, device: torch.device) -> Iterator[Group]:
    """The group of all processes, while the block lasts; they come and go together.

    Raises:
        ConfigError: processes would have to share a GPU.
        DreamError: another process of the group has ended within the block.
    """
    if place.world == 1:
        yield ALONE
        return
    from torch import distributed
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

    if device.type == "cuda":
        if place.local_world > torch.cuda.device_count() or device.index != place.local_rank:
            raise ConfigError(
                f"each process needs a GPU of its own: --device auto, and torchrun --nproc-per-node of at most"
                f" {torch.cuda.device_count()}"
            )
        torch.cuda.set_device(device)
    # Imported while there is a group, as by an optimizer's first step, this keeps hold of it. The group's threads then
    # outlive the interpreter, and now and then abort it at its end.
    importlib.import_module("torch._dynamo")
    if place.rank > 0:
        # torchrun sends SIGTERM to stop. Python would answer it after a wait for the others, who may be gone; there are
        # no files to close here.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # torchrun's store may outlive a restart, and with it the addresses of the processes that were there before.
    store, rank, world = next(rendezvous("env://", timeout=PATIENCE))
    store = PrefixStore(f"restart {_restarts()}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
    try:
        yield Group(place)
    except BaseException as error:
        # When one process has failed, torchrun stops the others, which may be about to tell the same error.
        ignore_stops()
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS_OF_DEATH):
            raise DreamError("another process of this training has ended, so this one ends too") from error
        raise
    # Not after an error, where it might wait for processes that are gone; the end of this process does it then.
    distributed.destroy_process_group()


def _restarts() -> int:
    """How often torchrun has started these processes again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
