"""The `alarms` and `canary` sections: how the daemon watches itself."""

from sentinel.config.section import Count, Positive, Section


class Alarms(Section):
    """What the daemon tells people of itself, through the same receivers as all alerts."""

    enabled: bool = True
    """Look every second and tell; when false nobody is told, and metrics and status name no alarm."""
    held_secs: Positive = 60.0
    """A sink or a source that is held up for this long is an alarm, in seconds; refused credentials are one at once."""
    unsaved_secs: Positive = 300.0
    """Saved states that cannot be written for this long are an alarm, in seconds."""
    lag_records: Count = 100_000
    """Records of a Kafka partition that wait to be read; more that do not become fewer for `growing_secs` are an alarm."""
    watermark_age_secs: Positive = 300.0
    """Age of the newest event while there is work, in seconds; an older one that gets no younger for `growing_secs` is an alarm."""
    growing_secs: Positive = 60.0
    """How long lag or age may grow or stay beyond its limit, in seconds."""
    quiet_secs: Positive = 60.0
    """An alarm ends when its condition has been gone for this long, in seconds."""


class Canary(Section):
    """Synthetic events that travel the whole path, to show that it works; people never see them."""

    enabled: bool = False
    """Send them; with Kafka they are produced to the source topic, where its other readers see them too."""
    interval_secs: Positive = 30.0
    """How often one is sent to each partition that is read here, in seconds."""
    silence_secs: Positive = 120.0
    """A partition of which no canary came back for this long is an alarm, in seconds; more than `interval_secs`."""
