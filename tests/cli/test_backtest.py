"""`sentinel backtest` and `sentinel plot`: what they print and write, and what they say when they cannot."""

import asyncio
import gzip
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from past_inputs import HOUR_NS, START_NS, record, write

from sentinel.app.daemon import Daemon
from sentinel.cli.main import main
from sentinel.cli.run import with_inputs
from sentinel.config.loader import load
from sentinel.core.timestamp import rfc3339
from sentinel.state.alerts import AlertQuery, Alerts
from sentinel.state.database import StateDatabase
from tools.servers.kafka import Broker

ROOT = Path(__file__).parents[2]
DRAW = ("--input", "{events}", "--service", "chat")


pytestmark = pytest.mark.usefixtures("no_colour")


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """A configuration that alerts on single events too."""
    file = tmp_path / "noisy.yaml"
    file.write_text(
        f"state_dir: {tmp_path / 'state'}\napi:\n  bind_addr: 127.0.0.1:0\nalerting:\n  enabled: true\n  event_anomalies: true\n"
    )
    return file


def run(capsys: pytest.CaptureFixture[str], *args: object, code: int = 0) -> tuple[str, str]:
    """The command's output and errors, and its exit code checked."""
    assert main([str(arg) for arg in args]) == code
    told = capsys.readouterr()
    return told.out, told.err


