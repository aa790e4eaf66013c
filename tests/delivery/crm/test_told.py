"""Is every result told in amoCRM's words, and only what the operator wants?"""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from zvonar.core.facts import TransferReport
from zvonar.core.result import Disposition, ScriptResult
from zvonar.core.script import Step
from zvonar.delivery.crm import settings as crm_settings
from zvonar.delivery.crm.answers import judged
from zvonar.delivery.crm.items import Called, item
from zvonar.delivery.crm.outcomes import PUSHED, CallStatus, Mapped, told
from zvonar.delivery.crm.render import called_of
from zvonar.delivery.crm.settings import CrmSettings, CrmSettingsInvalid
from zvonar.delivery.crm.wire import BaseUrlInvalid, Reply, origin
from zvonar.store.push_attempts import EndedAttempt

from .world import LINKS

NOW = datetime(2025, 11, 22, 12, tzinfo=UTC)


def reached(to: str, disposition: Disposition = Disposition.answered) -> TransferReport:
    return TransferReport(to=to, began=1.0, ended=9.0, disposition=disposition)


def called(**more: Any) -> Called:
    given: dict[str, Any] = {
        "account_id": 1,
        "call_id": 5,
        "attempt": 2,
        "phone": "+79160000005",
        "started_at": NOW,
        "disposition": Disposition.answered,
        "script_result": ScriptResult.completed,
        "choice": None,
        "status_name": None,
        "talk_seconds": 7,
        "caller_id": "+74951234567",
        "transferred_to": None,
        "recording": "5.2.1.wav",
        **more,
    }
    return Called(**given)


def made(settings: CrmSettings, **more: Any) -> dict[str, Any]:
    decoded = msgspec.json.decode(item(called(**more), tag="zv1", settings=settings, links=LINKS))
    assert isinstance(decoded, dict)
    return decoded


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("disposition", Disposition)
@pytest.mark.parametrize("script", ScriptResult)
def test_every_result_has_a_status_and_a_sentence(disposition: Any, script: Any, language: Any) -> None:
    status, sentence = told(disposition, script, choice=None, status_name=None, mapping={}, language=language)
    assert 1 <= int(status) <= 7
    assert sentence
    # A Russian card has no English sentence, and the other way round.
    assert any("а" <= letter.lower() <= "я" for letter in sentence) is (language == "ru")
    talked = disposition is Disposition.answered and script not in (ScriptResult.machine, ScriptResult.error)
    assert (status is CallStatus.talked) is talked


@pytest.mark.parametrize(
    ("disposition", "script", "status"),
    [
        ("answered", "choice", CallStatus.talked),
        ("answered", "machine", CallStatus.left_message),
        ("busy", "none", CallStatus.busy),
        ("no_answer", "none", CallStatus.not_reached),
        ("invalid_number", "none", CallStatus.wrong_number),
        ("unreachable", "none", CallStatus.not_available),
        ("answered", "error", CallStatus.call_back_later),
    ],
)
def test_the_vendors_words_are_used_as_they_are_meant(disposition: str, script: str, status: int) -> None:
    assert made(CrmSettings(), disposition=Disposition(disposition), script_result=ScriptResult(script))[
        "call_status"
    ] == int(status)


def test_an_operators_map_goes_before_ours_and_the_closest_name_before_a_wide_one() -> None:
    mapping = {
        "answered": Mapped(status=CallStatus.call_back_later),
        "answered/choice": Mapped(status=CallStatus.talked, result="Согласен"),
        "busy": Mapped(status=CallStatus.not_reached, result="Позже"),
    }
    settings = CrmSettings(mapping=mapping)
    chosen = made(settings, script_result=ScriptResult.choice, choice="1")
    assert (chosen["call_status"], chosen["call_result"]) == (4, "Согласен")
    heard = made(settings)
    assert (heard["call_status"], heard["call_result"]) == (2, "Прослушал сообщение")
    busy = made(settings, disposition=Disposition.busy, script_result=ScriptResult.none)
    assert (busy["call_status"], busy["call_result"]) == (6, "Позже")


