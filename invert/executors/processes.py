"""Worker processes of this machine: one a GPU, or N on the CPU, each at the end of a pipe of its own.

The pool of the standard library ends with the first process that dies, and a queue that several processes share stays
locked when one is killed while it reads. So each worker has its own pipe, a dead one is replaced, and what it had in
hand goes to another.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from ...shared.core.errors import named
from ...shared.core.signals import held_back
from ...shared.shards.manifest import ShardPlan
from ..queue import BROKEN_AFTER, ShardQueue
from ..worker import Job, Outcome, Progress, Worker

TICK = 0.2  # seconds


def make_in_processes(job: Job, todo: ShardQueue, *, workers: int, device: torch.device, progress: Progress) -> None:
    """Make the shards in ``workers`` processes.

    Raises:
        OSError: a shard cannot be written.
        DreamError: every worker died or raised, several times in a row.
    """
    slots: list[_Slot] = []
    try:
        with held_back():
            for index in range(workers):
                slots.append(_Slot(job, index, device.type))
        while not todo.finished:
            for slot in slots:
                if slot.asks and (plan := todo.next(slot.index)) is not None:
                    slot.give(plan)
            ready = wait([slot.link for slot in slots], TICK)
            for slot in [slot for slot in slots if slot.link in ready]:
                try:
                    _hear(slot, todo, progress)
                except EOFError:  # its end of the pipe is closed
                    slots.remove(slot)
                    if _replace(slot, todo, progress):
                        slots.append(slot)
                    elif not slots and not todo.finished:
                        raise todo.despair(slot.reason) from None
    finally:
        for slot in slots:
            slot.kill()  # a shard still in hand is dropped, as on any kill


def _hear(slot: _Slot, todo: ShardQueue, progress: Progress) -> None:
    """Take one message.

    Raises:
        EOFError: the worker is dead.
        OSError: a shard could not be written.
    """
    kind, content = slot.receive()
    if kind == "progress":
        slot.counted += content[0]
        progress(*content)
    elif kind == "outcome":
        slot.settle(content)
        todo.settle(content)
    elif kind == "asks":
        slot.asks = True
    elif kind == "ends":
        slot.told = content
    else:
        todo.log_once(content)


def _replace(slot: _Slot, todo: ShardQueue, progress: Progress) -> bool:
    """Start a new worker in a dead one's place, unless there is no point in it."""
    slot.bury()
    progress(-slot.counted, {})
    if not slot.in_hand:
        todo.log(f"worker {slot.index} is gone with no shard in hand: {slot.reason}")
    todo.lose(list(slot.in_hand), slot.reason, slot.index)
    if slot.broken >= BROKEN_AFTER:
        todo.log(f"worker {slot.index} is left alone after {slot.broken} failures in a row")
    elif not todo.stopping():
        with held_back():
            slot.start()
        return True
    return False


class _Slot:
    """A worker's place: its process, which may be a new one after a death, and our end of the pipe.

    Attributes:
        in_hand: shards that it has; counted: images of progress it has told of them.
        asks: whether it waits for a shard.
        broken: its failures in a row.
        told: why it ends, if it could tell; reason: why it ended.
    """

    def __init__(self, job: Job, index: int, device_type: str) -> None:
        self.index = index
        self.broken = 0
        context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
        self._new: Callable[[Connection], BaseProcess] = lambda link: context.Process(
            target=_work, args=(job, device_type, index, link), name=f"di-invert-{index}"
        )
        self.start()

    def start(self) -> None:
        """Start the process, with nothing in hand."""
        self.in_hand: dict[int, ShardPlan] = {}
        self.counted = 0.0
        self.asks = False
        self.told = self.reason = ""
        self.link, theirs = multiprocessing.Pipe()
        self.process = self._new(theirs)
        self.process.start()
        theirs.close()  # so that the pipe ends when the process does

    def give(self, plan: ShardPlan) -> None:
        self.in_hand[plan.number] = plan
        self.asks = False
        with suppress(OSError):  # a dead one's pipe: its end tells
            self.link.send(plan)

    def settle(self, outcome: Outcome) -> None:
        plan = self.in_hand.pop(outcome.number)
        if outcome.fate == "made":
            self.counted -= plan.count
            self.broken = 0

    def receive(self) -> tuple[str, Any]:
        """The next message.

        Raises:
            EOFError: the process is dead, be it in the middle of a message.
        """
        try:
            return self.link.recv()
        except OSError as error:
            raise EOFError from error

    def bury(self) -> None:
        """See a dead process off, and find out why it died."""
        self.process.join()
        self.link.close()
        self.broken += 1
        code = self.process.exitcode or 0
        if code < 0:
            hint = " (out of memory?)" if -code == signal.SIGKILL else ""
            self.reason = f"its worker was killed by {signal.Signals(-code).name}{hint}"
        else:
            self.reason = self.told or f"its worker ended with exit code {code}"

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.link.close()


def _work(job: Job, device_type: str, index: int, link: Connection) -> None:
    """A worker process: shards until it is told that there are no more, or killed."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    sending = threading.Lock()  # shards are written, and reported, by a second thread

    def send(kind: str, content: Any = None) -> None:
        with sending:
            link.send((kind, content))

    def plans() -> Iterator[ShardPlan]:
        while True:
            send("asks")
            yield link.recv()

    gpu = index % max(1, torch.cuda.device_count())
    device = torch.device(device_type, gpu) if device_type == "cuda" else torch.device(device_type)
    try:
        worker = Worker(
            job,
            device,
            progress=lambda images, terms: send("progress", (images, terms)),
            log=lambda line: send("log", line),
        )
        worker.make(plans(), lambda outcome: send("outcome", outcome))
    except Exception as error:
        send("ends", named(error))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
