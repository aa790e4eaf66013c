"""Who gets tokens? POST /oauth2/access_token: whoever gives a code or a refresh token, once."""

import asyncio
from http import HTTPStatus
from urllib.parse import urlsplit

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from zvonar.dialects import links
from zvonar.dialects.amocrm import answers, errors, grants, limits, tokens
from zvonar.dialects.amocrm.errors import OAuthProblem, TooMany
from zvonar.dialects.amocrm.requests import oauth
from zvonar.dialects.amocrm.requests.oauth import Wish
from zvonar.dialects.amocrm.routes.common import Door, Req, Service
from zvonar.store import accounts, crm_tokens, crm_users
from zvonar.store import limits as rates
from zvonar.store.crm_tokens import Grant, Refusal

_KINDS = {"authorization_code": tokens.CODE, "refresh_token": tokens.REFRESH}

# What is said of a code, by why it is not taken. That of another account is a guess [G].
_OF_CODE = {
    Refusal.unknown: "Cannot decrypt the authorization code",
    Refusal.foreign: "Invalid account",
    Refusal.spent: "Authorization code has been revoked",
    Refusal.expired: "Authorization code has expired",
}
# The same of a refresh token: the words of the library that the vendor's texts come from [G].
_OF_REFRESH = {
    Refusal.unknown: ("Cannot decrypt the refresh token", HTTPStatus.BAD_REQUEST),
    Refusal.foreign: ("Token is not linked to client", HTTPStatus.BAD_REQUEST),
    Refusal.spent: errors.SPENT_REFRESH,
    Refusal.expired: ("Token has expired", HTTPStatus.BAD_REQUEST),
}


def handlers(service: Service, door: Door) -> list[HTTPRouteHandler]:
    @post("/access_token", status_code=200)
    async def access_token(request: Req) -> Response[bytes]:
        """Tokens for a code or a refresh token."""
        wish = oauth.wish(await request.body(), request.headers.get("content-type", ""))
        return await _given(service, door, wish, links.base_url(request, service.public_url))

    return [access_token]


async def _given(service: Service, door: Door, wish: Wish, base: str) -> Response[bytes]:
    db, now = service.db, service.now()
    login = await accounts.login(db, kind=tokens.LOGIN, login=wish.client_id)
    if login is None:
        raise OAuthProblem("Check the `client_id` parameter")
    if not await rates.take(db, limits.TOKENS, rates.key_hash(wish.client_id), now=now):
        raise TooMany
    # In a thread: the comparison is made to take its time.
    if not await asyncio.to_thread(accounts.password_matches, wish.client_secret, login.password_hash):
        raise OAuthProblem("Check the `client_secret` parameter")
    registered = await crm_tokens.redirect_uri(db, login.account_id)
    if registered is not None and wish.redirect_uri != registered:
        raise OAuthProblem("Redirect URI is not associated with client")
    async with db.connection() as connection:
        user = await crm_users.owner(connection, login.account_id)
    token = grants.access(
        login.account_id,
        user,
        client_id=wish.client_id,
        secret=await door.secret(),
        lives=tokens.ACCESS_LIVES,
        now=now,
        api_domain=urlsplit(base).netloc,
    )
    refresh = Grant(key=grants.opaque(), expires_at=now + tokens.REFRESH_LIVES)
    refusal = await crm_tokens.exchange(
        db,
        login.account_id,
        wish.key,
        kind=_KINDS[wish.grant_type],
        grants={tokens.ACCESS: token, tokens.REFRESH: refresh},
        now=now,
    )
    if refusal is not None:
        if wish.grant_type == "authorization_code":
            raise OAuthProblem(_OF_CODE[refusal])
        raise OAuthProblem(*_OF_REFRESH[refusal])
    return answers.tokens(token.key, refresh.key, lives=tokens.ACCESS_LIVES, now=now)