def test_a_call_is_the_employees_to_whom_it_was_put_through_or_whose_number_it_came_from() -> None:
    settings = CrmSettings(employees={"+79160001122": 11, "+74951234567": 22}, responsible=33)
    assert made(settings, transferred_to="+79160001122")["call_responsible"] == 11
    assert made(settings)["call_responsible"] == 22
    assert made(settings, caller_id="+74950000000")["responsible_user_id"] == 33
    # The CRM may know a number that we do not.
    stranger = made(CrmSettings(), transferred_to="+79169999999", caller_id=None)
    assert stranger["call_responsible"] == "+79169999999"
    assert "responsible_user_id" not in stranger
    assert "call_responsible" not in made(CrmSettings(), caller_id=None)


@pytest.mark.parametrize(
    ("steps", "to"),
    [
        (None, None),
        ([Step(node="1", key="1")], None),
        ([Step(node="1", key="1", transfer=reached("+79160001122"))], "+79160001122"),
        ([Step(node="1", key="1", transfer=reached("+79160001122", Disposition.busy))], None),
        ([Step(node="1", transfer=reached("anna")), Step(node="2")], None),
    ],
)
def test_whoever_answered_a_transfer_is_the_employee(steps: list[Step] | None, to: str | None) -> None:
    ended = EndedAttempt(
        account_id=1,
        call_id=5,
        attempt=1,
        phone="+79160000005",
        started_at=NOW,
        disposition="answered",
        script_result="transferred",
        choice="1",
        status_name=None,
        talk_seconds=9,
        caller_id=None,
        recording=None,
        steps=msgspec.to_builtins(steps),  # as the dialer stores them
    )
    assert called_of(ended).transferred_to == to


def test_a_recording_has_an_address_of_its_own_that_may_end() -> None:
    link = urlsplit(made(CrmSettings(recording_days=7))["link"])
    _, _, key, until, account, name = link.path.split("/")
    assert (account, name) == ("1", "5.2.mp3")
    end = int(until)
    assert end == int((NOW + timedelta(days=7)).timestamp())

    def opens(key: str, *, attempt: int = 2, end: int = end, now: datetime = NOW) -> bool:
        return LINKS.makes.opens(key, account_id=1, call_id=5, attempt=attempt, end=end, now=now)

    assert opens(key)
    assert not opens(key, now=NOW + timedelta(days=7))
    assert not opens(key, attempt=1)
    assert not opens(key, end=0)
    assert not opens(key, end=end + 86_400)
    assert not opens("0" * 40)
    assert "link" not in made(CrmSettings(), recording=None)
    assert "link" not in made(CrmSettings(recording=False))


def test_nothing_is_sent_as_null() -> None:
    assert None not in made(CrmSettings(), recording=None, caller_id=None).values()


def test_only_results_that_are_wanted_are_pushed() -> None:
    settings = CrmSettings(push=("answered/choice", "busy"))
    wanted = {(d, s) for d in Disposition for s in ScriptResult if settings.wants(d, s)}
    assert {d for d, _ in wanted} == {Disposition.answered, Disposition.busy}
    assert {s for d, s in wanted if d is Disposition.answered} == {ScriptResult.choice}
    assert set(PUSHED) <= set(Disposition)


