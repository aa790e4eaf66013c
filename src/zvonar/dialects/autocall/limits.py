"""How often may an autocall client ask, and how much may it send?"""

from zvonar.store import limits

PER_KEY = limits.Rule(scope="autocall.key", count=300, seconds=60)  # the reference: 300 a minute
PUBLIC = limits.Rule(scope="autocall.public", count=300, seconds=60)  # of one address, without a key
TEST_CALLS = limits.Rule(scope="autocall.test", count=5, seconds=86_400)  # to one number of one account

RETRY_AFTER = "60"  # seconds

MAX_BODY = 4_000_000  # bytes of an ordinary body; a scenario of 200 nodes with long texts has three
MAX_LIST = 200_000_000  # bytes of one with contacts
MAX_INLINE = 1_000_000  # contacts of one request
MAX_AUDIO = 34_000_000  # bytes of an upload with its form
MAX_ERRORS = 100  # told of one request
PER_PAGE = 20
MAX_PER_PAGE = 200
MAX_PAGE = 1_000_000
