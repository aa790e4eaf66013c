"""What to say, to whom, when, how often: a campaign's settings and its states.

Callo's *campaign* and autocall's *autocall* are this same row.
"""

import re
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct, field, structs

from zvonar.core import verification
from zvonar.core.control import MAX_WEIGHT, Breaker, Cap, Clock, checked_caps
from zvonar.core.errors import SettingsInvalid
from zvonar.core.machine import MachineDetection
from zvonar.core.prompt import Prompt, storable
from zvonar.core.reaction import ReactionOverride, is_web_address
from zvonar.core.retry import RetryPolicy
from zvonar.core.schedule import Schedule, Window, anywhere, zone_of
from zvonar.core.script import Script, plain
from zvonar.core.variables import filled_script
from zvonar.core.verification import Flash, Incoming, Pin, Tell

MAX_CALL_TIME = 3600
MAX_LIFETIME = 10 * 366 * 86400  # seconds
MAX_COST = Decimal(1_000_000_000)
MIN_CODE, MAX_CODE = 4, 8  # digits of a code that somebody has to type or to remember
MAX_RECALL = 30 * 86400  # seconds
MAX_COMMENT = 2000  # characters, also of an address
MAX_CLIENT_ID = 100  # characters
MAX_SMS = 1000  # characters

# A pool's entry may end in X: each stands for any digit.
_CALLER_ID = re.compile(r"(?=.{6,16}\Z)\+\d+X*", re.ASCII)
_WHOLE_NUMBER = re.compile(r"\+\d{5,15}", re.ASCII)
_CODE = re.compile(r"\d{1,40}", re.ASCII)
_VOICE = re.compile(r"\w[\w.+/:-]{0,199}", re.ASCII)  # it becomes an argument of a speech engine


class CampaignType(StrEnum):
    regular = "regular"  # a prompt or an IVR, free text per call
    pincode = "pincode"
    pincode_short = "pincode_short"
    pincode_incoming = "pincode_incoming"
    tellcode = "tellcode"
    flashcall = "flashcall"

    @property
    def dialled(self) -> bool:
        """Whether we call the subscriber; in the others he calls us."""
        return self is not CampaignType.pincode_incoming


class CampaignStatus(StrEnum):
    paused = "paused"  # accepts calls, dials none
    running = "running"
    completed = "completed"  # every call has ended; a new call makes it run again
    cancelled = "cancelled"  # for good


class Waits(StrEnum):
    """What a campaign still waits for that is paused, or runs already."""

    generating = "generating"  # paused: its calls are being loaded, or its texts spoken
    moderation = "moderation"  # paused: the operator has to approve it
    awaiting = "awaiting"  # running: its window is closed


class Reason(StrEnum):
    """Why a campaign has the status that it has."""

    by_hand = "by_hand"  # paused, cancelled
    window_closed = "window_closed"  # awaiting; completed: its dates were over before its calls were
    no_money = "no_money"  # paused, completed: the balance, or the day's cap, does not cover another call
    max_cost = "max_cost"  # paused, completed: the campaign's own cap was reached before its calls were over
    breaker = "breaker"  # paused: too many of its latest attempts failed
    rejected = "rejected"  # cancelled: by the operator, who looked at it
    finished = "finished"  # completed: every call has ended by itself


class Voice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How texts are spoken."""

    language: str = "ru"  # BCP 47 primary tag
    name: str | None = None  # the engine's own voice; its default for the language unless given
    rate: int = 100  # percent of the engine's usual speed
    pitch: int = 100  # percent of the voice's own

    def checked(self) -> "Voice":
        """Self, or SettingsInvalid."""
        for text in (self.language, self.name):
            if text is not None and not _VOICE.fullmatch(text):
                raise SettingsInvalid("a voice has a language such as ru, and a name of letters and digits.")
        if not 50 <= self.rate <= 200 or not 0 <= self.pitch <= 200:
            raise SettingsInvalid("a voice has a rate of 50 to 200 percent and a pitch of 0 to 200.")
        return self


class LostPolicy(StrEnum):
    """What to do with a call whose leg was lost when the controller died in doubt."""

    leave = "leave"  # the callee may have heard us: the retry policy alone decides
    redial = "redial"  # a new attempt, whatever the retry policy says of lost ones


class NoMoneyPolicy(StrEnum):
    """What to do when the money for another call is not there, and no other call holds any."""

    end = "end"  # the call ends; so do the others, one by one
    pause = "pause"  # the campaign pauses and keeps its calls


class CallLimit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a client may add a call to one number."""

    count: int = 5  # calls
    seconds: int = 30  # in any stretch of so many seconds

    def checked(self) -> "CallLimit":
        """Self, or SettingsInvalid."""
        if not 1 <= self.count <= 1000 or not 1 <= self.seconds <= 86_400:
            raise SettingsInvalid("a call_limit is 1 to 1000 calls in 1 to 86400 seconds.")
        return self


class PostbackMethod(StrEnum):
    get = "GET"
    post = "POST"


