"""What does an integration want tokens for? JSON, or a form as older clients send it."""

from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from zvonar.dialects.amocrm.errors import BadRequest, OAuthProblem
from zvonar.dialects.amocrm.requests.fields import document

GRANTS = {"authorization_code": "code", "refresh_token": "refresh_token"}
_MOST = 4_000  # characters of a value


class Wish(Struct, frozen=True, kw_only=True):
    """A request for tokens."""

    client_id: str
    client_secret: str
    grant_type: str
    key: str  # the code or the refresh token
    redirect_uri: str | None

    def __repr__(self) -> str:
        return "Wish(…)"


def wish(body: bytes, content_type: str) -> Wish:
    """What is asked for. Raises OAuthProblem."""
    values = _values(body, content_type)
    grant = _needed(values, "grant_type")
    if grant not in GRANTS:
        raise OAuthProblem("Check the `grant_type` parameter")
    redirect = values.get("redirect_uri")
    if redirect is not None and not isinstance(redirect, str):
        raise OAuthProblem("Check the `redirect_uri` parameter")
    return Wish(
        client_id=_needed(values, "client_id"),
        client_secret=_needed(values, "client_secret"),
        grant_type=grant,
        key=_needed(values, GRANTS[grant]),
        redirect_uri=redirect or None,
    )


def _values(body: bytes, content_type: str) -> dict[str, object]:
    if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        try:
            return dict(parse_qsl(body.decode(), max_num_fields=100, errors="strict"))
        except ValueError:
            raise OAuthProblem("Check the `grant_type` parameter") from None
    try:
        found = document(body)
    except BadRequest:
        raise OAuthProblem("Check the `grant_type` parameter") from None
    return msgspec.convert(found, dict[str, object]) if isinstance(found, dict) else {}


def _needed(values: dict[str, object], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value or len(value) > _MOST or "\0" in value:
        raise OAuthProblem(f"Check the `{name}` parameter")
    return value
