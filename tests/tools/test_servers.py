"""The machinery that starts real servers: they start, answer, come back, and never outlive their starter."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tools.servers.install import install_packages, run_to_end
from tools.servers.java import find_java, install_jars
from tools.servers.kafka import Broker
from tools.servers.process import NotInstalledError, ServerError, ServerProcess, free_port

ROOT = Path(__file__).parents[2]
HOLD_FIFO = "exec 3>fifo; echo up >&3; sleep 600"
"""A shell server whose child inherits the write end of a pipe: whoever reads it sees the end of input once both are gone."""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe called `fifo`, in the directory the servers of these tests run in."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def shell_server(directory: Path, script: str) -> ServerProcess:
    """A server that is a shell script, run in the directory."""
    return ServerProcess("shell", ["sh", "-c", f"cd {directory}; {script}"], log=directory / "log", environment={})


def without_programs(**variables: str) -> dict[str, str]:
    """Our environment as on a machine where no Java, Maven or apt-get is installed."""
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "JAVA_HOME"}}
    return kept | {"PATH": ""} | variables


def run_pytest(*arguments: str, directory: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A test run of its own."""
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, check=False)  # our own words


async def produce(broker: Broker, topic: str, values: list[bytes]) -> None:
    """Write the values to partition 0, each confirmed."""
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)


async def consume(broker: Broker, topic: str, count: int) -> list[bytes]:
    """The first values of partition 0."""
    async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        return [(await consumer.getone()).value for _ in range(count)]


async def test_records_go_through_a_real_broker(kafka: Broker, topic: Callable[..., Awaitable[str]]) -> None:
    """A topic has the partitions asked for, and what is produced to it is consumed."""
    name = await topic(partitions=2)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        assert await producer.partitions_for(name) == {0, 1}
    await produce(kafka, name, [b"one", b"two"])
    assert await consume(kafka, name, 2) == [b"one", b"two"]


async def test_a_topic_is_created_once(kafka: Broker, topic: Callable[..., Awaitable[str]]) -> None:
    """Creating a topic that exists says so instead of passing."""
    name = await topic()
    with pytest.raises(ServerError, match="already exists"):
        await kafka.create_topic(name)


async def test_a_broker_comes_back_with_its_data(own_kafka: Broker) -> None:
    """After a stop and after a crash, the same address serves what was confirmed before."""
    address = own_kafka.bootstrap
    await own_kafka.create_topic("kept", partitions=1)
    await produce(own_kafka, "kept", [b"before the stop"])
    own_kafka.stop()
    assert not own_kafka.running
    own_kafka.start()
    await produce(own_kafka, "kept", [b"before the crash"])
    own_kafka.kill()
    own_kafka.start()
    assert await consume(own_kafka, "kept", 2) == [b"before the stop", b"before the crash"]
    assert own_kafka.bootstrap == address


