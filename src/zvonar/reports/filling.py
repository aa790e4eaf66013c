"""Who fills the report? A loop that takes what has ended, many at a time, and writes their rows, exactly once each.

A session leaves the queue in the transaction that writes its row. While there is nothing, a look costs a tenth of a
millisecond; what ends is in the report a third of a second later, and sooner where many do.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import structlog
from msgspec import Struct, structs
from psycopg.types.json import Jsonb

from zvonar.core.result import Disposition, ScriptResult
from zvonar.reports import ended as ends
from zvonar.reports import known, regions, rules, visits
from zvonar.reports.ended import Came, Described, Employee, Ended, Facts
from zvonar.reports.writing import Change, Row, Writer
from zvonar.store.db import Connection, Database, StoreFault, StoreUnavailable, rows

log = structlog.get_logger(__name__)

BATCH = 250  # sessions of one transaction: what is in the report only when it is committed has waited for all of it
_PAUSE = 0.3  # seconds between looks while there is little or nothing: a few are written together
_MANY = 25  # sessions of a look, after which the next
_SOON = 0.05  # seconds later
_HEAR = 2.0  # seconds between looks at what was said, which is written down minutes after

# What has ended leaves the queue; several workers take different ones. Of a session with an attempt the attempt tells.
TAKE = """
WITH taken AS (
    DELETE FROM ended_sessions WHERE session_id = ANY(ARRAY(
        SELECT session_id FROM ended_sessions WHERE fault IS NULL AND session_id >= %(first)s
        ORDER BY session_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
    RETURNING session_id, account_id, call_id, attempt, facts
)
SELECT e.session_id, e.account_id, e.call_id, e.attempt, e.facts, to_jsonb(t) -> 'facts' AS call_facts,
    t.started_at, t.answered_at, t.ended_at, t.disposition, t.script_result, t.cause, t.hangup_cause, t.sip_code,
    t.phone, t.caller_id, t.recording, t.steps, c.country, t.campaign_id, g.name AS campaign_name
FROM taken e
LEFT JOIN LATERAL (SELECT * FROM attempts t
    WHERE t.account_id = e.account_id AND t.call_id = e.call_id AND t.attempt = e.attempt LIMIT 1) t ON true
LEFT JOIN LATERAL (SELECT country FROM calls c
    WHERE c.account_id = e.account_id AND c.call_id = e.call_id LIMIT 1) c ON true
LEFT JOIN LATERAL (SELECT name FROM campaigns g
    WHERE g.account_id = e.account_id AND g.campaign_id = t.campaign_id LIMIT 1) g ON true
ORDER BY e.session_id
"""

# Moments of a session that has begun but has no facts about it are looked at before the transaction, for its month.
WAITING = """
SELECT DISTINCT date_trunc('month', coalesce((e.facts ->> 'start_time')::timestamptz, t.started_at)) AS month
FROM (SELECT * FROM ended_sessions WHERE fault IS NULL ORDER BY session_id LIMIT %(limit)s) e
LEFT JOIN attempts t ON t.account_id = e.account_id AND t.call_id = e.call_id AND t.attempt = e.attempt
"""

# What waits first, from a session on.
FIRST = """
SELECT session_id FROM ended_sessions WHERE fault IS NULL AND session_id >= %(first)s ORDER BY session_id LIMIT 1
"""

# Sessions of which no row can be made wait for a person.
FAULT = "UPDATE ended_sessions SET fault = %(fault)s WHERE session_id = ANY(%(session_ids)s::bigint[])"
KEEP = """
INSERT INTO ended_sessions (session_id, account_id, call_id, attempt, facts, fault)
VALUES (%(session_id)s, %(account_id)s, %(call_id)s, %(attempt)s, %(facts)s, %(fault)s)
"""

# What was said in sessions that are in the report, and is not there yet. Seconds count from the answer.
SPOKEN = """
UPDATE transcripts x SET reported = true FROM (
    SELECT x.account_id, x.call_id, x.attempt, t.session_id, coalesce(t.answered_at, t.started_at) AS began
    FROM transcripts x
    JOIN attempts t ON t.account_id = x.account_id AND t.call_id = x.call_id AND t.attempt = x.attempt
    JOIN session_starts s ON s.session_id = t.session_id
    WHERE x.done_at IS NOT NULL AND NOT x.reported ORDER BY x.done_at LIMIT %(limit)s FOR UPDATE OF x SKIP LOCKED
) d WHERE x.account_id = d.account_id AND x.call_id = d.call_id AND x.attempt = d.attempt
RETURNING d.account_id, d.session_id, d.began, coalesce(x.segments, '[]') AS segments
"""

# Employees by the numbers and inner names that were called.
EMPLOYEES = """
SELECT account_id, employee_id, full_name, phone, extension FROM employees
WHERE account_id = ANY(%(accounts)s::bigint[])
  AND (phone = ANY(%(addresses)s::text[]) OR extension = ANY(%(addresses)s::text[]))
ORDER BY account_id, employee_id DESC  -- of several with one number the first is meant
"""

# What is said of a number of ours, by the digits of reports.
NUMBERS = """
SELECT account_id, ltrim(phone, '+') AS phone, comment FROM virtual_numbers
WHERE account_id = ANY(%(accounts)s::bigint[]) AND phone = ANY(%(phones)s::text[]) AND comment IS NOT NULL
"""

# How many sessions there were with a contact so far; those on the virtual exchange are not counted.
ORDINALS = """
SELECT c.account_id, c.contact, coalesce((
    SELECT f.communication_number FROM report_filters f
    WHERE f.account_id = c.account_id AND f.contact_phone_number = c.contact AND f.communication_number IS NOT NULL
    ORDER BY f.start_time DESC LIMIT 1), 0) AS n
FROM unnest(%(accounts)s::bigint[], %(contacts)s::text[]) AS c (account_id, contact)
"""

# Whether the account has stopped calling a contact.
STOPPED = """
SELECT account_id, ltrim(phone, '+') AS phone FROM stop_list
WHERE account_id = ANY(%(accounts)s::bigint[]) AND phone = ANY(%(phones)s::text[])
"""

# Links to the recordings of sessions.
LINK = """
INSERT INTO recording_links (token, account_id, communication_id, kind, recording)
SELECT * FROM unnest(%(tokens)s::text[], %(accounts)s::bigint[], %(sessions)s::bigint[], %(kinds)s::text[],
    %(recordings)s::text[])
"""

Describe = Callable[[Came, str | None], Described]  # the second is the contact's country


class _Month(Struct, frozen=True, kw_only=True):
    month: datetime | None


class _Waiting(Struct, frozen=True, kw_only=True):
    session_id: int


class _Spoken(Struct, frozen=True, kw_only=True):
    account_id: int
    session_id: int
    began: datetime
    segments: list[dict[str, Any]]

    def patch(self, _: Row) -> Row:
        """The phrases as a row has them."""
        return {
            "recognized_text": [
                {
                    "id": number,
                    "phrase": one["text"],
                    "start_time": (self.began + timedelta(seconds=one["start"])).isoformat(
                        timespec="seconds"
                    ),
                    "is_operator": one["channel"] == 0,
                    "edited_phrase": None,
                }
                for number, one in enumerate(self.segments, start=1)
            ]
            or None
        }


class _Staff(Employee, frozen=True, kw_only=True):
    account_id: int


class _Number(Struct, frozen=True, kw_only=True):
    account_id: int
    phone: str
    comment: str | None = None


class _Ordinal(Struct, frozen=True, kw_only=True):
    account_id: int
    contact: str
    n: int


class Filling:
    """The loop. `describe` names an end in the words of the report; a dialect brings it."""

    def __init__(
        self, db: Database, describe: Describe, *, clock: Callable[[], datetime], batch: int = BATCH
    ) -> None:
        self._db = db
        self._describe = describe
        self._clock = clock
        self._batch = batch
        self.writer = Writer(db)

    async def prepare(self) -> None:
        """Read what the first batch would otherwise wait for, with its transaction open: the plan of regions."""
        await regions.prepare()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Outlives the database: waits while it is away."""
        await self.prepare()
        loop = asyncio.get_running_loop()
        heard = float("-inf")
        pause = _PAUSE
        while not stop.is_set():
            try:
                written, said = await self.once(), 0
                if loop.time() - heard > _HEAR:
                    said = await self.listen()
                    heard = loop.time() if said < self._batch else heard
                if self._batch in (written, said):
                    continue
                pause = _PAUSE if written < _MANY else _SOON
            except StoreUnavailable as exc:
                log.warning("reports.waiting", reason=str(exc))
                pause = _PAUSE
            try:
                async with asyncio.timeout(pause):
                    await stop.wait()
            except TimeoutError:
                pass

    async def once(self) -> int:
        """Write the rows of what waits, a batch of them; how many sessions that were."""
        waiting = await self._db.rows(_Month, WAITING, {"limit": self._batch})
        if not waiting:
            return 0
        await self.writer.prepare(one.month for one in waiting if one.month is not None)
        try:
            return len(await self._take(first=0, limit=self._batch))
        except StoreFault:
            return await self._one_by_one()

    async def listen(self) -> int:
        """Tell the report what was said, as far as that was written down; how many sessions that were."""
        async with self._db.transaction() as connection:
            spoken = await rows(connection, _Spoken, SPOKEN, {"limit": self._batch})
            changes = [
                Change(account_id=one.account_id, session_id=one.session_id, patch=one.patch)
                for one in spoken
            ]
            if changes:
                await self.writer.change(connection, changes)
        return len(spoken)

    async def _one_by_one(self) -> int:
        """Find the session that the database does not take a row of, and set it aside."""
        first = done = 0
        while done < self._batch:
            waiting = await self._db.rows(_Waiting, FIRST, {"first": first})
            if not waiting:
                break
            first = waiting[0].session_id
            try:
                await self._take(first=first, limit=1)
            except StoreFault as exc:
                await self._db.execute(FAULT, {"session_ids": [first], "fault": str(exc)})
                log.error("reports.session_refused", session_id=first)
            first += 1
            done += 1
        return done

    async def _take(self, *, first: int, limit: int) -> list[Ended]:
        async with self._db.transaction() as connection:
            taken = await rows(connection, Ended, TAKE, {"first": first, "limit": limit})
            made = await self._rows(connection, taken) if taken else []
            if made:
                await self.writer.put(connection, made)
        return taken

    async def _rows(self, connection: Connection, taken: Sequence[Ended]) -> list[Row]:
        told: list[Facts] = []
        whole: list[Ended] = []
        for one in taken:
            try:
                facts = ends.facts_of(one)
                if (facts.start_time or one.started_at) is None:
                    raise ValueError("Nobody says when it began.")
            except (msgspec.ValidationError, ValueError) as exc:
                # Its row cannot be made; it is kept for whoever mends the facts.
                await connection.execute(
                    KEEP, {**structs.asdict(one), "facts": _json(one.facts), "fault": str(exc)}
                )
                log.error("reports.session_not_understood", session_id=one.session_id)
                continue
            told.append(facts)
            whole.append(one)
        return await self._made(connection, whole, told) if whole else []

    async def _made(self, connection: Connection, taken: Sequence[Ended], told: Sequence[Facts]) -> list[Row]:
        accounts = sorted({one.account_id for one in taken})
        staff = await self._staff(connection, accounts, told)
        made: list[Row] = []
        for one, facts in zip(taken, told, strict=True):
            came = _came(one, facts)
            described = self._describe(came, facts.country or one.country)
            made.append(ends.row(one, came, described, facts, staff.get(one.account_id, ())))
        await self._dress(connection, accounts, made)
        await known.dress(connection, made)
        await visits.dress(connection, made)
        await self._link(connection, made, taken, told)
        await rules.tag(connection, made, now=self._clock())
        return made

    async def _staff(
        self, connection: Connection, accounts: list[int], told: Sequence[Facts]
    ) -> dict[int, list[Employee]]:
        addresses = sorted({transfer.to for facts in told for transfer in facts.transfers})
        found: dict[int, list[Employee]] = {}
        if addresses:
            asked = {"accounts": accounts, "addresses": addresses}
            for one in await rows(connection, _Staff, EMPLOYEES, asked):
                found.setdefault(one.account_id, []).append(one)
        return found

    async def _dress(self, connection: Connection, accounts: list[int], made: Sequence[Row]) -> None:
        """What the account knows beside: notes on its numbers, stopped contacts, how often it was in touch."""
        ours = sorted({"+" + row["virtual_phone_number"] for row in made if row.get("virtual_phone_number")})
        contacts = sorted(
            {
                (row["account_id"], row["contact_phone_number"])
                for row in made
                if row.get("contact_phone_number")
            }
        )
        asked = {"accounts": accounts, "phones": ours}
        notes = {(n.account_id, n.phone): n.comment for n in await rows(connection, _Number, NUMBERS, asked)}
        phones = sorted({"+" + contact for _, contact in contacts})
        asked = {"accounts": accounts, "phones": phones}
        stopped = {(n.account_id, n.phone) for n in await rows(connection, _Number, STOPPED, asked)}
        pairs = {"accounts": [a for a, _ in contacts], "contacts": [c for _, c in contacts]}
        counts = {(o.account_id, o.contact): o.n for o in await rows(connection, _Ordinal, ORDINALS, pairs)}
        for row in made:
            account = row["account_id"]
            contact = (account, row.get("contact_phone_number", ""))
            note = notes.get((account, row.get("virtual_phone_number", "")))
            if note is not None:
                row.setdefault("virtual_number_comment", note)
            if contact in stopped:
                row["is_blacklisted"] = True
            # Empty for the virtual exchange (UIS, communication_number).
            if row["source"] != "va" and contact in counts and "communication_number" not in row:
                counts[contact] += 1
                row["communication_number"] = counts[contact]

    async def _link(
        self, connection: Connection, made: Sequence[Row], taken: Sequence[Ended], told: Sequence[Facts]
    ) -> None:
        """Recordings get links that nobody can guess who does not read the report."""
        links: list[tuple[str, int, int, str, str]] = []

        def link(row: Row, kind: str, recording: str) -> str:
            links.append((token := uuid4().hex, row["account_id"], row["session_id"], kind, recording))
            return token

        for row, one, facts in zip(made, taken, told, strict=True):
            whole = facts.recording or one.recording
            talks = [transfer.recording for transfer in facts.transfers if transfer.recording]
            if whole is not None:
                row["full_record_file_link"] = link(row, "full", whole)
                row["call_records"] = [link(row, "talk", talk) for talk in talks or [whole]]
                row["wav_call_records"] = list(row["call_records"])
            if facts.voice_mail is not None:
                row["voice_mail_records"] = [link(row, "voice_mail", facts.voice_mail)]
        if links:
            names = ("tokens", "accounts", "sessions", "kinds", "recordings")
            await connection.execute(LINK, dict(zip(names, map(list, zip(*links, strict=True)), strict=True)))


def _json(facts: dict[str, Any] | None) -> Jsonb | None:
    return None if facts is None else Jsonb(facts)


def _came(one: Ended, facts: Facts) -> Came:
    # Of those who were called in turn, whoever answered counts.
    tried = [transfer.disposition for transfer in facts.transfers]
    reached = Disposition.answered if Disposition.answered in tried else None
    return Came(
        direction=facts.direction,
        disposition=facts.disposition or Disposition(one.disposition or "lost"),
        script_result=facts.script_result or ScriptResult(one.script_result or "none"),
        cause=facts.cause or one.cause,
        hangup_cause=facts.hangup_cause if facts.hangup_cause is not None else one.hangup_cause,
        transfer=reached or (tried[-1] if tried else None),
    )
