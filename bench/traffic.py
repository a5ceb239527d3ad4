"""Simulated events, and two ways of producing them: as fast as possible, and each when it is due.

python -m bench.traffic fill BOOTSTRAP TOPIC OPTIONS      a full topic for those who read it to its end
python -m bench.traffic paced BOOTSTRAP TOPIC OPTIONS     so many events a second for so long
"""

import argparse
import asyncio
import gc
import json
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import uvloop
from aiokafka import AIOKafkaProducer

from bench.processes import tell
from sentinel.testing.profiles import make_fleet, model_profiles, service_profiles
from sentinel.testing.simulator import Block, Simulator

MODELS: Final = 10
START_AFTER_S: Final = 1.0
LINGER_MS: Final = 5
"""What paced events wait for company, as in Kafka's own producer; it is part of the latency."""
US_TO_MAKE: Final = 12.0
"""An allowance for making one event before the paced ones begin, in microseconds."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What events are like.

    Attributes:
        events: how many.
        series: services x MODELS; all report six metrics.
        text_share, text_length: of events with texts, and the characters of prompt and response together.
        even: every series is as busy as the others; else as the simulator's profiles have it.
        keyed: all events of a series are in one partition, as the SDK sends them; else partitions take turns.
        rate: events a second, when they are paced.
    """

    events: int
    series: int
    text_share: float
    text_length: int
    partitions: int
    even: bool = False
    keyed: bool = False
    rate: float = 1_000.0
    seed: int = 1

    def blocks(self, start_ns: int, spacing_ns: int) -> Iterator[Block]:
        """The events, one every `spacing_ns`."""
        services = service_profiles([f"service-{i}" for i in range(max(1, self.series // MODELS))])
        models = model_profiles([f"model-{i}" for i in range(min(MODELS, self.series))])
        if self.even:
            services = tuple(replace(service, weight=1.0) for service in services)
            models = tuple(replace(model, weight=1.0) for model in models)
        fleet = make_fleet([replace(service, streaming=True) for service in services], models)
        simulator = Simulator(self.seed, fleet=fleet, text_share=self.text_share, text_length=self.text_length // 2)
        return simulator.keyed_events(self.events, start_ns, spacing_ns)

    def past(self) -> Iterator[Block]:
        """The events, one a millisecond, the last of them now."""
        return self.blocks(time.time_ns() - self.events * 1_000_000, 1_000_000)

    def places(self, block: Block, first: int) -> list[int]:
        """The partition of each event of a block that begins with event number `first`."""
        if not self.keyed:
            return [i % self.partitions for i in range(first, first + len(block.records))]
        return [zlib.crc32(key) % self.partitions for key in block.keys]

    def __str__(self) -> str:
        return json.dumps(asdict(self))


async def fill(bootstrap: str, topic: str, traffic: Traffic) -> dict[str, Any]:
    """Produce all events; their mean size."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=262_144)
    await producer.start()
    size = count = 0
    for block in traffic.past():
        for record, partition in zip(block.records, traffic.places(block, count), strict=True):
            await producer.send(topic, record, partition=partition)
        size += sum(map(len, block.records))
        count += len(block.records)
    await producer.stop()
    return {"events": count, "mean_bytes": size / count}


async def paced(bootstrap: str, topic: str, traffic: Traffic) -> dict[str, Any]:
    """Produce each event when its own timestamp is due; the Kafka timestamp is that of the hand-over to the producer.

    Events are made beforehand. Returns how late they were handed over, and how many a second.
    """
    spacing_ns = round(1e9 / traffic.rate)
    start_ns = time.time_ns() + int(START_AFTER_S * 1e9 + traffic.events * US_TO_MAKE * 1e3)
    made = list(traffic.blocks(start_ns, spacing_ns))
    records = [record for block in made for record in block.records]
    partitions = traffic.places(Block(records, [key for block in made for key in block.keys], made[0].ts_ns), 0)
    # Java's default: without it each event is a request, and the broker takes the processor that the daemon is measured on.
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=LINGER_MS)
    await producer.start()
    gc.collect()
    gc.freeze()
    gc.disable()
    if (late_ns := time.time_ns() - start_ns) > 0:
        raise RuntimeError(f"the events were made {late_ns / 1e9:.1f} s too late; US_TO_MAKE is too small for this machine")
    print("begins", start_ns, flush=True)
    lateness_ns = []
    sent = 0
    while sent < len(records):
        now_ns = time.time_ns()
        due = min(len(records), (now_ns - start_ns) // spacing_ns + 1)
        while sent < due:
            now_ns = time.time_ns()
            lateness_ns.append(now_ns - start_ns - sent * spacing_ns)
            await producer.send(topic, records[sent], partition=partitions[sent], timestamp_ms=now_ns // 1_000_000)
            sent += 1
        await asyncio.sleep((start_ns + sent * spacing_ns - time.time_ns()) / 1e9)
    took_s = (time.time_ns() - start_ns) / 1e9
    await producer.stop()
    late_ms = np.array(lateness_ns) / 1e6
    return {"events_per_s": sent / took_s, "late_p50_ms": np.median(late_ms), "late_p99_ms": np.quantile(late_ms, 0.99)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("how", choices=("fill", "paced"))
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("traffic", type=json.loads)
    options = parser.parse_args()
    produce = fill if options.how == "fill" else paced
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tell(runner.run(produce(options.bootstrap, options.topic, Traffic(**options.traffic))))


if __name__ == "__main__":
    main()
