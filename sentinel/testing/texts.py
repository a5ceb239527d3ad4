"""Prompt and response texts of a wanted length, some with made-up personal data and secrets in them."""

from functools import lru_cache
from typing import Final

import numpy as np

POOL: Final = 32
"""Distinct texts of one kind; an event picks one."""

WORDS: Final = (  # noqa: SIM905  easier to read and change as prose
    "please explain how the weekly report changes when a new region joins and why totals differ between both tables given these "
    "notes summarise open questions list next steps compare old and new release plans then suggest a short title for each chapter "
    "keep numbers as they are write in plain sentences mention risks first after that name who decides until which day"
).split()

UPPER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
MIXED: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@lru_cache(maxsize=8)
def text_pool(seed: int, length: int, kind: int) -> tuple[str, ...]:
    """`POOL` texts of exactly `length` characters of plain ASCII words; `kind` tells prompts from responses."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0x7E, kind])))
    words = length // 3 + 1  # the shortest word and its space take two, most take far more
    return tuple(" ".join(WORDS[i] for i in rng.integers(len(WORDS), size=words)).ljust(length, ".")[:length] for _ in range(POOL))


def plant(text: str, rng: np.random.Generator) -> str:
    """The text with one made-up e-mail address, key, phone or card number at its start, cut back to its length where the finding fits in.

    Everything planted is invented or from ranges reserved for examples.
    """
    finding = PLANTS[int(rng.integers(len(PLANTS)))](rng)
    return f"{finding} {text}"[: max(len(text), len(finding))]


def _pick(rng: np.random.Generator, alphabet: str, count: int) -> str:
    return "".join(alphabet[i] for i in rng.integers(len(alphabet), size=count))


def _email(rng: np.random.Generator) -> str:
    return f"write to {_pick(rng, MIXED[:26], 6)}.{_pick(rng, MIXED[:26], 8)}@example.com about it"


def _provider_key(rng: np.random.Generator) -> str:
    return f"use sk-{_pick(rng, MIXED, 48)} for the call"


def _cloud_key(rng: np.random.Generator) -> str:
    return f"the access key is AKIA{_pick(rng, UPPER, 16)} today"


def _password(rng: np.random.Generator) -> str:
    return f"log in with password={_pick(rng, MIXED, 14)} first"


def _phone(rng: np.random.Generator) -> str:
    return f"call +1 202-555-{int(rng.integers(100, 200)):04d} after lunch"


def _card(rng: np.random.Generator) -> str:
    digits = "4" + _pick(rng, "0123456789", 14)
    return f"pay with card {digits}{_luhn_digit(digits)} please"


def _luhn_digit(digits: str) -> int:
    """The check digit after an odd number of digits: the last one and every second before it count twice."""
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(digits)]
    return -sum(value - 9 if value > 9 else value for value in doubled) % 10


PLANTS: Final = (_email, _provider_key, _cloud_key, _password, _phone, _card)
