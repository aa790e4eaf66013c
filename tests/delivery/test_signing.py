"""Can a receiver tell that it was us, and that nobody changed or kept it? With the library that it would use."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from zvonar.core.errors import AccountNotFound
from zvonar.delivery.signing import Signers, stored
from zvonar.store import webhook_secrets
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.deliveries import Delivery
from zvonar.store.webhook_secrets import Secret, new_secret

from .receiver import Receiver
from .world import happened, now, worker

pytestmark = pytest.mark.asyncio

BODY = '{"call":{"extra":"Тимофеев А.Р."}}'
DELIVERY = Delivery(
    delivery_id=1,
    account_id=1,
    event_id=42,
    event_at=datetime(2025, 11, 22, tzinfo=UTC),
    kind="autocall",
    address="http://a.example/",
    method="POST",
    url="http://a.example/",
    content_type="application/json",
    body=BODY.encode(),
    tries=0,
    tries_before=0,
)


def secret(*, until: datetime | None = None) -> Secret:
    return Secret(secret=new_secret(), created_at=now(), expires_at=until)


def fixed(*secrets: Secret) -> Signers:
    async def live(_: int) -> Sequence[Secret]:
        return secrets

    return Signers(live)


async def test_a_signature_is_verified_by_the_library() -> None:
    mine = secret()
    headers = await fixed(mine).headers(DELIVERY, at=now())
    assert headers["webhook-id"] == "autocall_42"
    assert Webhook(mine.secret).verify(BODY, headers) == {"call": {"extra": "Тимофеев А.Р."}}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("webhook-id", "autocall_43"),
        ("webhook-timestamp", str(int(now().timestamp()) - 1)),
        ("webhook-signature", "v1," + base64.b64encode(bytes(32)).decode()),
        ("webhook-signature", "v2,AAAA"),
    ],
    ids=["id", "timestamp", "signature", "version"],  # the same in every process
)
async def test_whatever_is_tampered_with_is_noticed(header: str, value: str) -> None:
    mine = secret()
    headers = await fixed(mine).headers(DELIVERY, at=now())
    with pytest.raises(WebhookVerificationError):
        Webhook(mine.secret).verify(BODY, {**headers, header: value})
    with pytest.raises(WebhookVerificationError):
        Webhook(mine.secret).verify(BODY + " ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


@pytest.mark.parametrize(("minutes", "fresh"), [(-6, False), (-4, True), (4, True), (6, False)])
async def test_a_signature_is_good_for_five_minutes(minutes: int, fresh: bool) -> None:
    mine = secret()
    headers = await fixed(mine).headers(DELIVERY, at=now() + timedelta(minutes=minutes))
    if fresh:
        Webhook(mine.secret).verify(BODY, headers)
    else:
        with pytest.raises(WebhookVerificationError, match="too"):
            Webhook(mine.secret).verify(BODY, headers)


async def test_two_secrets_sign_while_one_replaces_the_other_and_one_afterwards() -> None:
    old, new = secret(until=now() + timedelta(seconds=60)), secret()
    signers = fixed(new, old)
    headers = await signers.headers(DELIVERY, at=now())
    assert len(headers["webhook-signature"].split(" ")) == 2
    for one in (old, new):
        Webhook(one.secret).verify(BODY, headers)
    # At the end of the overlap, not at the next look at the secrets.
    later = await fixed(new, old).headers(DELIVERY, at=now() + timedelta(seconds=61))
    Webhook(new.secret).verify(BODY, later)
    with pytest.raises(WebhookVerificationError):
        Webhook(old.secret).verify(BODY, later)


async def test_a_change_of_secrets_is_seen_within_seconds_and_an_absence_of_them_survived() -> None:
    answers: list[Sequence[Secret] | Exception] = [
        (first := secret(),),
        StoreUnavailable(),
        (second := secret(),),
    ]

    async def live(_: int) -> Sequence[Secret]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    signers, at = Signers(live), now()
    for seconds, signing in ((0, first), (4, first), (6, first), (12, second), (13, second)):
        headers = await signers.headers(DELIVERY, at=at + timedelta(seconds=seconds))
        Webhook(signing.secret).verify(BODY, headers)
    assert answers == []


async def test_an_account_that_is_gone_signs_nothing() -> None:
    async def live(account_id: int) -> Sequence[Secret]:
        raise AccountNotFound(str(account_id))

    assert await Signers(live).headers(DELIVERY, at=now()) == {}


async def test_an_old_account_gets_its_secret_when_it_is_wanted(db: Database) -> None:
    (made,) = await webhook_secrets.live(db, 1, now=now())
    assert (await webhook_secrets.live(db, 1, now=now())) == [made]
    assert len(base64.b64decode(made.secret.removeprefix("whsec_"))) == 32
    with pytest.raises(AccountNotFound):
        await webhook_secrets.live(db, 2, now=now())


async def test_rotation_keeps_two_secrets_alive_and_never_three(db: Database) -> None:
    at = now()
    (first,) = await webhook_secrets.live(db, 1, now=at)
    second, old = await webhook_secrets.rotate(db, 1, overlap=timedelta(hours=24), now=at)
    assert (old.secret, old.expires_at) == (first.secret, at + timedelta(hours=24))
    at += timedelta(hours=1)
    third, old = await webhook_secrets.rotate(db, 1, overlap=timedelta(hours=24), now=at)
    assert (old.secret, old.expires_at) == (second.secret, at + timedelta(hours=24))
    assert [one.secret for one in await webhook_secrets.live(db, 1, now=at + timedelta(hours=23))] == [
        third.secret,
        second.secret,
    ]
    assert [one.secret for one in await webhook_secrets.live(db, 1, now=at + timedelta(hours=25))] == [
        third.secret
    ]
    fourth, *rest = await webhook_secrets.rotate(db, 1, overlap=timedelta(0), now=at)
    assert rest == []
    assert fourth.secret not in {first.secret, second.secret, third.secret}
    assert "whsec" not in repr(fourth)


async def test_what_arrives_is_signed_at_each_try_anew(db: Database, receiver: Receiver) -> None:
    (mine,) = await webhook_secrets.live(db, 1, now=now())
    signers = Signers(stored(db, now))
    assert await signers.headers(DELIVERY, at=now()) != {}
    async with worker(db):
        await happened(db, receiver.url(), [1, 2, 1])
        await receiver.until(lambda r: len(r.taken) == 3)
    for post in receiver.posts:
        Webhook(mine.secret).verify(post.body, post.headers)
        assert post.headers["webhook-id"] == f"test_{post.event_id}"
