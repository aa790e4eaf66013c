"""How does a client of the REST API talk to the house?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

TEXT = [{"data": {"text": "Здравствуйте!"}}]
NUMBERS = ["+70001230001", "+70001230002", "+70001230003"]


class Client:
    """Somebody with a key."""

    def __init__(self, house: House, tenant: Tenant) -> None:
        self.house = house
        self.tenant = tenant

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        headers = {"authorization": f"Bearer {self.tenant.autocall}", **options.pop("headers", {})}
        if body is not None:
            options["json"] = body
        return self.house.send(method, f"/api/v1{path}", headers=headers, **options)

    def ok(self, method: str, path: str, body: Any = None, *, status: int = 200, **options: Any) -> Any:
        answer = self.send(method, path, body, **options)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def autocall(self, numbers: list[str] | None = None, **fields: Any) -> dict[str, Any]:
        people = [{"number": number} for number in numbers or NUMBERS]
        body = {"name": "Опрос", "list_id": people, "audio_id": TEXT, **fields}
        created: dict[str, Any] = self.ok("POST", "/autocalls", body, status=201)
        return created
