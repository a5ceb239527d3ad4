"""The doctor tries the checkpoint store out, and leaves nothing behind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from checkpoint_buckets import KEY_ID, SECRET, answering, bucket, section
from daemon_run import config, names

from sentinel.app.doctor import checkpoints
from sentinel.app.doctor.check import Finding, examine
from sentinel.app.doctor.checkpoints import CHECKPOINTS, try_out
from sentinel.config.schema import Baseline, Config, Detection, StateDatabase
from sentinel.storage.checkpoint_objects import ObjectCheckpoints
from sentinel.storage.checkpoints import DirectoryCheckpoints
from tools.servers.s3 import S3


async def found(settings: Config) -> Sequence[Finding]:
    """What the check finds."""
    return [finding async for _, findings in examine([CHECKPOINTS], settings) for finding in findings]


async def test_a_directory_is_tried_out_once_it_is_there(tmp_path: Path) -> None:
    """Before the first start nothing is made; afterwards a blob goes there and back, and its time is told."""
    settings = config(tmp_path)
    (finding,) = await found(settings)
    assert (finding.status, "does not exist yet" in finding.what) == ("ok", True)
    assert names(tmp_path) == []
    place = tmp_path / "state" / "checkpoints"
    place.mkdir(parents=True)
    (finding,) = await found(settings)
    assert finding.status == "ok"
    assert "written, read, listed and deleted in" in finding.what
    assert names(place) == []


async def test_a_bucket(tmp_path: Path, s3: S3) -> None:
    """It is written to and nothing stays; a slow one is a warning."""
    settings = bucket(s3)
    (finding,) = await found(config(tmp_path, state=StateDatabase(checkpoints=settings)))
    assert finding.status == "ok"
    assert settings.url is not None
    assert settings.url in finding.what
    assert ObjectCheckpoints(settings).list("") == []


async def test_a_bucket_that_refuses(tmp_path: Path) -> None:
    """What is wrong and what to do, without a secret."""
    with answering() as (endpoint, answers):
        answers.status = 403
        (finding,) = await found(config(tmp_path, state=StateDatabase(checkpoints=section(endpoint))))
    assert finding.status == "failed"
    assert "the server answered 403" in finding.what
    assert finding.cure == "See that these credentials may read, write, list and delete there."
    assert not {SECRET, KEY_ID} & set((finding.what + finding.cure).split())


async def test_nothing_is_looked_at_when_nothing_is_saved(tmp_path: Path) -> None:
    """`enable_persistence` false needs no place."""
    assert await found(config(tmp_path, detection=Detection(baseline=Baseline(enable_persistence=False)))) == []


class Forgetful(DirectoryCheckpoints):
    """Confirms what it does not keep."""

    def get(self, key: str) -> bytes | None:
        """Something else."""
        return (super().get(key) or b"")[:-1]


def test_a_store_that_forgets(tmp_path: Path) -> None:
    """What comes back is compared."""
    assert try_out(Forgetful(tmp_path), "here").status == "failed"


def test_a_slow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a second is a warning."""
    times: Any = iter((0.0, 1.5))
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: next(times))
    assert try_out(DirectoryCheckpoints(tmp_path), "here").status == "warning"
