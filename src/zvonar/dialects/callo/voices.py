"""Which of our voices is meant by a speaker of the original? The language of those that are known.

Their engines are not ours, so a name that we do not know is no reason to refuse a call: it is then spoken as its
campaign is. Nor is an emotion; those that are known raise or lower the voice a little.
"""

import re

from msgspec import structs

from zvonar.core.campaign import Voice

# Speakers that clients have been seen to send, and others of the services that sell such voices [G].
_SPEAKERS = {
    **dict.fromkeys(("tatyana", "maxim"), "ru"),
    **dict.fromkeys(("alena", "filipp", "ermil", "jane", "omazh", "zahar", "dasha", "julia", "lera"), "ru"),
    **dict.fromkeys(("masha", "marina", "alexander", "kirill", "anton"), "ru"),
    **dict.fromkeys(("salli", "joanna", "matthew", "joey", "kendra", "ivy", "brian", "amy", "emma"), "en"),
    **dict.fromkeys(("amira", "madi"), "kk"),
    **dict.fromkeys(("lada", "petro"), "uk"),
}
# Percent of the voice's own pitch and speed [G]. "neutral" is the default of the reference.
_EMOTIONS = {
    **dict.fromkeys(("good", "friendly", "happy", "cheerful"), (115, 105)),
    **dict.fromkeys(("evil", "strict", "angry"), (85, 100)),
    **dict.fromkeys(("sad", "whisper", "calm"), (90, 85)),
}
_OWN = re.compile(r"[fm][1-8]")  # speakers of our own engine


def voice_of(speaker: str | None, emotion: str | None, campaign: Voice) -> Voice:
    """How a call is spoken whose client names a speaker, an emotion, or both."""
    named = (speaker or "").lower()
    language = _SPEAKERS.get(named)
    voice = campaign
    if _OWN.fullmatch(named):
        voice = structs.replace(campaign, name=named)
    elif language is not None and language != campaign.language:
        voice = Voice(language=language)
    pitch, rate = _EMOTIONS.get((emotion or "").lower(), (100, 100))
    return structs.replace(
        voice,
        pitch=min(max(voice.pitch * pitch // 100, 0), 200),
        rate=min(max(voice.rate * rate // 100, 50), 200),
    )
