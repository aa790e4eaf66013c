"""Which mail server carries our letters? The operator's, as ZVONAR_SMTP_URL names it."""

from urllib.parse import unquote, urlsplit

from zvonar.core.errors import Invalid
from zvonar.delivery.letters import checked_email
from zvonar.delivery.mail import Smtp

_PORTS = {"smtp": 25, "smtps": 465}


class SmtpUrlInvalid(Invalid):
    """ZVONAR_SMTP_URL is smtp://user:password@host:587 or smtps://user:password@host, percent-encoded."""


def mail_server(url: str | None, sender: str) -> Smtp | None:
    """The server of this URL, None without one. Never quotes the URL: it may hold a password.

    Raises SmtpUrlInvalid, and EmailInvalid for a sender that is no address.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SmtpUrlInvalid() from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise SmtpUrlInvalid()
    return Smtp(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        sender=checked_email(sender),
        tls=parts.scheme == "smtps",
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )
