"""The distributions that textbook detectors are tried on, and the numerical traps."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Draw = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]

STREAMS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(100, 15, n),
    "lognormal .25": lambda rng, n: rng.lognormal(5, 0.25, n),
    "lognormal 1.5": lambda rng, n: rng.lognormal(5, 1.5, n),
    "gamma .5": lambda rng, n: rng.gamma(0.5, 400, n),
    "gamma 5": lambda rng, n: rng.gamma(5, 100, n),
    "errors .01": lambda rng, n: (rng.random(n) < 0.01).astype(float),
    "errors .2": lambda rng, n: (rng.random(n) < 0.2).astype(float),
    "constant": lambda _rng, n: np.full(n, 42.5),
    "two values": lambda rng, n: rng.choice([10.0, 10.0, 10.0, 12.0], n),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.6, 0.0, rng.normal(100, 10, n)),
    "level 1e9": lambda rng, n: 1e9 + rng.normal(0, 1, n),
    "passing spike 1e12": lambda rng, n: np.where(np.arange(n) % 397 == 5, 1e12, rng.normal(100, 15, n)),
    "spike first": lambda rng, n: np.where(np.arange(n) == 0, 1e12, rng.normal(0, 1, n)),
    "tiny dollars": lambda rng, n: rng.gamma(2, 0.002, n),
    "with gaps": lambda rng, n: np.where(rng.random(n) < 0.3, np.nan, rng.normal(100, 15, n)),
}
