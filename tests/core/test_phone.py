"""Is every number understood as its country writes it, and every doubtful one refused?"""

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zvonar.core.errors import DestinationRefused, PhoneInvalid, ZvonarError
from zvonar.core.phone import Phone, check_destination, is_town, parse

EVERYWHERE = ("RU", "KZ", "US", "GB", "DE")


@pytest.mark.parametrize(
    ("text", "account", "e164", "country"),
    [
        # Russia
        ("+79161234567", "RU", "+79161234567", "RU"),
        ("79161234567", "RU", "+79161234567", "RU"),
        ("89161234567", "RU", "+79161234567", "RU"),
        ("9161234567", "RU", "+79161234567", "RU"),
        ("0079161234567", "RU", "+79161234567", "RU"),
        ("+7 (916) 123-45-67", "RU", "+79161234567", "RU"),
        ("8 (916) 123.45.67", "RU", "+79161234567", "RU"),
        ("+7\u00a0916\u00a0123\u00a045\u00a067", "RU", "+79161234567", "RU"),
        ("\u00a0\t+79161234567 \r\n", "RU", "+79161234567", "RU"),
        ("8 495 123-45-67", "RU", "+74951234567", "RU"),
        ("8-800-555-35-35", "RU", "+78005553535", "RU"),
        ("8 10 49 30 123456", "RU", "+4930123456", "DE"),
        ("9261234567", "RU", "+79261234567", "RU"),  # and not +92 61234567 in Pakistan
        # Kazakhstan shares the calling code
        ("+77011234567", "KZ", "+77011234567", "KZ"),
        ("77011234567", "KZ", "+77011234567", "KZ"),
        ("87011234567", "KZ", "+77011234567", "KZ"),
        ("7011234567", "KZ", "+77011234567", "KZ"),
        ("87011234567", "RU", "+77011234567", "KZ"),
        ("8 727 250 12 34", "KZ", "+77272501234", "KZ"),
        # United States
        ("+1 916 555-1234", "US", "+19165551234", "US"),
        ("1 916 555 1234", "US", "+19165551234", "US"),
        ("(916) 555-1234", "US", "+19165551234", "US"),
        ("001 916 555 1234", "US", "+19165551234", "US"),
        ("011 44 7400 123456", "US", "+447400123456", "GB"),
        ("79161234567", "US", "+79161234567", "RU"),
        # United Kingdom
        ("+44 7400 123456", "GB", "+447400123456", "GB"),
        ("447400123456", "GB", "+447400123456", "GB"),
        ("07400 123456", "GB", "+447400123456", "GB"),
        ("7400123456", "GB", "+447400123456", "GB"),
        ("00447400123456", "GB", "+447400123456", "GB"),
        ("020 7946 0018", "GB", "+442079460018", "GB"),
        ("+44 (0) 20 7946 0018", "GB", "+442079460018", "GB"),
        # Germany: 0491 is a town, but who writes 49171… means the country
        ("+49 171 1234567", "DE", "+491711234567", "DE"),
        ("491711234567", "DE", "+491711234567", "DE"),
        ("0171 1234567", "DE", "+491711234567", "DE"),
        ("1711234567", "DE", "+491711234567", "DE"),
        ("0049 171 1234567", "DE", "+491711234567", "DE"),
        ("030 123456", "DE", "+4930123456", "DE"),
        ("0491 123456", "DE", "+49491123456", "DE"),
    ],
)
def test_a_number_is_read_as_its_account_writes_it(text: str, account: str, e164: str, country: str) -> None:
    phone = parse(text, country=account, trial=False)
    assert phone == Phone(e164=e164, country=country)
    check_destination(phone, countries=EVERYWHERE)


@pytest.mark.parametrize(
    ("text", "e164", "country"),
    [
        ("+380123456789", "+380123456789", "UA"),  # an example in somebody's reference
        ("+79999999999", "+79999999999", "RU"),
        ("+71234567890", "+71234567890", "RU"),
        ("+12025550123", "+12025550123", "US"),
        ("+15555555555", "+15555555555", "US"),
    ],
)
def test_a_number_that_is_possible_may_be_asked_for_and_not_always_dialled(
    text: str, e164: str, country: str
) -> None:
    phone = parse(text, country="RU", trial=False)
    assert phone == Phone(e164=e164, country=country)
    valid = phonenumbers.is_valid_number(phonenumbers.parse(e164))
    if not valid:
        with pytest.raises(DestinationRefused):
            check_destination(phone, countries=(*EVERYWHERE, "UA"))


