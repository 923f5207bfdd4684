"""Worker processes import nothing of the program that starts them: not its script, and not its stdin."""

from __future__ import annotations

import sys
import types
from multiprocessing.spawn import get_preparation_data

import pytest

from dreamdistill.invert.executors.processes import main_module_hidden

OF_MAIN = {"init_main_from_name", "init_main_from_path"}


@pytest.mark.parametrize("file", ["script.py", "<stdin>"])
def test_the_main_module_is_hidden_from_worker_processes(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    main = types.ModuleType("__main__")
    main.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert OF_MAIN & get_preparation_data("worker").keys()
    with main_module_hidden():
        assert not OF_MAIN & get_preparation_data("worker").keys()
    assert sys.modules["__main__"] is main
