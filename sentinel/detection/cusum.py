"""CUSUM: two-sided cumulative sum of standardised deviations, for drifts too small for any single value to stand out.

Each sample is standardised with its window's mean and deviation before it; what exceeds the drift allowance adds up, what falls short
wears off. A sum beyond the threshold fires and starts again from zero. The window follows the stream, so a drift slower than the
window is learned before it adds up. A sum has no band for a single value; the mean was expected.

Source: E. S. Page, Continuous Inspection Schemes, Biometrika 41, 1954.

>>> up = down = 0.0
>>> for value in (125.0, 125.0, 125.0, 125.0):
...     up, down = accumulate(up, down, value, mean=100.0, sd=10.0, drift=0.5, resolution=1.0)
...     print(score(up, down, threshold=5.0))
...     up, down = carried(up, threshold=5.0), carried(down, threshold=5.0)
0.4
0.8
1.2
0.4
"""

from sentinel.core.jit import leaf


@leaf
def accumulate(up: float, down: float, value: float, mean: float, sd: float, drift: float, resolution: float) -> tuple[float, float]:
    """The rising and the falling sum with one more sample.

    Args:
        up: the rising sum before it, in standard deviations.
        down: the falling sum before it.
        value: the sample.
        mean: of its window before it, in the metric's unit.
        sd: of that window.
        drift: slack per sample, in standard deviations.
        resolution: the deviation is taken to be at least this.
    """
    z = (value - mean) / max(sd, resolution)
    return max(0.0, up + z - drift), max(0.0, down - z - drift)


@leaf
def score(up: float, down: float, threshold: float) -> float:
    """The larger sum over the threshold: 1.0 lies exactly at it."""
    return max(up, down) / threshold


@leaf
def carried(total: float, threshold: float) -> float:
    """What the next sample adds to: nothing after a sum that fired."""
    return 0.0 if total > threshold else total
