"""Help pages: options in groups, the few that most people need first, the others by ``--help-all``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ..core.config import GENERAL
from ..core.values import OPTIONS

_HELP_ALL = "help_all"  # key in a context's meta


class GroupedOption(click.Option):
    """An option with a heading in the help.

    Args:
        group: the heading.
        advanced: whether ``--help-all`` alone shows it.
    """

    def __init__(self, declarations: Sequence[str], *, group: str = OPTIONS, advanced: bool = False, **rest: Any):
        super().__init__(declarations, **rest)
        self.group = group
        self.advanced = advanced

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """The value, unless it is another option: ``--out --dry-run`` must not run, into a folder of that name."""
        options = {name for other in ctx.command.params for name in (*other.opts, *other.secondary_opts)}
        for given in value if self.multiple and value else [value]:
            if given in options:
                raise click.UsageError(f"{self.opts[0]} needs a value, and {given} is an option")
        return super().process_value(ctx, value)


class GroupedCommand(click.Command):
    """A command whose help has a section for each group of options, and examples at its end.

    Args:
        examples: pairs of what a command line does and the command line.
    """

    def __init__(self, name: str, *, examples: Sequence[tuple[str, str]] = (), **rest: Any) -> None:
        super().__init__(name, **rest)
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        everything = bool(ctx.meta.get(_HELP_ALL))
        sections: dict[str, list[tuple[str, str]]] = {}
        hidden = 0
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is None:
                continue
            if getattr(parameter, "advanced", False) and not everything:
                hidden += 1
                continue
            sections.setdefault(getattr(parameter, "group", GENERAL), []).append(record)
        # General options come last, wherever they were declared.
        for group in sorted(sections, key=lambda name: name == GENERAL):
            with formatter.section(group):
                formatter.write_dl(sections[group])
        if hidden:
            formatter.write_paragraph()
            formatter.write_text(f"--help-all shows {hidden} more options.")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for purpose, line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}# {purpose}\n")
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        super().format_epilog(ctx, formatter)


class CommandWithParts(GroupedCommand):
    """A command that takes an argument, unless the first word is the name of a part, which is a command of its own.

    Args:
        parts: name -> command.
    """

    def __init__(self, name: str, *, parts: Mapping[str, click.Command], **rest: Any) -> None:
        super().__init__(name, **rest)
        self.parts = dict(parts)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.parts:
            return self.parts[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Instead of a file"):
            formatter.write_dl([(name, part.get_short_help_str(limit=200)) for name, part in self.parts.items()])


def parts_of(command: click.Command) -> Mapping[str, click.Command]:
    """The commands by name that a command has as its parts; none of most."""
    if isinstance(command, click.Group):
        return command.commands
    return command.parts if isinstance(command, CommandWithParts) else {}


def help_all_option() -> click.Option:
    """``--help-all``: the help with every option."""

    def show(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta[_HELP_ALL] = True
            click.echo(ctx.get_help())
            ctx.exit()

    return GroupedOption(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        group=GENERAL,
        help="show every option and stop",
    )
