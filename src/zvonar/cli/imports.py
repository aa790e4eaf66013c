"""`zvonar campaign import`: which numbers of a file are loaded, and why not the others?"""

import asyncio
import csv
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zvonar.cli.common import fail, now, plant, sentences, show
from zvonar.intake import load, reasons, upload
from zvonar.intake.judge import Layout
from zvonar.intake.sheet import opened
from zvonar.store import accounts, campaigns, phone_lists
from zvonar.store.calls import CampaignClosed
from zvonar.store.db import Database
from zvonar.store.phone_lists import PhoneList, Rejected

_PRINTED = 20  # rejected rows on a terminal; the file and --json have all

# Why a list failed, for a person.
FAILED = {
    "campaign_missing": "the campaign is gone.",
    "campaign_closed": "the campaign was cancelled meanwhile.",
    "no_money": "the balance does not cover the campaign's max_cost.",
    "labels_contended": "others kept taking this list's labels.",
    "unreadable": "the list cannot be read.",
    "given_up": "its process died too often; the log of the worker tells how.",
}


@sentences
def import_(
    campaign: Annotated[int, typer.Argument(help="Campaign id.", min=1, max=2**63 - 1)],
    file: Annotated[
        Path,
        typer.Argument(help="CSV, XLSX or XLS: numbers alone, or columns named phone, label, extra, text."),
    ],
    rejected: Annotated[
        Path | None, typer.Option("--rejected", help="Write rejected rows to this CSV file.", dir_okay=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Load a list of numbers, batch by batch, and report the rows that were rejected.

    The whole list is kept before its first batch: what is interrupted is finished by the worker of the service.
    """
    dsn = plant().database()
    russian = in_russian()
    with _report_file(rejected, file) as report:
        done, refused, header = asyncio.run(_import(dsn, campaign, file))
        if report is not None:
            write_rejects(report, refused, russian=russian)
    loaded = done.loaded if done else 0
    show(
        {
            "phone_list_id": done.phone_list_id if done else None,
            "loaded": loaded,
            "rejected": [reasons.document(row, russian=russian) for row in refused],
        },
        as_json=json,
        lines=lambda: _lines(done, refused, header, russian=russian),
    )
    if done is not None and done.error is not None:
        fail(
            f"{loaded} numbers were loaded, the rest was not: {FAILED[done.error]} "
            f"`zvonar phone-list retry {done.phone_list_id}` goes on with it."
        )
    if not loaded:
        fail("Every row was rejected, so nothing was loaded.")


async def _import(
    dsn: str, campaign_id: int, path: Path
) -> tuple[PhoneList | None, list[Rejected], list[str]]:
    """The list as it stands in the end, if there is one; its rejected rows, and the columns that were used."""
    async with Database(dsn, size=2) as db:
        campaign = await campaigns.get_any(db, campaign_id)
        if campaign.status == "cancelled":
            raise CampaignClosed()
        account = await accounts.get(db, campaign.account_id)
        with opened(path) as file:
            try:
                receipt = await upload.receive(
                    db,
                    account,
                    campaign,
                    file,
                    layout=Layout(named=True),
                    name=path.name,
                    enqueue=None,
                    now=now(),
                )
            except upload.NothingToLoad as exc:
                return None, exc.rejected, []
        with _progress() as progress:
            ended = await load.work(
                db,
                account.account_id,
                receipt.phone_list_id,
                stop=asyncio.Event(),
                clock=now,
                progress=progress,
            )
        while ended is load.Ended.overtaken:  # a worker took this process for dead; it will finish soon
            await asyncio.sleep(1.0)
            current = await phone_lists.get(db, account.account_id, receipt.phone_list_id)
            if current.finished_at is not None:
                break
        done = await phone_lists.get(db, account.account_id, receipt.phone_list_id)
        return done, [row async for row in every_reject(db, done)], receipt.header


async def every_reject(db: Database, phone_list: PhoneList) -> AsyncIterator[Rejected]:
    """The rows of a list that did not become calls."""
    async for page in phone_lists.rejects(db, phone_list):
        for row in page:
            yield row


def in_russian() -> bool:
    """By the first of the variables that the C library looks at."""
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return next(filter(None, named), "").startswith("ru")


def _lines(done: PhoneList | None, refused: list[Rejected], header: list[str], *, russian: bool) -> str:
    said = [
        f"line {row.line}: {row.value or '–'}: {reasons.message(row, russian=russian)}"
        for row in refused[:_PRINTED]
    ]
    if len(refused) > _PRINTED:
        said.append(f"… and {len(refused) - _PRINTED} more; --rejected FILE or --json has them all.")
    as_list = f" as phone list {done.phone_list_id}" if done else ""
    columns = "" if header else "; without a header row only the first column is read"
    said.append(f"{done.loaded if done else 0} loaded{as_list}, {len(refused)} rejected{columns}.")
    return "\n".join(said)


@contextmanager
def _progress() -> Iterator[load.Progress]:
    console = Console(stderr=True)
    columns = (TextColumn("loading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("loading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _report_file(path: Path | None, source: Path) -> Iterator[TextIO | None]:
    """Opened before anything is loaded, so that a report which cannot be written stops the import."""
    if path is None:
        yield None
        return
    if path.exists() and path.samefile(source):
        fail("--rejected names the file that is being imported.")
    with private(path) as file:
        yield file


def private(path: Path) -> TextIO:
    """A file to be written; it will hold people's numbers, so it is for its owner only, wherever it lies."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="")


def write_rejects(report: TextIO, refused: list[Rejected], *, russian: bool) -> None:
    """A table of rejected rows."""
    writer = csv.writer(report)
    writer.writerow(reasons.HEADER)
    for row in refused:
        writer.writerow(reasons.record(row, russian=russian))
