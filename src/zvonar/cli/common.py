"""What do all commands share? Settings, a database, one JSON document, errors as sentences."""

import asyncio
import functools
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer
from pydantic import ValidationError

from zvonar.core.errors import ZvonarError
from zvonar.service import logs
from zvonar.service.home import Home
from zvonar.service.plant import Plant
from zvonar.settings import Settings
from zvonar.store.db import Database

Args = ParamSpec("Args")
Result = TypeVar("Result")


def fail(message: str) -> NoReturn:
    """End the command with a sentence on standard error."""
    typer.secho(f"zvonar: {message}", err=True, fg="red")
    raise typer.Exit(1)


def settings() -> Settings:
    """The operator's settings, or the sentence that says which one is wrong."""
    try:
        given = Settings()
    except ValidationError as exc:
        wrong = exc.errors()[0]
        fail(f"ZVONAR_{str(wrong['loc'][0]).upper()} is not usable: {wrong['msg']}.")
    logs.configure(level="warning", role="cli", console=True)
    return given


def sentences(command: Callable[Args, Result]) -> Callable[Args, Result]:
    """Errors that we foresee become one line each; others keep their traceback, as defects should."""

    @functools.wraps(command)
    def wrapped(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except ZvonarError as exc:
            fail(str(exc))
        except OSError as exc:
            fail(f"{exc.strerror or exc}: {exc.filename or ''}".rstrip(": "))

    return wrapped


def plant() -> Plant:
    """The machinery of the home that the settings name."""
    given = settings()
    return Plant(given, Home(given.home).make())


def with_database(work: Callable[[Database], Awaitable[Result]]) -> Result:
    """Do something with the home's database, which is started where it does not run."""
    dsn = plant().database()

    async def doing() -> Result:
        async with Database(dsn, size=2) as db:
            return await work(db)

    return asyncio.run(doing())


def now() -> datetime:
    """The command's clock."""
    return datetime.now(UTC)


def show(document: Any, *, as_json: bool, lines: Callable[[], str]) -> None:
    """The one document, or the same for a person."""
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, default=_plain, indent=2) + "\n")
    else:
        typer.echo(lines())


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
