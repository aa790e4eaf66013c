"""`python -m bench`: every benchmark beside its baseline, as a table and in bench/results.jsonl.

Fails only where something could not be measured. A missed target is marked: a machine may be busy, a reader judges.
"""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvloop
from rich.console import Console

from bench import (
    amocrm_calls,
    amocrm_push,
    autocall,
    callee,
    callo_add,
    callo_export,
    callo_import,
    delivery,
    dial,
    flashcall,
    ivr,
    lease,
    memory,
    tts,
    uis_reports,
    uis_store,
    uis_writes,
    words,
)
from bench.ground import Ground, ground
from bench.results import Figure, NotMeasured, show, write
from zvonar.core.errors import ZvonarError
from zvonar.service import logs

BENCHES = (
    "lease",
    "delivery",
    "memory",
    "dial",
    "ivr",
    "flashcall",
    "tts",
    "words",
    "callo_add",
    "callo_export",
    "callo_import",
    "autocall_read",
    "autocall_create",
    "amocrm_calls",
    "amocrm_push",
    "uis_reports",
    "uis_writes",
)
RESULTS = Path(__file__).with_name("results.jsonl")
TINY = lease.Size(waiting=500, batches=2, rounds=1, dispatched=10)
TINY_IMPORT = callo_import.Size(rows=2000)
TINY_IVR = ivr.Size(dialogues=20, rounds=1)
TINY_FLASHCALL = flashcall.Size(calls=50, rounds=1)
TINY_ADD = callo_add.Size(keys=300, connections=2, seconds=0.5, rounds=1)
SESSIONS = 5_000_000  # of the reports' store
TINY_SESSIONS = 12_000
TINY_EXPORT = callo_export.Size(calls=2000, rounds=2)


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Some of {', '.join(BENCHES)}; all by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the rows go.", dir_okay=False)] = RESULTS,
    only: Annotated[
        str,
        typer.Option(
            help="Of uis_reports: a pattern of what is measured, such as 'big: * 1 at once', 'big page', 'others' or"
            " 'http'. Other rows of the file stay."
        ),
    ] = "*",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Short rounds: whether it measures, not how fast.")
    ] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="The whole set of words: every voice, a quarter of an hour.")
    ] = False,
) -> None:
    """Measure."""
    wanted = names or list(BENCHES)
    if unknown := sorted(set(wanted) - set(BENCHES)):
        raise typer.BadParameter(f"{', '.join(unknown)}: benchmarks are {', '.join(BENCHES)}.")
    signal.signal(signal.SIGTERM, _interrupted)
    logs.configure(level="warning", role="bench")
    console = Console(stderr=True)
    figures: list[Figure] = []
    failure: Exception | None = None
    try:
        with ground(lambda what: console.print(f"[dim]· {what}[/]")) as made:
            for some in _measured(made, wanted, only=only, tiny=tiny, whole=whole):
                figures += some
    except (NotMeasured, ZvonarError) as exc:
        failure = exc
    # What was measured before a failure is still worth its minutes.
    write(figures, out, keep=only != "*")
    # A file or a pipe has no width of its own, and a wrapped table is no table.
    show(figures, Console(width=None if sys.stdout.isatty() else 110))
    if failure is not None:
        console.print(f"[red]not measured:[/] {failure}")
        raise typer.Exit(1)


def _measured(
    made: Ground, wanted: list[str], *, only: str, tiny: bool, whole: bool
) -> Iterator[list[Figure]]:
    if "lease" in wanted:
        yield uvloop.run(lease.measure(made, TINY if tiny else lease.Size()))
    if "callo_add" in wanted:
        yield uvloop.run(callo_add.measure(made, TINY_ADD if tiny else callo_add.Size()))
    if "callo_export" in wanted:
        yield uvloop.run(callo_export.measure(made, TINY_EXPORT if tiny else callo_export.Size()))
    if "amocrm_calls" in wanted:
        contacts = amocrm_calls.TINY if tiny else amocrm_calls.Size()
        yield uvloop.run(amocrm_calls.measure(made, contacts))
    if "amocrm_push" in wanted:
        yield uvloop.run(amocrm_push.measure(made, amocrm_push.TINY if tiny else amocrm_push.Size()))
    if "autocall_read" in wanted:
        yield uvloop.run(autocall.read(made, autocall.TINY if tiny else autocall.Size()))
    if "autocall_create" in wanted:
        yield uvloop.run(autocall.create(made, autocall.TINY if tiny else autocall.Size()))
    if "delivery" in wanted:
        yield uvloop.run(delivery.measure(made, delivery.TINY if tiny else delivery.Size()))
    if "tts" in wanted:
        yield uvloop.run(tts.measure(made, tts.TINY if tiny else tts.Size()))
    if "words" in wanted:
        spoken = words.WHOLE if whole else words.TINY if tiny else words.Size()
        yield words.measure(made, spoken)
    if {"uis_reports", "uis_writes"} & set(wanted):
        # A cluster of its own, which is kept: it takes minutes to make.
        with uis_store.store(TINY_SESSIONS if tiny else SESSIONS, made.report) as kept:
            if "uis_reports" in wanted:
                yield uvloop.run(uis_reports.measure(kept, made.report, only=only, tiny=tiny))
            if "uis_writes" in wanted:
                yield uvloop.run(uis_writes.measure(kept, made.report, seconds=2.0 if tiny else 15.0))
    if {"memory", "callo_import", "dial", "ivr", "flashcall"} & set(wanted):
        trunk = uvloop.run(dial.add_trunk(made))
        with made.service() as roles:
            if "memory" in wanted:
                yield uvloop.run(memory.idle(roles))
            if "dial" in wanted:
                with callee.answering(made):
                    yield uvloop.run(dial.measure(made, roles, trunk))
            if "ivr" in wanted:
                with callee.answering(made, callee.CHOOSER):
                    size = TINY_IVR if tiny else ivr.Size()
                    yield uvloop.run(ivr.measure(made, roles, trunk, size))
            if "flashcall" in wanted:
                with callee.answering(made, callee.RINGER):
                    flashes = TINY_FLASHCALL if tiny else flashcall.Size()
                    yield uvloop.run(flashcall.measure(made, trunk, flashes))
            # Last: a million calls keep PostgreSQL busy with them for a while.
            if "callo_import" in wanted:
                size = TINY_IMPORT if tiny else callo_import.Size()
                yield uvloop.run(callo_import.measure(made, roles, size))


def _interrupted(*_: object) -> NoReturn:
    sys.exit(130)


if __name__ == "__main__":
    typer.run(main)
