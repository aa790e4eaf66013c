"""What does an operator give to those who work in an account's CRM?"""

from __future__ import annotations

import pytest

from zvonar.core.errors import AccountNotFound, NameTaken
from zvonar.service import amocrm as operator
from zvonar.store.crm_users import NewUser, Role

from .conftest import Desk, call
from .test_oauth import ask


def test_a_user_comes_with_a_token_and_what_they_may_do(desk: Desk) -> None:
    desk.contact("+79161234567")
    for role, status in ((Role.viewer, 400), (Role.editor, 200)):
        new = NewUser(name=role, email=f"{role}@example.test", phone="+7 495 000-11-22", role=role)
        made = desk.house.run(
            operator.add_user(desk.house.db, str(desk.account_id), new, now=desk.house.clock)
        )
        assert desk.ask("POST", "/calls", token=made["access_token"], json=[call()]).status_code == status
        with pytest.raises(NameTaken):
            desk.house.run(operator.add_user(desk.house.db, str(desk.account_id), new, now=desk.house.clock))


def test_another_code_is_as_good_as_the_first(desk: Desk) -> None:
    made = desk.house.run(operator.new_code(desk.house.db, str(desk.account_id), now=desk.house.clock))
    assert ask(desk, grant_type="authorization_code", code=made["code"]).status_code == 200


@pytest.mark.parametrize(
    "new",
    [
        NewUser(name=" ", email="a@b.test"),
        NewUser(name="x", email="nowhere"),
        NewUser(name="x", email="a@b.test", phone="abc"),
    ],
)
def test_a_user_that_cannot_be_is_a_sentence(desk: Desk, new: NewUser) -> None:
    with pytest.raises(operator.UserInvalid):
        desk.house.run(operator.add_user(desk.house.db, str(desk.account_id), new, now=desk.house.clock))
    with pytest.raises(AccountNotFound):
        desk.house.run(operator.new_code(desk.house.db, "nobody", now=desk.house.clock))
