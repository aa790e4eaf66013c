"""Can an operator say what calls cost, and whom nobody calls?"""

import pytest

from .commands import Run


def test_a_price_list_is_made_shown_and_changed(zvonar: Run) -> None:
    for prefix, *price in (
        ("+7495", "--per-minute", "0.75", "--first-interval", "10", "--step", "60"),
        ("*", "--per-minute", "3", "--connection-fee", "0.25"),
    ):
        said = zvonar("tariff", "set", "night", prefix, *price)
        assert said.code == 0, said.err
    [night] = [one for one in zvonar("tariff", "list", "--json").document if one["name"] == "night"]
    assert [
        (rate["prefix"], *(float(rate[name]) for name in ("per_minute", "connection_fee")))
        for rate in night["rates"]
    ] == [("*", 3.0, 0.25), ("7495", 0.75, 0.0)]
    assert [(rate["first_interval"], rate["step"]) for rate in night["rates"]] == [(1, 1), (10, 60)]
    assert zvonar("tariff", "remove", "night", "*").code == 0
    assert "* " not in zvonar("tariff", "list").out.split("night")[1]


def test_a_number_is_stopped_for_everybody_and_released(zvonar: Run) -> None:
    assert zvonar("stop-list", "add", "+7 495 000-00-07", "--reason", "asked us").code == 0
    [listed] = zvonar("stop-list", "list", "--json").document
    assert (listed["phone"], listed["reason"]) == ("+74950000007", "asked us")
    assert zvonar("stop-list", "remove", "+74950000007").code == 0
    again = zvonar("stop-list", "remove", "+74950000007")
    assert (again.code, "not on the installation's stop list" in again.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tariff", "set", "night", "7495", "--per-minute", "much"), "amount"),
        (("tariff", "set", "night", "7a", "--per-minute", "1"), "prefix"),
        (("tariff", "remove", "night", "999"), "no price"),
        (("account", "set", "tests", "--tariff", "nothing"), "no such price list"),
    ],
)
def test_what_is_wrong_is_a_sentence(
    zvonar: Run, account: int, arguments: tuple[str, ...], said: str
) -> None:
    answer = zvonar(*arguments)
    assert answer.code == 1
    assert said in answer.err
    assert "Traceback" not in answer.err
