"""Rank and world from the environments of torchrun and SLURM, which were recorded from real runs."""

from __future__ import annotations

import pytest

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.core.launch import Place, find_place, is_restart, require_alone

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
ARRAY = {
    "SLURM_ARRAY_TASK_ID": "6",
    "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_ARRAY_TASK_MIN": "0",
    "SLURM_ARRAY_TASK_MAX": "6",
    "SLURM_ARRAY_TASK_STEP": "2",
}
BATCH = {
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "2",
    "SLURM_NODEID": "0",
    "SLURM_LOCALID": "0",
}  # a batch script, not a step
STEP = {
    "SLURM_PROCID": "6",
    "SLURM_NTASKS": "7",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
    "SLURM_NODEID": "3",
    "SLURM_LOCALID": "0",
}
SECOND_NODE = {**STEP, "SLURM_PROCID": "3", "SLURM_NODEID": "1", "SLURM_LOCALID": "1"}
ALONE = {"ID": "3", "COUNT": "1", "MIN": "3", "MAX": "3"}


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, Place()),
        (TORCHRUN, Place(rank=5, world=8, local_rank=1, local_world=4)),
        (BATCH, Place()),
        (
            {**BATCH, "SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "2"},
            Place(),
        ),  # submitted from inside a step of two tasks
        (STEP, Place(rank=6, world=7, local_rank=0, local_world=1)),
        (SECOND_NODE, Place(rank=3, world=7, local_rank=1, local_world=2)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, Place(rank=1, world=2)),
        (ARRAY, Place(rank=3, world=4)),
        ({**ARRAY, **BATCH}, Place(rank=3, world=4)),
        ({**ARRAY, "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, Place(rank=7, world=8)),
        # A lost task that was submitted again alone, by its id: its share is all that is missing.
        ({f"SLURM_ARRAY_TASK_{name}": value for name, value in ALONE.items()}, Place()),
        ({**ARRAY, **TORCHRUN}, Place(rank=5, world=8, local_rank=1, local_world=4)),
    ],
)
def test_place_of_each_launcher(environ: dict[str, str], place: Place) -> None:
    assert find_place(environ=environ) == place


def test_options_override_the_environment() -> None:
    assert find_place(2, 3, TORCHRUN) == Place(rank=2, world=3, local_rank=1, local_world=4)


@pytest.mark.parametrize(
    ("rank", "world", "environ", "message"),
    [
        (1, None, {}, "--rank and --world go together"),
        (None, 2, {}, "--rank and --world go together"),
        (2, 2, {}, "--rank must lie in 0..1"),
        (-1, 2, {}, "--rank must lie in 0..1"),
        (0, 0, {}, "--world must be 1 or more"),
        (None, None, {**ARRAY, "SLURM_ARRAY_TASK_COUNT": "3"}, "have gaps"),
        (None, None, {"RANK": "first", "WORLD_SIZE": "2"}, "RANK in the environment must be a whole number"),
    ],
)
def test_inconsistent_values_are_refused(
    rank: int | None, world: int | None, environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        find_place(rank, world, environ)


def test_a_single_process_command_is_refused_under_torchrun() -> None:
    require_alone("di-prune", {})
    require_alone("di-prune", ARRAY)  # a sweep: each task has its own folder
    with pytest.raises(ConfigError, match="di-prune works in one process"):
        require_alone("di-prune", {**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"})


def test_restarts() -> None:
    assert not is_restart({"TORCHELASTIC_RESTART_COUNT": "0"})
    assert is_restart({"TORCHELASTIC_RESTART_COUNT": "1"})
    assert is_restart({"SLURM_RESTART_COUNT": "2"})
