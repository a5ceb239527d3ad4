"""The checks of detectors as tests of pytest: a test that takes `llm_sentinel_check` runs once for each check.

    def test_promises(llm_sentinel_check):
        llm_sentinel_check(lambda: RefusalStreak(Settings()), quiet_per_1000=0.02)

pytest loads this module wherever llm-sentinel is installed, so it imports nothing until a test asks for it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

FIXTURE = "llm_sentinel_check"


def pytest_generate_tests(metafunc: "pytest.Metafunc") -> None:
    """Give a test that asks for it each check in turn: a function of a factory of detectors and what is stated about them."""
    if FIXTURE not in metafunc.fixturenames:
        return
    from functools import partial  # noqa: PLC0415  only for those who ask

    from sentinel.testing.detector_suite import CHECKS, run_check  # noqa: PLC0415  numpy, only for those who ask

    metafunc.parametrize(FIXTURE, [partial(run_check, check) for check in CHECKS], ids=[check.__name__ for check in CHECKS])
