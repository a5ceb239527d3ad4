"""From a producer's settings to the transport they mean. Clients are imported here, and only the one that is needed."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from llm_sentinel.delivery import Tally
from llm_sentinel.security import Security
from llm_sentinel.transport import Limits, Transport

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


class Destination(NamedTuple):
    """Where events go.

    Attributes:
        place: for people; it holds no secret.
        transport: makes a transport.
    """

    place: str
    transport: Callable[[Tally], Transport]


def kafka(
    brokers: Sequence[str] | str, topic: str, security: Security, limits: Limits, own_options: Mapping[str, Any] | None
) -> Destination:
    """A Kafka topic. Raises ValueError and ImportError as `TelemetryProducer` does."""
    from llm_sentinel.kafka import KafkaTransport, client_options  # noqa: PLC0415  see above

    if not _TOPIC.fullmatch(topic):
        raise ValueError("topic: must have 1 to 249 letters, digits, dots, underscores or hyphens")
    hosts = [broker.strip() for broker in (brokers.split(",") if isinstance(brokers, str) else brokers)]
    options = client_options(hosts, security, limits, own_options or {})
    return Destination(f"kafka://{','.join(hosts)}/{topic}", lambda tally: KafkaTransport(options, topic, tally))


def http(url: str, api_key: str | None, security: Security, limits: Limits) -> Destination:
    """A daemon's HTTP port. Raises ValueError and OSError as `TelemetryProducer` does."""
    from llm_sentinel.http import HttpTransport  # noqa: PLC0415  see above
    from llm_sentinel.http_post import Poster  # noqa: PLC0415  see above

    poster = Poster(url, api_key, security)
    return Destination(poster.url, lambda tally: HttpTransport(Poster(url, api_key, security), limits, tally))
