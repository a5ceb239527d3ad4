"""Our own Prometheus metrics. None is labelled with a name that comes from an event."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from sentinel import __version__

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Every metric of the daemon, in one registry of its own, so that two daemons in one test do not meet.

    The attribute is the metric's name without the prefix `sentinel_` and, for counters, without `_total`.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events_received = self._counter("events_received", "Events read from all sources, before decoding has judged them")
        self.events_processed = self._counter("events_processed", "Events stored")
        self.ingestion_errors = self._counter("ingestion_errors", "HTTP requests whose events could not be made durable, by type", "type")
        self.validation_failures = self._counter("validation_failures", "Records that could not be events, by code", "code")
        self.dead_letters = self._counter("dead_letters", "Records written to the dead letters, by code", "code")
        self.duplicates = self._counter("duplicates", "Events recognised as repeats by their event id")
        self.events_filtered = self._counter("events_filtered", "Spans that are no LLM requests, and canaries")
        self.events_released = self._counter("events_released", "Events dropped in flight because their partition moved to another replica")
        self.kafka_messages_consumed = self._counter("kafka_messages_consumed", "Kafka records read")
        self.kafka_consumption_errors = self._counter("kafka_consumption_errors", "Errors while reading from Kafka")
        self.kafka_consumer_lag = self._gauge(
            "kafka_consumer_lag", "Records between our position and the end of the partition", "partition"
        )
        self.kafka_offset_gap = self._counter("kafka_offset_gap", "Records that were gone from the topic before they could be read")
        self.rebalances = self._counter("rebalances", "Assignments and revocations of partitions", "kind")
        self.anomalies_detected = self._counter("anomalies_detected", "Anomalies, by severity and detector", "severity", "detector")
        self.detection_latency_seconds = self._histogram("detection_latency_seconds", "Time of scoring one delivery")
        self.plugin_failures = self._counter("plugin_failures", "Detectors of others that failed in a partition, once a kind", "kind")
        self.detection_errors = self._counter("detection_errors", "Deliveries the pure middle failed on; each stops the daemon")
        self.baseline_updates = self._counter("baseline_updates", "Samples learned since the daemon started")
        self.baseline_samples = self._gauge("baseline_samples", "Samples learned since the saved state began")
        self.baseline_overflow_events = self._gauge("baseline_overflow_events", "Events that went to the series `__other__`")
        self.baseline_series = self._gauge("baseline_series", "Series with a baseline")
        self.series_split = self._gauge("series_split", "Series with a baseline in more than one partition of this replica")
        self._add_storage()
        self.pii_redactions = self._counter("pii_redactions", "Personal data and secrets found, by type", "type")
        self.pipeline_stage_seconds = self._histogram("pipeline_stage_seconds", "Time of one delivery in a stage", "stage")
        self.end_to_end_latency_seconds = self._histogram("end_to_end_latency_seconds", "From receipt of a delivery to its ack")
        self.backpressure_paused = self._gauge("backpressure_paused", "1 while the sources are paused because the queue is full")
        self.queue_bytes = self._gauge("queue_bytes", "Bytes waiting, by queue", "queue")
        self.checkpoint_seconds = self._histogram("checkpoint_seconds", "Time to save the state of one partition")
        self.checkpoint_bytes = self._gauge("checkpoint_bytes", "Size of the last saved state of a partition")
        self.checkpoint_errors = self._counter("checkpoint_errors", "States that could not be saved or loaded, by kind", "kind")
        self.state_missing = self._counter("state_missing", "Partitions begun without the state of what was read before")
        self.ledger_imbalance = self._gauge("ledger_imbalance", "Events that are nowhere; anything but 0 is a fault")
        self.events_in_flight = self._gauge("events_in_flight", "Events read and not yet stored or dead-lettered")
        self.watermark_age_seconds = self._gauge("watermark_age_seconds", "Age of the newest event time seen")
        self.api_requests = self._counter("api_requests", "HTTP requests, by route and status", "route", "status")
        self.api_request_seconds = self._histogram("api_request_seconds", "Time of one HTTP request", "route")
        self.api_refusals = self._counter("api_refusals", "HTTP requests turned away before they did anything, by reason", "kind")
        self.api_keys = self._gauge("api_keys", "API keys that were read and not revoked")
        self.api_key_errors = self._counter("api_key_errors", "API keys that could not be read or noted as used, by kind", "kind")
        self.config_reloads = self._counter("config_reloads", "Reloads of the configuration, by result", "result")
        self.config_last_reload_successful = self._gauge(
            "config_last_reload_successful", "1 while the configuration in force is the one last asked for, 0 after a reload that failed"
        )
        self.config_last_reload_successful.set(1)
        self.alerts_opened = self._counter("alerts_opened", "Alerts that began, by their severity at the start", "severity")
        self.alerts_open = self._gauge("alerts_open", "Alerts that have not ended, over all replicas")
        self.alerts_deduplicated = self._counter("alerts_deduplicated", "Anomalies only counted, because people were told of their alert")
        self.alerts_gathered = self._counter("alerts_gathered", "Anomalies that went to a common alert, because too many were open")
        self.outbox_dropped = self._counter("outbox_dropped", "Notifications given up before they could be delivered, by kind", "kind")
        self.alerts_sent = self._counter("alerts_sent", "Alerts that a receiver confirmed, by channel", "channel")
        self.alert_failures = self._counter("alert_failures", "Attempts to deliver an alert that failed, by channel", "channel")
        self.alerts_refused = self._counter("alerts_refused", "Alerts that a receiver will never accept, by channel", "channel")
        self.alert_delivery_seconds = self._histogram(
            "alert_delivery_seconds", "From the outbox to the receiver's confirmation, by channel", "channel"
        )
        self.rabbitmq_publishes = self._counter("rabbitmq_publishes", "Messages that RabbitMQ confirmed, by severity", "severity")
        self.webhook_deliveries = self._counter("webhook_deliveries", "Webhook requests that were answered with success")
        self.webhook_failures = self._counter("webhook_failures", "Webhook requests that failed or were answered otherwise")
        self.circuit_state = self._gauge(
            "circuit_state", "Circuit breaker: 0 closed, 1 half-open, 2 open, 3 out of use until a restart", "sink"
        )
        self._add_self_watch()
        self.build_info = self._gauge("build_info", "Always 1; the version is the label", "version")
        self.build_info.labels(__version__).set(1)

    def _add_storage(self) -> None:
        self.storage_writes = self._counter("storage_writes", "Transactions of the store")
        self.storage_errors = self._counter("storage_errors", "Failed writes, by what was written to", "kind")
        self.storage_write_seconds = self._histogram("storage_write_seconds", "Time of one write of the store")
        self.influxdb_requests = self._counter("influxdb_requests", "Write requests to InfluxDB, by result", "result")
        self.influxdb_request_seconds = self._histogram("influxdb_request_seconds", "Time of one write request to InfluxDB")
        self.influxdb_refused_points = self._counter("influxdb_refused_points", "Points that InfluxDB will never take, by kind", "kind")
        self.storage_pruned_rows = self._counter("storage_pruned_rows", "Rows deleted by retention")
        self.cache_hits = self._counter("cache_hits", "Questions answered without asking the store, by where the answer was", "level")
        self.cache_misses = self._counter("cache_misses", "Questions a level of the cache had no answer to", "level")
        self.cache_size = self._gauge("cache_size", "Answers in the query cache of the process")
        self.cache_bytes = self._gauge("cache_bytes", "Bytes of the answers in the query cache of the process")
        self.cache_errors = self._counter("cache_errors", "Calls of Redis that failed and answers that could not be kept or used", "kind")
        self.redis_up = self._gauge("redis_up", "1 while Redis answers, 0 when it does not or is not used")

    def _add_self_watch(self) -> None:
        self.ready = self._gauge("ready", "1 while the daemon makes progress and may get traffic")
        self.event_loop_lag_seconds = self._gauge(
            "event_loop_lag_seconds", "How late the event loop ran a timer at worst in the last second"
        )
        self.event_loop_stall_seconds = self._histogram(
            "event_loop_stall_seconds", "How late the event loop ran a timer, looked at twenty times a second"
        )
        self.event_loop_tasks = self._gauge("event_loop_tasks", "Tasks of the event loop that have not ended")
        self.alarms = self._gauge("alarms", "1 while an alarm about the daemon itself lasts, by its condition", "condition")
        self.canaries = self._counter("canaries", "Canaries, by what became of them", "result")
        self.canary_seconds = self._histogram("canary_seconds", "From sending a canary to its delivery")
        self.canary_silence_seconds = self._gauge("canary_silence_seconds", "Longest time since a canary of a partition came back")

    def expose(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text, and its content type: OpenMetrics when the Accept header asks for it, else Prometheus."""
        if "application/openmetrics-text" in accept:
            text = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]  # untyped in the library
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self.registry), TEXT_TYPE

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"sentinel_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"sentinel_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"sentinel_{name}", text, labels, buckets=SECONDS, registry=self.registry)