@given(st.from_regex(r"\A\+[1-9][0-9]{4,14}\Z").filter(lambda text: not text.startswith("+7000")))
def test_what_the_library_calls_possible_is_a_number_and_nothing_else_is(text: str) -> None:
    try:
        number = phonenumbers.parse(text)
        possible = phonenumbers.is_possible_number(number)
    except phonenumbers.NumberParseException:
        possible = False
    try:
        phone = parse(text, country="RU", trial=True)
    except (PhoneInvalid, DestinationRefused):
        assert not possible
    else:
        assert possible
        assert phone.e164 == phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "+",
        "+()",
        "-",
        "++79161234567",
        "7+9161234567",
        "+7916123456",
        "+791612345678",
        "+99912345678",
        "123",
        "79161234567\0",
        "\ud8009161234567",
        "٧٩١٦١٢٣٤٥٦٧",
        "+٧٩١٦١٢٣٤٥٦٧",
        "７９１６１２３４５６７",
        "9" * 10_000,
        "+7" + " " * 10_000 + "9161234567",
        "+7 916 123 45 67 ext. 5",
        "+79161234567;ext=5",
        "+79161234567#5",
        "+79161234567,,5",
        "tel:+79161234567",
        "1-800-FLOWERS",
        "+7916123456O",
        "sip:79161234567@host",
        "+79161234567\r\nX-Header: 1",
        "79161234567\n79161234568",
        "7916\n1234567",
        "+79161234567 / +79161234568",
        "⁺79161234567",
        "-79161234567+",
    ],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(PhoneInvalid):
        parse(text, country="RU", trial=True)


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("112", "RU"),
        ("1 1 2", "RU"),
        ("112", "US"),
        ("112", "DE"),
        ("112", "ZZ"),
        ("911", "US"),
        ("911", "RU"),
        ("01", "RU"),
        ("02", "RU"),
        ("101", "RU"),
        ("102", "RU"),
        ("103", "RU"),
        ("104", "RU"),
        ("101", "KZ"),
        ("112", "KZ"),
        ("110", "DE"),
        ("999", "GB"),
        ("+7112", "RU"),
        ("7112", "RU"),
        ("+7 101", "RU"),
        ("00 7 112", "RU"),
        ("+1911", "US"),
        ("+49110", "DE"),
        ("+44999", "GB"),
        ("8112", "RU"),
        ("+71121234567", "RU"),
        ("1121234567", "RU"),
        ("9111234567", "US"),
    ],
)
def test_an_emergency_number_is_never_dialled(text: str, account: str) -> None:
    with pytest.raises((PhoneInvalid, DestinationRefused)):
        check_destination(parse(text, country=account, trial=True), countries=(*EVERYWHERE, "001", account))


@pytest.mark.parametrize("text", ["112", "101", "+7112"])
def test_an_emergency_number_is_called_one(text: str) -> None:
    with pytest.raises(DestinationRefused):
        parse(text, country="RU", trial=False)


@pytest.mark.parametrize(
    "e164",
    [
        "+78031234567",  # Russia, premium
        "+78091234567",
        "+19002345678",  # United States, premium
        "+449012345678",  # United Kingdom, premium
        "+448431234567",  # shared cost
        "+447012345678",  # "personal", priced like premium
        "+15005550006",
        "+49900112345",  # Germany, premium
        "+491801123456",  # shared cost
        "+79541234567",  # Russian satellite telephones
        "+77601234567",  # Kazakhstan's services, satellite among them
        "+881612345678",  # Globalstar, Iridium
        "+870773111632",  # Inmarsat
        "+882161234567",  # international networks
        "+883510000123456",
        "+80012345678",  # universal freephone
        "+97912345678",  # universal premium
        "+70001230001",  # a town number that does not say so
        "+79161234567890",  # no number at all
        "+71121234567",
    ],
)
def test_a_dear_or_doubtful_destination_is_closed_whatever_the_account_allows(e164: str) -> None:
    for country in (*EVERYWHERE, "001"):
        with pytest.raises(ZvonarError):
            check_destination(Phone(e164=e164, country=country), countries=(*EVERYWHERE, "001"))
    with pytest.raises(ZvonarError):
        check_destination(parse(e164, country="RU", trial=False), countries=(*EVERYWHERE, "001"))


