"""What became of a channel while nobody was watching? The gateway's CEL file knows.

One line per ANSWER and HANGUP: event, epoch seconds with microseconds, channel id, linked id, details
as JSON. Asterisk opens, writes and closes the file for each line, so a kill loses no finished line and a
rename is a rotation. A line cut short by a full disk or a power cut is passed over and counted in the log.
"""

import contextlib
import csv
import itertools
import logging
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

log = logging.getLogger(__name__)


class ChannelFacts(msgspec.Struct, frozen=True, kw_only=True):
    answered_at: datetime | None = None  # UTC
    ended_at: datetime | None = None  # UTC; None: still up, or the gateway died before it could tell
    hangup_cause: int | None = None  # Q.850; 0 where the far end hung up without saying why


class _Extra(msgspec.Struct):
    hangupcause: int | None = None  # Q.850


def path(home: Path) -> Path:
    """The file of the gateway that lives under `home`."""
    return home / "log/cel-custom/channels.csv"


def read(
    file: Path, *, since: datetime | None = None, channels: Collection[str] | None = None
) -> dict[str, ChannelFacts]:
    """Facts by channel id, from `file` and what `rotate` made of its predecessors.

    `since` passes over earlier events (and whole files), `channels` over other channels: with either, memory
    is bounded by what is asked for, not by the file.
    """
    facts: dict[str, ChannelFacts] = {}
    for event, at, channel, extra in _events(file, since):
        if channels is not None and channel not in channels:
            continue
        known = facts.get(channel, ChannelFacts())
        if event == "ANSWER":
            # A line may be met twice while the file is being rotated; the earliest answer is the answer.
            answered_at = min(known.answered_at or at, at)
            facts[channel] = msgspec.structs.replace(known, answered_at=answered_at)
        elif event == "HANGUP":
            facts[channel] = msgspec.structs.replace(known, ended_at=at, hangup_cause=extra.hangupcause)
    return facts


def rotate(file: Path, *, now: datetime) -> Path | None:
    """Sets the current file aside under a dated name; Asterisk begins a new one with its next line."""
    aside = file.with_name(f"{file.name}.{now.astimezone(UTC):%Y%m%dT%H%M%S.%f}")
    try:
        return file.rename(aside)
    except FileNotFoundError:
        return None  # no call has ended since the last rotation


def seal(file: Path) -> None:
    """Ends a torn last line, so that the next event does not continue it. Harmless to a running gateway."""
    with contextlib.suppress(FileNotFoundError), file.open("rb+") as handle:
        if handle.seek(0, 2) > 0:
            handle.seek(-1, 2)
            if handle.read(1) != b"\n":
                handle.write(b"\n")


def _events(file: Path, since: datetime | None) -> Iterator[tuple[str, datetime, str, _Extra]]:
    earliest = since.timestamp() if since is not None else 0.0
    skipped = 0
    with contextlib.ExitStack() as stack:
        # The current file is opened before its predecessors are listed: one rotated in between is read twice,
        # never missed.
        current = _open(file, earliest, stack)
        before = (_open(part, earliest, stack) for part in sorted(file.parent.glob(f"{file.name}.*")))
        for line in itertools.chain.from_iterable(
            handle for handle in (*before, current) if handle is not None
        ):
            event = _event(line)
            if event is None:
                skipped += 1
            elif event[1].timestamp() >= earliest:
                yield event
    if skipped:
        log.warning("%d torn lines passed over in %s", skipped, file)


def _open(part: Path, earliest: float, stack: contextlib.ExitStack) -> BinaryIO | None:
    try:
        if part.stat().st_mtime < earliest:
            return None
        return stack.enter_context(part.open("rb"))
    except FileNotFoundError:
        return None  # not begun yet, or removed by whoever keeps house


def _event(line: bytes) -> tuple[str, datetime, str, _Extra] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        event, at, channel, _linked, extra = next(csv.reader([line.decode().rstrip("\n")]))
        details = msgspec.json.decode(extra, type=_Extra) if extra else _Extra()
        return event, datetime.fromtimestamp(float(at), UTC), channel, details
    except (ValueError, csv.Error, msgspec.MsgspecError, StopIteration, OverflowError):
        return None
