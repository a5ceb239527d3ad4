"""The shipped fake keeps the contract of the `Outbox` port."""

import pytest
from delivery_inputs import notification

from sentinel.core.anomaly import Severity
from sentinel.core.errors import RetryableError
from sentinel.core.ports import Outbox
from sentinel.testing.fakes import START_NS
from sentinel.testing.outbox import MemoryOutbox

NOW_NS = START_NS + 10**9


async def due(outbox: Outbox, limit: int = 10, now_ns: int = NOW_NS) -> list[str]:
    """The ids that are due for the webhook."""
    return [one.id[-1] for one in await outbox.due("webhook", now_ns, limit)]


async def test_due_is_severity_then_age_up_to_a_limit() -> None:
    """Only of the named receiver, and only what is due already."""
    outbox = MemoryOutbox()
    outbox.put([notification(1), notification(2, severity=Severity.CRITICAL), notification(3), notification(4, receiver="other")])
    outbox.put([notification(1, text="changed")])
    assert await due(outbox) == ["2", "1", "3"]
    assert await due(outbox, limit=2) == ["2", "1"]
    assert await due(outbox, now_ns=START_NS) == []
    assert (await outbox.due("webhook", NOW_NS, 2))[1].alert.title != "changed"


async def test_what_was_settled_no_longer_waits() -> None:
    """Sent and refused are for ever, deferred until its time, with one attempt more."""
    outbox = MemoryOutbox()
    outbox.put(one := [notification(number) for number in range(3)])
    await outbox.sent(one[0], NOW_NS)
    await outbox.refused(one[1], NOW_NS, "never")
    await outbox.deferred(one[2], NOW_NS + 5, "later")
    await outbox.deferred(one[0], NOW_NS, "too late")
    assert (outbox.ids("sent"), outbox.ids("refused"), outbox.ids("waiting")) == (["ntf-000000"], ["ntf-000001"], ["ntf-000002"])
    assert await due(outbox) == []
    assert [again.attempts for again in await outbox.due("webhook", NOW_NS + 5, 9)] == [1]


async def test_the_depth_counts_what_waits() -> None:
    """Number, bytes, and the time of the oldest."""
    outbox = MemoryOutbox()
    assert (await outbox.depth()).oldest_ns is None
    outbox.put([notification(1), notification(2)])
    depth = await outbox.depth()
    assert (depth.notifications, depth.oldest_ns) == (2, START_NS + 1)
    assert depth.size_bytes > 500


async def test_failures_are_raised_before_anything_is_done() -> None:
    """One for each call."""
    outbox = MemoryOutbox()
    outbox.put(one := [notification(1)])
    outbox.failures = [RetryableError("locked")]
    with pytest.raises(RetryableError):
        await outbox.sent(one[0], NOW_NS)
    assert await due(outbox) == ["1"]
