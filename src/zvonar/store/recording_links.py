"""Who may hear a recording without a key? Whoever has its link, until the link is revoked."""

from datetime import datetime
from typing import Literal
from uuid import uuid4

from msgspec import Struct

from zvonar.store.db import Database

Use = Literal["talk", "full", "voice_mail"]


class Link(Struct, frozen=True, kw_only=True):
    """A link that is valid."""

    account_id: int
    communication_id: int  # the session
    kind: Use
    recording: str  # file name below the gateway's directory


ADD = """
INSERT INTO recording_links (token, account_id, communication_id, kind, recording)
VALUES (%(token)s, %(account_id)s, %(communication_id)s, %(kind)s, %(recording)s)
"""

FIND = """
SELECT account_id, communication_id, kind, recording FROM recording_links
WHERE token = %(token)s AND communication_id = %(communication_id)s AND revoked_at IS NULL
"""

REVOKE = """
UPDATE recording_links SET revoked_at = %(now)s
WHERE account_id = %(account_id)s AND communication_id = %(communication_id)s AND revoked_at IS NULL
"""


async def add(db: Database, account_id: int, communication_id: int, *, kind: Use, recording: str) -> str:
    """A new link; its token cannot be guessed."""
    token = uuid4().hex
    params = {
        "token": token,
        "account_id": account_id,
        "communication_id": communication_id,
        "kind": kind,
        "recording": recording,
    }
    await db.execute(ADD, params)
    return token


async def find(db: Database, token: str, communication_id: int) -> Link | None:
    """What a link opens; None where there is none, or no longer."""
    return await db.row(Link, FIND, {"token": token, "communication_id": communication_id})


async def revoke(db: Database, account_id: int, communication_id: int, *, now: datetime) -> int:
    """Revoke every link to a session's recordings; how many."""
    params = {"account_id": account_id, "communication_id": communication_id, "now": now}
    return await db.execute(REVOKE, params)
