"""The contiguous watermark: which offset may be committed."""


class Watermark:
    """The highest offset below which everything is settled, for one partition.

    Deliveries may settle in any order; the watermark moves only when the lowest open one does. Offsets that the log does not hold
    (compacted or transactional markers) are covered by the delivery that follows them.

    >>> mark = Watermark()
    >>> mark.opened(0, 10); mark.opened(10, 20)
    >>> mark.settled(10), mark.settled(0)
    (None, 20)
    """

    def __init__(self) -> None:
        self._open: dict[int, int] = {}
        self._done: set[int] = set()

    def opened(self, first: int, end: int) -> None:
        """The offsets [first, end) were taken; spans open in rising order."""
        self._open[first] = end

    def settled(self, first: int) -> int | None:
        """The span that starts at `first` is safe: the new watermark, None when it did not move. One that is not open changes nothing."""
        if first not in self._open:
            return None
        self._done.add(first)
        end = None
        while self._open and (lowest := next(iter(self._open))) in self._done:
            self._done.discard(lowest)
            end = self._open.pop(lowest)
        return end

    @property
    def in_flight(self) -> int:
        """Spans taken and not yet below the watermark."""
        return len(self._open)
