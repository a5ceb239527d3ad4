"""From a configuration to the place where its daemon keeps dead letters."""

from sentinel.app.dead_letters.choose import Letters
from sentinel.app.dead_letters.in_file import LetterFile
from sentinel.app.dead_letters.in_topic import LetterTopic
from sentinel.app.state import places
from sentinel.config.schema import Config


def letters_of(config: Config) -> Letters:
    """The topic where there is Kafka, else the file. Nothing is opened or created."""
    kafka = config.ingestion.kafka
    return LetterFile(places(config).dead_letters) if kafka is None else LetterTopic(kafka)
