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


def some(pool: Sequence[str], count: int) -> list[str]:
    """Up to so many numbers of the pool: the entries that are one number each, else the first of the others."""
    spread = (filled(entry, number) for number in range(count) for entry in pool)
    return (whole(pool) or list(dict.fromkeys(spread)))[:count]


def filled(entry: str, number: int) -> str:
    """The `number`th caller ID of an entry: +7000999XXXX stands for ten thousand of them."""
    wild = entry.count("X")
    return entry.replace("X" * wild, f"{number % 10**wild:0{wild}d}") if wild else entry


def ending(pool: Sequence[str], digits: str, number: int) -> str | None:
    """A number of the pool that ends with these digits; `number` chooses among several."""
    fitting = [entry for entry in pool if ends_with([entry], digits)]
    if not fitting:
        return None
    entry = fitting[number % len(fitting)]
    return filled(entry[: -len(digits)], number // len(fitting)) + digits


def shown(pool: Sequence[str], number: int, *, but: str) -> str | None:
    """The `number`th number of the pool, or the one after it where that is `but`; None where there is no other."""
    for step in range(len(pool) + 1):
        found = filled(pool[(number + step) % len(pool)], number + step)
        if found != but:
            return found
    return None


def holds(pool: Sequence[str], phone: str) -> bool:
    """Whether this number is one of the pool's."""
    return any(
        len(entry) == len(phone)
        and all(known in (digit, "X") for known, digit in zip(entry, phone, strict=True))
        for entry in pool
    )
