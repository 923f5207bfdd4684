"""Fields of a configuration as options."""

from __future__ import annotations

import click
import pytest

from dreamdistill.shared.cli.setting_options import option_of
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.core.values import Bounds, Setting

NAMES = Setting("names", tuple[str, ...], ("z",), "names")
SIZES = Setting("sizes", tuple[int, ...], (1,), "sizes", bounds=Bounds(min=1, max=9))


def values(setting: Setting, *arguments: str) -> object:
    command = click.Command("x", params=[option_of(setting)], callback=lambda **given: given[setting.name])
    return command.main(arguments, standalone_mode=False, auto_envvar_prefix="X")


def test_names_are_given_in_one_option_or_in_several_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert values(NAMES) is None  # not the default: the environment and a file come first
    assert values(NAMES, "--names", "a,b,c") == values(NAMES, "--names", "a,b", "--names", "c") == ("a", "b", "c")
    monkeypatch.setenv("X_NAMES", "my file.py,b")
    assert values(NAMES) == ("my file.py", "b")
    assert values(NAMES, "--names", "c") == ("c",)


def test_the_last_of_several_lists_of_numbers_counts_as_that_of_single_numbers_does() -> None:
    assert values(SIZES, "--sizes", "1,2,3", "--sizes", "4") == (4,)
    with pytest.raises(ConfigError, match="--sizes must be 1 or more and at most 9"):
        values(SIZES, "--sizes", "10")
