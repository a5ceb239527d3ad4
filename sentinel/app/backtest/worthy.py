"""Which anomalies become alerts: as live."""

from sentinel.alerting.sightings import Sighting, alert_worthy, sightings
from sentinel.app.backtest.replay import Found
from sentinel.config.schema import Alerting
from sentinel.core.alert import Worth


def worth_of(alerting: Alerting) -> Worth:
    """What a configuration says about that."""
    return Worth(alerting.min_severity, alerting.event_anomalies, alerting.costly_event_usd)


def worthy(found: Found, worth: Worth) -> list[Sighting]:
    """The anomalies that become alerts, in the order in which the live intake gets them."""
    return sightings(alert_worthy(found.batch, found.anomalies, found.windows, worth))
