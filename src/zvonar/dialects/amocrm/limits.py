"""How much may an amoCRM client ask, and how much at once?"""

from typing import Final

from zvonar.store.limits import Rule

# Kommo's documented seven a second, for each token; whether the vendor counts integrations or addresses is
# disputed [G].
SECOND: Final = Rule(scope="amocrm.second", count=7, seconds=1)
# Of one integration at the token endpoint: a secret costs some time to compare [G].
TOKENS: Final = Rule(scope="amocrm.tokens", count=7, seconds=1)
RETRY_AFTER: Final = "1"  # seconds; whether the vendor sends the header is not known [G]

MAX_BODY: Final = 4_000_000  # bytes of a request
MAX_BATCH: Final = 250  # items of a write [G for calls]
MAX_PAGE: Final = 250  # items of a page
DEFAULT_PAGE: Final = 50
MAX_EVENTS: Final = 100  # items of a page of events
MAX_PAGES: Final = 100_000  # the number of a page
MAX_TEXT: Final = 65_535  # characters of a note
MAX_NAME: Final = 255  # characters of a name, a source, a result
MAX_PHONE: Final = 64  # characters of a number, with everything that is put between digits
MAX_LINK: Final = 2_000  # characters of a link
MAX_DURATION: Final = 10_000_000  # seconds of a call: a third of a year; more is another unit or a mistake
MAX_MOMENT: Final = 4_102_444_800  # Unix seconds of the year 2100; more are milliseconds
MAX_ID: Final = 2**63 - 1
MAX_FIELDS: Final = 50  # values of a PHONE or an EMAIL
MAX_WEBHOOKS: Final = 100  # of an account
