"""Whether we may write to a topic, without writing to it.

A broker looks at the right to write before it looks at the records. So it is sent one record with a wrong checksum: refused as damaged
means allowed, and nothing is stored either way.
"""

from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

_CHECKSUM_AT: Final = 17
"""Where the checksum of a record batch lies, in bytes from its start."""
_TAKEN, _DAMAGED = 0, 2
"""Codes of a broker's answer: the record was stored (it was not damaged after all), or refused as damaged."""
_WAIT_MS: Final = 3_000


async def may_write(admin: AIOKafkaAdminClient, topic: str, partition: dict[str, Any]) -> str | None:
    """Why we may not write to a partition; None when we may. Raises KafkaError.

    Args:
        admin: started.
        topic: its name.
        partition: as `describe_topics` tells it.
    """
    number = int(partition["partition"])
    request = ProduceRequest(None, -1, _WAIT_MS, [(topic, [(number, _damaged_batch())])])
    answer = await admin._send_request(request, int(partition["leader"]))  # noqa: SLF001  the client has no public way to ask this
    code = int(answer.topics[0][1][0][1])
    return None if code in {_TAKEN, _DAMAGED} else for_code(code).__name__


def _damaged_batch() -> bytes:
    """A batch of one empty record whose checksum is wrong."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1_024)
    builder.append(0, timestamp=0, key=b"", value=b"", headers=[])
    batch = bytearray(builder.build())
    batch[_CHECKSUM_AT] ^= 0xFF
    return bytes(batch)
