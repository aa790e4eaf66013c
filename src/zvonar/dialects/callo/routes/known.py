"""What was read a moment ago? Accounts, campaigns and clips, so that adding a call asks the database once.

Nothing is accepted on such a memory alone: the statement that stores a call looks at the key and at the campaign's
version again.
"""

from collections import OrderedDict
from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from zvonar.core import markup
from zvonar.core.campaign import Voice
from zvonar.store import accounts, campaigns, clips, trunks
from zvonar.store.accounts import Account
from zvonar.store.campaigns import Campaign
from zvonar.store.clips import ClipNotFound
from zvonar.store.db import Database

_ACCOUNTS = timedelta(seconds=10)  # in which an account's default country may change without being noticed
_TRIAL = timedelta(seconds=1)
_MOST = 10_000  # entries of a memory

Key = TypeVar("Key", bound=Hashable)
Thing = TypeVar("Thing")


class _Memory(Generic[Key, Thing]):
    """The things that were asked for last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._things: OrderedDict[Key, Thing] = OrderedDict()

    def get(self, key: Key) -> Thing | None:
        thing = self._things.get(key)
        if thing is not None:
            self._things.move_to_end(key)
        return thing

    def put(self, key: Key, thing: Thing) -> None:
        self._things[key] = thing
        self._things.move_to_end(key)
        if len(self._things) > self._most:
            self._things.popitem(last=False)


class Known:
    """One process's memory."""

    def __init__(self, db: Database, *, kind: str) -> None:
        """`kind`: of the keys."""
        self._db = db
        self._kind = kind
        self._accounts: _Memory[bytes, tuple[Account, datetime]] = _Memory(_MOST)
        self._campaigns: _Memory[tuple[int, int], Campaign] = _Memory(_MOST)
        self._clips: _Memory[tuple[int, str], int] = _Memory(_MOST)
        self._met: _Memory[tuple[int, int], bool] = _Memory(_MOST)  # clips that are there
        self._trial: tuple[bool, datetime] | None = None

    async def account(self, key: str, key_hash: bytes, *, now: datetime) -> Account:
        """Whose key this is, or Unauthorised. `key_hash`: of the key, as it is stored."""
        found = self._accounts.get(key_hash)
        if found is not None and timedelta(0) <= now - found[1] < _ACCOUNTS:
            return found[0]
        account = await accounts.by_key(self._db, key, kind=self._kind)
        self._accounts.put(key_hash, (account, now))
        return account

    async def campaign(self, account_id: int, campaign_id: int, *, fresh: bool) -> tuple[Campaign, bool]:
        """A campaign, and whether it was read just now; CampaignNotFound."""
        key = (account_id, campaign_id)
        found = None if fresh else self._campaigns.get(key)
        if found is not None:
            return found, False
        campaign = await campaigns.get(self._db, account_id, campaign_id)
        self._campaigns.put(key, campaign)
        return campaign, True

    def clip(self, account_id: int, text: str, voice: Voice) -> int | None:
        """The account's clip of this text in this voice, if it was met already."""
        return self._clips.get((account_id, clips.fingerprint(text, voice)))

    def met_clip(self, account_id: int, text: str, voice: Voice, clip_id: int) -> None:
        """It is known from now on."""
        self._clips.put((account_id, clips.fingerprint(text, voice)), clip_id)

    async def has_clips(self, account_id: int, text: str) -> bool:
        """Whether the account has every clip that a text plays; a clip is never taken away."""
        for clip_id in markup.clip_ids(text):
            if self._met.get((account_id, clip_id)) is None:
                try:
                    await clips.get(self._db, account_id, clip_id)
                except ClipNotFound:
                    return False
                self._met.put((account_id, clip_id), True)
        return True

    async def trial(self, *, now: datetime) -> bool:
        """Whether town numbers count as numbers."""
        if self._trial is None or not timedelta(0) <= now - self._trial[1] < _TRIAL:
            self._trial = (await trunks.has_trial(self._db), now)
        return self._trial[0]
