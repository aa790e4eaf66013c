"""How does a receiver know that it is us? By Standard Webhooks signatures, with one secret or, in a rotation, two."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from standardwebhooks import Webhook

from zvonar.core.errors import AccountNotFound
from zvonar.store import webhook_secrets
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.deliveries import Delivery
from zvonar.store.webhook_secrets import Secret

_FRESH = timedelta(seconds=5)  # a secret that was rotated away without overlap signs no longer than that

_Webhooks = list[tuple[Webhook, datetime | None]]  # with the end of each
Secrets = Callable[[int], Awaitable[Sequence[Secret]]]  # the live ones of an account, the current one first


class Signers:
    """Signs deliveries with their accounts' secrets."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._known: dict[int, tuple[datetime, _Webhooks]] = {}  # by account, with the time of asking
        self._asking = asyncio.Lock()

    async def headers(self, delivery: Delivery, *, at: datetime) -> dict[str, str]:
        """`webhook-id`, `webhook-timestamp`, `webhook-signature` of a try made now; none without an account.

        The id names the message: the same in every try, and one for each message of an event. Raises
        StoreUnavailable where the account's secrets are not known yet and cannot be asked for.
        """
        webhooks = await self._of(delivery.account_id, at)
        if not webhooks:
            return {}
        message, data, utc = (
            f"{delivery.kind}_{delivery.event_id}",
            delivery.body.decode(),
            at.astimezone(UTC),
        )
        signatures = [
            webhook.sign(message, utc, data)
            for webhook, expires_at in webhooks
            if expires_at is None or expires_at > at
        ]
        return {
            "webhook-id": message,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    async def _of(self, account_id: int, at: datetime) -> _Webhooks:
        known = self._known.get(account_id)
        if known is not None and abs(at - known[0]) < _FRESH:
            return known[1]
        if known is not None:
            self._known[account_id] = at, known[1]  # one asks, others go on with what is known meanwhile
            with contextlib.suppress(StoreUnavailable):
                return await self._ask(account_id, at)
            return known[1]
        async with self._asking:
            if account_id in self._known:
                return self._known[account_id][1]
            return await self._ask(account_id, at)

    async def _ask(self, account_id: int, at: datetime) -> _Webhooks:
        try:
            secrets = await self._secrets(account_id)
        except AccountNotFound:
            secrets = ()
        webhooks = [(Webhook(secret.secret), secret.expires_at) for secret in secrets]
        self._known[account_id] = at, webhooks
        return webhooks


def stored(db: Database, clock: Callable[[], datetime]) -> Secrets:
    """The secrets that the database has."""

    async def live(account_id: int) -> Sequence[Secret]:
        return await webhook_secrets.live(db, account_id, now=clock())

    return live
