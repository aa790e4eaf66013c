"""How does a session come into the report's tables and change there? Both tables, map and revision at once.

A row is a mapping of columns (`reports.columns`) to values: moments aware, phones digits, arrays lists, nested values
lists of dicts. The narrow row is made of the wide one here and nowhere else.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, LiteralString

import msgspec
from msgspec import Struct

from zvonar.reports.columns import COLUMNS, KEY, WORDS, Kept, narrow_columns
from zvonar.reports.words import Word, Words
from zvonar.store.db import Connection, Database, rows
from zvonar.store.sessions import ensure_month

Row = dict[str, Any]
Touched = tuple[int, date]  # account and month

# Sessions that are new: what is known by its id is not put in again.
START = """
INSERT INTO session_starts (session_id, account_id, start_time)
SELECT * FROM unnest(%(session_ids)s::bigint[], %(accounts)s::bigint[], %(starts)s::timestamptz[])
ON CONFLICT (session_id) DO NOTHING RETURNING session_id
"""

PUT_ROWS = "INSERT INTO report_rows SELECT * FROM json_populate_recordset(NULL::report_rows, %(rows)s::json)"
PUT_FILTERS = """
INSERT INTO report_filters SELECT * FROM json_populate_recordset(NULL::report_filters, %(rows)s::json)
"""

# A month of an account has changed: totals that were counted before are not right any more.
REVISE = """
INSERT INTO report_revisions AS r (account_id, month)
SELECT DISTINCT account_id, month FROM unnest(%(accounts)s::bigint[], %(months)s::date[]) AS t (account_id, month)
ORDER BY account_id, month
ON CONFLICT (account_id, month) DO UPDATE SET revision = r.revision + 1
"""

# A lost call is dealt with when somebody talks to the same contact for the first time after it. Looked at are lost
# calls that came now (a later call may be here already), and those that a call of now may have dealt with.
SETTLE = """
WITH talked AS (
    SELECT * FROM unnest(%(talked_accounts)s::bigint[], %(talked_contacts)s::text[], %(talked_ats)s::timestamptz[])
        AS t (account_id, contact, at)
), lost AS (
    SELECT f.account_id, f.start_time, f.session_id, f.finish_time, f.contact_phone_number
    FROM talked t JOIN report_filters f ON f.account_id = t.account_id AND f.contact_phone_number = t.contact
        AND f.start_time < t.at AND f.start_time > t.at - interval '90 days'
    WHERE f.is_lost AND (f.lost_call_processing_duration IS NULL OR %(again)s)
    UNION
    SELECT f.account_id, f.start_time, f.session_id, f.finish_time, f.contact_phone_number
    FROM unnest(%(lost_accounts)s::bigint[], %(lost_starts)s::timestamptz[], %(lost_ids)s::bigint[])
        AS l (account_id, start_time, session_id)
    JOIN report_filters f ON f.account_id = l.account_id AND f.start_time = l.start_time
        AND f.session_id = l.session_id
), dealt AS (
    SELECT l.account_id, l.start_time, l.session_id,
        greatest(extract(epoch FROM s.at - coalesce(l.finish_time, l.start_time)), 0)::integer AS seconds
    FROM lost l, LATERAL (
        SELECT f.start_time + coalesce(f.wait_duration, 0) * interval '1 second' AS at FROM report_filters f
        WHERE f.account_id = l.account_id AND f.contact_phone_number = l.contact_phone_number AND NOT f.is_lost
          AND f.start_time > l.start_time AND f.start_time < l.start_time + interval '90 days'
        ORDER BY f.start_time LIMIT 1) s
), locked AS MATERIALIZED (
    -- Wide before narrow and by id, as whoever changes rows does.
    SELECT d.* FROM dealt d JOIN report_rows r ON r.account_id = d.account_id AND r.start_time = d.start_time
        AND r.session_id = d.session_id
    ORDER BY r.session_id FOR UPDATE OF r
), narrow AS (
    UPDATE report_filters f SET lost_call_processing_duration = d.seconds FROM locked d
    WHERE f.account_id = d.account_id AND f.start_time = d.start_time AND f.session_id = d.session_id
      AND f.lost_call_processing_duration IS DISTINCT FROM d.seconds
    RETURNING f.account_id, f.start_time, f.session_id, d.seconds
)
UPDATE report_rows r SET lost_call_processing_duration = n.seconds FROM narrow n
WHERE r.account_id = n.account_id AND r.start_time = n.start_time AND r.session_id = n.session_id
RETURNING r.account_id, date_trunc('month', r.start_time)::date AS month
"""

_NARROW = narrow_columns()
_SPAN: tuple[tuple[str, Callable[[Iterable[datetime]], datetime]], ...] = (("first", min), ("last", max))


def lock(reads: Sequence[LiteralString]) -> LiteralString:
    """Wide rows that are about to change, locked in one order; of each no more than is looked at."""
    shown: LiteralString = ", ".join(["r." + name for name in (*KEY, *reads)])
    return (
        "SELECT r.session_id, (SELECT row_to_json(x) FROM (SELECT "
        + shown
        + ") x) AS row FROM session_starts s"
        " JOIN report_rows r ON r.account_id = s.account_id AND r.start_time = s.start_time"
        " AND r.session_id = s.session_id"
        " WHERE s.session_id = ANY(%(session_ids)s::bigint[]) ORDER BY r.session_id FOR UPDATE OF r"
    )


def update(
    table: LiteralString, types: Mapping[LiteralString, LiteralString], *, mixed: bool, compared: bool
) -> LiteralString:
    """Give rows other values of these columns, and of no others.

    `mixed`: each row says which of them change. `compared`: a row that is so already is not written again.
    """
    given: LiteralString = ", ".join([name + " " + type for name, type in types.items()])
    values: list[LiteralString] = [
        "CASE WHEN x.changed ? '" + name + "' THEN x." + name + " ELSE t." + name + " END"
        if mixed
        else "x." + name
        for name in types
    ]
    sets: LiteralString = ", ".join([name + " = " + value for name, value in zip(types, values, strict=True)])
    statement: LiteralString = (
        "UPDATE "
        + table
        + " t SET "
        + sets
        + " FROM json_to_recordset(%(rows)s::json) AS x (account_id bigint,"
        " start_time timestamptz, session_id bigint, changed jsonb, " + given + ")"
        " WHERE t.account_id = x.account_id AND t.start_time = x.start_time AND t.session_id = x.session_id"
        # So that other months are not looked into.
        " AND t.start_time BETWEEN %(first)s AND %(last)s"
    )
    if compared:
        now: LiteralString = ", ".join(["t." + name for name in types])
        then: LiteralString = ", ".join(values)
        statement += " AND (" + now + ") IS DISTINCT FROM (" + then + ")"
    return statement


class Change(Struct, frozen=True, kw_only=True):
    """What becomes of a session's row."""

    account_id: int
    session_id: int
    patch: Callable[[Row], Mapping[str, Any]]  # of the row as it is: the columns that change
    reads: tuple[LiteralString, ...] = ()  # the columns that `patch` looks at; it sees no others


