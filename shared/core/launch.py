"""Which share of the work this process has, read from its launcher's environment: torchrun, srun, or a SLURM array."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The position of one process among all that share the work.

    Attributes:
        rank, world: number of this process, from 0, and number of processes.
        local_rank, local_world: the same among the processes on this machine, which share its GPUs and processors.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1


def find_place(rank: int | None = None, world: int | None = None, environ: Mapping[str, str] = os.environ) -> Place:
    """The place of this process.

    It is the given rank and world, else torchrun's, else SLURM's (tasks of the array times tasks of a step), else that
    of a single process.

    Raises:
        ConfigError: rank and world do not fit together, the ids of a SLURM array have gaps, or a variable of the
            environment is not a number.
    """
    place = _of_torchrun(environ) or _of_slurm(environ)
    if (rank is None) != (world is None):
        raise ConfigError("--rank and --world go together: --rank 0 --world 4 is the first of four processes")
    if rank is not None and world is not None:
        place = replace(place, rank=rank, world=world)
    if place.world < 1:
        raise ConfigError("--world must be 1 or more")
    if not 0 <= place.rank < place.world:
        raise ConfigError(f"--rank must lie in 0..{place.world - 1} with --world {place.world}, not {place.rank}")
    return place


def under_torchrun(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun started this process, so that there is a process group to join."""
    return "TORCHELASTIC_RUN_ID" in environ


def require_alone(command: str, environ: Mapping[str, str] = os.environ) -> None:
    """Refuse to run a single-process command in several processes.

    Raises:
        ConfigError: torchrun started several processes.
    """
    if under_torchrun(environ) and find_place(environ=environ).world > 1:
        raise ConfigError(f"{command} works in one process: start it without torchrun")


def is_restart(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun or SLURM restarted this process after a failure or a stop. Then earlier results must be kept."""
    return any(_number(environ, name, 0) > 0 for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def _of_torchrun(environ: Mapping[str, str]) -> Place | None:
    if not {"RANK", "WORLD_SIZE"} <= environ.keys():
        return None
    return Place(
        rank=_number(environ, "RANK", 0),
        world=_number(environ, "WORLD_SIZE", 1),
        local_rank=_number(environ, "LOCAL_RANK", 0),
        local_world=_number(environ, "LOCAL_WORLD_SIZE", 1),
    )


def _of_slurm(environ: Mapping[str, str]) -> Place:
    index, count = _of_slurm_array(environ)
    task = _number(environ, "SLURM_PROCID", 0)
    # A batch script, too, has SLURM_PROCID=0 and SLURM_NTASKS, but it is a single process until it calls srun. Any step
    # variables that it has come from the step that submitted it.
    tasks = _number(environ, "SLURM_NTASKS", _number(environ, "SLURM_STEP_NUM_TASKS", 1))
    if task == 0 and _number(environ, "SLURM_STEP_NUM_TASKS", 1) != tasks:
        tasks = 1
    here = _expand(environ.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    node = _number(environ, "SLURM_NODEID", 0)
    return Place(
        rank=index * tasks + task,
        world=count * tasks,
        local_rank=_number(environ, "SLURM_LOCALID", 0),
        local_world=here[node] if tasks > 1 and node < len(here) else 1,
    )


def _of_slurm_array(environ: Mapping[str, str]) -> tuple[int, int]:
    """Index of the task in its array, from 0, and the length of the array."""
    if "SLURM_ARRAY_TASK_ID" not in environ:
        return 0, 1
    number, step = _number(environ, "SLURM_ARRAY_TASK_ID", 0), _number(environ, "SLURM_ARRAY_TASK_STEP", 1)
    first, last = (_number(environ, f"SLURM_ARRAY_TASK_{end}", number) for end in ("MIN", "MAX"))
    length = (last - first) // step + 1
    if _number(environ, "SLURM_ARRAY_TASK_COUNT", length) != length:
        raise ConfigError(
            "the ids of this SLURM array have gaps, so the share of each task is not known: give --rank and --world,"
            " or submit a whole range"
        )
    return (number - first) // step, length


def _expand(counts: str) -> list[int]:
    """Expand SLURM's notation for one number per node: ``2(x3),1`` is 2, 2, 2, 1."""
    numbers: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        numbers += [int(count)] * int(times or 1)
    return numbers


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(f"{name} in the environment must be a whole number, not {text!r}") from error


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a batch of ``total`` that one process works on: every ``step``-th row, from ``start``."""

    total: int
    start: int = 0
    step: int = 1

    @classmethod
    def of(cls, total: int, place: Place) -> Rows:
        """The rows of one process. If there are fewer rows than processes, every process takes all: none is without."""
        return cls(total, place.rank, place.world) if total >= place.world else cls(total)

    @property
    def is_part(self) -> bool:
        return self.step > 1

    def take(self, batch: Any) -> Any:
        """Select these rows from a tensor, list or range with one entry per row of the batch."""
        return batch[self.start :: self.step]
