"""How are tokens got from amoCRM? A code or a refresh token is exchanged; what comes back replaces both."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from zvonar.core.errors import Refused
from zvonar.delivery.crm.vault import Credentials
from zvonar.delivery.crm.wire import CrmHttp, Reply
from zvonar.store.push_paces import Slot

PATH: Final = "/oauth2/access_token"
_LIFETIME: Final = 86_400  # seconds, where the CRM does not say
_MOST: Final = 10 * 366 * 86_400


class CodeRefused(Refused):
    """The CRM does not take these keys:"""


def _body(credentials: Credentials, grant: dict[str, str]) -> bytes:
    return msgspec.json.encode(
        {
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
            **grant,
            "redirect_uri": credentials.redirect_uri,
        }
    )


async def exchange(http: CrmHttp, slot: Slot, base_url: str, credentials: Credentials, *, code: str) -> Reply:
    """Ask for the first tokens of an integration."""
    body = _body(credentials, {"grant_type": "authorization_code", "code": code})
    return await http.ask(slot, "POST", base_url + PATH, body=body)


async def refresh(http: CrmHttp, slot: Slot, base_url: str, credentials: Credentials) -> Reply:
    """Ask for new tokens; the old refresh token is worth nothing afterwards."""
    body = _body(
        credentials, {"grant_type": "refresh_token", "refresh_token": credentials.refresh_token or ""}
    )
    return await http.ask(slot, "POST", base_url + PATH, body=body)


def granted(reply: Reply, credentials: Credentials, *, now: datetime) -> tuple[Credentials, datetime] | None:
    """The new tokens of an answer, and the end of the access token; None where it has none."""
    access, refreshing = reply.under("access_token"), reply.under("refresh_token")
    if reply.status != 200 or not _token(access) or not _token(refreshing):
        return None
    seconds = reply.under("expires_in")
    lifetime = seconds if isinstance(seconds, int) and 0 < seconds < _MOST else _LIFETIME
    made = msgspec.structs.replace(credentials, access_token=access, refresh_token=refreshing, issued_at=now)
    return made, now + timedelta(seconds=lifetime)


def refused(reply: Reply) -> bool:
    """Whether this answer says that the keys are worth nothing, whoever asks again."""
    return reply.status in (400, 401, 404) and reply.data is not None


def hint(reply: Reply) -> str:
    """What the CRM says of it, in a few printable words."""
    for name in ("hint", "detail", "title"):
        found = reply.under(name)
        if isinstance(found, str) and found:
            return "".join(letter for letter in found[:200] if letter.isprintable())
    return f"HTTP {reply.status}"


def expiry(token: str) -> datetime | None:
    """The `exp` of a JWT, unverified: it only tells when to expect that the token is no longer taken."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims: Any = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        at = claims.get("exp") if isinstance(claims, dict) else None
        return datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else None
    except (binascii.Error, ValueError, OverflowError, OSError, msgspec.MsgspecError):
        return None


def _token(found: Any) -> bool:
    return isinstance(found, str) and 0 < len(found) <= 16_384 and found.isascii() and found.isprintable()
