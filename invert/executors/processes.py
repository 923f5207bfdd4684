"""Worker processes of this machine: one for each GPU, or several on the CPU, each at the end of its own pipe.

The pool of the standard library ends with the first process that dies, and a queue that several processes share stays
locked when one of them is killed while it reads. So each worker has its own pipe, and a dead one can be started again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from ...shared.core.errors import named
from ...shared.core.signals import held_back
from ...shared.shards.manifest import ShardPlan
from ..job import Job, Outcome
from ..worker import Worker
from .base import Handle, LogLine, Progressed, ShardDone, WorkerLost

TICK = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class _Ready:
    """A worker process asks for a shard."""


@dataclass(frozen=True, slots=True)
class _LastWords:
    """Why a worker process ends, from itself."""

    reason: str


class ProcessExecutor:
    """``workers`` processes, which take the GPUs in turn where there are some."""

    def __init__(self, job: Job, device: torch.device, *, workers: int) -> None:
        self._slots: dict[int, _Slot] = {}
        try:
            with held_back():  # a signal in between would leave a process that is in no slot
                for number in range(workers):
                    self._slots[number] = _Slot(job, device.type, number)
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> Collection[int]:
        return self._slots.keys()

    def idle(self) -> Sequence[int]:
        return [slot.number for slot in self._slots.values() if slot.ready]

    def submit(self, worker: int, plan: ShardPlan) -> None:
        self._slots[worker].give(plan)

    def wait(self, handle: Handle) -> None:
        """Take one message from each worker that has sent one."""
        alive = [slot for slot in self._slots.values() if slot.alive]
        ready = wait([slot.link for slot in alive], TICK)
        for slot in [slot for slot in alive if slot.link in ready]:
            try:
                message = slot.receive()
            except EOFError:
                handle(WorkerLost(worker=slot.number, reason=slot.reap()))
                continue
            if isinstance(message, Outcome):
                message = ShardDone(worker=slot.number, outcome=message)
            if message is not None:
                handle(message)

    def restart(self, worker: int) -> None:
        self._slots[worker].start()

    def drop(self, worker: int) -> None:
        del self._slots[worker]

    def close(self) -> None:
        for slot in self._slots.values():
            slot.kill()


class _Slot:
    """The place of a worker: its process, which may be a new one after a death, and our end of the pipe.

    Attributes:
        alive: whether the process runs, as far as we know.
        ready: whether it waits for a shard.
    """

    def __init__(self, job: Job, device_type: str, number: int) -> None:
        self.number = number
        context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
        self._new: Callable[[Connection], BaseProcess] = lambda link: context.Process(
            target=_work, args=(job, device_type, number, link), name=f"di-invert-{number}"
        )
        self.start()

    def start(self) -> None:
        self.ready = False
        self._last_words = ""
        with held_back(), main_module_hidden():
            self.link, theirs = multiprocessing.Pipe()
            self.process = self._new(theirs)
            self.process.start()
            self.alive = True
            theirs.close()  # so that the pipe ends when the process does

    def give(self, plan: ShardPlan) -> None:
        self.ready = False
        with contextlib.suppress(OSError):  # the process is dead, and the end of its pipe will tell so
            self.link.send(plan)

    def receive(self) -> Any:
        """The next message: an event or an outcome, or None for one that concerns this slot alone.

        Raises:
            EOFError: the process is dead; it may have died in the middle of a message.
        """
        try:
            message = self.link.recv()
        except OSError as error:
            raise EOFError from error
        if isinstance(message, _Ready):
            self.ready = True
        elif isinstance(message, _LastWords):
            self._last_words = message.reason
        else:
            return message
        return None

    def reap(self) -> str:
        """Wait for the end of a dead process, and return why it died."""
        self.process.join()
        self.link.close()
        self.alive = self.ready = False
        code = self.process.exitcode or 0
        if code < 0:
            hint = " (out of memory?)" if -code == signal.SIGKILL else ""
            return f"its worker was killed by {signal.Signals(-code).name}{hint}"
        return self._last_words or f"its worker ended with exit code {code}"

    def kill(self) -> None:
        if self.alive:
            self.process.kill()
            self.reap()


@contextlib.contextmanager
def main_module_hidden() -> Iterator[None]:
    """Let processes that start within this not import the caller's main module.

    A spawned process imports the script of its parent again. Our workers need nothing from it, and a script without
    ``if __name__ == "__main__"`` would start all of its work again in each of them.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(job: Job, device_type: str, number: int, link: Connection) -> None:
    """A worker process: makes the shards that come through the pipe until it is killed."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    sending = threading.Lock()  # a second thread writes the shards and reports their outcomes

    def send(message: object) -> None:
        with sending:
            link.send(message)

    gpu = number % max(1, torch.cuda.device_count())
    device = torch.device(device_type, gpu) if device_type == "cuda" else torch.device(device_type)
    try:
        worker = Worker(
            job,
            device,
            report=send,
            progress=lambda shard, fraction, losses: send(Progressed(number=shard, fraction=fraction, losses=losses)),
            log=lambda line: send(LogLine(text=line)),
        )
        while True:
            send(_Ready())
            while not link.poll(TICK):
                worker.check()
            worker.make(link.recv())
    except Exception as error:
        send(_LastWords(named(error)))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
