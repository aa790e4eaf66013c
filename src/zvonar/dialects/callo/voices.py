"""Which of our voices is meant by a speaker of the original? The language of those that are known.

Their engines are not ours, so a name that we do not know is no reason to refuse a call: it is then spoken as its
campaign is.
"""

from zvonar.core.campaign import Voice

# Speakers that clients have been seen to send.
_SPEAKERS = {
    "tatyana": "ru",
    "maxim": "ru",
    "salli": "en",
    "joanna": "en",
}


def voice_of(speaker: str | None, campaign: Voice) -> Voice:
    """How a call is spoken whose client names a speaker."""
    language = _SPEAKERS.get((speaker or "").lower())
    return campaign if language in (None, campaign.language) else Voice(language=language)
