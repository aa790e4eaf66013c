"""What is in an access token, and is it ours? JWTs, because clients look into them for their end."""

from datetime import datetime, timedelta
from typing import Any, Final

import jwt
from msgspec import Struct

# Kinds of keys.
ACCESS: Final = "amocrm_access_token"
REFRESH: Final = "amocrm_refresh_token"
CODE: Final = "amocrm_code"
LOGIN: Final = "amocrm"  # the kind of login that a client_id and its secret are

CODE_LIVES: Final = timedelta(minutes=20)
ACCESS_LIVES: Final = timedelta(hours=24)
REFRESH_LIVES: Final = timedelta(days=90)
LONG_LIVES: Final = timedelta(days=5 * 365)  # a long-lived token, which is never refreshed

ALGORITHM: Final = "HS256"
VERSION: Final = 2  # of the vendor's claims
SCOPES: Final = ("crm", "notifications")


class Claims(Struct, frozen=True, kw_only=True):
    """What a token says."""

    user_id: int
    account_id: int
    client_id: str  # of the integration
    expires_at: datetime


def sign(
    claims: Claims, secret: bytes, *, token_id: str, now: datetime, api_domain: str | None = None
) -> str:
    """A token. `token_id` makes it another than every other one."""
    payload: dict[str, Any] = {
        "aud": claims.client_id,
        "jti": token_id,
        "iat": int(now.timestamp()),
        "nbf": int(now.timestamp()),
        "exp": int(claims.expires_at.timestamp()),
        "sub": str(claims.user_id),
        "grant_type": "",
        "account_id": claims.account_id,
        "version": VERSION,
        "scopes": SCOPES,
    }
    if api_domain is not None:
        payload["api_domain"] = api_domain
    return jwt.encode(payload, secret, algorithm=ALGORITHM)


def read(token: str, secret: bytes, *, now: datetime) -> Claims | None:
    """What a token says; None where it is not ours, was changed, or has ended by `now`."""
    try:
        # Its times are compared below: the library would ask this machine's clock.
        payload = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            options={
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": False,
                "require": ["exp", "sub", "aud", "jti"],
            },
        )
        claims = Claims(
            user_id=int(payload["sub"]),
            account_id=int(payload["account_id"]),
            client_id=str(payload["aud"]),
            expires_at=datetime.fromtimestamp(payload["exp"], now.tzinfo),
        )
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return claims if now < claims.expires_at else None
