"""How are the keys to a CRM kept? Encrypted by a key of this home, and each good for its own account only."""

import base64
import hashlib
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from zvonar.core.errors import ZvonarError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet


class CredentialsUnreadable(ZvonarError):
    """The keys to the CRM were encrypted with another key file: connect the CRM again."""


class Credentials(Struct, frozen=True, kw_only=True):
    """What opens an account of the CRM."""

    access_token: str
    issued_at: datetime
    refresh_token: str | None = None  # None: a long-lived token, which is never refreshed
    client_id: str = ""
    client_secret: str = ""
    redirect_uri: str = ""

    def __repr__(self) -> str:
        return "Credentials(…)"


class _Sealed(Struct, frozen=True, kw_only=True):
    account_id: int
    credentials: Credentials


class Vault:
    """Encrypts and decrypts with the secret of a key file."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "Vault(…)"

    @cached_property
    def _fernet(self) -> "Fernet":
        # Imported here: an installation without a CRM never needs it.
        from cryptography.fernet import Fernet

        # The secret is 192 random bits, so a plain hash makes a key of it.
        return Fernet(base64.urlsafe_b64encode(hashlib.sha256(self._secret.encode()).digest()))

    def seal(self, account_id: int, credentials: Credentials) -> bytes:
        """As the database may see it."""
        return self._fernet.encrypt(
            msgspec.json.encode(_Sealed(account_id=account_id, credentials=credentials))
        )

    def open(self, account_id: int, sealed: bytes | None) -> Credentials:
        """What was sealed for this account. Raises CredentialsUnreadable."""
        from cryptography.fernet import InvalidToken

        try:
            opened = msgspec.json.decode(self._fernet.decrypt(sealed or b""), type=_Sealed)
        except (InvalidToken, msgspec.MsgspecError):
            raise CredentialsUnreadable() from None
        if opened.account_id != account_id:
            raise CredentialsUnreadable()
        return opened.credentials