def test_what_would_have_been_told(events: Path, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was read, the verdict with its rate, and a table of what fired; no bar without a terminal, and nothing is written."""
    before = sorted(tmp_path.iterdir())
    out, err = run(capsys, "backtest", "--config", noisy, "--input", events)
    assert err == ""
    lines = out.splitlines()
    assert re.match(
        r"[\d,]+ events of 2 series from .*events\.jsonl, 2026-01-15 00:00:0\d to 2026-01-15 02:59:[45]\d UTC \(3 h\)", lines[0]
    )
    assert "less than a week" in lines[1]
    assert re.match(r"noisy\.yaml: You would have been alerted \d+ times in 3 h \(.*\)\. That is .* a week, extrapolated \(90%", lines[3])
    assert re.match(r"series +type +detector +alerts +a week +anomalies +first \(UTC\) +last \(UTC\)", lines[5])
    assert re.match(r"chat / \w+ +latency_spike +\w+ +\d+ ", lines[6])
    assert sorted(tmp_path.iterdir()) == before


def test_the_built_in_defaults_tell_less(events: Path, noisy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Single events fire in both and alert in one: the anomalies are the same facts."""
    many, _ = run(capsys, "backtest", "--config", noisy, "--input", events, "--json")
    few, _ = run(capsys, "backtest", "--input", events, "--json")
    noisy_told, told = json.loads(many)["outcome"], json.loads(few)["outcome"]
    assert told["alerts_total"] < noisy_told["alerts_total"]

    def counts(outcome: dict[str, list[dict[str, object]]]) -> dict[tuple[object, ...], object]:
        return {(row["model"], row["type"], row["detector"]): row["anomalies"] for row in outcome["fired"]}

    assert counts(told) == counts(noisy_told)


async def test_alerts_are_those_of_the_daemon(events: Path, noisy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon on the same file makes the same alerts, by id, severity, count and words."""
    config = with_inputs(load(noisy, {}).config, (str(events),), exit_at_end=True)
    daemon = Daemon(config)
    await daemon.start()
    await daemon.serve()
    await daemon.close()
    database = StateDatabase(config.state, Path(config.state_dir) / "state.db")
    await database.open()
    live = await Alerts(database).find(AlertQuery(limit=1_000))
    await database.close()
    out, _ = run(capsys, "backtest", "--config", noisy, "--input", events, "--json")
    told = json.loads(out)["outcome"]["alerts"]
    assert len(live) > 5
    assert sorted((a["alert_id"], a["severity"], a["count"], a["title"], a["description"]) for a in told) == sorted(
        (a.alert_id, a.severity, a.count, a.title, a.description) for a in live
    )


def test_two_configurations_side_by_side(events: Path, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which alerts would disappear and appear with the other one; a configuration and itself would tell the same."""
    other = tmp_path / "critical.yaml"
    other.write_text("alerting:\n  event_anomalies: true\n  min_severity: critical\ndetection:\n  mad:\n    threshold: 2.0\n")
    out, _ = run(capsys, "backtest", "--config", noisy, "--against", other, "--input", events, "--json")
    told = json.loads(out)
    assert told["against"]["configuration"] == "critical.yaml"
    assert 0 < len(told["disappear"]) < told["outcome"]["alerts_total"]
    assert all(alert["severity"] == "critical" for alert in told["appear"])
    text, _ = run(capsys, "backtest", "--config", noisy, "--against", other, "--input", events)
    assert f"{len(told['disappear'])} alerts would disappear:" in text
    same, _ = run(capsys, "backtest", "--config", noisy, "--against", noisy, "--input", events)
    assert "both would have told you the same" in same


def test_only_a_part_of_the_past(events: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--from and --to choose events by their time; a zone counts."""
    out, _ = run(
        capsys, "backtest", "--input", events, "--from", rfc3339(START_NS + HOUR_NS), "--to", "2026-01-15T03:00:00+01:00", "--json"
    )
    read = json.loads(out)["read"]
    assert read["first"] >= "2026-01-15T01:00:00"
    assert read["last"] < "2026-01-15T02:00:00"
    assert read["outside_asked_time"] > 3 * read["events"] // 2


def test_the_store_of_a_daemon(noisy: Path, events: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it holds is judged as what it was made of, but for what rests on what it does not give; that is said."""
    assert main(["run", "--config", str(noisy), "--input", str(events), "--exit-at-end"]) == 0
    capsys.readouterr()
    stored, _ = run(capsys, "backtest", "--config", noisy, "--store", "--json")
    read, _ = run(capsys, "backtest", "--config", noisy, "--input", events, "--json")

    def fired(text: str) -> dict[tuple[str, str, str], int]:
        rows = json.loads(text)["outcome"]["fired"]
        textbook = {"zscore", "iqr", "mad", "cusum"}
        return {(row["model"], row["type"], row["detector"]): row["anomalies"] for row in rows if row["detector"] in textbook}

    assert fired(stored) == fired(read)
    assert json.loads(stored)["read"]["events"] == json.loads(read)["read"]["events"]
    text, _ = run(capsys, "backtest", "--config", noisy, "--store")
    assert "Rows of the store are read without users, finish reasons" in text


@pytest.mark.kafka
async def test_a_range_of_a_topic(
    kafka: Broker, topic: Callable[..., Awaitable[str]], events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What lies in a topic is judged as the same events in a file, log by log."""
    name = await topic(1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    records = await asyncio.to_thread(events.read_bytes)
    for at, line in enumerate(records.splitlines()):
        await producer.send(name, line, timestamp_ms=START_NS // 1_000_000 + at)
    await producer.stop()
    config = tmp_path / "kafka.yaml"
    config.write_text(
        f"ingestion:\n  kafka:\n    brokers: ['{kafka.bootstrap}']\n    topic: {name}\n  validation:\n    max_future_secs: 864000\n"
    )
    where = ("backtest", "--config", str(config), "--json")
    assert await asyncio.to_thread(main, [*where, "--kafka"]) == 0
    of_topic = json.loads(capsys.readouterr().out)
    of_file = json.loads(run(capsys, *where, "--input", events)[0])
    assert of_topic["source"] == f"the Kafka topic {name}"
    assert of_topic["read"] == of_file["read"]
    assert of_topic["outcome"]["by_severity"] == of_file["outcome"]["by_severity"]
    assert await asyncio.to_thread(main, [*where, "--kafka", "--from", "2030-01-01T00:00:00Z"]) == 1
    assert f"the Kafka topic {name} holds no events within" in capsys.readouterr().err


def test_gzip_and_bad_lines(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be an event is counted and the first is named."""
    packed = tmp_path / "events.jsonl.gz"
    packed.write_bytes(gzip.compress(events.read_bytes() + b"no event\n[]\n"))
    out, _ = run(capsys, "backtest", "--input", packed)
    assert re.search(r"2 records could not be events \(malformed_json 1, not_an_object 1\); the first is line [\d,]+: malformed_json", out)


def test_a_bar_only_for_a_terminal(events: Path) -> None:
    """On a terminal the share that is done is shown; output that goes elsewhere stays clean."""
    reader, writer = pty.openpty()
    command = (sys.executable, "-m", "sentinel.cli.main", "backtest", "--input", str(events))
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=writer)
    os.close(writer)
    shown = b""
    try:
        while block := os.read(reader, 65_536):
            shown += block
    except OSError:  # the other end of a terminal is gone
        pass
    out, _ = process.communicate(timeout=60)
    os.close(reader)
    assert process.returncode == 0
    assert b"backtest" in shown
    assert b"100%" in shown
    assert b"\r" not in out


def test_a_report_is_one_file_of_its_own(events: Path, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the plots of the noisiest series, and fetches nothing."""
    target = tmp_path / "report.html"
    out, _ = run(capsys, "backtest", "--config", noisy, "--against", noisy, "--input", events, "--out", target)
    assert out.splitlines()[-1] == f"report: {target}"
    text = target.read_text()
    assert text.startswith("<!doctype html>")
    assert text.count("<figure") >= 2
    assert "latency_ms of chat / gpt" in text
    assert not re.search(r"https?://|src=|@import|url\(|<script|<link| style=| on\w+=", text.replace("http://www.w3.org/2000/svg", ""))


@pytest.mark.parametrize("suffix", [".html", ".svg"])
def test_one_series_as_a_file(suffix: str, events: Path, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page, or a picture of its own."""
    target = tmp_path / f"series{suffix}"
    where = ("--service", "chat", "--model", "gpt")
    out, _ = run(capsys, "plot", "--config", noisy, "--input", events, *where, "--metric", "latency_ms", "--out", target)
    assert out == f"plot: {target}\n"
    text = target.read_text()
    assert text.startswith("<svg" if suffix == ".svg" else "<!doctype html>")
    assert 'class="value"' in text
    assert "mark critical" in text


def test_rates_of_a_series_as_a_file(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What no single request has is drawn by time."""
    target = tmp_path / "series.svg"
    where = ("--service", "chat", "--model", "gpt", "--metric", "requests_per_minute")
    run(capsys, "plot", "--input", events, *where, "--out", target)
    assert "requests_per_minute of chat / gpt" in target.read_text()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("backtest",), 2, "say where the past is: --input PATH, --kafka or --store, one of them"),
        (("backtest", "--store", "--kafka"), 2, "one of them"),
        (("backtest", "--input", "{events}", "--store"), 2, "one of them"),
        (("backtest", "--input", "{events}", "--from", "yesterday"), 2, "'yesterday' is no RFC 3339 time such as 2026-01-15T10:30:00Z"),
        (("backtest", "--input", "{events}", "--from", "2026-01-16T00:00Z", "--to", "2026-01-15T00:00Z"), 2, "--from must lie before --to"),
        (("backtest", "--input", "{tmp}/nowhere"), 1, "nowhere: no such file or directory. Give --input a file"),
        (("backtest", "--input", "{events}", "--from", "2027-01-01T00:00:00Z"), 1, "they lie between 2026-01-15T00:00:0"),
        (("backtest", "--kafka"), 1, "--kafka needs ingestion.kafka in the configuration"),
        (("backtest", "--store", "--config", "{noisy}"), 1, "sentinel.db: the daemon makes it"),
        (("backtest", "--input", "{events}", "--config", "{tmp}/none.yaml"), 3, "none.yaml: error: cannot be read"),
        (("backtest", "--input", "{events}", "--against", "{tmp}/none.yaml"), 3, "none.yaml: error: cannot be read"),
        (("backtest", "--kafka", "--config", "{kafka}"), 3, "ingestion.kafka"),
        (("backtest", "--store", "--config", "{influx}"), 1, "this configuration keeps events in InfluxDB: use --kafka or --input"),
        (("backtest", "--input", "{events}", "--out", "{tmp}/no/such/place"), 1, "there is no directory {tmp}/no/such. Give --out"),
        (("plot", *DRAW, "--model", "gpt", "--metric", "latency_ms", "--out", "x.png"), 2, ".html or .svg"),
        (("plot", *DRAW, "--model", "no", "--metric", "latency_ms", "--out", "{tmp}/x.svg"), 1, "there are chat / claude, chat / gpt"),
        (("plot", *DRAW, "--model", "gpt", "--metric", "speed", "--out", "{tmp}/x.svg"), 1, "has no values of speed"),
    ],
)
def test_what_goes_wrong_is_said_with_a_cure(
    args: tuple[str, ...], code: int, said: str, events: Path, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage is 2, a bad configuration 3, everything else 1; no stack trace anywhere."""
    (tmp_path / "kafka.yaml").write_text("ingestion:\n  kafka:\n    brokers: ['kafka.example.com:9092']\n")
    (tmp_path / "influx.yaml").write_text("storage:\n  influxdb:\n    url: http://127.0.0.1:8181\n    org: o\n    token: t\n")
    places = {"events": events, "noisy": noisy, "tmp": tmp_path, "kafka": tmp_path / "kafka.yaml", "influx": tmp_path / "influx.yaml"}
    out, err = run(capsys, *(arg.format_map(places) for arg in args), code=code)
    assert said.format_map(places) in re.sub(r"\s+", " ", err)
    assert "Traceback" not in out + err


def test_plots_of_a_pipe_are_refused_before_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The past is gone over twice for them."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    _, err = run(capsys, "backtest", "--input", pipe, "--out", tmp_path / "r.html", code=1)
    assert "a pipe can be read only once: write it to a file first" in err


def test_names_from_events_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What turns the direction of writing is shown as what it is."""
    config = tmp_path / "noisy.yaml"
    config.write_text("alerting:\n  event_anomalies: true\n")
    records = [record(i, service_name="a\u202eb", latency_ms=100 + i % 7) for i in range(300)]
    path = write(tmp_path / "events", [*records, record(300, service_name="a\u202eb", latency_ms=90_000)])
    out, _ = run(capsys, "backtest", "--config", config, "--input", path)
    assert "\u202e" not in out
    assert "a\\u202eb" in out or "a b" in out or "ab" in out
