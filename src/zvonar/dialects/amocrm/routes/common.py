"""What does every request begin with? A token, the rights of its user, and the host that links lead to."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from litestar import Request
from msgspec import Struct

from zvonar.core.errors import Unauthorised
from zvonar.dialects import links
from zvonar.dialects.amocrm import limits, tokens
from zvonar.dialects.amocrm.caller import Caller
from zvonar.dialects.amocrm.errors import NoRights, NoToken, NotThere, TooMany
from zvonar.dialects.amocrm.requests import lists
from zvonar.dialects.amocrm.requests.lists import Asked
from zvonar.store import accounts, crm_tokens, crm_users
from zvonar.store.crm_users import Role
from zvonar.store.db import Database

Req = Request[Any, Any, Any]


class Service(Struct, frozen=True, kw_only=True):
    """What this dialect needs of the house."""

    db: Database
    now: Callable[[], datetime]  # aware
    public_url: str | None = None  # prefixes every link; the request's own host unless given
    strict: bool = False  # whether null in place of an optional parameter of a call is refused


class Door:
    """Lets in whoever has a token, seven times a second."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._secret: bytes | None = None

    async def secret(self) -> bytes:
        """What tokens are signed with; it never changes."""
        if self._secret is None:
            self._secret = await crm_tokens.secret(self._service.db)
        return self._secret

    async def reader(self, request: Req) -> Caller:
        """Who asks. Raises NoToken, TooMany."""
        service, now = self._service, self._service.now()
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise NoToken
        token = token.strip()
        claims = tokens.read(token, await self.secret(), now=now)
        if claims is None:
            raise NoToken
        try:
            entered = await crm_users.come_in(
                service.db,
                limits.SECOND,
                accounts.hash_key(token),
                kind=tokens.ACCESS,
                user_id=claims.user_id,
                now=now,
            )
        except Unauthorised:
            raise NoToken from None
        if entered is None:
            raise TooMany
        base = links.base_url(request, service.public_url)
        return Caller(
            account=entered.account,
            user=entered.user,
            client_id=claims.client_id,
            base=base,
            now=now,
            heard=entered.heard,
        )

    async def writer(self, request: Req) -> Caller:
        """Who asks, and may change cards. Raises NoToken, TooMany, NoRights."""
        caller = await self.reader(request)
        if caller.user.role == Role.viewer:
            raise NoRights
        return caller


def path_id(request: Req, name: str) -> int:
    """An id in the path. Raises NotThere."""
    text = str(request.path_params[name])
    # An event's id has zeros before it.
    if not (text.isascii() and text.isdigit() and len(text) <= 26 and int(text) <= limits.MAX_ID):
        raise NotThere("The path has no such thing.")
    return int(text)


def asked(request: Req, *, most: int = limits.MAX_PAGE) -> Asked:
    """Which part of a list a request asks for. Raises BadRequest."""
    return lists.asked([(name, str(value)) for name, value in request.query_params.multi_items()], most=most)


def url_of(caller: Caller, *path: object) -> str:
    """The address of something under /api/v4."""
    return "/".join(map(str, (caller.base, "api/v4", *path)))
