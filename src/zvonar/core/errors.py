"""What can go wrong, in the words of the field? Each class's docstring is its message.

A dialect renders these in its own shape; nothing here knows a wire format.
"""


class ZvonarError(Exception):
    """Something went wrong."""

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail
        # Under `python -OO` there are no docstrings; the class's name then has to do.
        message = (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]
        super().__init__(f"{message} {detail}" if detail else message)


class NotFound(ZvonarError):
    """There is no such thing in this account."""


class Refused(ZvonarError):
    """The request is understood and not allowed."""


class Invalid(ZvonarError):
    """The value is not acceptable."""


class PhoneInvalid(Invalid):
    """The text is not a dialable phone number."""


class DestinationRefused(Refused):
    """This destination is closed: emergency, premium, satellite, or a country the account does not allow."""


class CampaignNotFound(NotFound):
    """There is no such campaign in this account."""


class CallNotFound(NotFound):
    """There is no such call in this account."""


class AccountNotFound(NotFound):
    """There is no such account."""


class NameTaken(Refused):
    """The name is already taken."""


class NoMoney(Refused):
    """The balance does not cover the worst case of this call."""


class NoTariff(Refused):
    """The account's tariff has no price for this destination."""


class IllegalTransition(ZvonarError):
    """A call cannot make this change of state."""


class SettingsInvalid(Invalid):
    """The campaign's settings do not hold together."""


class Unauthorised(Refused):
    """The key is not known."""
