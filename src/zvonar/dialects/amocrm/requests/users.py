"""Who is to work in the CRM? The items of POST /api/v4/users."""

import re
from typing import Any

from msgspec import Struct

from zvonar.dialects.amocrm import limits
from zvonar.dialects.amocrm.errors import CHOICE, PHONE
from zvonar.dialects.amocrm.requests.calls import may_be_phone
from zvonar.dialects.amocrm.requests.fields import Item, RequestId, batch
from zvonar.store.crm_users import NewUser, Role

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
LANGUAGES = ("ru", "en", "es", "pt", "id", "tr")


class UserWish(Struct, frozen=True, kw_only=True):
    """A user to be added."""

    request_id: RequestId
    user: NewUser


def new_users(found: Any) -> list[UserWish]:
    """Users to be added. Raises BadRequest, ValidationFailed."""
    return batch(found, _user)


def _user(item: Item, request_id: RequestId) -> UserWish:
    name = item.text("name", needed=True, blank=False)
    email = item.text("email", needed=True, blank=False)
    if email is not None and not _EMAIL.fullmatch(email):
        item.wrong(CHOICE, "email")
    phone = item.text("phone", most=limits.MAX_PHONE)  # ours: it is how call_responsible finds somebody
    if phone and not may_be_phone(phone):
        item.wrong(PHONE, "phone")
    lang = item.chosen("lang", LANGUAGES)
    rights = item.inner("rights")
    user = NewUser(
        name=(name or "").strip(),
        email=email or "",
        phone=phone or None,
        lang=lang or "ru",
        role=Role.editor if rights is None else _role(rights),
    )
    return UserWish(request_id=request_id, user=user)


def _role(rights: Item) -> Role:
    """What the vendor's table of rights comes to here: whoever may neither add nor edit leads or contacts may look."""
    if rights.flag("is_admin"):
        return Role.admin
    words = []
    for name in ("leads", "contacts"):
        if (inner := rights.inner(name)) is not None:
            words += [inner.chosen(what, ("A", "G", "M", "D")) for what in ("add", "edit")]
    return Role.viewer if words and all(word == "D" for word in words if word is not None) else Role.editor
