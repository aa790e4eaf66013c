"""Where does a recording play for whoever has its address? Under an address that is its own key, until its day."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from litestar import HttpMethod, Request, Response, Router, route
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath
from litestar.types import ASGIApp
from msgspec import Struct

from zvonar.dialects.files import FileAnswer, Sent
from zvonar.dialects.ranges import Version
from zvonar.speech import AudioMissing
from zvonar.speech.formats import CONTENT_TYPES
from zvonar.speech.links import PATH, RecordingLinks
from zvonar.store import recordings
from zvonar.store.db import Database

if TYPE_CHECKING:  # the speech libraries are for the process that serves
    from zvonar.speech.recordings import Recordings

log = structlog.get_logger(__name__)

Segment = FromPath[str]

_MADE_WITHIN: Final = 60.0  # seconds for an MP3 that has to be made first
_NAME: Final = re.compile(r"([1-9][0-9]{0,18})\.([1-9][0-9]{0,4})\.mp3", re.ASCII)
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


class Service(Struct, frozen=True, kw_only=True):
    """What playing needs of the house."""

    db: Database
    recordings: "Recordings"
    links: RecordingLinks
    now: Callable[[], datetime]  # aware


def routes(service: Service) -> list[Router]:
    """The one path, for GET and HEAD."""

    @route(
        PATH + "/{key:str}/{until:str}/{account_id:str}/{name:str}",
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
    )
    async def play(
        request: Request[Any, Any, Any], key: Segment, until: Segment, account_id: Segment, name: Segment
    ) -> ASGIApp:
        """The recording; whatever is wrong with its address, 404."""
        called = _NAME.fullmatch(name)
        if called is None or not _NUMBER.fullmatch(until) or not _NUMBER.fullmatch(account_id):
            raise NotFoundException
        account, end, call_id, attempt = int(account_id), int(until), int(called[1]), int(called[2])
        if not service.links.opens(
            key, account_id=account, call_id=call_id, attempt=attempt, end=end, now=service.now()
        ):
            raise NotFoundException
        recording = await recordings.get(service.db, account, call_id, attempt)
        if recording is None:
            raise NotFoundException
        async with asyncio.timeout(_MADE_WITHIN):
            audio = await service.recordings.mp3(recording)
        modified = datetime.fromtimestamp(audio.path.stat().st_mtime, UTC)
        sent = Sent(
            path=audio.path,
            content_type=CONTENT_TYPES["mp3"],
            version=Version(tag=f'"{recording[:-4]}-{audio.size:x}-mp3"', modified=modified),
            # A recording may be deleted by its owner's rules, and its address may end.
            cache="private, no-cache",
            name=name,
        )
        return FileAnswer(request, sent)

    return [
        Router(
            "/",
            route_handlers=[play],
            include_in_schema=False,
            exception_handlers={
                FileNotFoundError: _missing,
                AudioMissing: _missing,
                HTTPException: _refused,
                Exception: _failed,
            },
        )
    ]


def _said(status: int) -> Response[str]:
    return Response("", status_code=status, media_type="text/plain", headers={"cache-control": "no-store"})


def _missing(_: Request[Any, Any, Any], __: Exception) -> Response[str]:
    return _said(404)


def _refused(_: Request[Any, Any, Any], exc: HTTPException) -> Response[str]:
    return _said(exc.status_code)


def _failed(_: Request[Any, Any, Any], exc: Exception) -> Response[str]:
    """The path is not logged: it holds the key."""
    log.error("recordings.failed", error=type(exc).__name__)
    return _said(503)
