"""docs/cli.md, generated from the commands: ``python -m dreamdistill.shared.cli.reference > docs/cli.md``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.metadata import distribution

import click

from ..core.config import GENERAL
from ..data.torchvision_sets import classification_sets
from .help import parts_of

_ORDER = ["di-invert", "di-distill", "di-prune", "di-extend", "di-model", "di-run", "di-shards"]
_INTRODUCTION = """\
# Commands and options

This page is generated from the commands: `python -m dreamdistill.shared.cli.reference > docs/cli.md`. `--help` shows
the options that most people need, which are in **bold** here; `--help-all` shows every option.

Options may also stand in the environment (`DI_INVERT_STEPS=500`) or in a YAML file (`--config run.yaml`, with lines
`steps: 500`). The command line wins over the environment, the environment over the file, and the file over the
recipe's preset and the defaults.
"""
_SETS = """\
## torchvision's data sets

`--eval torchvision:NAME:ROOT` and `--real` read the test part of these ([how](concepts.md#evaluation-sets)):
{names}.
"""


def commands() -> dict[str, click.Command]:
    """The project's console commands by name, in the order in which people use them."""
    scripts = {e.name: e for e in distribution("dreamdistill").entry_points if e.group == "console_scripts"}
    return {name: importlib.import_module(scripts[name].module).command for name in sorted(scripts, key=_ORDER.index)}


def reference() -> str:
    """The page, in Markdown."""
    parts = [_INTRODUCTION]
    for name, command in commands().items():
        parts.append(f"## {name}\n\n{command.help}\n")
        if not isinstance(command, click.Group):
            parts.extend(_options(command))
        for sub_name, sub_command in parts_of(command).items():
            parts.append(f"### {name} {sub_name}\n\n{sub_command.help}\n")
            parts.extend(_options(sub_command, command))
        if examples := getattr(command, "examples", ()):
            lines = "\n".join(f"{line}    # {purpose}" for purpose, line in examples)
            parts.append(f"```sh\n{lines}\n```\n")
    parts.append(_SETS.format(names=", ".join(f"`{name}`" for name in classification_sets())))
    return "\n".join(parts)


def _options(command: click.Command, group: click.Command | None = None) -> Iterator[str]:
    """A table for each group of options, the general ones last.

    Args:
        group: the command that has this one as a part, and whose settings it inherits.
    """
    parent = click.Context(group, **group.context_settings) if group else None
    context = click.Context(command, parent=parent, **command.context_settings)
    groups: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is None:
            continue
        names, text = (part.replace("|", "\\|") for part in record)
        shown = names if getattr(parameter, "advanced", False) else f"**{names}**"
        groups.setdefault(getattr(parameter, "group", GENERAL), []).append(f"| {shown} | {' '.join(text.split())} |")
    for title in sorted(groups, key=lambda name: name == GENERAL):
        rows = "\n".join(groups[title])
        yield f"| {title} | |\n|---|---|\n{rows}\n"


if __name__ == "__main__":
    print(reference(), end="")
