"""Who may ask a CRM now, and with which token? A slot for every request, and a token that one process keeps fresh."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog
from yarl import URL

from zvonar.delivery.crm import oauth
from zvonar.delivery.crm.trouble import CrmTrouble, Trouble, objection
from zvonar.delivery.crm.vault import Credentials, CredentialsUnreadable, Vault
from zvonar.delivery.crm.wire import CrmHttp, Reply
from zvonar.store import push_connections, push_paces
from zvonar.store.db import Database
from zvonar.store.push_connections import REFRESH_EARLY, REFRESH_SECONDS, CrmConnection
from zvonar.store.push_paces import Slot

log = structlog.get_logger(__name__)

PER_SECOND: Final = 7  # amoCRM: requests a second
_LOOK: Final = 0.2  # seconds between looks at whether another process has refreshed
_FRESH: Final = 60.0  # seconds in which a token that is refused was never good


class Tokens:
    """The tokens of all accounts. One per process."""

    def __init__(self, db: Database, http: CrmHttp, vault: Vault, *, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._http = http
        self._vault = vault
        self._clock = clock
        self._known: dict[int, tuple[int, Credentials]] = {}  # by account, with the version

    async def fresh(self, crm: CrmConnection) -> CrmConnection:
        """The connection with a token that is good for a while. Raises CrmTrouble."""
        ends = crm.expires_at if crm.kind == "oauth" else None
        if ends is not None and ends - REFRESH_EARLY <= self._clock():
            return await self._refreshed(crm)
        return crm

    def access(self, crm: CrmConnection) -> str:
        """Its access token. Raises CredentialsUnreadable."""
        return self._credentials(crm).access_token

    async def refused(self, crm: CrmConnection, exc: CrmTrouble) -> CrmConnection:
        """The token of this version was not taken: the connection with another one. Raises CrmTrouble once all is
        lost; then the connection is, and its account has been told.
        """
        now = await push_connections.get(self._db, crm.account_id)
        if now.version != crm.version or now.state != "connected":
            return now  # somebody was quicker
        credentials = self._credentials(crm)
        age = (self._clock() - credentials.issued_at).total_seconds()
        if crm.kind != "oauth" or age < _FRESH:
            await self._lose(crm, exc.status)
            raise exc
        return await self._refreshed(crm)

    async def slot(self, crm: CrmConnection) -> Slot:
        """A slot for one request, as soon as there is one."""
        while True:
            async with self._db.connection() as connection:
                taken = await push_paces.take(connection, crm.base_url, count=PER_SECOND)
            if isinstance(taken, Slot):
                return taken
            await asyncio.sleep(taken)

    def _credentials(self, crm: CrmConnection) -> Credentials:
        known = self._known.get(crm.account_id)
        if known is not None and known[0] == crm.version:
            return known[1]
        opened = self._vault.open(crm.account_id, crm.credentials)
        self._known[crm.account_id] = crm.version, opened
        return opened

    async def _refreshed(self, crm: CrmConnection) -> CrmConnection:
        if not await push_connections.claim_refresh(
            self._db, crm.account_id, version=crm.version, seconds=REFRESH_SECONDS
        ):
            return await self._others(crm)
        try:
            credentials = self._credentials(crm)
            reply = await oauth.refresh(self._http, await self.slot(crm), crm.base_url, credentials)
            granted = oauth.granted(reply, credentials, now=self._clock())
            if granted is None:
                if oauth.refused(reply):
                    await self._lose(crm, reply.status)
                    raise CrmTrouble(Trouble.unauthorised, reply)
                raise objection(reply) or CrmTrouble(Trouble.strange, reply)
        except BaseException:
            await push_connections.release_refresh(self._db, crm.account_id, version=crm.version)
            raise
        made, expires_at = granted
        # The old refresh token is spent: what is not kept now is lost, so this outlives an absence of the database.
        sealed = self._vault.seal(crm.account_id, made)
        await asyncio.shield(
            self._db.patiently(
                lambda: push_connections.refreshed(
                    self._db,
                    crm.account_id,
                    version=crm.version,
                    credentials=sealed,
                    expires_at=expires_at,
                    now=self._clock(),
                ),
                what="crm tokens",
            )
        )
        log.info("crm.tokens_refreshed", account_id=crm.account_id)
        return await push_connections.get(self._db, crm.account_id)

    async def _others(self, crm: CrmConnection) -> CrmConnection:
        """Another process is at it: wait for what comes of that."""
        try:
            async with asyncio.timeout(REFRESH_SECONDS):
                while True:
                    now = await push_connections.get(self._db, crm.account_id)
                    if now.version != crm.version:
                        return now
                    if now.state != "connected" or not await push_connections.refreshing(
                        self._db, crm.account_id
                    ):
                        raise CrmTrouble(Trouble.away)
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            raise CrmTrouble(Trouble.away) from None

    async def _lose(self, crm: CrmConnection, status: int | None) -> None:
        if await push_connections.lose(
            self._db,
            crm.account_id,
            version=crm.version,
            trouble=Trouble.unauthorised,
            status=status,
            now=self._clock(),
        ):
            log.error("crm.keys_lost", account_id=crm.account_id, status=status)


class Asking:
    """Asks one CRM, for one piece of work: the first request has a slot already."""

    def __init__(self, http: CrmHttp, tokens: Tokens, crm: CrmConnection, first: Slot | None) -> None:
        self._http = http
        self._tokens = tokens
        self.crm = crm
        self._first = first

    async def ask(
        self, method: str, path: str, *, query: list[tuple[str, str]] | None = None, body: bytes | None = None
    ) -> Reply:
        """One request. Its answer may be whatever it is, trouble included. Raises CredentialsUnreadable."""
        token = self._tokens.access(self.crm)
        url = URL(self.crm.base_url + path).with_query(query)
        slot = await self.ready()
        self._first = None
        return await self._http.ask(slot, method, url, token=token, body=body)

    async def ready(self) -> Slot:
        """Have a slot for the next request: what is written down now is followed by it at once."""
        if self._first is None:
            self._first = await self._tokens.slot(self.crm)
        return self._first

    async def read(self, path: str, *, query: list[tuple[str, str]] | None = None) -> Reply:
        """A GET that has an answer. Raises CrmTrouble."""
        reply = await self.ask("GET", path, query=query)
        if (exc := objection(reply)) is not None:
            raise exc
        return reply

    async def finish(self) -> None:
        """Nothing more is asked: a slot that was not needed goes back."""
        slot, self._first = self._first, None
        if slot is not None:
            await self._http.give_back(slot)


__all__ = ["PER_SECOND", "Asking", "CredentialsUnreadable", "Tokens"]
