"""Several processes that train one student: the group that ``torchrun`` started, and what its members exchange.

Each process works on its rows of every batch (:class:`~..shared.core.launch.Rows`), and a step is the step that one
process would take with the whole batch. A process alone is a group of one, and uses nothing of ``torch.distributed``.
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

from ..shared.core.device import cpu_count
from ..shared.core.errors import ConfigError, DreamError
from ..shared.core.launch import Place, Rows, find_place, under_torchrun
from ..shared.core.signals import ignore_stops

T = TypeVar("T")
# Network input (N, C, H, W), and which rows of the whole batch it is -> the outputs of the module that is trained.
Forward = Callable[[Tensor, Rows], tuple[Tensor, ...]]
# How long processes wait for one another: the first measures the teacher meanwhile. The end of a process is noticed at
# once all the same, by these words in torch's errors.
TIMEOUT = timedelta(days=1)
_LOST_PROCESS = ("by peer", "Broken pipe", "Connection refused", "NCCL")


@dataclass(frozen=True, slots=True)
class Group:
    """All processes of a training, seen from the one at ``place``."""

    place: Place = Place()

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.place.rank == 0

    def from_first(self, value: T) -> T:
        """The first process's value, in all processes. All then decide alike, even if their file systems differ.

        Waits for the first process.
        """
        if self.place.world == 1:
            return value
        from torch import distributed

        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the processes, the same bits in all of them."""
        if self.place.world == 1:
            return value
        from torch import distributed

        total = value.clone()
        distributed.all_reduce(total)
        return total / self.place.world

    def parallel(self, network: nn.Module, example_NCHW: Tensor) -> Forward:
        """The network's forward, for this process's rows of a batch. BatchNorms take the statistics of the whole batch.

        After ``backward`` of a loss, each parameter's gradient is the mean over the processes. Parameters keep their
        names, and all processes start from those of the first.

        Args:
            network: returns a tensor or a tuple of tensors, all of which the loss must use.
            example_NCHW: any network input.
        """
        if self.place.world == 1:
            return lambda x_NCHW, rows: _as_tuple(network(x_NCHW))
        from torch.nn.parallel import DistributedDataParallel

        from .batchnorm import GlobalBatchNorm

        # Buffers need no copying at each step, since running statistics are the same in all processes. torch 2.15 gave
        # the option another name.
        known = inspect.signature(DistributedDataParallel).parameters
        copying = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {copying: False, "gradient_as_bucket_view": True}
        parallel = DistributedDataParallel(network, **options)
        # After its first backward it changes the layout of the gradients, and with it the order of sums and their
        # rounding. With that done here, a run that goes on from a checkpoint has the bits of one that never stopped.
        network.eval()
        torch.stack([out.sum() for out in _as_tuple(parallel(example_NCHW))]).sum().backward()
        network.zero_grad()

        def forward(x_NCHW: Tensor, rows: Rows) -> tuple[Tensor, ...]:
            with GlobalBatchNorm() if rows.is_part else contextlib.nullcontext():
                return _as_tuple(parallel(x_NCHW))

        return forward


ALONE = Group()


def _as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else outputs


def torchrun_place() -> Place:
    """This process's place among those that ``torchrun`` started, or alone without torchrun."""
    return find_place() if under_torchrun() else Place()


@contextlib.contextmanager
def share_processors(place: Place) -> Iterator[None]:
    """While the block lasts, torch has as many threads as this process's share of the machine's processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, cpu_count() // place.local_world))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def joined(place: Place, device: torch.device) -> Iterator[Group]:
    """The group of all processes, while the block lasts. They all enter it and leave it together.

    Raises:
        ConfigError: processes would have to share a GPU.
        DreamError: another process of the group ended within the block.
    """
    if place.world == 1:
        yield ALONE
        return
    from torch import distributed
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

    if device.type == "cuda":
        if place.local_world > torch.cuda.device_count() or device.index != place.local_rank:
            raise ConfigError(
                f"each process needs a GPU of its own: use --device auto, and torchrun --nproc-per-node"
                f" {torch.cuda.device_count()} or fewer"
            )
        torch.cuda.set_device(device)
    # An optimizer's first step imports this. If that happened while there is a group, it would keep a reference to the
    # group, whose threads would then outlive the interpreter, and sometimes abort it at its end.
    importlib.import_module("torch._dynamo")
    if place.rank > 0:
        # torchrun sends SIGTERM to stop. Python would react only after waiting for the other processes, which may have
        # ended; these processes have no files to close.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # torchrun's store may survive a restart, with the addresses of the processes that were there before.
    store, rank, world = next(rendezvous("env://", timeout=TIMEOUT))
    store = PrefixStore(f"restart {_restarts()}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=TIMEOUT)
    try:
        yield Group(place)
    except BaseException as error:
        # When one process has failed, torchrun stops the others, which may be about to report the same error.
        ignore_stops()
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _LOST_PROCESS):
            raise DreamError("another process of this training has ended, so this one ends too") from error
        raise
    # Not after an error, where it might wait for processes that have ended; the end of this process does it then.
    distributed.destroy_process_group()


def _restarts() -> int:
    """How often torchrun has started these processes again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
