"""`python -m bench`: every benchmark beside its baseline, as a table and in bench/results.jsonl.

Fails only where something could not be measured. A missed target is marked: a machine may be busy, a reader judges.
"""

import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvloop
from rich.console import Console

from bench import callee, dial, lease, memory
from bench.ground import Ground, ground
from bench.results import Figure, NotMeasured, show, write
from zvonar.core.errors import ZvonarError
from zvonar.service import logs

BENCHES = ("lease", "memory", "dial")
RESULTS = Path(__file__).with_name("results.jsonl")
TINY = lease.Size(waiting=500, batches=2, rounds=1, dispatched=25)


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Some of {', '.join(BENCHES)}; all by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the rows go.", dir_okay=False)] = RESULTS,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="A short lease: whether it measures, not how fast.")
    ] = False,
) -> None:
    """Measure."""
    wanted = names or list(BENCHES)
    if unknown := sorted(set(wanted) - set(BENCHES)):
        raise typer.BadParameter(f"{', '.join(unknown)}: benchmarks are {', '.join(BENCHES)}.")
    signal.signal(signal.SIGTERM, _interrupted)
    logs.configure(level="warning", role="bench")
    console = Console(stderr=True)
    try:
        with ground(lambda what: console.print(f"[dim]· {what}[/]")) as made:
            figures = _measured(made, wanted, TINY if tiny else lease.Size())
    except (NotMeasured, ZvonarError) as exc:
        console.print(f"[red]not measured:[/] {exc}")
        raise typer.Exit(1) from None
    write(figures, out)
    show(figures, Console())


def _measured(made: Ground, wanted: list[str], size: lease.Size) -> list[Figure]:
    figures: list[Figure] = []
    if "lease" in wanted:
        figures += uvloop.run(lease.measure(made, size))
    if "memory" in wanted or "dial" in wanted:
        trunk = uvloop.run(dial.add_trunk(made))
        with made.service() as roles:
            idle = uvloop.run(memory.idle(roles))
            dialled: list[Figure] = []
            if "dial" in wanted:
                with callee.answering(made):
                    dialled = uvloop.run(dial.measure(made, roles, trunk))
            up = [figure for figure in dialled if figure.row.bench == "memory"]
            figures += [figure for figure in dialled if figure.row.bench != "memory"]
            figures += [*(idle if "memory" in wanted else []), *up]
    return figures


def _interrupted(*_: object) -> NoReturn:
    sys.exit(130)


if __name__ == "__main__":
    typer.run(main)
