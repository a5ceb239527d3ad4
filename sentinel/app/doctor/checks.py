"""All checks, in the order their findings are shown."""

from typing import Final

from sentinel.app.doctor.check import Check
from sentinel.app.doctor.checkpoints import CHECKPOINTS
from sentinel.app.doctor.clock import CLOCK
from sentinel.app.doctor.directories import DIRECTORIES
from sentinel.app.doctor.influxdb import INFLUXDB
from sentinel.app.doctor.kafka import KAFKA
from sentinel.app.doctor.limits import LIMITS
from sentinel.app.doctor.port import PORT
from sentinel.app.doctor.rabbitmq import RABBITMQ
from sentinel.app.doctor.redis import REDIS
from sentinel.app.doctor.series import SERIES
from sentinel.app.doctor.state_database import STATE_DATABASE
from sentinel.app.doctor.store import STORE
from sentinel.app.doctor.webhook import WEBHOOK

CHECKS: Final[tuple[Check, ...]] = (
    DIRECTORIES, STORE, STATE_DATABASE, CHECKPOINTS, LIMITS, PORT, CLOCK, KAFKA, SERIES, INFLUXDB, REDIS, RABBITMQ, WEBHOOK,
)  # fmt: skip
