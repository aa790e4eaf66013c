"""Who takes the calls? A small amoCRM on loopback that knows contacts, leads, notes and tokens, and when what came.

It answers as the vendor's reference does, and does what a test says about one request or another.
"""

import asyncio
import base64
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

DEADLINE = 90.0

Proceed = Callable[[], Awaitable[web.Response]]


class Asked(Struct, frozen=True, kw_only=True):
    """A request that came in."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    token: str | None
    at: float  # monotonic


Behaviour = Callable[[Asked, Proceed], Awaitable[web.StreamResponse]]


async def usual(_: Asked, proceed: Proceed) -> web.StreamResponse:
    return await proceed()


def token(number: int) -> str:
    """Looks like a JWT; nobody here checks a signature."""
    claims = base64.urlsafe_b64encode(msgspec.json.encode({"jti": number, "exp": 2_000_000_000})).decode()
    return f"e30.{claims.rstrip('=')}.c2lnbmF0dXJl"


def hal(data: Any, status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(data), content_type="application/hal+json", charset="utf-8"
    )


def problem(status: int, **more: Any) -> web.Response:
    body = {"title": "Problem", "type": f"https://httpstatus.es/{status}", "status": status, **more}
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/problem+json"
    )


def digits(phone: str) -> str:
    return "".join(filter(str.isdigit, phone))[-10:]


class Sink:
    """The CRM; up from the start of the context."""

    def __init__(self, behave: Behaviour = usual) -> None:
        self.behave = behave
        self.port = 0
        self.asked: list[Asked] = []
        self.contacts: dict[int, dict[str, Any]] = {}
        self.leads: dict[int, dict[str, Any]] = {}
        self.notes: list[dict[str, Any]] = []
        self.unsorted: list[dict[str, Any]] = []
        self.tokens = {token(0)}
        self.refresh_tokens = {"refresh-0"}
        self.codes = {"code-0"}
        self.customers_mode = "disabled"
        self._ids = itertools.count(1001)
        self._tokens = itertools.count(1)
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Sink":
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._hear)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def contact(self, phone: str) -> int:
        """A contact of this number; its id."""
        made = next(self._ids)
        self.contacts[made] = {
            "id": made,
            "custom_fields_values": [{"field_code": "PHONE", "values": [{"value": phone}]}],
        }
        return made

    def requests(self, method: str, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == method and asked.path == path]

    def posted(self) -> list[str]:
        """Every `uniq` that was posted, in order, repetitions included."""
        return [item["uniq"] for asked in self.requests("POST", "/api/v4/calls") for item in asked.body]

    def logged(self) -> Counter[str]:
        """How often each `uniq` stands on a card."""
        on_cards = [note["params"]["uniq"] for note in self.notes]
        return Counter([*on_cards, *(one["metadata"]["uniq"] for one in self.unsorted)])

    async def until(self, what: Callable[["Sink"], bool]) -> None:
        async with asyncio.timeout(DEADLINE), self._changed:
            await self._changed.wait_for(lambda: what(self))

    async def _hear(self, request: web.Request) -> web.StreamResponse:
        at = time.monotonic()
        raw = await request.read()
        header = request.headers.get("Authorization", "")
        asked = Asked(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            body=msgspec.json.decode(raw) if raw else None,
            token=header.removeprefix("Bearer ") or None,
            at=at,
        )
        self.asked.append(asked)

        async def proceed() -> web.Response:
            return self.answer(asked)

        try:
            return await self.behave(asked, proceed)
        finally:
            async with self._changed:
                self._changed.notify_all()

    def answer(self, asked: Asked) -> web.Response:
        """What the CRM says and does."""
        if asked.path == "/oauth2/access_token":
            return self._oauth(asked)
        if asked.token not in self.tokens:
            return problem(401, title="Unauthorized", detail="Invalid user name or password")
        match asked.method, asked.path.removeprefix("/api/v4/").split("/"):
            case "POST", ["calls"]:
                return self._calls(asked)
            case "GET", ["account"]:
                return hal({"id": 28805383, "name": "Example", "subdomain": "example",
                            "customers_mode": self.customers_mode})  # fmt: skip
            case "POST", ["contacts"]:
                return self._add(asked, "contacts", self.contacts)
            case "POST", ["leads"]:
                return self._add(asked, "leads", self.leads)
            case "GET", ["contacts"]:
                wanted = digits(asked.query["query"])
                return self._list(
                    "contacts", [c for c in self.contacts.values() if wanted in phones(c)], asked
                )
            case "GET", [cards, "notes"]:
                return self._notes(asked, cards)
            case "GET", ["contacts", number]:
                leads = [{"id": lead["id"]} for lead in self.leads.values()
                         if {"id": int(number)} in lead["_embedded"]["contacts"]]  # fmt: skip
                return hal({**self.contacts[int(number)], "_embedded": {"leads": leads}})
            case "POST", ["leads", "unsorted", "sip"]:
                return self._unsorted(asked)
            case "GET", ["leads", "unsorted"]:
                return self._list("unsorted", self.unsorted[::-1], asked)
        return problem(404)

    def _oauth(self, asked: Asked) -> web.Response:
        grant = asked.body["grant_type"]
        spent = self.codes if grant == "authorization_code" else self.refresh_tokens
        given = asked.body.get("code" if grant == "authorization_code" else "refresh_token")
        if asked.body.get("client_secret") != "secret" or given not in spent:
            return problem(400, hint="Authorization code has been revoked", title="Некорректный запрос")
        spent.discard(given)
        number = next(self._tokens)
        self.tokens = {token(number)}
        self.refresh_tokens = {f"refresh-{number}"}
        return hal({"token_type": "Bearer", "expires_in": 86400, "access_token": token(number),
                    "refresh_token": f"refresh-{number}"})  # fmt: skip

    def _calls(self, asked: Asked) -> web.Response:
        bad = [item for item in asked.body if item["phone"] == "bad" or item["duration"] < 0]
        if bad:
            wrong = [{"code": "InvalidType", "path": "phone", "detail": "This value is not valid."}]
            errors = [{"request_id": item["request_id"], "errors": wrong} for item in bad]
            return problem(400, title="Bad Request", detail="Request validation failed",
                           **{"validation-errors": errors})  # fmt: skip
        stored, errors = [], []
        for item in asked.body:
            found = [c["id"] for c in self.contacts.values() if digits(item["phone"]) in phones(c)]
            if not found:
                errors.append({"title": "Entity not found", "status": 263, "detail": "Entity not found",
                               "request_id": item["request_id"]})  # fmt: skip
                continue
            note = self._note(item, found[0])
            link = f"{self.url}/api/v4/contacts/{found[0]}"
            stored.append({"id": note, "entity_id": found[0], "entity_type": "contact", "account_id": 28805383,
                           "request_id": item["request_id"],
                           "_embedded": {"entity": {"id": found[0], "_links": {"self": {"href": link}}}}})  # fmt: skip
        body = {"_total_items": len(stored), "errors": errors, "_embedded": {"calls": stored}}
        if stored:
            return hal(body)
        return web.Response(
            status=400, body=msgspec.json.encode(body), content_type="application/problem+json"
        )

    def _note(self, item: dict[str, Any], contact: int) -> int:
        note = next(self._ids)
        self.notes.append({"id": note, "entity_id": contact, "note_type": "call_out",
                           "created_at": item["created_at"], "updated_at": int(time.time()),
                           "params": {**item}})  # fmt: skip
        return note

    def _add(self, asked: Asked, name: str, kept: dict[int, dict[str, Any]]) -> web.Response:
        made = []
        for item in asked.body:
            number = next(self._ids)
            kept[number] = {**item, "id": number}
            made.append({"id": number, "request_id": item.get("request_id")})
        return hal({"_links": {}, "_embedded": {name: made}})

    def _unsorted(self, asked: Asked) -> web.Response:
        made = []
        for item in asked.body:
            uid = f"uid-{next(self._ids)}"
            self.unsorted.append({**item, "uid": uid})
            made.append({"uid": uid, "request_id": item["request_id"]})
        return hal({"_total_items": len(made), "_embedded": {"unsorted": made}})

    def _notes(self, asked: Asked, cards: str) -> web.Response:
        if cards == "customers" and self.customers_mode == "disabled":
            return problem(402)
        start = int(asked.query["filter[updated_at][from]"])
        found = [note for note in self.notes if cards == "contacts" and note["updated_at"] >= start]
        return self._list("notes", found, asked)

    def _list(self, name: str, found: list[dict[str, Any]], asked: Asked) -> web.Response:
        size, page = int(asked.query.get("limit", 250)), int(asked.query.get("page", 1))
        shown = found[(page - 1) * size : page * size]
        if not shown:
            return web.Response(status=204)
        links: dict[str, Any] = {"self": {"href": "x"}}
        if len(found) > page * size:
            links["next"] = {"href": "y"}
        return hal({"_page": page, "_links": links, "_embedded": {name: shown}})


def phones(contact: dict[str, Any]) -> list[str]:
    return [digits(value["value"]) for field in contact["custom_fields_values"] for value in field["values"]]
