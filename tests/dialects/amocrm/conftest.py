"""What do the tests of this dialect hold in their hands? An account's CRM, asked over HTTP with its token."""

from __future__ import annotations

from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from zvonar.dialects.amocrm import grants
from zvonar.service.operations import add_account
from zvonar.store import crm_tokens, crm_users
from zvonar.store.crm_users import NewUser, Role

if TYPE_CHECKING:
    import httpx
    from tests.dialects.conftest import House

_serial = count(1)


class Desk:
    """An account's CRM."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.keys = house.run(
            add_account(
                house.db,
                name=f"desk {next(_serial)}",
                balance=Decimal(0),
                currency="RUB",
                timezone="Europe/Moscow",
                countries=["RU"],
                now=house.clock,
            )
        )
        self.account_id: int = self.keys["account_id"]
        self.client: dict[str, str] = self.keys["amocrm"]
        self.token = self.client["access_token"]

    def ask(self, method: str, path: str, *, token: str | None = None, **options: Any) -> httpx.Response:
        """One request under /api/v4, half a second after the last."""
        headers = {"authorization": f"Bearer {token or self.token}", **options.pop("headers", {})}
        return self.house.send(method, f"/api/v4{path}", pause=0.5, headers=headers, **options)

    def get(self, path: str, **params: Any) -> Any:
        """The body of a list or thing that is there."""
        answer = self.ask("GET", path, params=params or None)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/hal+json"
        return answer.json()

    def post(self, path: str, items: Any) -> httpx.Response:
        return self.ask("POST", path, json=items)

    def add(self, name: str, *items: dict[str, Any]) -> list[int]:
        """New cards; their ids."""
        answer = self.post(f"/{name}", list(items))
        assert answer.status_code == 200, answer.text
        return [thing["id"] for thing in answer.json()["_embedded"][name]]

    def contact(self, *phones: str, **values: Any) -> int:
        return self._with_phones("contacts", phones, values)

    def company(self, *phones: str, **values: Any) -> int:
        return self._with_phones("companies", phones, values)

    def _with_phones(self, name: str, phones: tuple[str, ...], values: dict[str, Any]) -> int:
        field = {"field_code": "PHONE", "values": [{"value": phone, "enum_code": "WORK"} for phone in phones]}
        made = {"name": "Иван", "custom_fields_values": [field] if phones else [], **values}
        return self.add(name, made)[0]

    def link(self, name: str, card_id: int, to: str, to_id: int) -> None:
        answer = self.post(f"/{name}/{card_id}/link", [{"to_entity_id": to_id, "to_entity_type": to}])
        assert answer.status_code == 200, answer.text

    def user_token(self, role: str) -> str:
        """The long-lived token of a new user who may do so much."""

        async def work() -> str:
            new = NewUser(name=role, email=f"{role}@example.test", role=Role(role))
            user = await crm_users.add(self.house.db, self.account_id, new, now=self.house.clock)
            issued = await grants.long_lived(
                self.house.db,
                self.account_id,
                user,
                client_id=self.client["client_id"],
                now=self.house.clock,
            )
            return issued.key

        return self.house.run(work())

    async def set_redirect(self, uri: str) -> None:
        await crm_tokens.set_redirect_uri(self.house.db, self.account_id, uri)

    def value(self, statement: str, *params: object) -> Any:
        return self.house.run(self.house.db.value(statement, params))  # type: ignore[arg-type]

    def notes(self) -> int:
        return int(self.value("SELECT count(*) FROM crm_notes WHERE account_id = %s", self.account_id))


def call(**values: Any) -> dict[str, Any]:
    """A call that is in order; `...` leaves a value out."""
    made = {
        "direction": "outbound",
        "duration": 10,
        "source": "tests",
        "phone": "+79161234567",
        **values,
    }
    return {name: value for name, value in made.items() if value is not ...}


@pytest.fixture
def desk(house: House) -> Desk:
    return Desk(house)
