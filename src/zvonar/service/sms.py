"""Who carries our short texts? The operator's provider, as ZVONAR_SMS_URL names it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from zvonar.core.errors import Invalid
from zvonar.delivery.guard import networks
from zvonar.delivery.post import Poster
from zvonar.delivery.smpp import PORT, Smpp, SmppTransport
from zvonar.delivery.sms import NoSms, ToTelephones
from zvonar.delivery.sms_http import HttpSmsTransport, SmsTemplate
from zvonar.delivery.verdict import Transport

_EVERYWHERE = networks(["0.0.0.0/0", "::/0"])  # the operator's own word: providers often stand inside
_MAX_SYSTEM_ID, _MAX_PASSWORD, _MAX_SENDER = 15, 8, 15


class SmsUrlInvalid(Invalid):
    """ZVONAR_SMS_URL is smpp://user:password@host:2775/SENDER, smpps://…, or file:///path of an HTTP template."""


def provider(url: str | None) -> Smpp | SmsTemplate | None:
    """What this URL names, None without one. Never quotes it: it may hold a password.

    Raises SmsUrlInvalid, SmsTemplateInvalid.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SmsUrlInvalid from None
    if parts.scheme == "file":
        return _template(Path(unquote(parts.path)))
    system_id, password = unquote(parts.username or ""), unquote(parts.password or "")
    sender = unquote(parts.path.removeprefix("/"))
    if (
        parts.scheme not in ("smpp", "smpps")
        or not parts.hostname
        or parts.query
        or not 1 <= len(system_id) <= _MAX_SYSTEM_ID
        or len(password) > _MAX_PASSWORD
        or not 1 <= len(sender) <= _MAX_SENDER
        or not (system_id + password + sender).isascii()
    ):
        raise SmsUrlInvalid
    return Smpp(
        host=parts.hostname,
        port=port or PORT,
        tls=parts.scheme == "smpps",
        system_id=system_id,
        password=password,
        sender=sender,
    )


def _template(path: Path) -> SmsTemplate:
    try:
        return msgspec.json.decode(path.read_bytes(), type=SmsTemplate).checked()
    except (OSError, msgspec.MsgspecError):
        raise SmsUrlInvalid from None


@asynccontextmanager
async def carried(named: Smpp | SmsTemplate | None) -> AsyncIterator[Transport]:
    """The transport of a provider; without one, one that says so."""
    match named:
        case Smpp():
            async with SmppTransport(named) as transport:
                yield ToTelephones(transport)
        case SmsTemplate():
            async with Poster(allowed=_EVERYWHERE) as poster:
                yield ToTelephones(HttpSmsTransport(poster, named))
        case None:
            yield ToTelephones(NoSms())
