"""The pipeline that was chosen, as a file: what to run, to read, and to copy and edit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ...invert.inputs import Inputs
from ...invert.recipe import RECIPES, Recipe
from ...shared.core.config import to_mapping
from ...shared.core.errors import ConfigError, printable
from ...shared.core.files import make_folder, read_limited, write_text
from ...shared.report.commands import command_line
from .choosing import Choice, chosen_recipe
from .config import EXPORTED, FILE, IMAGES, SMALL, CompressConfig

_LARGEST = 2**20  # bytes
_FIRST = "# Written by: "
_SHARED = ("out", "seed", "device", "eval", "code", "latency_batch")  # options of every stage that has them


def written(config: CompressConfig) -> Path | None:
    """The file of an earlier call with the same options; None without one.

    Raises:
        ConfigError: the folder holds what other options chose, or the file cannot be read.
    """
    path = config.out / FILE
    if config.overwrites or not path.exists():
        return None
    try:
        first = read_limited(path, _LARGEST).decode().partition("\n")[0]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: --overwrite begins anew, another --out leaves it alone") from error
    if first != _first_line(config):
        before = first.removeprefix(_FIRST)
        raise ConfigError(
            f"{config.out} holds another run ({before}): --overwrite deletes it, another --out leaves it alone"
        )
    return path


def write(config: CompressConfig, choice: Choice, inputs: Inputs) -> Path:
    """Write the file.

    Raises:
        ConfigError: the folder cannot be made.
    """
    path = config.out / FILE
    make_folder(config.out)
    about = f"# Chosen for {config.minutes:g} minutes: {choice.images:,} images, {choice.steps:,} steps of repair."
    use = f"# Go on with it, or look whether it is done: di-run {printable(str(path))}. Edit a copy to change it."
    body = yaml.safe_dump(pipeline_of(config, choice, inputs), sort_keys=False)
    write_text(path, "\n".join([_first_line(config), about, use, "", body]))
    return path


def pipeline_of(config: CompressConfig, choice: Choice, inputs: Inputs) -> dict[str, Any]:
    """The content of the file."""
    option, share = config.budget
    given = to_mapping(config)  # as YAML has it
    shared = {name: given[name] for name in _SHARED if given[name] not in (None, [])}
    images: dict[str, Any] = {"stage": "invert", **{name: given[name] for name in config.teacher_options}}
    images |= {
        "recipe": inputs.recipe_name,
        "images": choice.images,
        **_changes(chosen_recipe(inputs, choice), inputs.recipe_name),
    }
    if config.workers:
        images["workers"] = config.workers
    small: dict[str, Any] = {"stage": "prune", "shards": IMAGES, option: share, "epochs": choice.epochs}
    if not config.flip:
        small["flip"] = False
    exported: dict[str, Any] = {"stage": "export", "model": SMALL, "int8": True, "shards": IMAGES}
    if config.normalize:
        exported["normalize"] = True
    return {**shared, "stages": {IMAGES: images, SMALL: small, EXPORTED: exported}}


def _changes(recipe: Recipe, preset: str) -> dict[str, Any]:
    """The settings that are not the preset's; the term that needs a student is no choice."""
    mine, theirs = to_mapping(recipe), to_mapping(RECIPES[preset])
    return {name: value for name, value in mine.items() if value != theirs[name] and name != "alpha_compete"}


def _first_line(config: CompressConfig) -> str:
    return _FIRST + command_line("di-run", config, "compress")
