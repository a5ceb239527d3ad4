"""A replay in words, for people."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from sentinel.app.dead_letters.fate import Fate, Verdict

WORDS: Final = {
    Fate.PASSES: "would pass",
    Fate.REFUSED: "still refused",
    Fate.MISSING: "not to be had",
    Fate.SENT: "sent",
    Fate.NOT_TAKEN: "not taken",
}


def tallied(verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    """How many letters of each code met with what: lines of a table, headings first, sums last. Fates of no letter are left out."""
    counts = Counter((verdict.letter.code, verdict.fate) for verdict in verdicts)
    codes = sorted({code for code, _ in counts})
    fates = [fate for fate in Fate if any(counts[code, fate] for code in codes)]
    lines = [(code, *(f"{counts[code, fate]:,}" for fate in fates)) for code in codes]
    sums = [f"{sum(counts[code, fate] for code in codes):,}" for fate in fates]
    return [("code", *(WORDS[fate] for fate in fates)), *lines, ("all", *sums)]
