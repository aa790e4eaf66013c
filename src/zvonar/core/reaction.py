"""What does a key or a word set off? A prompt, an SMS, a letter, a webhook, a transfer, a name, another node.

Everything here is data: the dialer says, transfers and goes on; what leaves the line (SMS, e-mail, webhook) it puts
into the outbox as an event of kind `reaction` that carries a Triggered, and whoever delivers takes it from there.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlsplit

from msgspec import Struct, structs

from zvonar.core.errors import SettingsInvalid
from zvonar.core.prompt import MAX_NAME, MAX_TEXT, Prompt, storable

MAX_WORD = 60  # characters of a word to be recognised
MAX_WORDS = 30  # of one reaction
MAX_ADDRESS = 2000
# Words that stand for their meaning in the language of the voice, however the subscriber says it.
MEANINGS = ("yes", "no", "next", "back")

_PHONE = re.compile(r"\+\d{5,15}", re.ASCII)
# The user part alone: where it leads is the trunk's to say, not whoever adds a call.
_SIP_NAME = re.compile(r"[A-Za-z0-9_.~-]{1,64}", re.ASCII)
_EMAIL = re.compile(r"[^\s@<>,;\"]{1,64}@[^\s@<>,;\"]{1,190}")


class SmsTo(StrEnum):
    subscriber = "subscriber"  # whoever is on the line
    owner = "owner"  # the account's own number


class Sms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A short message."""

    text: str
    to: SmsTo = SmsTo.subscriber
    name: str | None = None  # the client's own name for this message


