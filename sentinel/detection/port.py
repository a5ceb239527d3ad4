"""Everything that the author of a detector imports. docs/detectors.md shows how, by a worked example.

A detector is a class with the four methods of `Detector`, made with its parameters, and with the type of these as `parameters`:

    class Settings(Parameters):
        streak: int = Field(default=5, ge=2)
        \"\"\"Refusals in a row that are told.\"\"\"

    class RefusalStreak:
        parameters = Settings

        def __init__(self, parameters: Settings) -> None: ...

Its distribution names it as an entry point, and that name is its name everywhere: in the configuration, as the `detector` of its
anomalies, in metrics and status.

    [project.entry-points."llm_sentinel.detectors"]
    refusal_streak = "refusal_streak:RefusalStreak"
"""

from sentinel.config.sections_plugins import Parameters
from sentinel.core.batch import Dimensions, SeriesKey
from sentinel.core.detector import ANOMALY_TYPES, NO_EVENT, Detector, DetectorBatch, Finding, State

__all__ = ["ANOMALY_TYPES", "NO_EVENT", "Detector", "DetectorBatch", "Dimensions", "Finding", "Parameters", "SeriesKey", "State"]
