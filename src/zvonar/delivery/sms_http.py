"""How is a text handed to a provider that takes it by HTTP? By a template of the operator's own.

Providers differ in every detail, so the request is a template: `{to}`, `{text}` and `{from}` stand for the number, the
text and the sender, each written the way its place demands. Many answer 200 to what they refuse; `accepted` then tells
their yes from their no.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Literal
from urllib.parse import quote, quote_plus

import msgspec
from msgspec import Struct

from zvonar.core.errors import Invalid
from zvonar.delivery.post import Poster
from zvonar.delivery.sms import phone_of
from zvonar.delivery.verdict import Answer, Failure
from zvonar.store.deliveries import Delivery

_PLACE = re.compile(r"\{(to|digits|text|from)\}")
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"


class SmsTemplateInvalid(Invalid):
    """An SMS template has a url with {to} and {text} in it or in its body, and a pattern that compiles."""


class SmsTemplate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider's request."""

    url: str  # http(s), with or without placeholders, which are percent-encoded
    method: Literal["GET", "POST"] = "GET"
    body: str = ""  # placeholders are written as JSON strings' insides, or as a form's values
    content_type: Literal["application/json", "application/x-www-form-urlencoded"] = _FORM
    headers: dict[str, str] = {}
    sender: str = ""  # for {from}
    accepted: str | None = None  # searched in the answer's first KiB; without it any 2xx is a yes

    def __repr__(self) -> str:
        return "SmsTemplate(…)"  # url, headers and body may hold keys

    def checked(self) -> "SmsTemplate":
        """Self, or SmsTemplateInvalid."""
        said = self.url + self.body
        whole = "{text}" in said and ("{to}" in said or "{digits}" in said)
        plain = all(text.isprintable() and text.isascii() for pair in self.headers.items() for text in pair)
        if not whole or not plain or not self.url.startswith(("http://", "https://")):
            raise SmsTemplateInvalid
        try:
            re.compile(self.accepted or "")
        except re.error:
            raise SmsTemplateInvalid from None
        return self


class HttpSmsTransport:
    """Carries deliveries to `sms:` addresses. `poster`: one that may reach the operator's own networks."""

    def __init__(self, poster: Poster, template: SmsTemplate) -> None:
        self._poster = poster
        self._template = template
        self._accepted = None if template.accepted is None else re.compile(template.accepted)

    async def send(self, delivery: Delivery, *, at: datetime) -> Answer:
        template = self._template
        phone = phone_of(delivery)
        values = {
            "to": phone,
            "digits": phone.removeprefix("+"),
            "text": delivery.body.decode(),
            "from": template.sender,
        }
        headers = dict(template.headers)
        body = b""
        if template.method == "POST":
            headers.setdefault("Content-Type", template.content_type)
            inside = _inside_json if template.content_type == _JSON else quote_plus
            body = _filled(template.body, values, inside).encode()
        url = _filled(template.url, values, lambda value: quote(value, safe=""))
        answer = await self._poster.post(url, body, headers, method=template.method)
        if answer.failure is None and self._accepted is not None:
            said = answer.head.decode("utf-8", "replace")
            if not self._accepted.search(said):
                return Answer(status=answer.status, failure=Failure.unaccepted, head=answer.head)
        return answer


def _filled(template: str, values: Mapping[str, str], written: Callable[[str], str]) -> str:
    return _PLACE.sub(lambda place: written(values[place[1]]), template)


def _inside_json(value: str) -> str:
    return msgspec.json.encode(value).decode()[1:-1]
