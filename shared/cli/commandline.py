"""Configuration dataclasses as click commands: flags, environment, YAML, exit codes, and errors in one sentence.

Precedence: command line > environment (``DI_INVERT_STEPS``) > ``--config FILE.yaml`` > preset > default.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.config import StageConfig, by_name, from_mapping, settings_of
from ..core.errors import DreamError, StoppedError, named, one_line, printable
from ..core.imports import safe_imports
from ..core.malloc import keep_freed_memory
from ..core.openmp import wait_without_spinning
from ..core.signals import ignore_stops, stop_on_signals
from ..core.yaml_files import load_yaml
from .common_options import common_options, other_option
from .help import CommandWithParts, GroupedCommand, parts_of
from .outcome import Outcome
from .sentences import by_own_options, of_system_error
from .setting_options import option_of
from .stdout import stdout_to_stderr


def stage_command(
    name: str,
    config_class: type[StageConfig],
    *,
    package: str | None,
    help: str,
    examples: Sequence[tuple[str, str]],
    other: tuple[str, str] | None = None,
) -> click.Command:
    """The command of a stage, whose options are the fields of its configuration.

    Args:
        package: has a module ``stage`` with ``run(config)``, which does the work and returns a report dataclass, and
            ``dry_run(config)``, which returns the plan as a mapping. Either is printed as a table, or with ``--json``
            as one object. Where several processes work together, all but the first return None and print nothing. Its
            module ``report`` has ``outcome(config, report)``, the report's table.
        examples: pairs of what a command line does and the command line.
        other: a flag that does something else, such as ``check``, and its help. The module has a function of this
            name too, which takes the configuration and returns a mapping.
    """

    def callback(
        config_file: Path | None,
        dry_run_only: bool,
        as_json: bool,
        debug: bool,
        other_only: bool = False,
        **given: Any,
    ) -> None:
        values = by_name(load_yaml(config_file), source=str(config_file)) if config_file else {}
        values |= {key: value for key, value in given.items() if value is not None}
        config = from_mapping(config_class, values, source=str(config_file))
        stage = importlib.import_module(".stage", package)  # only now: it imports torch, which --help can do without
        outcome = None
        with stdout_to_stderr():
            if other and other_only:
                result, title = getattr(stage, other[0])(config), f"{name} --{other[0]}"
            elif dry_run_only:
                result, title = stage.dry_run(config), f"{name} would do"
            else:
                report = stage.run(config)
                result, title = report and dataclasses.asdict(report), name
                outcome = report and importlib.import_module(".report", package).outcome(config, report)
        if outcome is not None and not as_json:
            print_outcome(outcome, title)
        elif result is not None:
            print_result(result, as_json=as_json, title=title)

    return GroupedCommand(
        name,
        params=[
            *(option_of(setting) for setting in settings_of(config_class).values()),
            *([other_option(*other)] if other else []),
            *common_options(),
        ],
        help=help,
        epilog=f"Options may also stand in the environment ({_prefix(name)}_SEED=1) or in the --config file. The"
        " command line wins over the environment, and the environment over the file.",
        examples=examples,
        callback=callback,
        context_settings=context_settings(name),
    )


def context_settings(name: str) -> dict[str, Any]:
    return {"auto_envvar_prefix": _prefix(name), "help_option_names": ["-h", "--help"]}


def run_command(command: click.Command, arguments: Sequence[str] | None = None) -> int:
    """Run a command on ``sys.argv`` (or ``arguments``) and return its exit code.

    Every error is one sentence on stderr.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments
    stop_on_signals()
    wait_without_spinning()
    keep_freed_memory()
    try:
        with safe_imports():
            result = command.main(arguments, command.name, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code, debug)
    except (KeyboardInterrupt, click.Abort):
        return _fail("stopped by Ctrl-C; run the same command again to go on", 130, debug)
    except (DreamError, StoppedError) as error:
        return _fail(in_its_words(str(error), command), error.exit_code, debug)
    except OSError as error:
        return _fail(of_system_error(error), 1, debug)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
            return _fail(
                f"the memory is not enough ({one_line(error)}); ask for less, such as a smaller batch", 1, debug
            )
        return _bug(error, debug)
    except Exception as error:
        return _bug(error, debug)
    finally:
        ignore_stops()


def print_outcome(outcome: Outcome, title: str) -> None:
    """Print the end of a stage on stdout, for people: a table, and what may be done next."""
    print_result(outcome.rows, as_json=False, title=title)
    width = max(map(len, outcome.next_steps), default=0)
    for what, command in outcome.next_steps.items():
        click.echo(printable(f"  {what + ':':{width + 1}}  {command}"))


def print_result(values: Mapping[str, Any], *, as_json: bool, title: str) -> None:
    """Print a flat result on stdout: one JSON object, a table on a terminal, or else lines."""
    if as_json:
        click.echo(json.dumps(values))
        return
    rows = {key.replace("_", " "): _cell(value) for key, value in values.items() if value not in (None, (), [])}
    console = Console()
    if not console.is_terminal:
        width = max(map(len, rows), default=0)
        click.echo("\n".join(printable(line) for line in (title, *(f"{k:{width}}  {v}" for k, v in rows.items()))))
        return
    table = Table(title=plain(title), show_header=False, title_justify="left")
    for key, text in rows.items():
        table.add_row(plain(key), plain(text))
    console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(_cell, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plain(text: str) -> Text:
    """A text of a user or of a file, for rich: as it is, where rich would obey ``[red]`` in it."""
    return Text(printable(text))


def _prefix(name: str) -> str:
    return name.upper().replace("-", "_").replace(" ", "_")


def in_its_words(sentence: str, command: click.Command) -> str:
    """A sentence that names only the options that the command has. A pipeline file has those of every stage."""
    if isinstance(command, CommandWithParts) or not isinstance(command, GroupedCommand | click.Group):
        return sentence
    commands = [command, *parts_of(command).values()]
    names = {name for each in commands for option in each.params for name in (*option.opts, *option.secondary_opts)}
    return by_own_options(sentence, names)


def _bug(error: Exception, debug: bool) -> int:
    """A bug of ours, or of a user's own network, is still one sentence."""
    return _fail(f"{named(error)} (run again with --debug to see where)", 1, debug)


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"error: {printable(message)}", err=True)
    return code
