# The errors of influxdb3-python that we look at.
class Response:
    status: int

class InfluxDB3ClientError(Exception): ...

class InfluxDB3ClientQueryError(InfluxDB3ClientError):
    message: str

class InfluxDBError(InfluxDB3ClientError):
    response: Response | None
    message: str
    retry_after: str | None

class InfluxDBPartialWriteLineError:
    error_message: str

class InfluxDBPartialWriteError(InfluxDBError):
    line_errors: list[InfluxDBPartialWriteLineError]
