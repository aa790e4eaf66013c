"""Who answers the benchmark's requests? `python -m bench.callo_serve WHAT DSN PORT`: ours, bare, or reports."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import uvicorn
import uvloop
from litestar import Litestar, post
from litestar.enums import RequestEncodingType
from litestar.params import Body

from bench.ground import now
from zvonar.dialects.amocrm import routes as amocrm
from zvonar.dialects.autocall import routes as autocall
from zvonar.dialects.callo import routes as callo
from zvonar.dialects.callo.media import Media
from zvonar.dialects.uis import routes as uis
from zvonar.reports import postgres
from zvonar.reports.postgres import PostgresReportStore
from zvonar.reports.writing import Writer
from zvonar.service import logs
from zvonar.speech.clips import ClipCache
from zvonar.speech.converter import Converter
from zvonar.speech.library import Library
from zvonar.speech.recordings import Recordings
from zvonar.speech.synthesis import NullSynthesiser
from zvonar.store.db import Database

BARE_PATH = "/bare"

# The least that takes a call: a row in a table with the same columns and indexes as ours, and without laws.
BARE_INSERT = """
INSERT INTO bare_calls (account_id, call_id, campaign_id, ordinal, phone, country, due_at, created_at, updated_at)
VALUES (%(account)s, new_call_id(%(now)s), %(campaign_id)s, nextval('bare_ordinals'), %(phone)s, 'RU', %(now)s, %(now)s,
    %(now)s)
RETURNING call_id
"""


def application(what: str, db: Database, reports: Database) -> Litestar:
    """The dialects over this database, that of reports, or one bare handler."""
    if what == "reports":
        store = PostgresReportStore(reports, remembered=0)
        service = uis.Service(db=db, reports=store, writer=Writer(db), now=now)
        return Litestar(uis.routes(service), openapi_config=None, logging_config=None)
    if what == "ours":
        media = _silent(db)
        routes = [
            *callo.routes(callo.Service(db=db, now=now, media=media)),
            *autocall.routes(autocall.Service(db=db, now=now, library=media.library)),
            *amocrm.routes(amocrm.Service(db=db, now=now)),
        ]
        return Litestar(routes, openapi_config=None, logging_config=None)

    @post(BARE_PATH, status_code=200)
    async def add(
        data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> dict[str, int | str]:
        at = now()
        call_id = await db.value(
            BARE_INSERT,
            {"account": 1, "campaign_id": int(data["campaign_id"]), "phone": data["phone"], "now": at},
        )
        return {"call_id": call_id, "phone": data["phone"], "created": at.isoformat()}

    return Litestar([add], openapi_config=None, logging_config=None)


def _silent(db: Database) -> Media:
    """Where sound would be, if a benchmark asked for any."""
    nowhere = Path(tempfile.gettempdir(), "zvonar-bench-sound")
    cache = ClipCache(nowhere, NullSynthesiser())
    return Media(
        library=Library(db, cache, directory=nowhere, converter=Converter()),
        recordings=Recordings(nowhere, made=nowhere),
        secret=b"bench",
    )


async def serve(what: str, dsn: str, port: int) -> None:
    """As the role of the API serves."""
    async with (
        Database(dsn, size=12) as db,
        Database(dsn, size=postgres.CONNECTIONS, session=postgres.SESSION) as reports,
    ):
        config = uvicorn.Config(
            application(what, db, reports),
            host="127.0.0.1",
            port=port,
            access_log=False,
            log_config=None,
            server_header=False,
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    logs.configure(level="warning", role="bench")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
