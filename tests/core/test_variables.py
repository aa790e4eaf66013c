"""Does each call say its own words?"""

from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.campaign import CallOverrides, CampaignSettings, script_of
from zvonar.core.prompt import Prompt
from zvonar.core.reaction import Reaction, Sms
from zvonar.core.script import Node, Script, plain
from zvonar.core.variables import filled, names_in, texts_of


def test_every_text_of_a_script_is_filled() -> None:
    script = Script(
        nodes={
            "1": Node(
                prompt=Prompt(text="Здравствуйте, {{ name }}!"),
                keys={"1": Reaction(say=Prompt(text="{{name}}, ждём."), sms=Sms(text="{{date}}"))},
            )
        }
    )
    assert names_in(texts_of(script)) == ["name", "date"]
    overrides = CallOverrides(variables={"name": "Анна", "date": "1 мая"})
    said = script_of(CampaignSettings(script=script), overrides)
    assert said is not None
    assert texts_of(said) == ["Здравствуйте, Анна!", "Анна, ждём.", "1 мая"]


def test_what_is_not_known_says_nothing() -> None:
    said = script_of(
        CampaignSettings(script=plain(Prompt(text="Код {{code}}{{other}}."))),
        CallOverrides(variables={"code": "12"}),
    )
    assert said is not None
    assert texts_of(said) == ["Код 12."]


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_a_value_is_never_filled_again(text: str, variables: dict[str, str]) -> None:
    assert filled("{{x}}", {**variables, "x": text}) == text
