"""Errors name only the options that the command has."""

from __future__ import annotations

import importlib

import pytest

from dreamdistill.shared.cli.commandline import in_its_words

CASES = [
    ("invert.cli", "check --image-size and --mean", "check --image-size and --mean"),
    ("distill.cli", "check --image-size and --mean", "check image size and mean"),
    ("distill.cli", "run again with --overwrite and a lower --lr", "run again with --overwrite and a lower --lr"),
    ("pipelines.run", "run again with --overwrite and a lower --lr", "run again with --overwrite and a lower --lr"),
    ("prune.cli", "use di-invert --teacher NAME --out x", "use di-invert --teacher NAME --out x"),
    ("shared.cli.di_shards", "pass its --teacher; or use --loader dali", "pass its --teacher; or use loader dali"),
    ("distill.cli", "a folder /x--mean/y", "a folder /x--mean/y"),
]


@pytest.mark.parametrize(("module", "sentence", "expected"), CASES)
def test_other_options_are_words(module: str, sentence: str, expected: str) -> None:
    command = importlib.import_module(f"dreamdistill.{module}").command
    assert in_its_words(sentence, command) == expected
