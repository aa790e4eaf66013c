"""Does each call say its own words?"""

from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.campaign import CallOverrides, CampaignSettings, script_of
from zvonar.core.markup import Pause, Words, is_marked, parse
from zvonar.core.prompt import Prompt
from zvonar.core.reaction import Reaction, Sms
from zvonar.core.script import Node, Script, plain
from zvonar.core.variables import filled, filled_speech, names_in, texts_of


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


@given(st.text(max_size=20))
def test_what_is_put_into_speech_is_never_markup(value: str) -> None:
    for template in ("Для {{x}}.", 'Для <break time="1s"/> {{x}}.'):
        said = filled_speech(template, {"x": value})
        parts = parse(said)  # whatever came in, it can be read
        assert all(isinstance(part, Words | Pause) for part in parts)
        assert sum(isinstance(part, Pause) for part in parts) == template.count("<break")
        if "<" not in template and not is_marked(value):
            assert said == f"Для {value}."
