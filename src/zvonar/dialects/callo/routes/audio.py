"""How do clips come in, and what is known of them? `audio/upload/` and `audio/info/`."""

import asyncio
from typing import Any, Final

from litestar import HttpMethod, Response, route
from litestar.types import ControllerRouterHandler

from zvonar.dialects.callo import errors, media, ours
from zvonar.dialects.callo.errors import ClipMissing, FormInvalid
from zvonar.dialects.callo.requests.audio import FILE, info_form, received, upload_form
from zvonar.dialects.callo.requests.form import Form
from zvonar.dialects.callo.routes.common import BIGINT, Req, Service, account_of, opened
from zvonar.speech.formats import AudioRejected
from zvonar.store import clips
from zvonar.store.clips import ClipNotFound

RECEIVING: Final = 16  # uploads at once: each may take `formats.LARGEST` of the disk
RECEIVED_WITHIN: Final = 300.0  # seconds, a turn among them included; 32 MB at 1 Mbit/s
SPOKEN_WITHIN: Final = 20.0  # seconds for a text that nobody has heard yet


def handlers(service: Service) -> list[ControllerRouterHandler]:
    """The requests about sound."""
    # Here, because the voices' libraries are for the process that serves, and others import these modules, too.
    from zvonar.speech.synthesis import UNSPEAKABLE

    receiving = asyncio.Semaphore(RECEIVING)
    sound = service.media

    @route(
        "/audio/upload",
        http_method=[HttpMethod.GET, HttpMethod.POST],
        status_code=200,
        request_max_body_size=None,  # what is too large is read, counted and dropped
    )
    async def upload(request: Req) -> Response[dict[str, Any]]:
        """Take a recording as a clip."""
        language = errors.language_of(request.headers.get("accept-language"))
        with sound.library.incoming() as file:
            async with asyncio.timeout(RECEIVED_WITHIN), receiving:
                sent = await received(request, file)
            form = Form(sent.fields)
            account = await account_of(service, form, now=service.now())
            asked = upload_form(form, sent.size)
            assert account is not None
            try:
                clip = await sound.library.add(
                    account.account_id,
                    file,
                    name=asked.name,
                    speaker=asked.speaker,
                    text=asked.text,
                    now=service.now(),
                )
            except AudioRejected as rejection:
                raise FormInvalid({FILE: ours.CLIP_REJECTED[rejection.reason]}) from None
        answer = media.uploaded(clip, secret=sound.secret, base=media.base_url(sound, request))
        return Response(answer, headers=errors.headers(language))

    @route("/audio/info", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def info(request: Req) -> Response[dict[str, Any]]:
        """What a clip is; a text is spoken now if nobody has heard it yet."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        clip_id = info_form(form)
        assert account is not None
        if clip_id not in BIGINT:
            raise ClipMissing(clip_id)
        try:
            clip = await clips.get(service.db, account.account_id, clip_id)
        except ClipNotFound:
            raise ClipMissing(clip_id) from None
        try:
            async with asyncio.timeout(SPOKEN_WITHIN):
                audio = await sound.library.converted(clip)
        except UNSPEAKABLE:
            raise FormInvalid({"audioclip_id": ours.CLIP_UNSPOKEN}) from None
        answer = media.clip_info(
            clip, audio.duration_ms, secret=sound.secret, base=media.base_url(sound, request)
        )
        return Response(answer, headers=errors.headers(language))

    return [upload, info]
