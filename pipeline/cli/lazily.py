"""Groups of commands that import a command's module when that command is asked for.

Whoever lists models need not wait until Faust, numba and an HTTP server are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup


class Listed(NamedTuple):
    """A command as its group lists it.

    Parameters
    ----------
    module, name
        Where it is, within ``pipeline.cli``: a function, or a group that is a :class:`typer.Typer`.
    help
        What it does; ends up beside its name, in a line of 80 characters.
    """

    module: str
    name: str
    help: str


class _Commands(Mapping[str, Any]):
    """Commands by name; each is made when it is asked for."""

    def __init__(self, listed: Mapping[str, Listed]) -> None:
        self._listed = listed

    def __getitem__(self, name: str) -> Any:
        module, attribute, _ = self._listed[name]
        try:
            found = getattr(import_module(f"pipeline.cli.{module}"), attribute)
        except KeyError as error:
            # A mapping's KeyError says that there is no such command
            raise ImportError(f"{module} cannot be imported") from error
        holder = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=name)
            whole: Any = typer.main.get_command(holder)
            return whole.commands[name]
        holder.command(name)(found)
        return typer.main.get_command(holder)

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


def lazily(listed: Mapping[str, Listed]) -> type[TyperGroup]:
    """Return a class for ``typer.Typer(cls=…)`` whose commands are these, in this order."""

    class Group(TyperGroup):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.commands = _Commands(listed)  # type: ignore[assignment]  # none is added to it

        def format_commands(self, _: Any, formatter: Any) -> None:
            """List the commands without importing any."""
            with formatter.section("Commands"):
                formatter.write_dl([(name, each.help) for name, each in listed.items()])

    return Group
