"""Fields of a configuration as options."""

from __future__ import annotations

import click
import pytest

from dreamdistill.shared.cli.setting_options import option_of
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.core.values import Bounds, Setting

SIZES = Setting("sizes", tuple[int, ...], (1,), "sizes", bounds=Bounds(min=1, max=9))


def sizes(*arguments: str) -> object:
    command = click.Command("x", params=[option_of(SIZES)], callback=lambda sizes: sizes)
    return command.main(arguments, standalone_mode=False, auto_envvar_prefix="X")


def test_a_list_is_given_in_one_option_or_in_several_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sizes() is None  # not the default: the environment and a file come first
    assert sizes("--sizes", "1,2,3") == sizes("--sizes", "1,2", "--sizes", "3") == (1, 2, 3)
    with pytest.raises(ConfigError, match="--sizes must be 1 or more and at most 9"):
        sizes("--sizes", "1", "--sizes", "10")
    monkeypatch.setenv("X_SIZES", "4, 5")
    assert sizes() == (4, 5)
    assert sizes("--sizes", "7") == (7,)
