"""Sends telemetry of LLM requests to LLM-Sentinel, over Kafka or HTTP.

    from llm_sentinel import TelemetryProducer

    with TelemetryProducer(brokers=["kafka:9092"]) as producer:
        producer.send_event(producer.create_telemetry_event("my-chatbot", "gpt-4o", latency_ms=812.5, prompt_tokens=240))

Importing this package imports neither a Kafka client nor an HTTP client; a producer imports the one it needs.
"""

from llm_sentinel.delivery import DeliveryError, Stats
from llm_sentinel.event import TelemetryEvent, TelemetryFields, create_telemetry_event
from llm_sentinel.producer import TelemetryProducer
from llm_sentinel.security import Security
from llm_sentinel.validation import InvalidEventError

__version__ = "0.1.0"

__all__ = [
    "DeliveryError",
    "InvalidEventError",
    "Security",
    "Stats",
    "TelemetryEvent",
    "TelemetryFields",
    "TelemetryProducer",
    "__version__",
    "create_telemetry_event",
]
