"""Memory of freed tensors is kept for the next ones, not given back to the kernel."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dreamdistill.shared.core.malloc import keep_freed_memory

# Megabytes that the process keeps of eight freed tensors of 16 MB.
KEPT = """
import os, torch
megabytes = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
torch.zeros(1).exp_()
start = megabytes()
tensors = [torch.ones(2**22) for _ in range(8)]
del tensors
print(megabytes() - start)
"""
COMMAND = """
from dreamdistill.shared.cli.commandline import run_command
from dreamdistill.invert.cli import command
run_command(command, ["--version"])
"""


@pytest.fixture
def glibc() -> None:
    if platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists():
        pytest.skip("another C library than glibc, or no /proc")


def kept(code: str) -> int:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


@pytest.mark.usefixtures("glibc")
def test_a_command_keeps_the_memory_of_freed_tensors() -> None:
    assert kept(KEPT) < 32
    assert kept(COMMAND + KEPT) > 96


@pytest.mark.usefixtures("glibc")
def test_so_do_the_processes_that_it_starts() -> None:
    code = f"import subprocess, sys\n{COMMAND}\nsubprocess.run([sys.executable, '-c', {KEPT!r}], check=True)"
    assert kept(code) > 96


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_user_set_is_left_alone(name: str) -> None:
    environment = {name: "7"}
    keep_freed_memory(environment)
    assert environment == {name: "7"}
