"""Where do recordings play? Under the reference's addresses, without any key: the link itself is the secret.

Whatever is wrong with a link, 404: nobody learns which calls there are.
"""

import asyncio
import re
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
from zvonar.store import recording_links
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.recording_links import Use

if TYPE_CHECKING:  # the speech libraries are for the process that serves
    from zvonar.speech.recordings import Recordings

log = structlog.get_logger(__name__)

MADE_WITHIN: Final = 60.0  # seconds for a file that has to be encoded first
# A link may be revoked, so it is asked for again.
CACHE: Final = "private, no-cache"

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_TOKEN: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_METHODS: Final = [HttpMethod.GET, HttpMethod.HEAD]
# How a path's word is served: the links that it opens, and the format.
_WORDS: Final[dict[str, tuple[Use, str]]] = {
    "talk": ("talk", "mp3"),
    "wav": ("talk", "wav"),
    "voice_mail": ("voice_mail", "mp3"),
}

Req = Request[Any, Any, Any]
Segment = FromPath[str]


class Media(Struct, frozen=True, kw_only=True):
    """What this dialect needs for sound."""

    recordings: "Recordings"


def media_routes(db: Database, media: Media, public_url: str | None) -> Router:
    """What is served beside the API."""
    secure = public_url is not None and public_url.startswith("https://")

    @route("/system/media/{word:str}/{communication_id:str}/{token:str}", http_method=_METHODS)
    async def talk(request: Req, word: Segment, communication_id: Segment, token: Segment) -> ASGIApp:
        """A conversation or a voice mail."""
        if word not in _WORDS:
            raise NotFoundException
        return await recording(request, communication_id, token, *_WORDS[word])

    @route("/{communication_id:str}/{token:str}", http_method=_METHODS)
    async def whole(request: Req, communication_id: Segment, token: Segment) -> ASGIApp:
        """The whole record of a call."""
        return await recording(request, communication_id, token, "full", "mp3")

    async def recording(request: Req, communication_id: str, token: str, use: Use, suffix: str) -> ASGIApp:
        if not _NUMBER.fullmatch(communication_id) or not _TOKEN.fullmatch(token):
            raise NotFoundException
        if secure and request.scope["scheme"] != "https":
            assert public_url is not None
            raise _Elsewhere(public_url.rstrip("/") + request.url.path)
        if int(communication_id) >= 2**63:
            raise NotFoundException
        link = await recording_links.find(db, token, int(communication_id))
        if link is None or link.kind != use:
            raise NotFoundException
        async with asyncio.timeout(MADE_WITHIN):
            made = media.recordings.wav if suffix == "wav" else media.recordings.mp3
            audio = await made(link.recording)
        modified = datetime.fromtimestamp(audio.path.stat().st_mtime, UTC)
        return FileAnswer(
            request,
            Sent(
                path=audio.path,
                content_type=CONTENT_TYPES[suffix],
                version=Version(tag=f'"{link.recording[:-4]}-{audio.size:x}-{suffix}"', modified=modified),
                cache=CACHE,
                name=f"{communication_id}.{suffix}",
            ),
        )

    return Router(
        "/",
        route_handlers=[talk, whole],
        include_in_schema=False,
        exception_handlers={
            _Elsewhere: _moved,
            FileNotFoundError: _missing,
            AudioMissing: _missing,
            HTTPException: _refused,
            Exception: _failed,
        },
    )


class _Elsewhere(Exception):
    """The same path, at the address that is encrypted."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address


def _said(status: int, **headers: str) -> Response[str]:
    return Response(
        "", status_code=status, media_type="text/plain", headers={"cache-control": "no-store", **headers}
    )


def _moved(_: Req, exc: _Elsewhere) -> Response[str]:
    return _said(308, location=exc.address)


def _missing(_: Req, __: Exception) -> Response[str]:
    return _said(404)


def _refused(_: Req, exc: HTTPException) -> Response[str]:
    return _said(exc.status_code)


def _failed(_: Req, exc: Exception) -> Response[str]:
    """The path is not logged: whoever has it hears the call."""
    log.error("uis.media_failed", error=type(exc).__name__, away=isinstance(exc, StoreUnavailable))
    return _said(503)
