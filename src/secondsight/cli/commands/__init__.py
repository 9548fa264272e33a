"""The table of commands, and in a file of this folder for each what its command line takes.

`--help` and the completion of names load that and nothing of the model. What a command does is in a file of `cli/`, which is loaded when it runs.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from secondsight.cli.codes import EXIT_CODES
from secondsight.cli.config import defaults

__all__ = ["COMMANDS", "Listed", "app"]


@dataclass(frozen=True)
class Listed:
    """A command as `--help` lists it: the file of this folder and the function in it (or the `Typer` with several), and a sentence."""

    file: str
    function: str
    says: str


COMMANDS: dict[str, Listed] = {
    "check": Listed("check", "check", "Run a driver through every interleaving with each adversary; a broken rule comes back as a shortest trace."),
    "compare": Listed("compare", "compare", "Compare two drivers, or two versions of one: verdicts that change, outcomes that appear and go, with traces."),
    "mutants": Listed("mutants", "mutants", "Change one thing in a driver, again and again: what no adversary notices is not needed, or not tried."),
    "claim": Listed("claim", "claim", "Say whether an interleaving out of a mail can happen: the whole run that it is part of, or what comes first."),
    "settle": Listed("settle", "settle", "Settle the design questions of the mail threads: alternatives against adversaries and properties."),
    "run": Listed("run", "run", "Print every possible outcome of a scenario, and with --on how often a real kernel showed each."),
    "agree": Listed("agree", "agree", "Run drawn scenarios on the model and on kernels, and compare."),
    "conform": Listed("conform", "conform", "Run the kernel's own C beside the model: every step, every state and every wake-up compared."),
    "compile": Listed("compile", "compile_", "Compile a driver for the native executor; the result is kept in the cache folder."),
    "replay": Listed("replay", "replay", "Run a saved trace again: your own Python functions, step by step; every state is compared."),
    "list": Listed("finding", "list_", "What there is of a kind, by name: adversaries, rules, bounds, tables, functions, kernels, ..."),
    "explain": Listed("finding", "explain", "What a name means, what breaks it, a small wrong driver, and where it is written."),
    "model": Listed("model", "model", "What is modelled of the kernel: every function, its file, release and judge, and what it leaves out."),
    "new": Listed("new", "new", "Write a file to begin with, that runs as it is: a driver, a scenario, a table, a rule of one's own."),
    "kernel": Listed("kernel", "app", "Real kernels to run scenarios on."),
}
"""The commands by name, in the order in which they are listed."""

_HELP = {"help_option_names": ["-h", "--help"]}


class _Commands(TyperGroup):
    """The commands, each loaded when it is asked for; while they are only listed, what the table says of it stands for it."""

    listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        known = COMMANDS.get(cmd_name)
        if known is None:
            return None
        if self.listing:
            return TyperCommand(cmd_name, help=known.says)
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _loaded(cmd_name, known)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from secondsight.lang.names import there_are

            ctx.fail(f"there is no command {args[0]}; {there_are(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self.listing = False

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        self.listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self.listing = False


def _loaded(name: str, known: Listed) -> Any:
    does = getattr(import_module(f"secondsight.cli.commands.{known.file}"), known.function)
    if isinstance(does, typer.Typer):
        group = typer.main.get_command(does)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False, context_settings=_HELP)
    alone.command(name, epilog=EXIT_CODES)(does)
    return typer.main.get_command(alone)


app = typer.Typer(cls=_Commands, epilog=EXIT_CODES, no_args_is_help=True, pretty_exceptions_enable=False, context_settings=_HELP)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"secondsight {version('secondsight')}, Python {platform.python_version()}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    wanted: Annotated[bool, typer.Option("--version", is_eager=True, metavar="", callback=_version, help="Show the version and exit.")] = False,
) -> None:
    """Settle questions about sharing process memory with devices: on a model of Linux's machinery, through every interleaving, and
    on real kernels."""
    if context.invoked_subcommand == "check" and not {"-h", "--help"} & set(sys.argv):
        context.default_map = {"check": defaults(Path.cwd())}
