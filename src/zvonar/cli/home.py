"""`zvonar setup`, `doctor`, `stop`: is this home ready, and how is it put away?"""

import contextlib
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from zvonar.cli.common import plant, sentences, settings, show
from zvonar.service.doctor import Part, State, examine
from zvonar.service.home import Home
from zvonar.service.plant import Plant

_COLOURS = {State.ok: "green", State.warn: "yellow", State.missing: "red"}


@sentences
def setup() -> None:
    """Fetch and check Asterisk, voices and database; seconds when nothing is missing, resumable when cut."""
    machinery = plant()
    asterisk = machinery.fetch(lambda line: typer.echo(f"zvonar: {line}", err=True))
    typer.echo("zvonar: database", err=True)
    machinery.database()
    voice = f"espeak-ng {asterisk.espeak.version}" if asterisk.espeak else "no espeak-ng"
    typer.echo(
        f"Ready in {machinery.home.root}: Asterisk {asterisk.version}, {voice}, the database. "
        "Next: zvonar demo, or zvonar serve."
    )


@sentences
def doctor(json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False) -> None:
    """Say what is there, what is missing and how to get it. Starts and changes nothing."""
    given = settings()
    parts = examine(Plant(given, Home(given.home)))
    if json:
        show({"parts": [part.document() for part in parts]}, as_json=True, lines=str)
    else:
        _table(parts)
    if any(part.state is State.missing for part in parts):
        raise typer.Exit(1)


@sentences
def stop() -> None:
    """Stop what outlives the service: the gateway, the town, the database. Calls in progress end."""
    given = settings()
    home = Home(given.home)
    # A service would start again at once whatever is stopped beneath it.
    with home.serving() if home.run.exists() else contextlib.nullcontext():
        stopped = Plant(given, home).stop()
    typer.echo(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


def _table(parts: list[Part]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for part in parts:
        said = part.message if part.remedy is None else f"{part.message}\n→ {part.remedy}"
        table.add_row(part.name, f"[{_COLOURS[part.state]}]{part.state}[/]", _literal(said))
    Console(soft_wrap=False).print(table)


def _literal(text: str) -> str:
    """Brackets of a path or an error are no markup."""
    return text.replace("[", "\\[")
