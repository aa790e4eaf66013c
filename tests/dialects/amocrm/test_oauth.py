"""Who gets tokens, and for how long? Codes and refresh tokens work once; tokens that were touched do not work."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt
import pytest

from .conftest import Desk

if TYPE_CHECKING:
    import httpx
    from tests.dialects.conftest import House

Golden = Callable[[str], Any]


def ask(desk: Desk, *, form: bool = False, **values: Any) -> httpx.Response:
    asked = {
        "client_id": desk.client["client_id"],
        "client_secret": desk.client["client_secret"],
        "redirect_uri": "https://example.test/back",
        **values,
    }
    if form:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        content: bytes = urlencode(asked).encode()
        return desk.house.send("POST", "/oauth2/access_token", content=content, headers=headers)
    return desk.house.send("POST", "/oauth2/access_token", json=asked)


def exchange(desk: Desk, **values: Any) -> Any:
    answer = ask(desk, grant_type="authorization_code", code=desk.client["code"], **values)
    assert answer.status_code == 200, answer.text
    return answer.json()


def hint(answer: httpx.Response) -> str:
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert list(answer.json()) == ["hint", "title", "type", "status", "detail"]
    return str(answer.json()["hint"])


@pytest.mark.parametrize("form", [False, True])
def test_a_code_is_good_for_tokens_once(desk: Desk, golden: Golden, form: bool) -> None:
    tokens = exchange(desk, form=form)
    assert [*tokens] == [
        key.removeprefix("_kommo_adds") or "server_time" for key in golden("oauth_200_docs.json")
    ]
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 86400
    assert desk.ask("GET", "/account", token=tokens["access_token"]).status_code == 200
    again = ask(desk, grant_type="authorization_code", code=desk.client["code"])
    assert hint(again) == "Authorization code has been revoked"


def test_a_code_lasts_twenty_minutes(house: House, desk: Desk) -> None:
    house.clock += timedelta(minutes=20)
    answer = ask(desk, grant_type="authorization_code", code=desk.client["code"])
    assert hint(answer) == "Authorization code has expired"


def test_every_hint_that_was_seen_has_its_cause(house: House, desk: Desk, golden: Golden) -> None:
    other = Desk(house)
    desk.house.run(desk.set_redirect("https://example.test/back"))
    code = {"grant_type": "authorization_code", "code": desk.client["code"]}
    answers = [
        ask(desk, **{**code, "code": "nonsense"}),
        ask(desk, **code, client_id="x"),
        ask(desk, **code, client_secret="x"),
        ask(desk, **code, redirect_uri="https://elsewhere.test"),
        ask(desk, **{**code, "code": other.client["code"]}),
    ]
    exchange(desk)
    answers.append(ask(desk, **code))
    house.clock += timedelta(minutes=21)
    other_code = {"grant_type": "authorization_code", "code": other.client["code"]}
    answers.append(ask(other, **other_code))
    seen = {document["hint"]: document for document in golden("oauth_400_hints_live.json")}
    assert {hint(answer): answer.json() for answer in answers} == seen


def test_a_refresh_token_is_good_once_and_brings_the_next(desk: Desk) -> None:
    first = exchange(desk)
    second = ask(desk, grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert desk.ask("GET", "/account", token=second["access_token"]).status_code == 200
    assert hint(ask(desk, grant_type="refresh_token", refresh_token=first["refresh_token"]))
    third = ask(desk, grant_type="refresh_token", refresh_token=second["refresh_token"])
    assert third.status_code == 200


def test_of_two_who_refresh_at_once_one_gets_tokens(desk: Desk) -> None:
    import asyncio

    body = {
        "client_id": desk.client["client_id"],
        "client_secret": desk.client["client_secret"],
        "grant_type": "refresh_token",
        "refresh_token": exchange(desk)["refresh_token"],
    }

    async def both() -> list[int]:
        asked = [desk.house.client.post("/oauth2/access_token", json=body) for _ in range(4)]
        return sorted(answer.status_code for answer in await asyncio.gather(*asked))

    desk.house.clock += timedelta(seconds=2)
    assert desk.house.run(both()) == [200, 400, 400, 400]


@pytest.mark.parametrize("missing", ["client_id", "client_secret", "grant_type", "code"])
def test_what_is_missing_is_named(desk: Desk, missing: str) -> None:
    values: dict[str, Any] = {"grant_type": "authorization_code", "code": "x", missing: None}
    assert hint(ask(desk, **values)) == f"Check the `{missing}` parameter"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"null", b'{"client_id": {}}', b'"x"'])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_nonsense_is_a_hint_too(desk_of_module: Desk, body: bytes, kind: str) -> None:
    answer = desk_of_module.house.send(
        "POST", "/oauth2/access_token", content=body, headers={"content-type": kind}
    )
    assert hint(answer)


@pytest.fixture(scope="module")
def desk_of_module(house: House) -> Desk:
    return Desk(house)


def test_tokens_tell_their_end_to_whoever_looks(desk: Desk) -> None:
    short, long = exchange(desk)["access_token"], desk.token
    look = {"verify_signature": False}
    now = desk.house.clock.timestamp()
    assert jwt.decode(short, options=look)["exp"] == pytest.approx(now + 86400, abs=2)
    assert jwt.decode(long, options=look)["exp"] > now + 4 * 365 * 86400


def test_a_token_ends(house: House, desk: Desk, travelling: None) -> None:
    token = exchange(desk)["access_token"]
    house.clock += timedelta(hours=24)
    assert desk.ask("GET", "/account", token=token).status_code == 401
    assert desk.ask("GET", "/account").status_code == 200  # the long-lived one goes on


def _changed(token: str, how: str) -> str:
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    match how:
        case "signature":
            return f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
        case "claims":
            claims["sub"] = "1"
            fresh = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
            return f"{head}.{fresh}.{signature}"
        case "none":
            none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
            return f"{none}.{payload}."
        case "other secret":
            return jwt.encode(claims, "0" * 64, algorithm="HS256")
        case _:
            return how


@pytest.mark.parametrize(
    "how", ["signature", "claims", "none", "other secret", "x", "a.b.c", "." * 1000, "ё", "Bearer"]
)
def test_a_token_that_was_touched_is_refused(desk: Desk, golden: Golden, how: str) -> None:
    token = _changed(desk.token, how)
    answer = desk.house.send("GET", "/api/v4/account", headers={"authorization": f"Bearer {token}".encode()})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == golden("unauthorized_401_kommo_docs.json")


def test_a_token_that_is_signed_well_and_was_never_given_is_refused(house: House, desk: Desk) -> None:
    secret = bytes(desk.value("SELECT secret FROM crm_signing_key"))
    claims = jwt.decode(desk.token, options={"verify_signature": False})
    forged = jwt.encode({**claims, "jti": "another"}, secret, algorithm="HS256")
    assert desk.ask("GET", "/account", token=forged).status_code == 401


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic x"}, {"authorization": "Bearer"}])
@pytest.mark.parametrize("path", ["/account", "/calls", "/nowhere"])
def test_nobody_gets_in_without_a_token(house: House, headers: dict[str, str], path: str) -> None:
    method = "POST" if path == "/calls" else "GET"
    assert house.send(method, f"/api/v4{path}", headers=headers).status_code == 401


def test_seven_requests_a_second_then_429(house: House, desk: Desk) -> None:
    headers = {"authorization": f"Bearer {desk.token}"}
    house.clock += timedelta(seconds=2)

    def statuses(count: int) -> list[int]:
        return [
            house.send("GET", "/api/v4/account", pause=0, headers=headers).status_code for _ in range(count)
        ]

    assert statuses(9) == [200] * 7 + [429] * 2
    house.clock += timedelta(seconds=1)
    assert statuses(1) == [200]
    refused = house.send("GET", "/api/v4/account", pause=0, headers=headers)
    assert refused.status_code == 200