@pytest.mark.parametrize(
    ("e164", "countries", "allowed"),
    [
        ("+79161234567", ("RU",), True),
        ("+79161234567", ("KZ", "RU"), True),
        ("+79161234567", ("KZ",), False),
        ("+79161234567", (), False),
        ("+77011234567", ("RU",), False),  # the same calling code is not the same country
        ("+77011234567", ("KZ",), True),
        ("+18095551234", ("US",), False),  # Dominican Republic
        ("+14165551234", ("US",), False),  # Canada
        ("+447911123456", ("GB",), False),  # Guernsey
    ],
)
def test_only_allowed_countries_are_open(e164: str, countries: tuple[str, ...], allowed: bool) -> None:
    phone = parse(e164, country="RU", trial=False)
    if allowed:
        check_destination(phone, countries=countries)
    else:
        with pytest.raises(DestinationRefused):
            check_destination(phone, countries=countries)


def test_the_number_decides_its_country_and_not_its_record() -> None:
    with pytest.raises(DestinationRefused):
        check_destination(Phone(e164="+77011234567", country="RU"), countries=("RU",))


@pytest.mark.parametrize("stored", ["", "+", "9161234567", "+7", "nonsense", "\0"])
def test_a_damaged_record_is_refused(stored: str) -> None:
    with pytest.raises(DestinationRefused):
        check_destination(Phone(e164=stored, country="RU"), countries=("RU",))


@pytest.mark.parametrize(
    "text",
    ["+70001230001", "70001230001", "80001230001", "0001230001", "0070001230001", "+7 (000) 123-00-01"],
)
@pytest.mark.parametrize("account", ["RU", "KZ", "US", "GB", "DE"])
def test_a_town_number_counts_only_beside_a_trial_trunk(text: str, account: str) -> None:
    phone = parse(text, country=account, trial=True)
    assert phone == Phone(e164="+70001230001", country=account, trial=True)
    check_destination(phone, countries=())
    with pytest.raises(PhoneInvalid, match="trial"):
        parse(text, country=account, trial=False)


def test_a_record_cannot_claim_to_be_on_trial() -> None:
    with pytest.raises(DestinationRefused):
        check_destination(Phone(e164="+19002345678", country="US", trial=True), countries=("US",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+70001230001", True),
        ("+70001230001\n", False),
        ("+7000123000", False),
        ("+700012300011", False),
        ("70001230001", False),
        ("+7000١٢٣٠٠٠١", False),
    ],
)
def test_a_town_number_has_one_shape(text: str, expected: bool) -> None:
    assert is_town(text) is expected


texts = (
    st.text()
    | st.text("0123456789+-(). \u00a0\t", max_size=45)
    | st.from_regex(r"\A(\+|00)?[78]?[0-9]{3,12}\Z")
    | st.integers(0, 10**16).map(str)
)


@given(text=texts, account=st.sampled_from((*EVERYWHERE, "ZZ", "", "001")), trial=st.booleans())
@example(text="\ud800", account="RU", trial=True)
def test_any_text_is_a_number_or_refused_in_our_own_words(text: str, account: str, trial: bool) -> None:
    try:
        phone = parse(text, country=account, trial=trial)
        check_destination(phone, countries=EVERYWHERE)
    except ZvonarError as refusal:
        words = str(refusal)
    else:
        words = ""
        check_understood(phone, trial)
    assert not any(char.isdigit() for char in words)  # a number never reaches a log this way


def check_understood(phone: Phone, trial: bool) -> None:
    assert phone.e164[0] == "+"
    assert phone.e164[1:].isascii()
    assert phone.e164[1:].isdigit()
    assert 7 <= len(phone.e164[1:]) <= 15
    assert phone.trial == is_town(phone.e164)
    # What was understood once is understood the same again, by any account.
    again = parse(phone.e164, country=phone.country, trial=trial)
    assert again == phone


@given(st.from_regex(r"\A\+[1-9][0-9]{5,14}\Z"))
def test_any_record_is_open_or_refused_in_our_own_words(e164: str) -> None:
    try:
        check_destination(Phone(e164=e164, country="RU"), countries=("RU", "US"))
    except DestinationRefused:
        return
    assert e164.startswith(("+7", "+1"))
