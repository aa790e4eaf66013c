"""What do the types that check a number say and await, and how does each go about it? Settings, and scripts of them."""

from collections.abc import Mapping

from msgspec import Struct

from zvonar.core.errors import SettingsInvalid
from zvonar.core.prompt import Prompt
from zvonar.core.script import Dictation, Entry, Node, Script

# What is said where the campaign has no words of its own, by language; English where there are none.
ENTER_CODE = {
    "ru": "Введите код на клавиатуре телефона.",
    "en": "Please enter the code on your telephone keypad.",
}
CONFIRM = {"ru": "Чтобы подтвердить, нажмите {key}.", "en": "To confirm, press {key}."}
YOUR_CODE = {"ru": "Ваш код.", "en": "Your code is."}
RIGHT = {"ru": "Спасибо, код верный.", "en": "Thank you, the code is correct."}
WRONG = {"ru": "Код неверный.", "en": "The code is wrong."}
CONFIRMED = {"ru": "Спасибо.", "en": "Thank you."}


class Pin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a PIN, or the one key that confirms, is asked for."""

    tries: int = 3  # how often it may be entered
    timeout: float = 7.0  # seconds of silence after the prompt before it is asked for again
    between: float = 4.0  # seconds of silence that end an entry that is too short
    key: str = "1"  # what confirms in pincode_short, unless the call brings one digit of its own
    right: Prompt | None = None  # said after the right digits
    wrong: Prompt | None = None  # said after wrong ones

    def checked(self) -> "Pin":
        """Self, or SettingsInvalid."""
        if not 1 <= self.tries <= 10:
            raise SettingsInvalid("the tries of a PIN are 1 to 10.")
        if not 0.5 <= self.timeout <= 60 or not 0.5 <= self.between <= 60:
            raise SettingsInvalid("the pauses of a PIN are 0.5 to 60 seconds.")
        if len(self.key) != 1 or self.key not in "0123456789":
            raise SettingsInvalid("the key that confirms is one digit.")
        for said in (self.right, self.wrong):
            if said is not None:
                said.checked("what is said after a PIN")
        return self


class Tell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a code is dictated; tellcode."""

    times: int = 2  # the prompt and the digits are said so often
    pause: float = 0.3  # seconds after each digit

    def checked(self) -> "Tell":
        """Self, or SettingsInvalid."""
        if not 1 <= self.times <= 10 or not 0 <= self.pause <= 5:
            raise SettingsInvalid("a code is dictated 1 to 10 times, with 0 to 5 seconds between its digits.")
        return self


class Flash(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long it rings; flashcall."""

    rings: float = 1.5  # seconds from the callee's ringing to our CANCEL

    def checked(self) -> "Flash":
        """Self, or SettingsInvalid."""
        if not 0.2 <= self.rings <= 30:
            raise SettingsInvalid("a flashcall rings 0.2 to 30 seconds.")
        return self


class Incoming(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a subscriber who calls us is received; pincode_incoming."""

    wait: int = 600  # seconds that a call waits for its subscriber before it expires
    answer: bool = (
        False  # pick up, say the campaign's prompt and hang up; else reject, which costs nobody anything
    )

    def checked(self) -> "Incoming":
        """Self, or SettingsInvalid."""
        if not 10 <= self.wait <= 86_400:
            raise SettingsInvalid("a subscriber is waited for 10 to 86400 seconds.")
        return self


def phrase(texts: Mapping[str, str], language: str) -> str:
    """The text in this language, or in English."""
    return texts.get(language.partition("-")[0]) or texts["en"]


def entry(code: str, asked: Prompt | None, pin: Pin, language: str) -> Script:
    """Asks for the digits of a code, some times, and says whether they were right."""
    return Script(
        nodes={
            "1": Node(
                prompt=asked or Prompt(text=phrase(ENTER_CODE, language)),
                timeout=pin.timeout,
                repeats=pin.tries - 1,
                entry=Entry(
                    expects=code,
                    between=pin.between,
                    right=pin.right or Prompt(text=phrase(RIGHT, language)),
                    wrong=pin.wrong or Prompt(text=phrase(WRONG, language)),
                ),
            )
        }
    )


def confirmation(code: str | None, asked: Prompt | None, pin: Pin, language: str) -> Script:
    """Asks for one key: the call's own digit, else the campaign's."""
    key = confirming_key(code, pin)
    question = phrase(CONFIRM, language).format(key=key)
    return Script(
        nodes={
            "1": Node(
                prompt=asked or Prompt(text=question),
                timeout=pin.timeout,
                repeats=pin.tries - 1,
                entry=Entry(
                    expects=key,
                    between=pin.between,
                    right=pin.right or Prompt(text=phrase(CONFIRMED, language)),
                    wrong=pin.wrong,
                ),
            )
        }
    )


def confirming_key(code: str | None, pin: Pin) -> str:
    """The key that confirms a call of pincode_short."""
    return code if code is not None and len(code) == 1 else pin.key


def dictation(code: str, introduced: Prompt | None, tell: Tell, language: str) -> Script:
    """Says a code digit by digit, some times."""
    return Script(
        nodes={
            "1": Node(
                prompt=introduced or Prompt(text=phrase(YOUR_CODE, language)),
                dictation=Dictation(digits=code, times=tell.times, pause=tell.pause),
            )
        }
    )
