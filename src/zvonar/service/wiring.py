"""Which dialects are served, and which of them render events? The list of everything that is plugged in."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler

from zvonar.delivery import letters, reactions
from zvonar.dialects import recordings
from zvonar.dialects.amocrm import campaign_calls, hooks, tokens
from zvonar.dialects.amocrm import errors as amocrm_errors
from zvonar.dialects.amocrm import routes as amocrm
from zvonar.dialects.autocall import callbacks
from zvonar.dialects.autocall import routes as autocall
from zvonar.dialects.callo import postback, webhook
from zvonar.dialects.callo import routes as callo
from zvonar.dialects.callo.media import Media
from zvonar.dialects.uis import routes as uis
from zvonar.dialects.uis.media import Media as UisMedia
from zvonar.dialects.uis.who import SESSION_KIND
from zvonar.reports.postgres import PostgresReportStore
from zvonar.reports.writing import Writer
from zvonar.speech.links import RecordingLinks
from zvonar.store.db import Connection, Database
from zvonar.store.outbox import Event, Rendered

# Kinds of keys that run out by themselves.
PASSING_KEYS = (tokens.ACCESS, tokens.REFRESH, tokens.CODE, SESSION_KIND)

# Each dialect that tells the outside what happened, in its own bytes; and letters to people.
RENDERERS = (
    callbacks.render,
    postback.render,
    hooks.render,
    letters.render,
    reactions.render,
    webhook.render,
)


def render(event: Event) -> Sequence[Rendered]:
    """What every dialect makes of an event."""
    return [rendered for renderer in RENDERERS for rendered in renderer(event)]


async def record(connection: Connection, events: Sequence[Event]) -> None:
    """Keep what events mean to the house itself."""
    await campaign_calls.record(connection, events)


def routes(
    db: Database,
    reports: Database,
    *,
    media: Media,
    public_url: str | None,
    now: Callable[[], datetime],
    amocrm_strict: bool,
) -> list[ControllerRouterHandler]:
    """The routes of every dialect. `reports`: connections for what takes long, so that nothing else waits for one."""
    return [
        *callo.routes(callo.Service(db=db, now=now, media=media, public_url=public_url)),
        *autocall.routes(autocall.Service(db=db, now=now, library=media.library, public_url=public_url)),
        *uis.routes(
            uis.Service(
                db=db,
                reports=PostgresReportStore(reports),
                writer=Writer(db),
                now=now,
                media=UisMedia(recordings=media.recordings),
                public_url=public_url,
            )
        ),
        *amocrm.routes(amocrm.Service(db=db, now=now, public_url=public_url, strict=amocrm_strict)),
        *recordings.routes(
            recordings.Service(
                db=db, recordings=media.recordings, links=RecordingLinks(media.secret), now=now
            )
        ),
    ]


def errors_of(path: str) -> Callable[[Request[Any, Any, Any], HTTPException], Response[bytes]] | None:
    """How the dialect that a path belongs to answers what the server refuses; None where it has no way of its own."""
    return amocrm_errors.render_http if path.startswith(amocrm.PREFIXES) else None
