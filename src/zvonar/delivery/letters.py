"""What is written to a person? A `mail` event becomes a message; our own letters are in English and Russian."""

from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from urllib.parse import quote

import msgspec
from msgspec import Struct

from zvonar.core.errors import Invalid
from zvonar.store.outbox import Event, Rendered

KIND = "mail"
_CONTENT_TYPE = "message/rfc822"

Letter = tuple[str, str]  # subject, text


class EmailInvalid(Invalid):
    """An e-mail address is NAME@DOMAIN, one only and in plain letters."""


class _Letter(Struct, frozen=True, kw_only=True):
    """The payload of a `mail` event: ready text, or what it is about and the facts for it."""

    to: str
    about: str | None = None  # of ABOUT
    facts: dict[str, str] = {}
    subject: str = ""
    text: str = ""


_WHY = {
    "gone": (
        "it answered 410 Gone, which means that it wants no more",
        "он ответил 410 Gone, то есть больше ничего не хочет получать",
    ),
    "failing": (
        "it has taken nothing for five days",
        "он ничего не принимает уже пять дней",
    ),
}


def receiver_disabled(facts: Mapping[str, str]) -> Letter:
    """An address of the account gets nothing more. Facts: address, reason, failing_since."""
    english, russian = _WHY[facts["reason"]]
    address, since = facts["address"], facts["failing_since"]
    return (
        "Zvonar: an address was disabled / адрес отключён",
        f"""Nothing more is sent to {address}: {english}.
It has been failing since {since}. What is meant for it waits and is not lost.
Once it works again, have it enabled: zvonar deliveries enable ADDRESS.

На {address} больше ничего не отправляется: {russian}.
Ошибки идут с {since}. Всё, что для него предназначено, ждёт и не потеряно.
Когда он заработает, включите его: zvonar deliveries enable ADDRESS.
""",
    )


def crm_lost(facts: Mapping[str, str]) -> Letter:
    """The account's CRM takes its keys no longer. Facts: base_url, account_id."""
    crm, account = facts["base_url"], facts["account_id"]
    return (
        "Zvonar: the CRM has to be connected again / подключите CRM заново",
        f"""{crm} takes our keys no longer, so no calls are logged there.
Calls go on; what is meant for the CRM waits and is not lost.
Connect it again: zvonar crm connect --account {account} …

{crm} больше не принимает наши ключи, поэтому звонки туда не попадают.
Обзвон продолжается; всё, что предназначено для CRM, ждёт и не потеряно.
Подключите её заново: zvonar crm connect --account {account} …
""",
    )


_OBJECTIONS = {
    "forbidden": (
        "it has closed itself to our requests (403)",
        "она закрылась для наших запросов (403)",
    ),
    "payment": ("its account is not paid for (402)", "её аккаунт не оплачен (402)"),
    "rights": (
        "the user whose key we have lacks rights (code 244)",
        "у пользователя, чей ключ мы используем, не хватает прав (код 244)",
    ),
    "strange": (
        "it does not answer like amoCRM, or does not accept the settings: check the address and zvonar crm show",
        "она отвечает не как amoCRM или не принимает настройки: проверьте адрес и zvonar crm show",
    ),
}


def crm_trouble(facts: Mapping[str, str]) -> Letter:
    """The account's CRM takes nothing at present. Facts: base_url, account_id, trouble, status."""
    english, russian = _OBJECTIONS[facts["trouble"]]
    crm, account = facts["base_url"], facts["account_id"]
    return (
        "Zvonar: the CRM takes no calls at present / CRM сейчас не принимает звонки",
        f"""{crm} takes no calls of account {account} at present: {english}.
We try again, with growing pauses. What is meant for it waits and is not lost.

{crm} сейчас не принимает звонки аккаунта {account}: {russian}.
Мы пробуем снова, всё реже. Всё, что для неё предназначено, ждёт и не потеряно.
""",
    )


ABOUT: dict[str, Callable[[Mapping[str, str]], Letter]] = {
    "receiver_disabled": receiver_disabled,
    "crm_lost": crm_lost,
    "crm_trouble": crm_trouble,
}


def checked_email(address: str) -> str:
    """The address, or EmailInvalid: one that fits into a mailto: address and a header."""
    name, _, domain = address.rpartition("@")
    if not name or not domain or len(address) > 254 or not address.isascii() or not address.isprintable():
        raise EmailInvalid()
    if any(character in ' ,;:<>()[]"\\?&' for character in address) or "@" in name:
        raise EmailInvalid()
    return address


def render(event: Event) -> Sequence[Rendered]:
    """The message of a `mail` event. Its Message-ID names the event, so that a repetition can be told."""
    if event.kind != "mail":
        return ()
    letter = msgspec.convert(event.payload, _Letter)
    subject, text = letter.subject, letter.text
    if letter.about is not None:
        subject, text = ABOUT[letter.about](letter.facts)
    return (rendered(event, to=letter.to, subject=subject, text=text, kind=KIND),)


def rendered(event: Event, *, to: str, subject: str, text: str, kind: str) -> Rendered:
    """A letter that tells of an event. Raises EmailInvalid."""
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    message["To"] = checked_email(to)
    message["Subject"] = " ".join(subject.split())  # a line break would end the header
    message["Date"] = event.at
    message["Message-ID"] = f"<event-{event.event_id}@zvonar>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text, cte="base64")
    return Rendered(
        kind=kind,
        address=f"mailto:{quote(to, safe='@')}",
        order_key=f"mail/{event.event_id}",
        content_type=_CONTENT_TYPE,
        body=message.as_bytes(),
    )
