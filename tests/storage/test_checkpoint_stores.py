"""Both checkpoint stores keep the promises of the suite."""

from pathlib import Path

import pytest
from checkpoint_buckets import bucket

from sentinel.storage.checkpoint_objects import ObjectCheckpoints
from sentinel.storage.checkpoints import DirectoryCheckpoints
from sentinel.testing import checkpoint_suite
from tools.servers.s3 import S3


@pytest.mark.parametrize("check", checkpoint_suite.CHECKS, ids=lambda check: check.__name__)
def test_a_directory(check: checkpoint_suite.Check, tmp_path: Path) -> None:
    """One directory that several processes use."""
    check(lambda: DirectoryCheckpoints(tmp_path / "checkpoints"))


@pytest.mark.parametrize("check", checkpoint_suite.CHECKS, ids=lambda check: check.__name__)
def test_a_bucket(check: checkpoint_suite.Check, s3: S3) -> None:
    """One prefix of a bucket that several processes use."""
    section = bucket(s3)
    check(lambda: ObjectCheckpoints(section))
