"""Latency for its length: what a request with so many tokens usually takes.

Latency is dominated by length, so a change of the prompts' mix would look like a change of speed. Logarithms of latency are regressed on
logarithms of prompt and completion tokens, by exponentially weighted moments, one step an event, with residuals cut off before they are
learned. Slopes are drawn towards zero while little is known, and stay between 0 and 1.5: longer is never faster. Where a request has no
token counts, its latency is judged as it is.

Source: recursive least squares by moments (C. F. Gauss, 1821), made robust as in P. J. Huber, Robust Regression, Annals of Statistics 1,
1973.
"""

from typing import Any, Final

import numpy as np

from sentinel.core.jit import leaf

LEAST: Final = 30.0
"""Requests before slopes are used."""
RIDGE: Final = 0.01
"""Variance of log tokens below which there is nothing to learn a slope from."""
STEEPEST: Final = 1.5
CUT: Final = 3.0
"""Spreads at which a residual is cut off."""

TOKENS: Final[list[Any]] = [
    (name, "f8") for name in ("n", "prompt", "completion", "value", "pp", "pc", "cc", "pv", "cv", "by_prompt", "by_completion")
]
"""Requests; means of log tokens and log value; their moments; slopes."""


@leaf
def at_usual_length(rec: np.void, value: float, prompt: float, completion: float) -> float:
    """The logarithm of the value as it would be at the usual length; all on log scale."""
    out: float = value - rec["by_prompt"] * (prompt - rec["prompt"]) - rec["by_completion"] * (completion - rec["completion"])
    return out


@leaf
def learn_length(rec: np.void, value: float, prompt: float, completion: float, width: float, memory: float) -> None:
    """Learn one request; `width` is the spread of residuals, `memory` how many requests are remembered."""
    if rec["n"] >= LEAST:
        off = at_usual_length(rec, value, prompt, completion) - rec["value"]
        value -= off - min(max(off, -CUT * width), CUT * width)
    rec["n"] += 1.0
    weight = 1.0 / min(rec["n"], memory)
    keep = 1.0 - weight
    p, c, v = prompt - rec["prompt"], completion - rec["completion"], value - rec["value"]
    rec["prompt"] += weight * p
    rec["completion"] += weight * c
    rec["value"] += weight * v
    rec["pp"] = keep * (rec["pp"] + weight * p * p)
    rec["pc"] = keep * (rec["pc"] + weight * p * c)
    rec["cc"] = keep * (rec["cc"] + weight * c * c)
    rec["pv"] = keep * (rec["pv"] + weight * p * v)
    rec["cv"] = keep * (rec["cv"] + weight * c * v)


@leaf
def solve_length(rec: np.void) -> None:
    """Renew the slopes.

    >>> rec = np.zeros(1, TOKENS)[0]
    >>> rng = np.random.default_rng(1)
    >>> for prompt, completion in rng.normal(6, 1, (500, 2)):
    ...     learn_length(rec, 2 + 0.1 * prompt + 0.8 * completion, prompt, completion, 1.0, 1_000.0)
    >>> solve_length(rec)
    >>> round(float(rec["by_prompt"]), 2), round(float(rec["by_completion"]), 2)
    (0.1, 0.79)
    """
    if rec["n"] < LEAST:
        return
    ridge = RIDGE + 1.0 / rec["n"]
    pp, cc, pc = rec["pp"] + ridge, rec["cc"] + ridge, rec["pc"]
    determinant = pp * cc - pc * pc
    rec["by_prompt"] = min(max((cc * rec["pv"] - pc * rec["cv"]) / determinant, 0.0), STEEPEST)
    rec["by_completion"] = min(max((pp * rec["cv"] - pc * rec["pv"]) / determinant, 0.0), STEEPEST)
