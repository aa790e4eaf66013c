"""Which numbers does a pool of caller IDs hold? An entry may end in X: each stands for any digit."""

from collections.abc import Callable, Sequence


def ends_with(pool: Sequence[str], digits: str) -> bool:
    """Whether some number of the pool ends with these digits."""
    return any(
        len(entry) > len(digits)
        and all(known in (digit, "X") for known, digit in zip(entry[-len(digits) :], digits, strict=True))
        for entry in pool
    )


def drawn(pool: Sequence[str], length: int, below: Callable[[int], int]) -> str | None:
    """The last digits of a number of the pool, or None where it is empty. `below(n)`: a random number from 0 to n-1."""
    long_enough = [entry for entry in pool if len(entry) > length]
    if not long_enough:
        return None
    ending = long_enough[below(len(long_enough))][-length:]
    return "".join(str(below(10)) if known == "X" else known for known in ending)


def whole(pool: Sequence[str]) -> list[str]:
    """The entries that are one number each."""
    return [entry for entry in pool if "X" not in entry]