class _Locked(Struct, frozen=True, kw_only=True):
    session_id: int
    row: Row


class _Started(Struct, frozen=True, kw_only=True):
    session_id: int


class _Settled(Struct, frozen=True, kw_only=True):
    account_id: int
    month: date


class Writer:
    """Writes rows; one for a process, because it remembers codes and months."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.words = Words(db)
        self._months: set[date] = set()

    async def prepare(self, starts: Iterable[datetime]) -> None:
        """Make the months of these moments, before the transaction that writes into them."""
        for month in sorted({month_of(start) for start in starts} - self._months):
            await ensure_month(self.db, datetime(month.year, month.month, 1, tzinfo=UTC))
            self._months.add(month)

    async def put(
        self,
        connection: Connection,
        new: Sequence[Row],
        *,
        again: bool = False,
        touched: set[Touched] | None = None,
    ) -> list[Row]:
        """Put in those that are not there yet, by session id, inside a transaction; which ones they were.

        `again`: calls of long ago come in, so what is known of lost ones is looked at once more. `touched`: what has
        changed is added here, for one `revise` at the end of a transaction that does more.
        """
        given = {int(row["session_id"]): row for row in new}
        asked = {
            "session_ids": list(given),
            "accounts": [row["account_id"] for row in given.values()],
            "starts": [row["start_time"] for row in given.values()],
        }
        started = await rows(connection, _Started, START, asked)
        fresh = [given[one.session_id] for one in started]
        if fresh:
            wide, narrow = await self._both(fresh)
            await connection.execute(PUT_ROWS, {"rows": wide})
            await connection.execute(PUT_FILTERS, {"rows": narrow})
            await self._touch(connection, fresh, await _settle(connection, fresh, again=again), touched)
        return fresh

    async def change(
        self, connection: Connection, changes: Sequence[Change], *, touched: set[Touched] | None = None
    ) -> set[int]:
        """Change rows inside a transaction; the ids of those that there are. Another account's are not."""
        by_id: dict[int, list[Change]] = {}
        for change in changes:
            by_id.setdefault(change.session_id, []).append(change)
        reads = sorted({name for change in changes for name in change.reads} - set(KEY))
        found = await rows(connection, _Locked, lock(reads), {"session_ids": sorted(by_id)})
        changed: list[Row] = []
        for locked in found:
            row = locked.row
            mine = [one for one in by_id[locked.session_id] if one.account_id == row["account_id"]]
            if not mine:
                continue
            patched: Row = {}
            for one in mine:
                patched.update(one.patch({**row, **patched}))
            key = {name: row[name] for name in KEY}
            changed.append({**patched, **key, "start_time": datetime.fromisoformat(row["start_time"])})
        if changed:
            await self._update(connection, changed)
            await self._touch(connection, changed, [], touched)
        return {row["session_id"] for row in changed}

    async def _update(self, connection: Connection, changed: Sequence[Row]) -> None:
        """Write these columns of these rows, as far as each table has them."""
        codes = await self._codes(changed)
        narrow = [narrow_row(row, codes, nulls=True) for row in changed]
        wide = {name: column.type for name, column in COLUMNS.items()}
        span = {part: edge(row["start_time"] for row in changed) for part, edge in _SPAN}
        # The wide row before the narrow one, as whoever else changes both does.
        for table, types, some in (("report_rows", wide, changed), ("report_filters", _NARROW, narrow)):
            sets = {frozenset(row) - set(KEY) for row in some}
            types = {name: type for name, type in types.items() if any(name in one for one in sets)}
            if not types:
                continue
            mixed = len(sets) > 1
            given = [{**row, "changed": [*row]} for row in some] if mixed else some
            statement = update(table, types, mixed=mixed, compared=table == "report_filters")
            await connection.execute(statement, {"rows": _json(given), **span})

    async def _both(self, some: Sequence[Row]) -> tuple[str, str]:
        """The rows as JSON for both tables."""
        codes = await self._codes(some)
        return _json(some), _json([narrow_row(row, codes) for row in some])

    async def _codes(self, some: Sequence[Row]) -> dict[Word, int]:
        """The codes of all texts in these rows."""
        said = {
            (row["account_id"], name, text, month_of(row["start_time"]))
            for row in some
            for name, text in row.items()
            if text is not None and name in WORDS
        }
        return await self.words.codes(said)

    async def _touch(
        self,
        connection: Connection,
        some: Sequence[Row],
        more: Sequence[_Settled],
        touched: set[Touched] | None,
    ) -> None:
        found = {(row["account_id"], month_of(row["start_time"])) for row in some}
        found |= {(one.account_id, one.month) for one in more}
        if touched is None:
            await self.revise(connection, found)
        else:
            touched |= found

    async def revise(self, connection: Connection, touched: Iterable[Touched]) -> None:
        """Say that these months have changed: the last thing that a transaction does, because others wait for it."""
        ordered = sorted(touched)
        await connection.execute(
            REVISE, {"accounts": [one[0] for one in ordered], "months": [one[1] for one in ordered]}
        )


