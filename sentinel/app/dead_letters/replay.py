"""A replay: the records of letters, judged by the present configuration, and sent where they belong."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

from sentinel.app.dead_letters.choose import Progress
from sentinel.app.dead_letters.fate import Fate, Original, Verdict
from sentinel.app.dead_letters.judge import judge
from sentinel.app.dead_letters.letter import Letter
from sentinel.app.dead_letters.originals import Found, by_record, kept, source_topic
from sentinel.app.dead_letters.target import Opening, Outgoing, Target
from sentinel.config.schema import Config

BLOCK_BYTES = 4_194_304
"""Records that are held before they are sent, in bytes, or in number `BLOCK_RECORDS`."""
BLOCK_RECORDS = 500


async def replay(letters: Sequence[Letter], config: Config, target: Opening | None, progress: Progress, *, force: bool) -> list[Verdict]:
    """What becomes of each letter, by log and offset. One that a crash has doubled is taken once.

    Args:
        letters: those that are meant.
        config: what records are judged by, and where they are read again.
        target: where to; None for a dry run, which sends nothing.
        progress: told the share of letters done.
        force: send also what would still be refused.

    Raises SentinelError when a record cannot be read or sent; what was sent before stays sent.
    """
    verdicts: list[Verdict] = []
    async with AsyncExitStack() as opened:
        shipment = None if target is None else _Shipment(await opened.enter_async_context(target))
        async for same, original in _originals(letters, config):
            if isinstance(original, str):
                verdicts += [Verdict(letter, Fate.MISSING, original) for letter in same]
            else:
                judged = judge(same, original, config.ingestion)
                verdicts += judged
                for verdict in judged:
                    if shipment is not None and (force or verdict.fate is Fate.PASSES):
                        await shipment.add(verdict, original)
                    verdict.records = ()
            progress(len(verdicts) / len(letters))
        if shipment is not None:
            await shipment.send()
    return verdicts


async def _originals(letters: Sequence[Letter], config: Config) -> AsyncIterator[Found]:
    kafka = config.ingestion.kafka
    if kafka is None:
        for same in by_record(letters):
            for found in kept(same):
                yield found
        return
    async with source_topic(kafka) as source:
        for same in by_record(letters):
            for found in await source.originals(same):
                yield found


class _Shipment:
    """Records on their way to a target, some at a time."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._waiting: list[tuple[Verdict, Outgoing]] = []
        self._bytes = 0

    async def add(self, verdict: Verdict, original: Original) -> None:
        """Take the records of a verdict, and send what waits when there is enough of it."""
        for record in verdict.records:
            outgoing = Outgoing(verdict.letter, original, record)
            if (why := self._target.unfit(outgoing)) is not None:
                verdict.fate, verdict.why = Fate.NOT_TAKEN, why
                continue
            self._waiting.append((verdict, outgoing))
            self._bytes += len(record)
        if self._bytes >= BLOCK_BYTES or len(self._waiting) >= BLOCK_RECORDS:
            await self.send()

    async def send(self) -> None:
        """Send what waits. A letter is sent when all its records were taken."""
        if not self._waiting:
            return
        told = await self._target.send([outgoing for _, outgoing in self._waiting])
        for (verdict, _), why in zip(self._waiting, told, strict=True):
            if why is not None:
                verdict.fate, verdict.why = Fate.NOT_TAKEN, why
            elif verdict.fate is not Fate.NOT_TAKEN:
                verdict.fate = Fate.SENT
        self._waiting, self._bytes = [], 0
