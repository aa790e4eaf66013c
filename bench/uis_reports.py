"""What does a report cost beside the best SQL that a hand can write for it, on the same tables?

Ours is a whole report: a place, the total, the page as JSON. By hand it is the count and the page of that one question
as prepared statements that make the same JSON, its codes known, planned for its values or once for all, whichever is
faster, over the same driver. Totals that were counted before are not remembered here. CPU is that of PostgreSQL's
backends and of this process; wall is what a client waits. Over HTTP the key, the points and the way come on top.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from fnmatch import fnmatch
from typing import Any, LiteralString

import msgspec
import psutil
import psycopg
from msgspec import Struct

from bench import http
from bench.results import Figure, NotMeasured, figure, percentile
from bench.uis_store import BIG, FIELDS, MEDIAN, SINCE, UNTIL, Store, backend_cpu, own_cpu
from zvonar.dialects.uis.who import KEY_KIND
from zvonar.reports import postgres
from zvonar.reports.conditions import column_of
from zvonar.reports.postgres import PostgresReportStore
from zvonar.reports.query import Compare, Filter, JsonMatch, Op, Order, Query, Tree
from zvonar.reports.shown import columns
from zvonar.store.accounts import hash_key
from zvonar.store.db import Database

PLANS: tuple[LiteralString, ...] = ("force_custom_plan", "force_generic_plan")
AT_MOST = 1.3  # of SQL by hand
PAGE_AT_MOST = 1.5  # of COPY
DELAY = 100.0  # ms that others may wait for a heavy report
CALM_MB = 16.0  # that a page of any size may add to the process

ZONE = "Europe/Moscow"
LINKS = "https://zvonar.example"

LOST = Compare(field="is_lost", op=Op.eq, value=True)
INBOUND = Compare(field="direction", op=Op.eq, value="in")


class Case(Struct, frozen=True, kw_only=True):
    """A report, and the conditions that ask the same by hand."""

    name: str
    filter: Filter | None = None
    order: tuple[Order, ...] = (Order(field="start_time", descending=True),)
    limit: int = 100
    offset: int = 0
    where: LiteralString = "true"  # of `f`
    sorted_by: LiteralString = "f.start_time DESC, f.session_id"


def cases(account: int) -> list[Case]:
    """The questions of the measurements that the store was chosen by."""
    complex_ = Tree(
        all=False,
        of=(
            Tree(all=True, of=(LOST, Compare(field="wait_duration", op=Op.gt, value=40))),
            Tree(
                all=True,
                of=(
                    Compare(field="talk_duration", op=Op.ge, value=700),
                    Compare(field="campaign_id", op=Op.in_, value=(1, 2, 3)),
                ),
            ),
        ),
    )
    return [
        Case(name="page 1"),
        Case(name="page 50", offset=4900),
        Case(
            name="phone =",
            filter=Compare(field="contact_phone_number", op=Op.eq, value="79000000077"),
            where="f.contact_phone_number = '79000000077'",
        ),
        Case(
            name="lost and inbound",
            filter=Tree(all=True, of=(LOST, INBOUND)),
            where="f.is_lost AND f.direction = %(inbound)s",
        ),
        Case(
            name="tag",
            filter=JsonMatch(field="tags", path="exists($[*] ? (@.tag_id == 5))", ids=(5,), exact=True),
            where="f.tag_ids && '{5}'",
        ),
        Case(
            name="employee =",
            filter=Compare(field="last_answered_employee_id", op=Op.eq, value=7),
            where="f.last_answered_employee_id = 7",
        ),
        Case(
            name="utm like",
            filter=Compare(field="utm_campaign", op=Op.like, value="% 1%"),
            where="f.utm_campaign = ANY(%(campaigns)s)",
        ),
        Case(
            name="or tree",
            filter=complex_,
            where="(f.is_lost AND f.wait_duration > 40 OR f.talk_duration >= 700 AND f.campaign_id = ANY('{1,2,3}'))",
        ),
        Case(
            name="sort talk",
            order=(Order(field="talk_duration", descending=True),),
            sorted_by="f.talk_duration DESC NULLS LAST, f.start_time, f.session_id",
        ),
        Case(
            name="sort sale",
            order=(Order(field="sale_cost", descending=True),),
            sorted_by="f.sale_cost DESC NULLS LAST, f.start_time, f.session_id",
        ),
        Case(name="count", limit=1),
    ]


def _shown() -> LiteralString:
    parts: list[LiteralString] = [
        "'call' AS communication_type" if field == "communication_type" else "r." + column_of(field)[0]
        for field in FIELDS
    ]
    return ", ".join(parts)


def _same() -> LiteralString:
    """What is shown, in the form in which reports show it: the same JSON is asked of both."""
    return columns(FIELDS, link_base=LINKS).text.replace("%s", "%(links)s")


PERIOD: LiteralString = (
    "f.account_id = %(account)s AND f.start_time >= %(since)s AND f.start_time < %(until)s"
)


def by_hand(case: Case) -> tuple[LiteralString, LiteralString]:
    """Count and page."""
    keys: LiteralString = (
        "SELECT f.start_time, f.session_id FROM report_filters f WHERE "
        + PERIOD
        + " AND "
        + case.where
        + " ORDER BY "
        + case.sorted_by
        + " LIMIT %(limit)s OFFSET %(offset)s"
    )
    rows: LiteralString = (
        "SELECT (SELECT row_to_json(x)::text FROM (SELECT " + _same() + " FROM report_rows r"
        " WHERE r.account_id = %(account)s AND r.start_time = k.start_time AND r.session_id = k.session_id"
        " AND r.start_time >= %(since)s AND r.start_time < %(until)s) x)"
        " FROM (" + keys + ") k"
    )
    return "SELECT count(*) FROM report_filters f WHERE " + PERIOD + " AND " + case.where, rows


def asked(account: int, case: Case) -> Query:
    """The report, as a dialect asks for it."""
    return Query(
        account_id=account,
        zone=ZONE,
        since=SINCE,
        until=UNTIL,
        filter=case.filter,
        order=case.order,
        fields=FIELDS,
        limit=case.limit,
        offset=case.offset,
        link_base=LINKS,
    )


class Side(Struct, frozen=True, kw_only=True):
    """Milliseconds of each run."""

    wall: list[float]
    cpu: list[float]  # of a run, all of PostgreSQL and of this process


class Asking:
    """One client of each kind."""

    def __init__(self, store: Store, db: Database, hand: Sequence[psycopg.AsyncConnection[Any]]) -> None:
        self._store = store
        self._db = db
        self._hand = hand
        self.reports = PostgresReportStore(db, at_once=8, remembered=0)
        self._postmaster = psutil.Process(store.server.describe().pid or 0)

    async def ours(self, account: int, case: Case) -> int:
        """The whole report; how many bytes."""
        size = 0
        async with self.reports.report(asked(account, case)) as report:
            async for chunk in report.rows:
                size += sum(map(len, chunk))
        return size

    async def prepare(self, account: int) -> dict[str, Any]:
        """What a hand knows before."""
        words = "SELECT array_agg(word_id) FROM report_words WHERE account_id = %s AND word LIKE %s"
        params: dict[str, Any] = {"account": account, "since": SINCE, "until": UNTIL, "links": LINKS + "/"}
        for name, like in (("inbound", "in"), ("campaigns", "utm_campaign % 1%")):
            cursor = await self._hand[0].execute(words, (account, like))
            (found,) = await cursor.fetchone() or ([],)
            params[name] = found[0] if name == "inbound" else found
        return params

    async def hand(self, client: int, params: dict[str, Any], case: Case) -> int:
        """The same by hand."""
        count, page = by_hand(case)
        connection = self._hand[client]
        given = {**params, "limit": case.limit, "offset": case.offset}
        await (await connection.execute(count, given)).fetchone()
        cursor = await connection.execute(page, given)
        return sum(len(row) for (row,) in await cursor.fetchall())

    async def plan(self, params: dict[str, Any], case: Case) -> None:
        """Plan by hand as this case is answered fastest."""
        took: dict[LiteralString, float] = {}
        for plans in PLANS:
            await self._planned(self._hand[:1], plans)
            for _ in range(4):
                began = time.perf_counter()
                await self.hand(0, params, case)
                took[plans] = min(took.get(plans, 1e9), time.perf_counter() - began)
        await self._planned(self._hand, min(took, key=lambda plans: took[plans]))

    async def _planned(
        self, connections: Sequence[psycopg.AsyncConnection[Any]], plans: LiteralString
    ) -> None:
        for connection in connections:
            await connection.execute("SELECT set_config('plan_cache_mode', %s, false)", (plans,))

    def _pids(self) -> list[int]:
        return [child.pid for child in self._postmaster.children()]

    async def measured(
        self, work: Callable[[int], Awaitable[object]], *, clients: int, runs: int, seconds: float
    ) -> Side:
        """So many clients at once, each as often, or until the time is over."""
        wall: list[float] = []
        before, own = backend_cpu(self._pids()), own_cpu()
        until = time.monotonic() + seconds

        async def client(number: int) -> None:
            for _ in range(runs):
                began = time.perf_counter()
                await work(number)
                wall.append((time.perf_counter() - began) * 1000)
                if time.monotonic() > until:
                    break

        await asyncio.gather(*(client(number) for number in range(clients)))
        after = backend_cpu(self._pids())
        cpu = sum(used - before.get(pid, 0.0) for pid, used in after.items()) + own_cpu() - own
        return Side(wall=wall, cpu=[cpu * 1000 / len(wall)])


@contextlib.asynccontextmanager
async def _asking(store: Store, clients: int) -> AsyncIterator[Asking]:
    async with contextlib.AsyncExitStack() as stack:
        db = await stack.enter_async_context(Database(store.dsn, size=clients, session=postgres.SESSION))
        hand = [
            await stack.enter_async_context(
                await psycopg.AsyncConnection.connect(
                    store.dsn,
                    autocommit=True,
                    options=f"{postgres.SESSION} -c timezone={ZONE}",
                    prepare_threshold=1,
                )
            )
            for _ in range(clients)
        ]
        yield Asking(store, db, hand)


async def measure(
    store: Store, report: Callable[[str], None], *, only: str = "*", tiny: bool = False
) -> list[Figure]:
    """Every case for the biggest and the median account, alone and eight at once; a big page; others meanwhile.

    `only`: a pattern of what is measured, such as `big: * 1 at once`.
    """
    figures: list[Figure] = []
    runs, rounds = (1, 2) if tiny else (7, 4)
    async with _asking(store, 8) as asking:
        for account, called in ((BIG, "big"), (MEDIAN, "median")):
            params = await asking.prepare(account)
            for case in cases(account):
                for clients in (1, 8):
                    what = f"{called}: {case.name}, {clients} at once"
                    if fnmatch(what, only):
                        report(f"uis_reports: {what}")
                        figures += await _compared(asking, account, what, case, params, clients, runs, rounds)
        if fnmatch("big page", only):
            figures += await _page(asking, runs, rounds)
        if fnmatch("others", only):
            figures += await _others(asking, seconds=0.5 if tiny else 6.0)
        if fnmatch("http", only):
            report("uis_reports: over HTTP")
            figures += await _over_http(asking, store, 2 if tiny else 60)
    if not figures:
        raise NotMeasured(f"No report is called {only}.")
    return figures


async def _compared(
    asking: Asking,
    account: int,
    what: str,
    case: Case,
    params: dict[str, Any],
    clients: int,
    runs: int,
    rounds: int,
) -> list[Figure]:
    ours: list[Side] = []
    hands: list[Side] = []
    await asking.plan(params, case)
    # In turn, because a neighbour may be noisy for a while; the first round warms both.
    times = runs if account == BIG else runs * 4
    for turn in range(rounds):
        one = await asking.measured(
            lambda _: asking.ours(account, case), clients=clients, runs=times, seconds=1.5
        )
        other = await asking.measured(
            lambda client: asking.hand(client, params, case), clients=clients, runs=times, seconds=1.5
        )
        if turn:
            ours.append(one)
            hands.append(other)
    return [
        figure(
            "uis_reports",
            f"{what}, {kind}",
            [value for side in ours for value in getattr(side, kind)],
            "ms",
            [value for side in hands for value in getattr(side, kind)],
            at_most_ratio=AT_MOST,
        )
        for kind in ("wall", "cpu")
    ]


async def _page(asking: Asking, runs: int, rounds: int) -> list[Figure]:
    """Ten thousand rows, beside COPY of the same."""
    case = Case(name="10,000 rows", order=(), limit=10_000, sorted_by="f.start_time, f.session_id")
    copy = psycopg.sql.SQL(
        "COPY (SELECT row_to_json(x) FROM (SELECT {shown} FROM report_rows r WHERE r.account_id = {account}"
        " AND r.start_time >= {since} AND r.start_time < {until}"
        " ORDER BY r.start_time, r.session_id LIMIT 10000) x) TO STDOUT"
    ).format(
        shown=psycopg.sql.SQL(_shown()),
        account=psycopg.sql.Literal(BIG),
        since=psycopg.sql.Literal(SINCE),
        until=psycopg.sql.Literal(UNTIL),
    )

    async def copied(client: int) -> int:
        size = 0
        async with asking._hand[client].cursor().copy(copy) as stream:
            async for block in stream:
                size += len(block)
        return size

    ours: list[Side] = []
    bare: list[Side] = []
    memory: list[float] = []
    process = psutil.Process()
    for turn in range(rounds):
        before = process.memory_info().rss
        one = await asking.measured(lambda _: asking.ours(BIG, case), clients=1, runs=runs, seconds=5)
        other = await asking.measured(copied, clients=1, runs=runs, seconds=5)
        if turn:
            memory.append((process.memory_info().rss - before) / 1e6)
            ours.append(one)
            bare.append(other)
    return [
        *(
            figure(
                "uis_reports",
                f"big: 10,000 rows of 60 fields, {kind}",
                [value for side in ours for value in getattr(side, kind)],
                "ms",
                [value for side in bare for value in getattr(side, kind)],
                at_most_ratio=PAGE_AT_MOST,
            )
            for kind in ("wall", "cpu")
        ),
        figure("uis_reports", "memory that such pages add", memory, "MB", at_most=CALM_MB),
    ]


async def _others(asking: Asking, *, seconds: float) -> list[Figure]:
    """How long a small request waits beside heavy reports of somebody else."""
    heavy = Case(name="sort talk", order=(Order(field="talk_duration", descending=True),), limit=10_000)
    light = Case(name="page 1")

    async def latencies(seconds: float) -> list[float]:
        found = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter()
            await asking.ours(MEDIAN, light)
            found.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.02)
        return found

    alone = await latencies(seconds / 2)
    busy = [asyncio.create_task(_again(asking, heavy)) for _ in range(postgres.AT_ONCE)]
    beside = await latencies(seconds)
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    return [
        figure(
            "uis_reports",
            "a small report beside four heavy ones, p95",
            [percentile(beside, 95)],
            "ms",
            [percentile(alone, 95)],
            above=DELAY,
        )
    ]


async def _again(asking: Asking, case: Case) -> None:
    while True:
        await asking.ours(BIG, case)


# Accounts for the sessions, so that they can be asked for with a key.
ACCOUNT = """
INSERT INTO accounts (account_id, name, currency, timezone, countries, tariff_id)
OVERRIDING SYSTEM VALUE SELECT %(account)s, 'bench ' || %(account)s, 'RUB', 'UTC', '{RU}', min(tariff_id) FROM tariffs
ON CONFLICT DO NOTHING
"""
KEY = "INSERT INTO keys (key_hash, account_id, kind) VALUES (%(key)s, %(account)s, %(kind)s)"


async def _over_http(asking: Asking, store: Store, runs: int) -> list[Figure]:
    """The same questions over HTTP, beside SQL by hand: what a client waits."""
    figures: list[Figure] = []
    with http.server("reports", store.dsn) as port:
        wire = await http.connect(port)
        for account, called in ((BIG, "big"), (MEDIAN, "median")):
            token = uuid.uuid4().hex
            params = await asking.prepare(account)
            async with await psycopg.AsyncConnection.connect(store.dsn, autocommit=True) as connection:
                await connection.execute(ACCOUNT, {"account": account})
                key = {"key": hash_key(token), "account": account, "kind": KEY_KIND}
                await connection.execute(KEY, key)
                for case in cases(account):
                    if case.name not in ("page 1", "phone ="):
                        continue
                    # An account has fewer points a minute than this takes.
                    await connection.execute("DELETE FROM rate_limits")
                    await asking.plan(params, case)
                    request = http.json("/v2.0", _request(token, case), key=token)
                    waited, alone, hands = [], [], []
                    for _ in range(runs):
                        began = time.perf_counter()
                        answer = await wire.ask(request)
                        waited.append((time.perf_counter() - began) * 1000)
                        if b'"result"' not in answer.body[:200]:
                            raise NotMeasured(f"A report was refused: {answer.body[:200]!r}")
                        began = time.perf_counter()
                        await asking.ours(account, case)
                        alone.append((time.perf_counter() - began) * 1000)
                        began = time.perf_counter()
                        await asking.hand(0, params, case)
                        hands.append((time.perf_counter() - began) * 1000)
                    what = f"{called}: {case.name} over HTTP"
                    figures.append(figure("uis_reports", f"{what}, wall", waited, "ms", hands))
                    extra = [one - other for one, other in zip(waited, alone, strict=True)]
                    figures.append(
                        figure("uis_reports", f"{what}, what HTTP, key and points add", extra, "ms")
                    )
    return figures


def _request(token: str, case: Case) -> bytes:
    """The case as a client asks for it."""
    params: dict[str, Any] = {
        "access_token": token,
        "date_from": _moment(SINCE),
        "date_till": _moment(UNTIL),
        "limit": case.limit,
        "offset": case.offset,
        "fields": FIELDS,
        "sort": [{"field": one.field, "order": "desc" if one.descending else "asc"} for one in case.order],
    }
    if isinstance(case.filter, Compare):
        params["filter"] = {
            "field": case.filter.field,
            "operator": str(case.filter.op),
            "value": case.filter.value,
        }
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "get.calls_report", "params": params})


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"
