"""Under which public address does a recording play? Unguessable, for one recording, and if wanted until a day.

Whoever logs a call in somebody else's system puts this address there; it needs no key of any API.
"""

import hmac
from datetime import UTC, datetime
from typing import Final

PATH: Final = "/recordings"


class RecordingLinks:
    """Makes such addresses and knows its own."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: of this installation."""
        self._secret = secret

    def path(self, account_id: int, call_id: int, attempt: int, *, until: datetime | None = None) -> str:
        """`/recordings/KEY/UNTIL/ACCOUNT/CALL.ATTEMPT.mp3`; UNTIL is a Unix time, 0 for good."""
        end = 0 if until is None else int(until.astimezone(UTC).timestamp())
        key = self.key(account_id, call_id, attempt, end)
        return f"{PATH}/{key}/{end}/{account_id}/{call_id}.{attempt}.mp3"

    def key(self, account_id: int, call_id: int, attempt: int, end: int) -> str:
        """What opens one recording until then."""
        message = "\0".join(map(str, ("link", account_id, call_id, attempt, end)))
        return hmac.new(self._secret, message.encode(), "sha256").hexdigest()[:40]

    def opens(
        self, key: str, *, account_id: int, call_id: int, attempt: int, end: int, now: datetime
    ) -> bool:
        """Whether this key opens this recording now; how long that takes tells nothing."""
        right = hmac.compare_digest(
            key.encode("utf-8", "surrogatepass"), self.key(account_id, call_id, attempt, end).encode()
        )
        return right and (end == 0 or now.timestamp() < end)
