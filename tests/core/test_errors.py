"""Does every error read as a sentence?"""

from collections.abc import Iterator

import pytest

from zvonar.core import errors


def _all(kind: type[errors.ZvonarError]) -> Iterator[type[errors.ZvonarError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _all(child)


@pytest.mark.parametrize("kind", [k for k in _all(errors.ZvonarError) if k.__module__ == errors.__name__])
def test_an_error_is_a_sentence_and_takes_a_detail(kind: type[errors.ZvonarError]) -> None:
    assert str(kind()).endswith(".")
    assert str(kind("It is late.")) == f"{kind()} It is late."
    assert kind("It is late.").detail == "It is late."


def test_an_error_without_a_docstring_says_its_name() -> None:
    class Nameless(errors.ZvonarError):
        pass

    Nameless.__doc__ = None  # as `python -OO` leaves every class
    assert str(Nameless()) == "Nameless"
