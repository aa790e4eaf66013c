"""On what are reports measured? Sessions of a year for 200 accounts as uneven as real ones, made once and kept.

Made inside PostgreSQL by statements, a month at a time, each month in the order of accounts, as `reports.upkeep`
leaves a month that is over. The cluster stays in the temporary directory, by size and contents; 5M sessions take 11 GB.
"""

import contextlib
import getpass
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from pathlib import Path

import psycopg
from msgspec import Struct

from bench.results import NotMeasured
from zvonar.reports.columns import WORDS
from zvonar.reports.words import digest
from zvonar.store.migrate import migrate
from zvonar.store.server import PostgresServer

ACCOUNTS = 200
SKEW = 1.06  # of Zipf's law: the biggest has a fifth, the median one in 700
MONTHS = [datetime(2025 + (10 + n) // 12, (10 + n) % 12 + 1, 1, tzinfo=UTC) for n in range(13)]
SINCE, UNTIL = MONTHS[9], MONTHS[12]  # the quarter that is asked for
BIG, MEDIAN = 1, 100

# How many different texts an account has in a field.
VARIETY = {
    "finish_reason": 10,
    "direction": 2,
    "source": 4,
    "channel": 6,
    "cpn_region_name": 40,
    "cpn_country_name": 3,
    "cpn_country_id": 3,
    "virtual_phone_number": 20,
    "search_query": 300,
    "search_engine": 3,
    "referrer_domain": 30,
    "referrer": 200,
    "entrance_page": 100,
    "gclid": 400,
    "utm_source": 5,
    "utm_medium": 4,
    "utm_term": 200,
    "utm_content": 60,
    "utm_campaign": 50,
    "last_answered_employee_full_name": 30,
    "first_answered_employee_full_name": 30,
    "scenario_name": 5,
    "site_domain_name": 5,
    "campaign_name": 20,
    "visitor_type": 2,
    "visitor_city": 40,
    "visitor_device": 4,
}
# Of these only so many percent of the sessions have one.
SHARE = {
    "search_query": 30,
    "referrer": 40,
    "gclid": 20,
    "last_answered_employee_full_name": 60,
    "first_answered_employee_full_name": 60,
}
REAL = {
    "direction": ["in", "out"],
    "source": ["va", "auto_out_calls", "call_tracking", "callapi"],
    "channel": ["display", "paid", "social", "organic", "referral", "direct"],
    "cpn_country_id": ["RU", "KZ", "BY"],
    "visitor_type": ["Новый", "Вернувшийся"],
    "visitor_device": ["desktop", "mobile", "tablet", "other"],
    "finish_reason": [
        *("success_finish", "subscriber_busy", "subscriber_not_responsible", "subscriber_disconnects"),
        *(
            "operator_answer",
            "no_success_operator_call",
            "operator_busy",
            "timeout",
            "internal_error",
            "no_operation",
        ),
    ],
}

# Sixty fields, nested ones among them: what a page shows.
FIELDS = (
    *("id", "start_time", "finish_time", "finish_reason", "direction", "cpn_region_id", "cpn_region_name"),
    *(
        "cpn_country_name",
        "cpn_country_id",
        "source",
        "is_lost",
        "communication_number",
        "contact_phone_number",
    ),
    *("communication_id", "communication_type", "wait_duration", "total_wait_duration"),
    *("lost_call_processing_duration", "talk_duration", "clean_talk_duration", "total_duration"),
    *("postprocess_duration", "call_records", "wav_call_records", "full_record_file_link"),
    *("virtual_phone_number", "ua_client_id", "ym_client_id", "sale_date", "sale_cost", "is_transfer"),
    *("search_query", "search_engine", "referrer_domain", "referrer", "entrance_page", "gclid", "channel"),
    *("tags", "last_answered_employee_id", "last_answered_employee_full_name", "first_answered_employee_id"),
    *("first_answered_employee_full_name", "scenario_name", "scenario_id", "site_domain_name", "site_id"),
    *("campaign_name", "campaign_id", "visitor_id", "visitor_type", "visitor_city", "visitor_device"),
    *("utm_source", "utm_medium", "utm_term", "utm_content", "utm_campaign", "attributes", "ext_id"),
)

# Whom each session belongs to and what is random in it, in the order in which a closed month lies. A table of its own,
# so that both rows of a session are made of the same.
DICE = """
CREATE TEMP TABLE dice ON COMMIT DROP AS
SELECT *, row_number() OVER () + %(first)s AS session_id FROM (
    SELECT width_bucket(random(), %(shares)s::float8[]) + 1 AS account_id,
        date_trunc('second', %(since)s::timestamptz + random() * (%(until)s::timestamptz - %(since)s::timestamptz))
            AS start_time,
        (random() * 1e9)::bigint AS a, (random() * 1e9)::bigint AS b, (random() * 1e9)::bigint AS c,
        random() < 0.4 AS is_lost, (4 + random() * 40)::integer AS wait, (random() ^ 3 * 900)::integer AS talk,
        (random() * 2e5)::bigint AS contact
    FROM generate_series(1, %(count)s) OFFSET 0
) d ORDER BY account_id, start_time
"""


def _picked(field: str) -> str:
    """Which of an account's texts of a field a session has."""
    return f"((a + b * {WORDS[field]} + c) % {VARIETY[field]})"


def _has(field: str) -> str:
    return f"(b + {WORDS[field]}) % 100 < {SHARE.get(field, 100)}"


def _code(field: str) -> str:
    code = f"(account_id * 10000000 + {WORDS[field]} * 10000 + {_picked(field)} + 1)"
    return f"CASE WHEN {_has(field)} THEN {code} END"


def _text(field: str) -> str:
    known = REAL.get(field)
    said = f"'{field} ' || account_id || ' ' || {_picked(field)} || ' текст'"
    if known is not None:
        listed = ", ".join(f"'{word}'" for word in known)
        said = f"(ARRAY[{listed}])[{_picked(field)} + 1]"
    return f"CASE WHEN {_has(field)} THEN {said} END"


def _word(field: str, account: int, n: int) -> str:
    known = REAL.get(field)
    return known[n] if known is not None else f"{field} {account} {n} текст"


BOTH = {
    "account_id": "account_id",
    "session_id": "session_id",
    "start_time": "start_time",
    "finish_time": "start_time + (wait + CASE WHEN is_lost THEN 0 ELSE talk END) * interval '1 second'",
    "communication_id": "session_id",
    "communication_number": "a % 9",
    "contact_phone_number": "(79000000000 + contact)::text",
    "is_lost": "is_lost",
    "is_transfer": "NOT is_lost AND a % 10 = 0",
    "cpn_region_id": "a % 40",
    "wait_duration": "wait",
    "total_wait_duration": "wait",
    "lost_call_processing_duration": "CASE WHEN is_lost AND c % 2 = 0 THEN (c % 90000)::integer END",
    "talk_duration": "CASE WHEN is_lost THEN 0 ELSE talk END",
    "clean_talk_duration": "CASE WHEN is_lost THEN 0 ELSE talk END",
    "total_duration": "wait + CASE WHEN is_lost THEN 0 ELSE talk END",
    "postprocess_duration": "0",
    "sale_date": "CASE WHEN a % 12 = 0 THEN start_time + interval '1 day' END",
    "sale_cost": "CASE WHEN a % 12 = 0 THEN (c % 9999999) / 100.0 END",
    "last_answered_employee_id": f"CASE WHEN {_has('last_answered_employee_full_name')} THEN a % 30 + 1 END",
    "first_answered_employee_id": f"CASE WHEN {_has('first_answered_employee_full_name')} THEN b % 30 + 1 END",
    "scenario_id": "a % 5 + 1",
    "site_id": "b % 5 + 1",
    "campaign_id": "c % 20 + 1",
    "visitor_id": "a",
}
WIDE = {
    **BOTH,
    **{field: _text(field) for field in VARIETY},
    "call_records": "CASE WHEN NOT is_lost THEN ARRAY[md5(session_id::text)] END",
    "wav_call_records": "CASE WHEN NOT is_lost THEN ARRAY[md5(session_id::text)] END",
    "full_record_file_link": "CASE WHEN NOT is_lost THEN md5((session_id + 1)::text) END",
    "ua_client_id": "a || '.' || b",
    "ym_client_id": "(a * 1000 + c)::text",
    "tags": """CASE WHEN b % 5 = 0 THEN json_build_array(json_build_object('tag_id', b % 97 + 1, 'tag_name', 'тег '
        || b % 97 + 1, 'tag_type', 'manual', 'tag_change_time', start_time, 'tag_user_id', 7, 'tag_user_login',
        'operator', 'tag_employee_id', NULL, 'tag_employee_full_name', NULL)) END""",
    "attributes": "CASE WHEN b % 3 = 0 THEN ARRAY['first', 'target'] END",
}
NARROW = {
    **BOTH,
    **{field: _code(field) for field in VARIETY},
    "tag_ids": "CASE WHEN b % 5 = 0 THEN ARRAY[b % 97 + 1] END",
    "attributes": "CASE WHEN b % 3 = 0 THEN ARRAY['first', 'target'] END",
}


class Store(Struct, frozen=True, kw_only=True):
    """A database full of sessions."""

    server: PostgresServer
    dsn: str
    sessions: int


@contextlib.contextmanager
def store(sessions: int, report: Callable[[str], None]) -> Iterator[Store]:
    """The kept cluster, made where there is none; it runs until the end of the block."""
    root = _root(sessions)
    server = PostgresServer(root)
    done = root / "done"
    if not root.exists():
        # Those of the same size that held something else are of no use to anybody.
        for stale in root.parent.glob(f"{root.name.rpartition('-')[0]}-*"):
            if not (stale / "postgres" / "data" / "postmaster.pid").exists():
                shutil.rmtree(stale, ignore_errors=True)
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if free < sessions * 4000:
            raise NotMeasured(f"{sessions} sessions need {sessions * 4000 / 1e9:.0f} GB of disk.")
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    try:
        dsn = server.ensure()
        migrate(dsn)
        if not done.exists():
            _make(dsn, sessions, report)
            done.touch()
        yield Store(server=server, dsn=dsn, sessions=sessions)
    finally:
        server.stop()


def _root(sessions: int) -> Path:
    """By size and by what is in it; a schema that came later is migrated to."""
    contents = (ACCOUNTS, SKEW, MONTHS, VARIETY, SHARE, REAL, DICE, WIDE, NARROW)
    held = hashlib.sha256(repr(contents).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"zvb-uis-{getpass.getuser()}-{sessions}-{held}"


def _make(dsn: str, sessions: int, report: Callable[[str], None]) -> None:
    """Fill it month by month; one that was interrupted goes on where it was."""
    weights = [1 / rank**SKEW for rank in range(1, ACCOUNTS + 1)]
    shares = [one / sum(weights) for one in accumulate(weights)][:-1]
    options = (
        "-c statement_timeout=0 -c synchronous_commit=off -c work_mem=256MB -c maintenance_work_mem=512MB"
    )
    with psycopg.connect(dsn, options=options, autocommit=True) as connection:
        if connection.execute("SELECT FROM report_words LIMIT 1").fetchone() is None:
            _words(connection)
        made = {month for (month,) in connection.execute("SELECT month FROM report_months").fetchall()}
        for n, (since, until) in enumerate(pairwise(MONTHS)):
            if since.date() in made:
                continue
            report(f"uis: sessions of {since:%B %Y}")
            for table in ("report_filters", "report_rows"):
                connection.execute("SELECT ensure_report_month(%s, %s)", (table, since))
            with connection.transaction():
                connection.execute("SELECT setseed(%s)", (n / 12,))
                _month(connection, n, since, until, sessions // 12, shares)
        connection.execute("SELECT setval('session_ids', %s)", (sessions + 1,))
        report("uis: vacuum")
        for table in ("report_rows", "report_filters", "report_words", "session_starts"):
            connection.execute(f"VACUUM (ANALYZE) {table}".encode())


def _month(
    connection: psycopg.Connection, n: int, since: datetime, until: datetime, count: int, shares: list[float]
) -> None:
    connection.execute(
        DICE, {"since": since, "until": until, "count": count, "first": n * count, "shares": shares}
    )
    for table, columns in (("report_rows", WIDE), ("report_filters", NARROW)):
        into = f"INSERT INTO {table} ({', '.join(columns)})"
        connection.execute(f"{into} SELECT {', '.join(columns.values())} FROM dice".encode())
    connection.execute(
        "INSERT INTO session_starts (session_id, account_id, start_time)"
        " SELECT session_id, account_id, start_time FROM dice"
    )
    connection.execute(
        "INSERT INTO report_revisions (account_id, month)"
        " SELECT DISTINCT account_id, %s::timestamptz::date FROM dice",
        (since,),
    )
    connection.execute("INSERT INTO report_months VALUES (%s::timestamptz::date, now())", (since,))


def _words(connection: psycopg.Connection) -> None:
    statement = "COPY report_words (account_id, field, word_id, seen, digest, word) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for account in range(1, ACCOUNTS + 1):
            for field, variety in VARIETY.items():
                number = WORDS[field]
                for n in range(variety):
                    word = _word(field, account, n)
                    code = account * 10_000_000 + number * 10_000 + n + 1
                    copy.write_row((account, number, code, UNTIL.date(), digest(word), word))


def backend_cpu(pids: list[int]) -> dict[int, float]:
    """Seconds of processor that each of these backends has used, as the scheduler counts them."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            found[pid] = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return found


def own_cpu() -> float:
    """Seconds of processor that this process has used."""
    return time.process_time()
