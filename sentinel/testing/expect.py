"""Assertions for shipped checks: they say what was looked at, and hold with optimised Python too."""


def expect(what: str, actual: object, wanted: object) -> None:
    """Raise AssertionError with both values when they differ."""
    if actual != wanted:
        raise AssertionError(f"{what}: got {actual!r}, wanted {wanted!r}")


def expect_close(what: str, actual: float | None, wanted: float, relative: float) -> None:
    """Raise AssertionError when a number is further than `relative` from the wanted one."""
    if actual is None or abs(actual - wanted) > relative * abs(wanted):
        raise AssertionError(f"{what}: got {actual!r}, wanted {wanted!r} within {relative:.2%}")
