"""The embedded store keeps every promise of the shipped conformance suite."""

from pathlib import Path

import pytest

from sentinel.config.schema import Embedded
from sentinel.storage.embedded import EmbeddedStore
from sentinel.testing import store_suite
from sentinel.testing.store_under_test import Check


@pytest.mark.parametrize("check", store_suite.CHECKS, ids=lambda check: check.__name__)
async def test_embedded_store(check: Check, tmp_path: Path) -> None:
    """One promise of a store."""
    await check(lambda: EmbeddedStore(Embedded(), tmp_path / "sentinel.db"))


def test_suite_is_not_empty() -> None:
    """The suite collects its checks."""
    assert len(store_suite.CHECKS) > 15
