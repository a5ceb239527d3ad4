"""The state directory and the pseudonym key in it."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from sentinel.config.schema import Config
from sentinel.core.batch import LOCAL_CLUSTER
from sentinel.core.errors import StartupError

KEY_BYTES = 32
MIN_KEY_CHARACTERS = 16
INSTANCE_BYTES = 6


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything lies."""

    state: Path
    database: Path
    checkpoints: Path
    dead_letters: Path
    pseudonym_key: Path
    instance: Path


def places(config: Config) -> Places:
    """The paths of a configuration, defaults filled in."""
    state = Path(config.state_dir)
    return Places(
        state=state,
        database=Path(config.storage.embedded.path or state / "sentinel.db"),
        checkpoints=Path(config.detection.baseline.persistence_path or state / "checkpoints"),
        dead_letters=Path(config.ingestion.dead_letters.path or state / "dead-letters.jsonl"),
        pseudonym_key=state / "pseudonym.key",
        instance=state / "instance.id",
    )


def prepare(where: Places) -> None:
    """Make the directories, for the owner only. Raises StartupError when one cannot be written."""
    for directory in (where.state, where.database.parent, where.checkpoints, where.dead_letters.parent):
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StartupError(f"cannot make {directory}: {error.strerror}. Set state_dir to a directory this user may write.") from error
        if not os.access(directory, os.W_OK | os.X_OK):
            raise StartupError(
                f"{directory} is not writable for user {os.getuid()}. Change its owner, or set state_dir to another directory."
            )


def pseudonym_key(config: Config, where: Places) -> bytes:
    """The configured key, or the one in the state directory, made on first use.

    Raises StartupError for a key too short to protect anybody, and for a file that cannot be used.
    """
    if config.privacy.pseudonym_key is not None:
        key = config.privacy.pseudonym_key.reveal()
        if len(key) < MIN_KEY_CHARACTERS:
            raise StartupError(
                f"privacy.pseudonym_key has fewer than {MIN_KEY_CHARACTERS} characters. Make one: openssl rand -hex 32 > FILE"
            )
        return key.encode()
    try:
        if not where.pseudonym_key.exists():
            _write_key(where.pseudonym_key)
        saved = where.pseudonym_key.read_bytes().strip()
    except OSError as error:
        raise StartupError(f"cannot use {where.pseudonym_key}: {error.strerror}. Make it a file that this user may read.") from error
    if len(saved) < MIN_KEY_CHARACTERS:
        raise StartupError(
            f"{where.pseudonym_key} has fewer than {MIN_KEY_CHARACTERS} characters. Put the key back from a backup; "
            "or delete the file for a new one: people then get new pseudonyms."
        )
    return saved


def _write_key(path: Path) -> None:
    """A new key, for the owner only; on the disk in whole or not at all."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def local_cluster(config: Config, where: Places) -> str:
    """What the logs of this daemon that are no Kafka's are called.

    Where others may share the store or the state database, a name of its own that stays in the state directory: two daemons must not take
    each other's positions for theirs. Raises StartupError when it cannot be read or written.
    """
    if config.storage.influxdb is None and config.state.url is None:
        return LOCAL_CLUSTER
    return f"{LOCAL_CLUSTER}-{instance_name(where)}"


def instance_name(where: Places) -> str:
    """This daemon's own name, which stays in the state directory; made on first use.

    Raises StartupError when it cannot be read or written.
    """
    try:
        if not where.instance.exists():
            unfinished = where.instance.with_suffix(".new")
            unfinished.write_text(secrets.token_hex(INSTANCE_BYTES))
            unfinished.replace(where.instance)
        name = where.instance.read_text().strip()
    except OSError as error:
        raise StartupError(f"cannot use {where.instance}: {error.strerror}. Make it a file that this user may read and write.") from error
    if not name.isalnum():
        raise StartupError(
            f"{where.instance} does not hold the name it was made with. Put it back from a backup, or delete it for a new one."
        )
    return name
