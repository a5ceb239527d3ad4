from collections.abc import Callable

from aiokafka.structs import ConsumerRecord, TopicPartition

class PartitionRecords:
    _value_deserializer: Callable[[bytes | None], bytes | None] | None
    def _consumer_record(self, tp: TopicPartition, record: ConsumerRecord) -> ConsumerRecord: ...