def month_of(at: datetime) -> date:
    """The first day of its UTC month."""
    return at.astimezone(UTC).date().replace(day=1)


def narrow_row(row: Row, codes: Mapping[Word, int], *, nulls: bool = False) -> Row:
    """The narrow row of a wide one, or as much of it; with `nulls` also what is not there any more."""
    account = row["account_id"]
    found: Row = {}
    for name, value in row.items():
        column = COLUMNS[name]
        if column.kept is Kept.no or (value is None and not nulls):
            continue
        if column.kept is Kept.itself:
            found[name] = value
        elif column.kept is Kept.word:
            found[name] = None if value is None else codes[account, name, value]
        elif column.ids is not None and (value or nulls):
            found[column.ids] = _ids(value, column.id_key) if value else None
    return found


def _ids(nested: Sequence[Any], key: str | None) -> list[Any]:
    if key is None:
        return list(nested)
    return sorted({one[key] for one in nested if one.get(key) is not None})


def _json(some: Sequence[Row]) -> str:
    return msgspec.json.encode(some, enc_hook=_plain).decode()


def _plain(value: Any) -> Any:
    raise TypeError(type(value).__name__)


async def _settle(connection: Connection, fresh: Sequence[Row], *, again: bool) -> list[_Settled]:
    known = [row for row in fresh if row.get("contact_phone_number")]
    talked = [row for row in known if not row["is_lost"]]
    lost = [row for row in known if row["is_lost"]]
    return await rows(
        connection,
        _Settled,
        SETTLE,
        {
            "talked_accounts": [row["account_id"] for row in talked],
            "talked_contacts": [row["contact_phone_number"] for row in talked],
            "talked_ats": [row["start_time"] for row in talked],
            "lost_accounts": [row["account_id"] for row in lost],
            "lost_starts": [row["start_time"] for row in lost],
            "lost_ids": [row["session_id"] for row in lost],
            "again": again,
        },
    )
