"""Which audio does an account have, and how is it found again? The files themselves are in the speech cache."""

import hashlib
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.campaign import Voice
from zvonar.core.errors import NotFound
from zvonar.store.db import Database


class ClipNotFound(NotFound):
    """There is no such clip in this account."""


class Clip(Struct, frozen=True, kw_only=True):
    """Audio of an account: a text to synthesise, or an upload."""

    account_id: int
    clip_id: int
    kind: str  # synthesised, uploaded
    text: str | None
    voice: dict[str, Any] | None
    path: str | None
    duration_ms: int | None


_CLIP = "account_id, clip_id, kind, text, voice, path, duration_ms"

# The clip that this text already is; most calls of a campaign say what another has said.
KNOWN_TEXT = f"SELECT {_CLIP} FROM clips WHERE account_id = %(account_id)s AND fingerprint = %(fingerprint)s"

# The same words in the same voice are one clip, however often they are sent.
PUT_TEXT = f"""
INSERT INTO clips (account_id, kind, fingerprint, text, voice, created_at)
VALUES (%(account_id)s, 'synthesised', %(fingerprint)s, %(text)s, %(voice)s, %(now)s)
ON CONFLICT (account_id, fingerprint) DO UPDATE SET text = excluded.text
RETURNING {_CLIP}
"""

GET = f"SELECT {_CLIP} FROM clips WHERE account_id = %(account_id)s AND clip_id = %(clip_id)s"


def fingerprint(text: str, voice: Voice) -> str:
    """What makes two texts the same clip."""
    return hashlib.sha256(msgspec.json.encode([text, voice])).hexdigest()


async def put_text(db: Database, account_id: int, text: str, voice: Voice, *, now: datetime) -> Clip:
    """The account's clip of this text in this voice; a new one where there was none."""
    params = {
        "account_id": account_id,
        "fingerprint": fingerprint(text, voice),
        "text": text,
        "voice": Jsonb(msgspec.to_builtins(voice)),
        "now": now,
    }
    clip = await db.row(Clip, KNOWN_TEXT, params) or await db.row(Clip, PUT_TEXT, params)
    assert clip is not None
    return clip


async def get(db: Database, account_id: int, clip_id: int) -> Clip:
    """The account's clip, or ClipNotFound."""
    clip = await db.row(Clip, GET, {"account_id": account_id, "clip_id": clip_id})
    if clip is None:
        raise ClipNotFound(str(clip_id))
    return clip
