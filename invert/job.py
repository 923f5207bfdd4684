"""What a worker must know to make shards, and what it reports of each."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..shared.models.identity import ClassifierRecord
from ..shared.models.named_files import Key
from ..shared.shards.manifest import Round
from .recipe import Recipe

ShardProgress = Callable[[int, float, dict[str, float]], None]
"""Called with a shard's number, the fraction of it that is optimised (0 to 1), and the latest loss terms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a worker process needs to make any shard of a round. It holds plain values, so it can be sent to one.

    Attributes:
        teacher: what loads it again.
        student: what loads the network to compete against; None without one.
        round_number: place of the round in the manifest, part of the seed.
        threads: CPU threads for the optimisation; sums in floating point depend on it.
        code: Python files that saved models may name, wherever they say that these are.
        named: the Python files that may be run. The process that the user started has decided it; another machine may
            not know what the user has named.
    """

    teacher: ClassifierRecord
    student: ClassifierRecord | None
    recipe: Recipe
    round: Round
    round_number: int
    classes: tuple[int, ...]
    seed: int
    threads: int
    folder: Path
    code: tuple[Path, ...] = ()
    named: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a shard.

    Attributes:
        fate: ``made`` (here or by another run), ``busy`` (another run is making it), ``diverged`` (with every seed that
            there is to try) or ``unwritable``.
        reason: why, for the last two.
        error: the error that made the shard unwritable.
    """

    number: int
    fate: Literal["made", "busy", "diverged", "unwritable"]
    reason: str = ""
    error: OSError | None = None


Report = Callable[[Outcome], None]


def worker_name() -> str:
    """This process, as commit records name it."""
    return f"{socket.gethostname()}:{os.getpid()}"
