"""Who is it, may they in, and what is left of their money?"""

import hashlib
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from zvonar.core.errors import AccountNotFound, NameTaken, Unauthorised
from zvonar.store import accounts
from zvonar.store.db import Database, StoreFault

pytestmark = pytest.mark.asyncio
World = Any  # conftest's
KEY = "key-of-many-characters-0123456789"
PASSWORD = "пароль, который длинный"


async def add(world: World, name: str = "Ромашка", **changed: Any) -> accounts.Account:
    how: dict[str, Any] = {
        "currency": "RUB",
        "timezone": "Europe/Moscow",
        "countries": ["RU", "KZ"],
        "balance": Decimal("12.5"),
        "keys": {"callo": KEY},
        "logins": {"uis": ("login@example.com", PASSWORD)},
        "now": world.now,
        **changed,
    }
    return await accounts.add(world.db, name=name, **how)


async def test_account_is_found_by_key_id_and_name(world: World) -> None:
    account = await add(world)
    assert account.balance == Decimal("12.5")
    for found in (
        await accounts.by_key(world.db, KEY, kind="callo"),
        await accounts.get(world.db, account.account_id),
        await accounts.named(world.db, "Ромашка"),
        await accounts.named(world.db, str(account.account_id)),
    ):
        assert found == account
    digits = await add(world, "12345", keys={}, logins={})
    assert await accounts.named(world.db, "12345") == digits
    assert (await accounts.tariff_of(world.db, account)).rate_for("+79991234567").per_minute == Decimal("1.8")


async def test_unknown_account_is_not_found(world: World) -> None:
    with pytest.raises(AccountNotFound):
        await accounts.get(world.db, 10**9)
    with pytest.raises(AccountNotFound):
        await accounts.named(world.db, "nobody")
    with pytest.raises(AccountNotFound):
        await add(world, tariff="none of ours")


@pytest.mark.parametrize("key", ["", KEY + " ", KEY.upper(), "\ud800", "\0"])
async def test_wrong_key_is_refused(world: World, key: str) -> None:
    await add(world)
    with pytest.raises(Unauthorised):
        await accounts.by_key(world.db, key, kind="callo")


async def test_key_opens_only_the_dialect_it_was_made_for(world: World) -> None:
    await add(world)
    with pytest.raises(Unauthorised):
        await accounts.by_key(world.db, KEY, kind="autocall")


@pytest.mark.parametrize("how", ["revoked_at = now()", "expires_at = now() - interval '1 second'"])
async def test_key_that_is_over_is_refused(world: World, how: str) -> None:
    await add(world)
    await world.db.execute(f"UPDATE keys SET {how}")
    with pytest.raises(Unauthorised):
        await accounts.by_key(world.db, KEY, kind="callo")


async def test_keys_and_passwords_cannot_be_read_back(world: World) -> None:
    await add(world)
    ((stored,),) = await world.all("SELECT key_hash FROM keys")
    assert stored == hashlib.sha256(KEY.encode()).digest()
    for table in ("keys", "logins", "accounts"):
        text = repr(await world.all(f"SELECT t::text FROM {table} t"))
        assert KEY not in text
        assert PASSWORD not in text


async def test_password_is_stored_with_salt_and_checked(world: World) -> None:
    stored = accounts.hash_password(PASSWORD)
    assert stored != accounts.hash_password(PASSWORD)
    assert accounts.password_matches(PASSWORD, stored)
    assert not accounts.password_matches(PASSWORD + " ", stored)
    assert not accounts.password_matches("\ud800", stored)


async def test_taken_name_adds_nothing_at_all(world: World) -> None:
    await add(world)
    before = await world.dump(), await world.all("SELECT * FROM keys")
    with pytest.raises(NameTaken):
        await add(world, keys={"callo": "another"}, logins={})
    with pytest.raises(NameTaken):
        await add(world, "another name", keys={}, balance=Decimal(1))
    assert (await world.dump(), await world.all("SELECT * FROM keys")) == before


async def test_ledger_adds_up_and_is_only_ever_added_to(world: World, db: Database) -> None:
    account = await add(world)
    await accounts.top_up(db, account.account_id, Decimal("100.25"), note="by card", now=world.now)
    await accounts.top_up(db, account.account_id, Decimal("-0.75"), note="a mistake", now=world.now)
    entries = await world.all(
        "SELECT kind, amount, balance_after FROM ledger WHERE account_id = %s ORDER BY entry_id",
        [account.account_id],
    )
    assert entries == [
        ("topup", Decimal("12.5"), Decimal("12.5")),
        ("topup", Decimal("100.25"), Decimal("112.75")),
        ("adjustment", Decimal("-0.75"), Decimal("112")),
    ]
    await world.check_laws()
    for statement in ("UPDATE ledger SET amount = 0", "DELETE FROM ledger", "TRUNCATE ledger"):
        with pytest.raises(StoreFault):
            await db.execute(statement)


async def test_key_expires_at_its_moment(world: World) -> None:
    await add(world)
    await world.db.execute("UPDATE keys SET expires_at = now() + %s", [timedelta(hours=1)])
    assert await accounts.by_key(world.db, KEY, kind="callo")
