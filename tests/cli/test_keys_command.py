"""`sentinel keys`: what it prints, what it keeps, and that a running daemon follows."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from sentinel.cli import keys as command
from sentinel.cli.keys import keys
from sentinel.core.access import ApiKey, admitted, kid_of
from sentinel.core.errors import SentinelError
from sentinel.state import audit
from sentinel.state import keys as kept

DAY_NS = 86_400 * 10**9


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with its state beside it."""
    path = tmp_path / "sentinel.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\n")
    return path


def call(file: Path, *args: str) -> Result:
    """The outcome of a command; what it raises comes out."""
    return CliRunner().invoke(keys, [*args, "--config", str(file)], standalone_mode=False, catch_exceptions=False)


def create(file: Path, *options: str) -> dict[str, str]:
    """A new key as JSON."""
    made: dict[str, str] = json.loads(call(file, "create", "--json", *options).stdout)
    return made


def listed(file: Path) -> list[dict[str, str]]:
    """All keys as JSON."""
    found: list[dict[str, str]] = json.loads(call(file, "ls", "--json").stdout)["keys"]
    return found


def test_a_key_is_printed_once_and_alone(file: Path) -> None:
    """Standard output holds the key and nothing else, so that a variable can take it; it opens what was asked for."""
    outcome = call(file, "create", "--role", "ingester", "--name", "gateway")
    key = outcome.stdout.strip()
    assert outcome.stdout == f"{key}\n"
    assert "gateway" in outcome.stderr
    assert key not in outcome.stderr
    place, found = command._in_database(file, kept.alive)
    opened = admitted(key, found.get, 0)
    assert isinstance(opened, ApiKey)
    assert ({role.value for role in opened.roles}, opened.name) == ({"ingester"}, "gateway")
    assert place == str(file.parent / "state" / "state.db")


def test_every_key_is_another(file: Path) -> None:
    """Kid and secret come from the system's generator, 256 bits of it."""
    keys_made = [create(file, "--role", "viewer", "--name", "same")["key"] for _ in range(5)]
    assert len({key.partition(".")[0] for key in keys_made}) == len({key.partition(".")[2] for key in keys_made}) == 5
    assert {len(key.partition(".")[2]) for key in keys_made} == {64}


def test_the_list_shows_no_secret(file: Path) -> None:
    """Neither as text nor as JSON, and not its hash; state, role, name and times are there."""
    key = create(file, "--role", "viewer", "--name", "dashboard", "--expires", "90d")["key"]
    text = call(file, "ls").stdout
    secret = key.partition(".")[2]
    stored = command._in_database(file, kept.listed)[1][0]
    for shown in (text, json.dumps(listed(file))):
        assert secret[:12] not in shown
        assert stored.digest.decode() not in shown
        for word in (kid_of(key), "valid", "viewer", "dashboard", command.actor()):
            assert word in shown
    heads = "KID STATE ROLE NAME CREATED BY CREATED AT EXPIRES AT LAST USED AT REVOKED AT"
    assert " ".join(text.splitlines()[0].split()) == heads


@pytest.mark.parametrize(
    ("span", "expected_ns"), [("90d", 90 * DAY_NS), ("12h", DAY_NS // 2), ("30m", DAY_NS // 48), ("3650d", 3_650 * DAY_NS)]
)
def test_a_key_may_end(file: Path, span: str, expected_ns: int) -> None:
    """--expires counts from now."""
    create(file, "--role", "viewer", "--name", "n", "--expires", span)
    (key,) = command._in_database(file, kept.listed)[1]
    assert key.expires_ns == key.created_ns + expected_ns


@pytest.mark.parametrize(
    "options",
    [
        ("--name", "n"),
        ("--role", "viewer"),
        ("--role", "emperor", "--name", "n"),
        ("--role", "viewer", "--name", ""),
        ("--role", "viewer", "--name", "  "),
        ("--role", "viewer", "--name", "x" * 65),
        ("--role", "viewer", "--name", "a\nb"),
        ("--role", "viewer", "--name", "a\u202eb"),
        *(
            ("--role", "viewer", "--name", "n", "--expires", span)
            for span in ("", "0d", "-1d", "1", "d", "1y", "1.5d", "3651d", "9999999d", "١d")
        ),
    ],
)
def test_what_makes_no_sense_is_refused(file: Path, options: tuple[str, ...]) -> None:
    """Wrong usage makes no key, and no database either."""
    with pytest.raises(click.UsageError):
        call(file, "create", *options)
    assert not (file.parent / "state").exists()


def test_a_revoked_key_opens_nothing(file: Path) -> None:
    """By kid, or by the whole key; doing it again keeps the first time."""
    one, two = (create(file, "--role", "admin", "--name", name) for name in ("one", "two"))
    first = json.loads(call(file, "revoke", one["kid"], "--json").stdout)
    assert json.loads(call(file, "revoke", one["kid"], "--json").stdout) == first
    outcome = call(file, "revoke", two["key"])
    assert "two" in outcome.stdout
    assert two["key"].partition(".")[2] not in outcome.output
    assert [(key["name"], key["state"]) for key in listed(file)] == [("one", "revoked"), ("two", "revoked")]
    assert command._in_database(file, kept.alive)[1] == {}


def test_an_unknown_kid_is_an_error_that_does_not_quote(file: Path) -> None:
    """It names the place that was looked at, and the way to the right one."""
    with pytest.raises(SentinelError, match=r"state\.db: see `sentinel keys ls`") as error:
        call(file, "revoke", "no-such-kid-\x1b[31m")
    assert "no-such" not in str(error.value)


def test_changes_are_audited_by_the_system_user(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by what the environment says."""
    monkeypatch.setenv("LOGNAME", "mallory")
    monkeypatch.setenv("USER", "mallory")
    kid = create(file, "--role", "viewer", "--name", "n")["kid"]
    call(file, "revoke", kid)
    entries = command._in_database(file, lambda connection: audit.latest(connection, 10))[1]
    assert [(entry.action, entry.target) for entry in entries] == [("key.revoked", kid), ("key.created", kid)]
    assert {entry.actor for entry in entries} == {command.actor()}
    assert "mallory" not in command.actor()
    assert command._in_database(file, audit.verify)[1] is None


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run under numbers that nobody has named."""
    monkeypatch.setattr(os, "getuid", lambda: 4_000_123)
    assert command.actor() == "cli:uid-4000123"


def test_the_state_path_is_the_configured_one(tmp_path: Path) -> None:
    """state.path goes before state_dir."""
    path = tmp_path / "own.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\nstate: {{path: {tmp_path / 'elsewhere.db'}}}\n")
    create(path, "--role", "viewer", "--name", "n")
    assert (tmp_path / "elsewhere.db").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "state").exists()


def test_another_transaction_is_waited_for(file: Path) -> None:
    """The daemon writes meanwhile: the command waits for its turn."""
    create(file, "--role", "viewer", "--name", "n")
    script = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.readline()\n"
        "connection.execute('COMMIT')\n"
    )
    database = file.parent / "state" / "state.db"
    other = subprocess.Popen([sys.executable, "-c", script, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    with sqlite3.connect(database, timeout=0) as impatient, pytest.raises(sqlite3.OperationalError):
        impatient.execute("BEGIN IMMEDIATE")
    impatient.close()
    other.communicate("go on\n")
    assert other.returncode == 0
    create(file, "--role", "viewer", "--name", "m")
    assert len(listed(file)) == 2
