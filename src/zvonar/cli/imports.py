"""`zvonar campaign import`: which numbers of a file are loaded, and why not the others?"""

import asyncio
import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from zvonar.cli.common import fail, now, plant, sentences, show
from zvonar.service import imports
from zvonar.service.imports import PhoneTable, Terms
from zvonar.store.db import Database

_PRINTED = 20  # rejected rows on a terminal; the file and --json have all


@sentences
def import_(
    campaign: Annotated[int, typer.Argument(help="Campaign id.", min=1, max=2**63 - 1)],
    file: Annotated[
        Path, typer.Argument(help="CSV: numbers alone, or columns named phone, label, extra, text.")
    ],
    rejected: Annotated[
        Path | None, typer.Option("--rejected", help="Write rejected rows to this CSV file.", dir_okay=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Load a list of numbers: the good rows in one transaction, a report of the others."""
    dsn = plant().database()
    russian = _russian()
    terms = asyncio.run(_prepare(dsn, campaign))
    with _progress() as progress:
        table = imports.read(file, terms, progress)
    with _report_file(rejected, file) as report:
        try:
            phone_list_id = asyncio.run(_load(dsn, terms, table, file.name)) if table.accepted else None
        except imports.NothingToLoad:  # every label was taken
            phone_list_id = None
        finally:
            if report is not None:
                _write(report, table, russian=russian)
    loaded = len(table.accepted)
    show(
        {
            "phone_list_id": phone_list_id,
            "loaded": loaded,
            "rejected": [row.document(russian=russian) for row in table.rejected],
        },
        as_json=json,
        lines=lambda: _lines(table, phone_list_id, russian=russian),
    )
    if phone_list_id is None:
        fail(str(imports.NothingToLoad()))


async def _prepare(dsn: str, campaign: int) -> Terms:
    async with Database(dsn, size=1) as db:
        return await imports.prepare(db, campaign)


async def _load(dsn: str, terms: Terms, table: PhoneTable, name: str) -> int:
    async with Database(dsn, size=1) as db:
        return await imports.load(db, terms, table, name=name, now=now())


def _russian() -> bool:
    """By the first of the variables that the C library looks at."""
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return next(filter(None, named), "").startswith("ru")


def _lines(table: PhoneTable, phone_list_id: int | None, *, russian: bool) -> str:
    said = [f"line {row.line}: {row.value or '–'}: {row.message(russian=russian)}" for row in table.rejected]
    if len(said) > _PRINTED:
        said[_PRINTED:] = [f"… and {len(said) - _PRINTED} more; --rejected FILE or --json has them all."]
    blank = f", {table.blank} blank" if table.blank else ""
    loaded = f" as phone list {phone_list_id}" if phone_list_id is not None else ""
    if not table.header:
        blank += "; without a header row only the first column is read"
    said.append(f"{len(table.accepted)} loaded{loaded}, {len(table.rejected)} rejected{blank}.")
    return "\n".join(said)


@contextmanager
def _progress() -> Iterator[imports.Progress]:
    console = Console(stderr=True)
    columns = (
        TextColumn("reading"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)


@contextmanager
def _report_file(path: Path | None, source: Path) -> Iterator[TextIO | None]:
    """Opened before anything is loaded, so that a report which cannot be written stops the import."""
    if path is None:
        yield None
        return
    if path.exists() and path.samefile(source):
        fail("--rejected names the file that is being imported.")
    # It holds people's numbers: for its owner only, wherever it lies.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="") as file:
        yield file


def _write(report: TextIO, table: PhoneTable, *, russian: bool) -> None:
    writer = csv.writer(report)
    writer.writerow(("line", "reason", "message", "value"))
    for row in table.rejected:
        writer.writerow((row.line, row.reason, row.message(russian=russian), row.value))
