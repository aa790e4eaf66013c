"""Which audio does an account have, and where are its bytes?

What was spoken can be spoken again and is a file in the speech cache; what was uploaded is here, piece by piece.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, BinaryIO, Final, Literal

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.campaign import Voice
from zvonar.core.errors import NotFound
from zvonar.store.db import Connection, Database, row

Form = Literal["original", "converted"]  # of an upload: as it came, and as the telephone plays it

PIECE: Final = 1 << 20  # bytes in a row of clip_audio


class ClipNotFound(NotFound):
    """There is no such clip in this account."""


class Clip(Struct, frozen=True, kw_only=True):
    """Audio of an account: a text to synthesise, or an upload."""

    account_id: int
    clip_id: int
    kind: str  # synthesised, uploaded
    fingerprint: str  # SHA-256 in hex
    text: str | None  # what is spoken; of an upload what its owner says of it
    voice: dict[str, Any] | None
    duration_ms: int | None  # of an upload
    name: str | None  # of an upload, as are the next two
    speaker: str | None
    suffix: str | None  # wav, mp3, ogg, flac: the format that it came in
    created_at: datetime


class NewUpload(Struct, frozen=True, kw_only=True):
    """A recording that was accepted and converted."""

    fingerprint: str  # of its bytes and all that is said of it
    name: str
    speaker: str | None
    text: str | None
    suffix: str
    duration_ms: int


_CLIP = "account_id, clip_id, kind, fingerprint, text, voice, duration_ms, name, speaker, suffix, created_at"

# The clip that this text or recording already is; most calls of a campaign say what another has said.
KNOWN = f"SELECT {_CLIP} FROM clips WHERE account_id = %(account_id)s AND fingerprint = %(fingerprint)s"

# The same words in the same voice are one clip, however often they are sent.
PUT_TEXT = f"""
INSERT INTO clips (account_id, kind, fingerprint, text, voice, created_at)
VALUES (%(account_id)s, 'synthesised', %(fingerprint)s, %(text)s, %(voice)s, %(now)s)
ON CONFLICT (account_id, fingerprint) DO UPDATE SET text = excluded.text
RETURNING {_CLIP}
"""

# A recording of an account; where the same was sent at the same moment, no row, for the other's is it.
ADD_UPLOAD = f"""
INSERT INTO clips (account_id, kind, fingerprint, text, name, speaker, suffix, duration_ms, created_at)
VALUES (%(account_id)s, 'uploaded', %(fingerprint)s, %(text)s, %(name)s, %(speaker)s, %(suffix)s, %(duration_ms)s,
    %(now)s)
ON CONFLICT (account_id, fingerprint) DO NOTHING
RETURNING {_CLIP}
"""

# One piece of an upload's bytes.
ADD_PIECE = """
INSERT INTO clip_audio (account_id, clip_id, form, part, data)
VALUES (%(account_id)s, %(clip_id)s, %(form)s, %(part)s, %(data)s)
"""

# One piece of an upload's bytes; none behind the last.
PIECE_OF = """
SELECT data FROM clip_audio
WHERE account_id = %(account_id)s AND clip_id = %(clip_id)s AND form = %(form)s AND part = %(part)s
"""

GET = f"SELECT {_CLIP} FROM clips WHERE account_id = %(account_id)s AND clip_id = %(clip_id)s"

# An account's clips, newest first.
PAGE = f"""
SELECT {_CLIP} FROM clips WHERE account_id = %(account_id)s
ORDER BY clip_id DESC LIMIT %(limit)s::bigint OFFSET %(skipped)s::bigint
"""
COUNT = "SELECT count(*) FROM clips WHERE account_id = %(account_id)s"

# Those of some clips that are the account's.
KNOWN_IDS = """
SELECT coalesce(array_agg(clip_id), '{}') FROM clips
WHERE account_id = %(account_id)s AND clip_id = ANY(%(clip_ids)s)
"""


def fingerprint(text: str, voice: Voice) -> str:
    """What makes two texts the same clip."""
    # As they were before voices had more than that.
    shape: list[object] = [text, {"language": voice.language, "name": voice.name}]
    if voice.rate != 100 or voice.pitch != 100:
        shape.append([voice.rate, voice.pitch])
    return hashlib.sha256(msgspec.json.encode(shape)).hexdigest()


async def put_text(db: Database, account_id: int, text: str, voice: Voice, *, now: datetime) -> Clip:
    """The account's clip of this text in this voice; a new one where there was none."""
    params = {
        "account_id": account_id,
        "fingerprint": fingerprint(text, voice),
        "text": text,
        "voice": Jsonb(msgspec.to_builtins(voice)),
        "now": now,
    }
    clip = await db.row(Clip, KNOWN, params) or await db.row(Clip, PUT_TEXT, params)
    assert clip is not None
    return clip


async def known(db: Database, account_id: int, fingerprint: str) -> Clip | None:
    """The account's clip of this fingerprint."""
    return await db.row(Clip, KNOWN, {"account_id": account_id, "fingerprint": fingerprint})


async def add_upload(
    db: Database, account_id: int, new: NewUpload, files: Mapping[Form, BinaryIO], *, now: datetime
) -> Clip:
    """The recording as a clip, with the bytes of `files`: all of it once this returns, nothing of it before."""
    params = {"account_id": account_id, **msgspec.structs.asdict(new), "now": now}
    async with db.transaction() as connection:
        clip = await row(connection, Clip, ADD_UPLOAD, params)
        if clip is not None:
            for form, file in files.items():
                await _add_bytes(connection, clip, form, file)
            return clip
    found = await known(db, account_id, new.fingerprint)
    assert found is not None
    return found


async def _add_bytes(connection: Connection, clip: Clip, form: Form, file: BinaryIO) -> None:
    await asyncio.to_thread(file.seek, 0)
    part = 0
    while data := await asyncio.to_thread(file.read, PIECE):
        piece = {
            "account_id": clip.account_id,
            "clip_id": clip.clip_id,
            "form": form,
            "part": part,
            "data": data,
        }
        await connection.execute(ADD_PIECE, piece)
        part += 1


async def pieces(db: Database, clip: Clip, form: Form) -> AsyncIterator[bytes]:
    """An upload's bytes, a piece at a time; none where there are none."""
    where = {"account_id": clip.account_id, "clip_id": clip.clip_id, "form": form}
    part = 0
    while (data := await db.value(PIECE_OF, {**where, "part": part})) is not None:
        yield bytes(data)
        part += 1


async def get(db: Database, account_id: int, clip_id: int) -> Clip:
    """The account's clip, or ClipNotFound."""
    clip = await db.row(Clip, GET, {"account_id": account_id, "clip_id": clip_id})
    if clip is None:
        raise ClipNotFound(str(clip_id))
    return clip


async def page(db: Database, account_id: int, *, number: int, size: int) -> tuple[list[Clip], int]:
    """A page (from 1) of an account's clips, newest first, and how many there are."""
    params = {"account_id": account_id, "limit": size, "skipped": (number - 1) * size}
    return await db.rows(Clip, PAGE, params), int(await db.value(COUNT, params))


async def known_ids(db: Database, account_id: int, clip_ids: Sequence[int]) -> set[int]:
    """Those of these ids that are clips of the account."""
    return set(await db.value(KNOWN_IDS, {"account_id": account_id, "clip_ids": list(clip_ids)}))