@pytest.mark.parametrize(
    "wrong",
    [
        {"push": ["answerd"]},
        {"push": ["busy/choice"]},
        {"mapping": {"nothing": {"status": 4}}},
        {"mapping": {"busy": {"status": 8}}},
        {"mapping": {"busy": {"status": 4, "result": ""}}},
        {"mapping": {"busy": {"status": 4, "result": "a\0b"}}},
        {"employees": {"8916": 5}},
        {"employees": {"+79160001122": 0}},
        {"employees": {"+79160001122": "me"}},
        {"recording_days": 0},
        {"unknown": "delete"},
        {"language": "de"},
        {"source": ""},
        {"surplus": 1},
        [],
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: Any) -> None:
    with pytest.raises(CrmSettingsInvalid):
        crm_settings.read(wrong)


def test_settings_are_stored_and_read_as_they_were() -> None:
    settings = CrmSettings(
        push=("busy",),
        mapping={"busy": Mapped(status=CallStatus.busy, result="x")},
        employees={"+79160001122": 5},
    )
    assert crm_settings.read(settings.document()) == settings
    assert CrmSettings().document() == {}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("example.amocrm.ru", "https://example.amocrm.ru"),
        ("https://example.amocrm.ru/", "https://example.amocrm.ru"),
        ("https://example.amocrm.ru:443", "https://example.amocrm.ru"),
        ("https://crm.example.com:8443", "https://crm.example.com:8443"),
        ("http://127.0.0.1:8700", "http://127.0.0.1:8700"),
        ("http://localhost:8700", "http://localhost:8700"),
    ],
)
def test_the_address_of_a_crm_is_its_origin(given: str, shown: str) -> None:
    assert origin(given) == shown


@pytest.mark.parametrize(
    "given",
    [
        "",
        "example",
        "http://example.amocrm.ru",
        "https://example.amocrm.ru/api/v4",
        "https://user:pass@example.amocrm.ru",
        "https://example.amocrm.ru?x=1",
        "https://example.amocrm.ru#x",
        "ftp://example.amocrm.ru",
        "file:///etc/passwd",
        "https://example.amocrm.ru:99999",
        "https://[::1",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_address_of_a_crm_is_refused(given: str) -> None:
    with pytest.raises(BaseUrlInvalid):
        origin(given)


def reply(status: int, data: Any) -> Reply:
    return Reply(status=status, sent=True, data=data)


def stored(uniq: str | None, note: Any = 1) -> dict[str, Any]:
    return {"id": note, "entity_id": 9, "entity_type": "lead", "request_id": uniq}


def test_each_call_is_found_in_an_answer_by_what_is_said_of_it() -> None:
    missing = {"title": "Entity not found", "status": 263}
    some = judged(
        reply(200, {"errors": [{**missing, "request_id": "b"}, {"title": "?", "request_id": "c"}],
                    "_embedded": {"calls": [stored("a")]}}),
        ["a", "b", "c", "d"],
    )  # fmt: skip
    assert [one.uniq for one in some.logged] == ["a"]
    assert (some.logged[0].entity_type, some.logged[0].entity_id) == ("lead", "9")
    assert (some.unknown, some.refused, some.doubtful) == (["b"], ["c"], ["d"])
    # Errors that name no call are of those that nothing else is said of, if there are as many.
    nameless = judged(reply(400, {"_total_items": 0, "errors": [missing, missing]}), ["a", "b"])
    assert nameless.unknown == ["a", "b"]
    odd = judged(reply(400, {"_total_items": 0, "errors": [missing]}), ["a", "b"])
    assert (odd.unknown, odd.doubtful) == ([], ["a", "b"])


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "x",
        {},
        {"_embedded": []},
        {"_embedded": {"calls": "x"}},
        {"_embedded": {"calls": [None, 5, {"id": "1", "request_id": "a"}, stored("z"), stored(None)]}},
        {"errors": [None, {}, {"request_id": []}]},
    ],
)
def test_an_answer_that_says_nothing_of_a_call_leaves_it_in_doubt(data: Any) -> None:
    assert judged(reply(200, data), ["a", "b"]).doubtful == ["a", "b"]


def test_a_validation_error_names_calls_by_request_id_or_by_place() -> None:
    def refused(*request_ids: Any) -> Any:
        data = {"validation-errors": [{"request_id": one, "errors": []} for one in request_ids]}
        return judged(reply(400, data), ["a", "b", "c"])

    assert (refused("b").refused, refused("b").again) == (["b"], ["a", "c"])
    assert (refused("2").refused, refused(0).refused) == (["c"], ["a"])
    assert (refused("z").refused, refused("z").again, refused("z").divide) == ([], ["a", "b", "c"], True)
