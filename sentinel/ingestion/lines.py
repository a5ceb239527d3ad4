"""Lines out of blocks of bytes, however the blocks are cut."""


class Lines:
    r"""Collects blocks and gives whole lines without their ends. A line that is too large keeps only its beginning.

    Args:
        max_bytes: a longer line comes as more than `max_bytes` bytes, but never as more than two beyond.

    >>> lines = Lines(100)
    >>> lines.feed(b'{"a"'), lines.feed(b": 1}\r\n{"), lines.end()
    ([], [b'{"a": 1}'], [b'{'])
    """

    def __init__(self, max_bytes: int) -> None:
        # One byte more shows that a line is too large, another that a carriage return was not its end.
        self._kept_bytes = max_bytes + 2
        self._rest = b""

    def feed(self, block: bytes) -> list[bytes]:
        """The lines that end in this block."""
        *whole, rest = (self._rest + block).split(b"\n")
        self._rest = rest[: self._kept_bytes]
        return [line[: self._kept_bytes].removesuffix(b"\r") for line in whole]

    def end(self) -> list[bytes]:
        """The last line, when it has no end of its own."""
        rest, self._rest = self._rest, b""
        return [rest.removesuffix(b"\r")] if rest else []
