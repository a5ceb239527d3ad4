"""What `sentinel simulate` tells at its end: how many events, how fast, and which faults are in them."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # the simulator is imported when the command runs, not when it is listed
    from sentinel.testing.faults import Fault
    from sentinel.testing.playback import Sent
    from sentinel.testing.targets import Target

NS: Final = 1_000_000_000


def as_text(_: int, sent: "Sent", target: "Target", seconds: float, faults: "list[Fault]") -> str:
    """For people: how many and how fast, and a line for each fault."""
    speed = f"sent {sent.events:,} events in {seconds:.2f} s ({sent.events / seconds:,.0f}/s)"
    told = [
        f"  {fault.kind} on {fault.service}:{fault.model} from {_moment(fault.start_ns)} to {_moment(fault.end_ns)}" for fault in faults
    ]
    return "\n".join([f"{speed}, {target.accepted:,} accepted, {target.rejected:,} rejected; faults: {len(faults)}", *told])


def as_json(seed: int, sent: "Sent", target: "Target", seconds: float, faults: "list[Fault]") -> str:
    """The same as one JSON object, with all that detection can be scored by."""
    labels = [
        {
            "kind": fault.kind,
            "anomaly_type": fault.anomaly_type,
            "service": fault.service,
            "model": fault.model,
            "start": _moment(fault.start_ns),
            "end": _moment(fault.end_ns),
            "strength": fault.strength,
        }
        for fault in faults
    ]
    return json.dumps(
        {
            "sent": sent.events,
            "accepted": target.accepted,
            "rejected": target.rejected,
            "seconds": round(seconds, 3),
            "events_per_s": round(sent.events / seconds, 1),
            "seed": seed,
            "last_event": None if sent.last_ns is None else _moment(sent.last_ns),
            "faults": labels,
        }
    )


def _moment(ts_ns: int) -> str:
    """RFC 3339 in UTC, to the nanosecond."""
    seconds, rest_ns = divmod(ts_ns, NS)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"