def test_the_command_line_runs_a_broker_until_interrupted(kafka: Broker) -> None:
    """`run kafka` prints an address that accepts connections, and ends in order at Ctrl-C."""
    with subprocess.Popen([sys.executable, "-m", "tools.servers", "run", "kafka"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        host, _, port = command.stdout.readline().split("listens on ")[1].split(";")[0].partition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
        command.send_signal(signal.SIGINT)
        assert command.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


@pytest.mark.parametrize(("ci", "outcome", "exit_code"), [("false", "1 skipped", 0), ("true", "1 error", 1)])
def test_without_kafka_a_test_is_skipped_but_fails_in_ci(ci: str, outcome: str, exit_code: int) -> None:
    """A machine without Java skips with the cure as the reason; in CI nothing is skipped quietly."""
    test = f"{Path(__file__)}::{test_records_go_through_a_real_broker.__name__}"
    done = run_pytest("-rs", test, directory=ROOT, environment=without_programs(CI=ci))
    assert done.returncode == exit_code, done.stdout
    assert outcome in done.stdout
    assert "Run: python -m tools.servers install" in done.stdout


def test_a_run_of_skipped_tests_only_fails_in_ci(tmp_path: Path) -> None:
    """In CI a run in which nothing ran does not pass."""
    (tmp_path / "test_only_skipped.py").write_text("import pytest\n\ndef test_nothing():\n    pytest.skip('no reason')\n")
    environment = {**os.environ, "CI": "true", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = run_pytest("-p", "conftest", str(tmp_path), directory=tmp_path, environment=environment)
    assert "1 skipped" in done.stdout
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_started_server_runs_until_stopped(tmp_path: Path) -> None:
    """`start` returns once ready; starting again and stopping twice are harmless."""
    server = shell_server(tmp_path, "trap 'touch stopped; exit' TERM; touch ready; while :; do sleep 1; done")
    server.start((tmp_path / "ready").exists)
    pid = server.pid
    server.start((tmp_path / "ready").exists)
    assert server.pid == pid
    server.stop()
    server.stop()
    assert not server.running
    assert (tmp_path / "stopped").exists()


def test_a_server_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    """`stop` waits its time and no longer."""
    server = shell_server(tmp_path, "trap '' TERM; touch ready; while :; do sleep 1; done")
    server.start((tmp_path / "ready").exists)
    server.stop(timeout_s=0)
    assert not server.running


def test_a_server_that_ends_while_starting_tells_its_last_words(tmp_path: Path) -> None:
    """The error carries the end of the log, and nothing is left running."""
    server = shell_server(tmp_path, "echo no room on the disk; exit 3")
    with pytest.raises(ServerError, match="no room on the disk"):
        server.start(lambda: False)
    assert not server.running


def test_a_server_that_ended_by_itself_can_be_started_again(tmp_path: Path, fifo: Path) -> None:
    """A crash is noticed, and the next start is a new process."""
    server = shell_server(tmp_path, "touch ready; exec 3>fifo; read line <go")
    os.mkfifo(tmp_path / "go")
    for _ in range(2):
        server.start((tmp_path / "ready").exists)
        pid = server.pid
        with fifo.open() as held:
            (tmp_path / "go").write_text("end\n")
            assert held.read() == ""
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert not server.running
    server.stop()


def test_a_server_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    """A start that takes too long is an error and leaves nothing behind."""
    server = shell_server(tmp_path, "sleep 600")
    with pytest.raises(ServerError, match="not ready after 0 s"):
        server.start(lambda: False, timeout_s=0)
    with pytest.raises(ServerError, match="not running"):
        _ = server.pid


def test_a_kill_takes_the_servers_own_children_along(tmp_path: Path, fifo: Path) -> None:
    """Nothing a server started outlives it."""
    server = shell_server(tmp_path, f"touch ready; {HOLD_FIFO}")
    server.start((tmp_path / "ready").exists)
    with fifo.open() as held:
        assert held.readline() == "up\n"
        server.kill()
        assert held.read() == ""


def test_a_server_dies_with_its_starter(tmp_path: Path, fifo: Path) -> None:
    """Even a starter that is killed without warning leaves no server behind."""
    program = (
        "import signal, sys; from pathlib import Path; from tools.servers.process import ServerProcess\n"
        "d = Path(sys.argv[1]); s = ServerProcess('shell', ['sh', '-c', sys.argv[2]], log=d / 'log', environment={})\n"
        "s.start((d / 'ready').exists); print('started', flush=True); signal.pause()"
    )
    script = f"cd {tmp_path}; touch ready; {HOLD_FIFO}"
    command = [sys.executable, "-c", program, str(tmp_path), script]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:  # our own words
        assert starter.stdout is not None
        assert starter.stdout.readline() == "started\n"
        with fifo.open() as held:
            assert held.readline() == "up\n"
            starter.kill()
            assert held.read() == ""


def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """A server belongs to the process: a worker thread may start one and end."""
    server = shell_server(tmp_path, "touch ready; sleep 600")
    thread = threading.Thread(target=server.start, args=((tmp_path / "ready").exists,))
    thread.start()
    thread.join()
    try:
        assert server.running
    finally:
        server.kill()


def test_free_ports_are_never_given_to_outgoing_connections() -> None:
    """A reconnecting client cannot take the port of the server that is down."""
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    port = free_port()
    assert 1024 < port < lowest_outgoing
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_an_old_java_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java that cannot run the servers is named with its version, one that is not there with the place."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(NotInstalledError, match="not in JAVA_HOME"):
        find_java()
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    with pytest.raises(NotInstalledError, match=r"not Java 17 or newer: openjdk version .11\.0\.2"):
        find_java()


def test_without_java_and_apt_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installing where nothing can be installed says what to install."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    pom = tmp_path / "thing.pom.xml"
    pom.write_text("<project/>")
    with pytest.raises(NotInstalledError, match="apt-get install maven default-jre-headless"):
        install_jars(pom)


def test_packages_need_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root nothing is installed; the message has the command to run."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotInstalledError, match=r"thing is missing\. .* apt-get install thing"):
        install_packages(["thing"], "thing is missing")


def test_a_failed_command_shows_its_output() -> None:
    """A failed installation tells what the tool said."""
    with pytest.raises(ServerError, match="ended with code 4:\nno such thing"):
        run_to_end(["sh", "-c", "echo no such thing; exit 4"])
