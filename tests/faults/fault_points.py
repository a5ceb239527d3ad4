"""The InfluxDB double that does wrong what it is told to."""

import json
import urllib.request
from typing import Any

from infrastructure import Points


class FaultyPoints(Points):
    """As `Points`, with the double's levers. Calls block: from an event loop use `asyncio.to_thread`."""

    def fault(self, **told: Any) -> None:
        """Replace its faults; see the double's `/faults`."""
        request = urllib.request.Request(f"{self.url}/faults", data=json.dumps(told).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10):
            pass

    def write_requests(self) -> int:
        """Write requests so far, refused ones too."""
        return int(self._stats()["write_requests"])

    def points_received(self) -> int:
        """Points taken so far, repeats counted each time."""
        return int(self._stats()["points_received"])

    def stored(self) -> int:
        """Points there are, in all tables."""
        return sum(sum(tables.values()) for tables in self._stats()["rows"].values())

    def _stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/stats", timeout=10) as answer:
            stats: dict[str, Any] = json.load(answer)
        return stats
