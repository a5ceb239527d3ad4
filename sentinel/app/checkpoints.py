"""Where the detectors' state is saved: a directory or a bucket, and what keys begin with there."""

from sentinel.app.state import Places, instance_name
from sentinel.config.schema import Config
from sentinel.core.ports import CheckpointStore
from sentinel.pipeline.restore import Folders
from sentinel.storage.checkpoint_objects import ObjectCheckpoints
from sentinel.storage.checkpoints import DirectoryCheckpoints


def checkpoints_of(config: Config, where: Places) -> CheckpointStore | None:
    """The store of a configuration; None when nothing is to be saved. Raises StartupError when a bucket's client is missing."""
    if not config.detection.baseline.enable_persistence:
        return None
    if config.state.checkpoints.url is not None:
        return ObjectCheckpoints(config.state.checkpoints)
    return DirectoryCheckpoints(where.checkpoints)


def folders_of(config: Config, where: Places) -> Folders:
    """In the state directory there is nobody else. Elsewhere the replicas of a group share the states of its logs, and nothing else.

    Raises StartupError when this daemon's own name cannot be read or written.
    """
    if config.state.checkpoints.url is None and config.detection.baseline.persistence_path is None:
        return Folders()
    kafka = config.ingestion.kafka
    return Folders(shared=f"{kafka.group_id}/" if kafka else "", local=f"{instance_name(where)}/")
