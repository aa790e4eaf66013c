"""How do these tests call a method? One request, one answer that has to be one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

PERIOD = {"date_from": "2026-11-22 00:00:00", "date_till": "2026-11-23 23:59:59"}


def call(house: House, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The whole answer."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    response = house.send("POST", "/v2.0", json=request)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert list(answer) in (["jsonrpc", "id", "result"], ["jsonrpc", "id", "error"])
    assert answer["id"] == 1
    return dict(answer)


def result(house: House, tenant: Tenant, method: str, **params: Any) -> dict[str, Any]:
    """What a method that succeeds gives."""
    answer = call(house, method, {"access_token": tenant.uis, **params})
    assert "result" in answer, answer
    return dict(answer["result"])


def error(house: House, tenant: Tenant, method: str, **params: Any) -> tuple[str, str | None, Any]:
    """Mnemonic, field and value of an error."""
    answer = call(house, method, {"access_token": tenant.uis, **params})
    assert "error" in answer, answer
    data = answer["error"]["data"]
    return data["mnemonic"], data.get("field"), data.get("value")