class Postback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request to the client's own address once a call has ended."""

    url: str  # with placeholders in braces, which the dialect that sends it fills
    method: PostbackMethod = PostbackMethod.get
    every_attempt: bool = False  # also after attempts that another one follows

    def checked(self) -> "Postback":
        """Self, or SettingsInvalid."""
        if not is_web_address(self.url):
            raise SettingsInvalid(
                f"a postback's url is an http or https address, at most {MAX_COMMENT} characters."
            )
        return self


class CampaignSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting that a campaign has; what `--settings FILE.json` covers."""

    script: Script | None = None  # what a call says unless it brings its own text
    voice: Voice = field(default_factory=Voice)
    window: Window = field(default_factory=Window)
    timezone: str | None = None  # IANA; the account's unless given
    clock: Clock = Clock.campaign  # in whose time zone the window is meant
    caps: tuple[Cap, ...] = ()  # of one callee, beside the account's; over all of its campaigns
    weight: int = 1  # share of a trunk beside other campaigns: 2 gets twice what 1 gets
    breaker: Breaker | None = None  # pauses the campaign when too much fails
    recall_within: int = 86400  # seconds in which a callee who was not reached may call back; 0 is never
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    lost: LostPolicy = LostPolicy.leave
    no_money: NoMoneyPolicy = NoMoneyPolicy.end
    ring_timeout: int = 30  # seconds from INVITE to CANCEL
    max_call_time: int = 180  # seconds from answer to our hang-up; also bounds the hold of money
    record: bool = False
    calls_per_second: Decimal = Decimal(0)  # placements a second of this campaign; 0 is the trunks' own limit
    max_channels: int = 0  # legs of this campaign at once; 0 is the trunks' own limit
    caller_ids: tuple[str, ...] = ()  # E.164, may end in X for any digit; a trunk's own pool unless given
    lifetime: int | None = None  # seconds that a call may wait in all before it expires
    allow_duplicates: bool = False  # whether a list of numbers may hold one of them several times
    open_ended: bool = False  # stays running when its calls have ended
    call_limit: CallLimit = field(
        default_factory=CallLimit
    )  # of one number, for clients that add single calls
    code_length: int = 4  # digits of a PIN or code that we choose
    incoming_numbers: tuple[str, ...] = ()  # E.164; what a subscriber may call to confirm
    pin: Pin = field(default_factory=Pin)
    tell: Tell = field(default_factory=Tell)
    flash: Flash = field(default_factory=Flash)
    incoming: Incoming = field(default_factory=Incoming)
    machine: MachineDetection | None = None  # None: whoever answers is taken for a person
    min_talk: int = 0  # seconds; an answered call that is shorter counts for nothing, and is tried again
    long_talk: int | None = None  # seconds; an answered call that is longer is an event of its own
    unique_phones: bool = (
        False  # a call to a number that another call of the campaign waits for or talks to is ended
    )
    callback_url: str | None = None  # receives an autocall body at every change
    postback: Postback | None = None
    max_cost: Decimal | None = None  # held at start; the campaign never costs more
    grows: bool = False  # max_cost is the worst case of the calls, and grows with them
    comment: str | None = None
    client_id: str | None = None  # the client's own name for whom this is; the account's id unless given
    audio_ids: tuple[int, ...] = ()  # the clips that the client has named; else those of the script
    scenario_id: int | None = None  # which of the account's scenarios the script is a copy of
    sms_text: str | None = None  # sent after a success
    sms_unanswered_text: str | None = None  # sent where the call has ended without one

    def checked(self) -> "CampaignSettings":
        """Self, or SettingsInvalid naming the setting."""
        self.window.checked()
        self.retry.checked()
        self.voice.checked()
        self.call_limit.checked()
        self.pin.checked()
        self.tell.checked()
        self.flash.checked()
        self.incoming.checked()
        if self.machine is not None:
            self.machine.checked()
        if self.postback is not None:
            self.postback.checked()
        if self.script is not None:
            self.script.checked()
        if self.timezone is not None:
            zone_of(self.timezone)
        checked_caps(self.caps)
        if self.breaker is not None:
            self.breaker.checked()
        for name, value, low, high in (
            ("ring_timeout", self.ring_timeout, 5, 120),
            ("max_call_time", self.max_call_time, 1, MAX_CALL_TIME),
            ("max_channels", self.max_channels, 0, 100_000),
            ("calls_per_second", self.calls_per_second, 0, 1000),
            ("lifetime", self.lifetime, 1, MAX_LIFETIME),
            ("weight", self.weight, 1, MAX_WEIGHT),
            ("recall_within", self.recall_within, 0, MAX_RECALL),
            ("code_length", self.code_length, MIN_CODE, MAX_CODE),
            ("min_talk", self.min_talk, 0, MAX_CALL_TIME),
            ("long_talk", self.long_talk, 1, MAX_CALL_TIME),
            ("max_cost", self.max_cost, 0, MAX_COST),
        ):
            # Decimals also come as NaN, with which every comparison raises.
            if value is not None and not (Decimal(value).is_finite() and low <= value <= high):
                raise SettingsInvalid(f"{name} is {low} to {high}.")
        for caller_id in self.caller_ids:
            # It stands in SIP headers: nothing but digits may come through.
            if not _CALLER_ID.fullmatch(caller_id):
                raise SettingsInvalid("caller_ids are numbers like +74951234567, or +7495123XXXX.")
        if not all(_WHOLE_NUMBER.fullmatch(number) for number in self.incoming_numbers):
            raise SettingsInvalid("incoming_numbers are numbers like +74951234567.")
        if self.callback_url is not None and not is_web_address(self.callback_url):
            raise SettingsInvalid(
                f"callback_url is an http or https address, at most {MAX_COMMENT} characters."
            )
        if self.comment is not None and (len(self.comment) > MAX_COMMENT or not storable(self.comment)):
            raise SettingsInvalid(f"a comment is at most {MAX_COMMENT} characters, without NUL.")
        if self.client_id is not None and (
            len(self.client_id) > MAX_CLIENT_ID or not storable(self.client_id)
        ):
            raise SettingsInvalid(f"a client_id is at most {MAX_CLIENT_ID} characters, without NUL.")
        for name, text in (("sms_text", self.sms_text), ("sms_unanswered_text", self.sms_unanswered_text)):
            if text is not None and (not text.strip() or len(text) > MAX_SMS or not storable(text)):
                raise SettingsInvalid(f"{name} is 1 to {MAX_SMS} characters, without NUL.")
        return self

    def lifetime_of(self, type: CampaignType) -> int | None:
        """Seconds after which a call expires that nothing has come of; the store's `waits_for` says the same."""
        if self.lifetime is None and type is CampaignType.pincode_incoming:
            return self.incoming.wait
        return self.lifetime