class Email(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A letter."""

    subject: str
    text: str
    to: str | None = None  # the account's own address unless given


class Transfer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Put the subscriber through to somebody else; exactly one of phone and sip_name."""

    phone: str | None = None  # E.164
    sip_name: str | None = None  # as the trunk knows it, such as sales or 100
    ring_timeout: int = 30  # seconds from INVITE to CANCEL
    failed: str | None = None  # the node to go on with where nobody is reached; the call ends otherwise


class Reaction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a key or a word does. Without `goto` the call ends once `say` is heard."""

    words: tuple[str, ...] = ()  # lower case; any one of them chooses this reaction, as its key does
    say: Prompt | None = None
    status_name: str | None = None  # the campaign's own name for this choice
    goto: str | None = None  # the node to continue with
    sms: Sms | None = None
    email: Email | None = None
    webhook: str | None = None  # address of a POST
    transfer: Transfer | None = None

    @property
    def tells(self) -> bool:
        """Whether it sends anything that leaves the line."""
        return self.sms is not None or self.email is not None or self.webhook is not None

    def prompts(self) -> Iterator[Prompt]:
        if self.say is not None:
            yield self.say

    def checked(self, where: str) -> "Reaction":
        """Self, or SettingsInvalid. `where`: how an error names it."""
        if self.say is not None:
            self.say.checked(where)
        status = self.status_name
        if status is not None and (len(status) > MAX_NAME or not storable(status)):
            raise SettingsInvalid(f"a status name is at most {MAX_NAME} characters, without NUL.")
        self._check_words(where)
        self._check_messages(where)
        if self.transfer is not None:
            self._check_transfer(self.transfer, where)
        return self

    def _check_words(self, where: str) -> None:
        if len(self.words) > MAX_WORDS:
            raise SettingsInvalid(f"{where} has at most {MAX_WORDS} words.")
        for word in self.words:
            plain = word == " ".join(word.lower().split())
            if not plain or not 1 <= len(word) <= MAX_WORD or not storable(word):
                raise SettingsInvalid(
                    f"the words of {where} are of 1 to {MAX_WORD} characters, in lower case, "
                    "with single spaces."
                )
            if not all(part.replace("-", "").replace("'", "").isalnum() for part in word.split()):
                raise SettingsInvalid(f"the words of {where} are made of letters and digits.")

    def _check_messages(self, where: str) -> None:
        texts = [self.sms.text, self.sms.name or "-"] if self.sms is not None else []
        if self.email is not None:
            texts += [self.email.subject, self.email.text]
            if "\n" in self.email.subject or "\r" in self.email.subject:
                raise SettingsInvalid(f"the subject of {where} is one line.")
            if self.email.to is not None and not _EMAIL.fullmatch(self.email.to):
                raise SettingsInvalid(f"{where} writes to one address, such as name@example.com.")
        for text in texts:
            if not text.strip() or len(text) > MAX_TEXT or not storable(text):
                raise SettingsInvalid(f"the messages of {where} are of 1 to {MAX_TEXT} characters.")
        if self.webhook is not None and not is_web_address(self.webhook):
            raise SettingsInvalid(f"the webhook of {where} is an http or https address.")

    def _check_transfer(self, transfer: Transfer, where: str) -> None:
        if (transfer.phone is None) == (transfer.sip_name is None):
            raise SettingsInvalid(
                f"the transfer of {where} goes to a phone or to a SIP name, and not to both."
            )
        if transfer.phone is not None and not _PHONE.fullmatch(transfer.phone):
            raise SettingsInvalid(f"the transfer of {where} goes to a number like +74951234567.")
        # It stands in a SIP address: nothing that could end it may come through.
        if transfer.sip_name is not None and not _SIP_NAME.fullmatch(transfer.sip_name):
            raise SettingsInvalid(f"the transfer of {where} goes to a SIP name such as sales or 100.")
        if not 5 <= transfer.ring_timeout <= 120:
            raise SettingsInvalid(f"the transfer of {where} rings 5 to 120 seconds.")


class ReactionOverride(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one call changes in one reaction of its campaign's script; what is None stays."""

    node: str  # name of the node
    choice: str  # a key of it, or any word of one of its reactions
    say: str | None = None  # a text, in place of what is said
    status_name: str | None = None
    sms_text: str | None = None  # to the subscriber, where the campaign sends none
    email_to: str | None = None
    email_subject: str | None = None
    email_text: str | None = None
    webhook: str | None = None
    phone: str | None = None  # transfer
    sip_name: str | None = None  # transfer

    def checked(self) -> "ReactionOverride":
        """Self, or SettingsInvalid."""
        self.over(Reaction()).checked(f"{self.choice!r} in node {self.node!r}")
        return self

    def over(self, reaction: Reaction) -> Reaction:
        """The reaction as this call has it."""
        changes: dict[str, object] = {
            name: value
            for name, value in (("status_name", self.status_name), ("webhook", self.webhook))
            if value is not None
        }
        if self.say is not None:
            changes["say"] = Prompt(text=self.say)
        if self.sms_text is not None:
            changes["sms"] = (
                Sms(text=self.sms_text)
                if reaction.sms is None
                else structs.replace(reaction.sms, text=self.sms_text)
            )
        letter = reaction.email
        if self.email_to is not None or self.email_subject is not None or self.email_text is not None:
            changes["email"] = Email(
                to=self.email_to or (letter.to if letter else None),
                subject=self.email_subject or (letter.subject if letter else _first_line(self.email_text)),
                text=self.email_text or (letter.text if letter else self.email_subject or "-"),
            )
        if self.phone is not None or self.sip_name is not None:
            before = reaction.transfer or Transfer()
            changes["transfer"] = structs.replace(before, phone=self.phone, sip_name=self.sip_name)
        return structs.replace(reaction, **changes)


class Triggered(Struct, frozen=True, kw_only=True):
    """A reaction that a subscriber has set off and that leaves the line: the payload of an outbox event `reaction`."""

    account_id: int
    campaign_id: int
    call_id: int
    attempt: int  # from 1
    number: int  # from 1 within the attempt; with the three above it names this reaction for ever
    phone: str  # E.164 of the subscriber
    own_phone: str | None  # what he saw, E.164
    node: str
    choice: str | None  # the key or word; None for a reaction to silence
    at: datetime
    reaction: Reaction


def _first_line(text: str | None) -> str:
    """What a letter is about that was given no subject."""
    return (text or "").strip().partition("\n")[0].strip()[:MAX_NAME] or "-"


def is_web_address(text: str) -> bool:
    """Whether this is an http or https address that may stand in a request."""
    # Printable ASCII only: urlsplit would quietly drop line breaks, which end a header.
    if len(text) > MAX_ADDRESS or not (text.isascii() and text.isprintable() and " " not in text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # what urlsplit says of a broken port or IPv6 address
        return False
