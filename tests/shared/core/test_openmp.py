"""What the commands set so that waiting threads leave the processor to others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dreamdistill.shared.core.openmp import wait_without_spinning

SHOW = "import os; print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in __import__('sys').modules)"


def test_threads_sleep_while_they_wait() -> None:
    environment: dict[str, str] = {}
    wait_without_spinning(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_the_user_set_is_left_alone(name: str) -> None:
    environment = {name: "7"}
    wait_without_spinning(environment)
    assert environment == {name: "7"}


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        # The version is printed without torch, so that this shows what is set before torch is imported.
        ("from dreamdistill.shared.cli.commandline import run_command; from dreamdistill.invert.cli import command;"
         "run_command(command, ['--version'])", "PASSIVE False"),
        ("import dreamdistill", "None False"),
    ],
)  # fmt: skip
def test_commands_set_it_before_torch_is_imported_and_the_python_functions_do_not(work: str, expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    shown = subprocess.run(
        [sys.executable, "-c", f"{work}; {SHOW}"], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines()[-1] == expected
