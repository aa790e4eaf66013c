"""Where do clips and recordings play? Under URLs that carry their own key; whatever is wrong with one, 404."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any, Final, cast

import structlog
from litestar import HttpMethod, Request, Response, Router, route
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath
from litestar.types import ASGIApp

from zvonar.dialects.callo.media import CLIPS, DIRECT, RECORDS, clip_key, fits, recording_key
from zvonar.dialects.callo.routes.common import BIGINT, Req, Service
from zvonar.dialects.files import FileAnswer, Sent
from zvonar.dialects.ranges import Version
from zvonar.speech import AudioMissing
from zvonar.speech.formats import CONTENT_TYPES
from zvonar.store import clips, recordings
from zvonar.store.clips import ClipNotFound, Form

Segment = FromPath[str]

log = structlog.get_logger(__name__)

MADE_WITHIN: Final = 60.0  # seconds for a file that has to be fetched, spoken or encoded first
# A clip never changes. A recording may be deleted by its owner's rules, so it is asked for again.
CLIP_CACHE: Final = "private, max-age=86400"
RECORDING_CACHE: Final = "private, no-cache"

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_CALLED: Final = re.compile(r"([1-9][0-9]{0,18})\.([1-9][0-9]{0,4})", re.ASCII)
_METHODS: Final = [HttpMethod.GET, HttpMethod.HEAD]


def router(service: Service) -> Router:
    """What is served beside the API's own prefixes."""
    # Here, because the voices' libraries are for the process that serves, and others import these modules, too.
    from zvonar.speech.synthesis import UNSPEAKABLE

    sound = service.media

    @route(CLIPS + "/{form:str}/{account_id:str}/{clip_id:str}/{name:str}", http_method=_METHODS)
    async def clip(
        request: Req, form: Segment, account_id: Segment, clip_id: Segment, name: Segment
    ) -> ASGIApp:
        """A clip's audio, converted or as it came."""
        if form not in ("converted", "original"):
            raise NotFoundException
        wanted = cast(Form, form)
        account, number = _number(account_id), _number(clip_id)
        given, _, suffix = name.partition(".")
        if not fits(given, clip_key(sound.secret, account, number, wanted)):
            raise NotFoundException
        try:
            found = await clips.get(service.db, account, number)
        except ClipNotFound:
            raise NotFoundException from None
        library = sound.library
        async with asyncio.timeout(MADE_WITHIN):
            audio = await (library.converted(found) if wanted == "converted" else library.original(found))
        if suffix != audio.suffix:
            raise NotFoundException
        version = Version(tag=f'"{audio.path.stem[:32]}-{audio.size:x}"', modified=found.created_at)
        return FileAnswer(
            request,
            Sent(
                path=audio.path,
                content_type=CONTENT_TYPES[audio.suffix],
                version=version,
                cache=CLIP_CACHE,
                name=f"{number}.{audio.suffix}",
            ),
        )

    @route(RECORDS + "/{account_id:str}/{unique_id:str}", http_method=_METHODS)
    async def record(request: Req, account_id: Segment, unique_id: Segment) -> ASGIApp:
        """A recording as Asterisk wrote it: WAV."""
        return await recording(request, account_id, unique_id, request.query_params.get("key", ""), "wav")

    @route(DIRECT + "/{key:str}/{account_id:str}/{call_id:str}/{name:str}", http_method=_METHODS)
    async def direct(
        request: Req, key: Segment, account_id: Segment, call_id: Segment, name: Segment
    ) -> ASGIApp:
        """A recording as MP3."""
        if not name.startswith(f"{call_id}.") or not name.endswith(".mp3"):
            raise NotFoundException
        return await recording(request, account_id, name.removesuffix(".mp3"), key, "mp3")

    async def recording(request: Req, account_id: str, called: str, key: str, suffix: str) -> ASGIApp:
        account = _number(account_id)
        call_id, attempt = _called(called)
        if not fits(key, recording_key(sound.secret, account, call_id, attempt)):
            raise NotFoundException
        name = await recordings.get(service.db, account, call_id, attempt)
        if name is None:
            raise NotFoundException
        async with asyncio.timeout(MADE_WITHIN):
            audio = await (sound.recordings.wav(name) if suffix == "wav" else sound.recordings.mp3(name))
        modified = datetime.fromtimestamp(audio.path.stat().st_mtime, UTC)
        return FileAnswer(
            request,
            Sent(
                path=audio.path,
                content_type=CONTENT_TYPES[suffix],
                version=Version(tag=f'"{name[:-4]}-{audio.size:x}-{suffix}"', modified=modified),
                cache=RECORDING_CACHE,
                name=f"{call_id}.{attempt}.{suffix}",
            ),
        )

    return Router(
        "/",
        route_handlers=[clip, record, direct],
        include_in_schema=False,
        exception_handlers={
            FileNotFoundError: _missing,
            AudioMissing: _missing,
            **dict.fromkeys(UNSPEAKABLE, _missing),
            HTTPException: _refused,
            Exception: _failed,
        },
    )


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) not in BIGINT:
        raise NotFoundException
    return int(text)


def _called(text: str) -> tuple[int, int]:
    found = _CALLED.fullmatch(text)
    if found is None:
        raise NotFoundException
    return _number(found[1]), int(found[2])


def _said(status: int) -> Response[str]:
    return Response("", status_code=status, media_type="text/plain", headers={"cache-control": "no-store"})


def _missing(_: Request[Any, Any, Any], __: Exception) -> Response[str]:
    return _said(404)


def _refused(_: Request[Any, Any, Any], exc: HTTPException) -> Response[str]:
    return _said(exc.status_code)


def _failed(_: Request[Any, Any, Any], exc: Exception) -> Response[str]:
    """The path is not logged: it holds the key."""
    log.error("media.failed", error=type(exc).__name__)
    return _said(503)
