"""What was measured, beside what, and is it good enough? Rows for the file, a table for the reader."""

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table


class NotMeasured(Exception):
    """A benchmark could not be carried out."""


class Row(Struct, frozen=True, kw_only=True):
    """One line of results.jsonl."""

    bench: str
    case: str
    value: float
    unit: str
    baseline: float | None  # the same in the same unit, done with the least that can do it
    ratio: float | None  # value / baseline


class Figure(Struct, frozen=True, kw_only=True):
    """A row, and what it has to be."""

    row: Row
    at_most: float | None = None  # of the value
    above: float | None = None  # at most so much above the baseline
    at_least_ratio: float | None = None  # of the baseline
    at_most_ratio: float | None = None  # of the baseline

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.above is not None and self.row.baseline is not None:
            return self.row.value <= self.row.baseline + self.above
        if self.at_least_ratio is not None:
            return self.row.ratio is not None and self.row.ratio >= self.at_least_ratio
        if self.at_most_ratio is not None:
            return self.row.ratio is not None and self.row.ratio <= self.at_most_ratio
        return self.row.value <= self.at_most if self.at_most is not None else None

    @property
    def target(self) -> str:
        """As a reader wants it."""
        if self.above is not None:
            return f"baseline + {self.above:g}"
        if self.at_least_ratio is not None:
            return f"≥ {self.at_least_ratio:g} × baseline"
        if self.at_most_ratio is not None:
            return f"≤ {self.at_most_ratio:g} × baseline"
        return f"≤ {self.at_most:g}" if self.at_most is not None else ""


def figure(
    bench: str,
    case: str,
    values: Sequence[float],
    unit: str,
    baselines: Sequence[float] = (),
    *,
    at_most: float | None = None,
    above: float | None = None,
    at_least_ratio: float | None = None,
    at_most_ratio: float | None = None,
) -> Figure:
    """The median over the rounds, beside the median of the baseline's rounds."""
    value = round(statistics.median(values), 3)
    baseline = round(statistics.median(baselines), 3) if baselines else None
    row = Row(
        bench=bench,
        case=case,
        value=value,
        unit=unit,
        baseline=baseline,
        ratio=round(value / baseline, 2) if baseline else None,
    )
    return Figure(
        row=row,
        at_most=at_most,
        above=above,
        at_least_ratio=at_least_ratio,
        at_most_ratio=at_most_ratio,
    )


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    if not ordered:
        raise NotMeasured("Nothing was observed.")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def write(figures: Sequence[Figure], path: Path, *, keep: bool = False) -> None:
    """One JSON object a line; `keep`: after those of the file that were not measured again."""
    rows = [figure.row for figure in figures]
    if keep and path.exists():
        again = {(row.bench, row.case) for row in rows}
        before = [msgspec.json.decode(line, type=Row) for line in path.read_bytes().splitlines()]
        rows = [row for row in before if (row.bench, row.case) not in again] + rows
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def show(figures: Sequence[Figure], console: Console) -> None:
    """The table; a missed target is red and says so."""
    table = Table(title="Benchmarks", title_justify="left", caption_justify="left")
    table.add_column("bench", no_wrap=True)
    table.add_column("case", no_wrap=True)
    for column in ("value", "baseline", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("target", no_wrap=True)
    previous = ""
    for figure in figures:
        row = figure.row
        if previous and previous != row.bench:
            table.add_section()
        mark = {True: " [green]✓[/]", False: " [bold red]✗ missed[/]", None: ""}[figure.met]
        table.add_row(
            row.bench if row.bench != previous else "",
            row.case,
            f"{row.value:.2f}",
            f"{row.baseline:.2f}" if row.baseline is not None else "–",
            f"{row.ratio:.2f}" if row.ratio is not None else "–",
            row.unit,
            figure.target + mark,
            style="red" if figure.met is False else None,
        )
        previous = row.bench
    console.print(table)
    missed = sum(figure.met is False for figure in figures)
    if missed:
        console.print(f"[bold red]{missed} of {sum(f.met is not None for f in figures)} targets missed.[/]")
