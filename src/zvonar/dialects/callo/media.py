"""Under which URLs do clips and recordings play, and what does a Callo client read about a clip?

The URLs have the forms of the reference and are fetched without a key of the API, so each carries one of its own:
nobody can guess it, and it opens this one file.
"""

import hmac
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from litestar import Request
from msgspec import Struct

from zvonar.store import recordings
from zvonar.store.calls import Attempt
from zvonar.store.clips import Clip, Form
from zvonar.store.db import Database
from zvonar.store.recordings import Recorded

if TYPE_CHECKING:  # the speech libraries are for the process that serves, not for whoever renders an answer
    from zvonar.speech.library import Library
    from zvonar.speech.recordings import Recordings

CLIPS: Final = "/media"
RECORDS: Final = "/manager/cdr/record"
DIRECT: Final = "/manager/directcdr"
# The reference's sample shows `synth`; what it calls an upload is a guess.
SYNTHESISED: Final = "synth"
UPLOADED: Final = "upload"


_HOST: Final = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?", re.ASCII)


class Media(Struct, frozen=True, kw_only=True):
    """What this dialect needs for sound."""

    library: "Library"
    recordings: "Recordings"
    secret: bytes  # of this installation: the keys in URLs are made of it
    public_url: str | None  # prefixes links; the request's own host unless given


def base_url(media: Media, request: Request[Any, Any, Any]) -> str:
    """What every link begins with, without a slash at its end."""
    if media.public_url is not None:
        return media.public_url.rstrip("/")
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        # A client may write anything there; the address that it reached us at is one, too.
        address, port = request.scope.get("server") or ("localhost", None)
        host = address if port is None else f"{address}:{port}"
    return f"{request.scope['scheme']}://{host}"


def clip_key(secret: bytes, account_id: int, clip_id: int, form: Form) -> str:
    """What opens one clip in one form."""
    return _key(secret, "clip", account_id, clip_id, form)


def recording_key(secret: bytes, account_id: int, call_id: int, attempt: int) -> str:
    """What opens the recording of one attempt; as long as the reference's MD5."""
    return _key(secret, "recording", account_id, call_id, attempt)


def fits(given: str, key: str) -> bool:
    """Whether this is that key; how long it takes does not tell how much of it is right."""
    return hmac.compare_digest(given.encode(), key.encode())


def clip_url(secret: bytes, base: str, clip: Clip, form: Form) -> str:
    """`…/media/converted/263/158/546656556565665.wav?1530714997.919522`, as the reference's."""
    suffix = clip.suffix if form == "original" and clip.suffix else "wav"
    key = clip_key(secret, clip.account_id, clip.clip_id, form)
    return f"{base}{CLIPS}/{form}/{clip.account_id}/{clip.clip_id}/{key}.{suffix}?{clip.created_at.timestamp():.6f}"


def recording_url(
    secret: bytes, base: str, *, account_id: int, call_id: int, attempt: int, recording: str | None
) -> str | None:
    """Where an attempt's recording plays as MP3; None where there is none."""
    if recording is None:
        return None
    key = recording_key(secret, account_id, call_id, attempt)
    return f"{base}{DIRECT}/{key}/{account_id}/{call_id}/{call_id}.{attempt}.mp3"


class Sounds(Struct, frozen=True, kw_only=True):
    """Where the recordings of some calls play."""

    secret: bytes
    base: str
    account_id: int
    last: dict[int, Recorded]  # by call, its last recording

    def of_call(self, call_id: int) -> str | None:
        """The last recording of a call."""
        recorded = self.last.get(call_id)
        return None if recorded is None else self._url(call_id, recorded.attempt, recorded.recording)

    def of_attempt(self, attempt: Attempt) -> str | None:
        """The recording of an attempt."""
        return self._url(attempt.call_id, attempt.attempt, attempt.recording)

    def _url(self, call_id: int, attempt: int, recording: str | None) -> str | None:
        return recording_url(
            self.secret,
            self.base,
            account_id=self.account_id,
            call_id=call_id,
            attempt=attempt,
            recording=recording,
        )


async def sounds(
    media: Media, db: Database, request: Request[Any, Any, Any], account_id: int, call_ids: Sequence[int]
) -> Sounds:
    """Where the recordings of these calls play."""
    return Sounds(
        secret=media.secret,
        base=base_url(media, request),
        account_id=account_id,
        last=await recordings.last_of(db, account_id, call_ids),
    )


def seconds(duration_ms: int) -> float:
    """`3.3`."""
    return round(duration_ms / 1000, 1)


def uploaded(clip: Clip, *, secret: bytes, base: str) -> dict[str, Any]:
    """The answer of `audio/upload/`."""
    return {
        "length": seconds(clip.duration_ms or 0),
        "audioclip_id": clip.clip_id,
        "url": clip_url(secret, base, clip, "converted"),
    }


def clip_info(clip: Clip, duration_ms: int, *, secret: bytes, base: str) -> dict[str, Any]:
    """The answer of `audio/info/`. A text has no name of its own, so its number is its name."""
    synthesised = clip.suffix is None
    voice = clip.voice or {}
    return {
        "audioclip_id": clip.clip_id,
        "text": clip.text or "",
        "length_val": seconds(duration_ms),
        "clip_name": clip.name or str(clip.clip_id),
        "clip_type": SYNTHESISED if synthesised else UPLOADED,
        "speaker_name": (voice.get("name") or voice.get("language") or "")
        if synthesised
        else clip.speaker or "",
        "converted_url": clip_url(secret, base, clip, "converted"),
        "original_url": clip_url(secret, base, clip, "converted" if synthesised else "original"),
    }


def _key(secret: bytes, *parts: object) -> str:
    message = "/".join(map(str, parts)).encode()
    return hmac.new(secret, message, "sha256").hexdigest()[:32]