class CallOverrides(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one call says or does differently from its campaign."""

    text: str | None = None  # replaces the prompt of the script's first node
    voice: Voice | None = None
    max_call_time: int | None = None  # seconds
    code: str | None = None  # digits: the PIN to be entered, the code to be told, the last digits that ring
    reactions: tuple[ReactionOverride, ...] = ()  # what keys and words do in this call
    variables: dict[str, str] | None = None  # name → text, for {{name}} in what is said
    timezone: str | None = None  # IANA: the contact's own; counts unless the campaign's clock is its own

    def checked(self) -> "CallOverrides":
        """Self, or SettingsInvalid naming the setting."""
        if self.code is not None and not _CODE.fullmatch(self.code):
            raise SettingsInvalid("a code is 1 to 40 digits.")
        if self.timezone is not None:
            zone_of(self.timezone)
        if self.text is not None:
            Prompt(text=self.text).checked("the call")
        if self.voice is not None:
            self.voice.checked()
        for override in self.reactions:
            override.checked()
        if self.max_call_time is not None and not 1 <= self.max_call_time <= MAX_CALL_TIME:
            raise SettingsInvalid(f"max_call_time is 1 to {MAX_CALL_TIME}.")
        return self


def script_of(settings: CampaignSettings, overrides: CallOverrides) -> Script | None:
    """The script of a call that brings no code; None when neither the campaign nor the call says anything."""
    script = settings.script
    if overrides.text is not None:
        prompt = Prompt(text=overrides.text)
        if script is None:
            script = plain(prompt)
        else:
            node = structs.replace(script.nodes[script.start], prompt=prompt)
            script = structs.replace(script, nodes={**script.nodes, script.start: node})
    if script is not None and overrides.reactions:
        script = script.overridden(overrides.reactions)
    if script is not None and overrides.variables:
        script = filled_script(script, overrides.variables)
    return script


def schedule_of(settings: CampaignSettings, account_timezone: str) -> Schedule:
    """When anybody at all may be dialled; where callees have clocks of their own, that is when one of them may."""
    if settings.clock is not Clock.campaign:
        return anywhere(settings.window)
    return Schedule(settings.window, (zone_of(settings.timezone or account_timezone),))


def script_of_type(type: CampaignType, settings: CampaignSettings, overrides: CallOverrides) -> Script | None:
    """The script that a call runs once it is answered, whatever its type; None where there is nothing to say.

    The types that check a number take their first prompt from the campaign, or the call, where either has one.
    """
    own = script_of(settings, overrides)
    asked = own.nodes[own.start].prompt if own is not None else None
    language = (overrides.voice or settings.voice).language
    code = overrides.code
    match type:
        case CampaignType.pincode if code is not None:
            return verification.entry(code, asked, settings.pin, language)
        case CampaignType.pincode_short:
            return verification.confirmation(code, asked, settings.pin, language)
        case CampaignType.tellcode if code is not None:
            return verification.dictation(code, asked, settings.tell, language)
        case CampaignType.pincode_incoming if code:
            return verification.entry(code, asked, settings.pin, language)
        case CampaignType.pincode_incoming:
            return own or plain(Prompt(text=verification.phrase(verification.CONFIRMED, language)))
        case _:
            return own
