"""What several workers of one host need, and what each makes of the configuration."""

from pathlib import Path

import pytest

from sentinel.config.checks import check_workers
from sentinel.config.loader import load
from sentinel.config.workers import of_worker

FIT = """
state_dir: /var/lib/sentinel
ingestion:
  kafka: {brokers: ["127.0.0.1:9092"], group_instance_id: here}
privacy: {pseudonym_key_file: KEY}
storage: {influxdb: {url: "http://127.0.0.1:8086"}}
state: {url: "postgresql://127.0.0.1:5432/sentinel"}
api: {bind_addr: "[::1]:8080"}
"""


def refused(tmp_path: Path, text: str, count: int = 3) -> set[str]:
    """Keys that keep several workers from it."""
    (tmp_path / "key").write_text("0123456789abcdef")
    path = tmp_path / "sentinel.yaml"
    path.write_text(text.replace("KEY", str(tmp_path / "key")))
    problems = check_workers(load(path, {}, read_secrets=True), count)
    assert all(problem.severity == "error" and problem.suggestion for problem in problems)
    return {problem.key for problem in problems}


def test_what_is_made_for_several_is_taken(tmp_path: Path) -> None:
    """Kafka, InfluxDB, PostgreSQL, and one key of pseudonyms."""
    assert refused(tmp_path, FIT) == set()


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("  kafka:", "ingestion.kafka"),
        ("privacy:", "privacy.pseudonym_key_file"),
        ("storage:", "storage.influxdb"),
        ("state: ", "state.url"),
    ],
)
def test_what_belongs_to_one_process_is_refused(tmp_path: Path, line: str, key: str) -> None:
    """Each thing that would be a worker's own is named."""
    assert refused(
        tmp_path,
        "\n".join(each for each in FIT.split("\n") if not each.startswith(line)).replace(
            "ingestion:\n", "" if "kafka" in line else "ingestion:\n"
        ),
    ) == {key}


def test_files_are_of_one_worker(tmp_path: Path) -> None:
    """Each worker would read them."""
    assert refused(tmp_path, FIT.replace("ingestion:\n", "ingestion:\n  files: {paths: [a.jsonl]}\n")) == {"ingestion.files.paths"}


def test_each_worker_advertises_its_port(tmp_path: Path) -> None:
    """An advertised address goes up with the worker's number, and one without a port could only be right for one of them."""
    assert refused(tmp_path, FIT.replace('8080"', '8080", advertise_url: "http://10.0.0.7"')) == {"api.advertise_url"}
    assert refused(tmp_path, FIT.replace('8080"', '8080", advertise_url: "http://10.0.0.7:9000"')) == set()
    config = load(tmp_path / "sentinel.yaml", {}, read_secrets=True).config
    assert [of_worker(config, number).api.advertise_url for number in (1, 3)] == ["http://10.0.0.7:9000", "http://10.0.0.7:9002"]


def test_ports_must_suffice(tmp_path: Path) -> None:
    """Each worker takes the next port."""
    text = FIT.replace("8080", "65530")
    assert (refused(tmp_path, text, 6), refused(tmp_path, text, 7)) == (set(), {"api.bind_addr"})


def test_each_worker_has_its_own(tmp_path: Path) -> None:
    """State directory, membership and port; the first has the configured port."""
    refused(tmp_path, FIT)
    config = load(tmp_path / "sentinel.yaml", {}, read_secrets=True).config
    workers = [of_worker(config, number) for number in (1, 2)]
    assert [worker.state_dir for worker in workers] == ["/var/lib/sentinel/worker-1", "/var/lib/sentinel/worker-2"]
    assert [worker.ingestion.kafka and worker.ingestion.kafka.group_instance_id for worker in workers] == ["here-1", "here-2"]
    assert [worker.api.bind_addr for worker in workers] == ["[::1]:8080", "[::1]:8081"]
    assert workers[1].storage == config.storage


def test_any_port_stays_any_port(tmp_path: Path) -> None:
    """Port 0 is that of every worker, and no membership stays none."""
    refused(tmp_path, FIT.replace("8080", "0").replace(", group_instance_id: here", ""))
    worker = of_worker(load(tmp_path / "sentinel.yaml", {}, read_secrets=True).config, 2)
    assert worker.api.bind_addr == "[::1]:0"
    assert worker.ingestion.kafka is not None
    assert worker.ingestion.kafka.group_instance_id is None
