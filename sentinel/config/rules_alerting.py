"""Rules about the `alerting` section."""

from collections.abc import Iterator

from sentinel.config.loader import Loaded
from sentinel.config.problems import KeyPath
from sentinel.config.rule import Finding
from sentinel.config.schema import Webhook

_WEBHOOK: KeyPath = ("alerting", "webhook")


def webhook(loaded: Loaded) -> Iterator[Finding]:
    """A webhook that has no target, or sends what anybody could read or make up."""
    alerting = loaded.config.alerting
    section = alerting.webhook
    if section is None or not section.enabled or alerting.enabled is False:
        return
    if section.url is None and (*_WEBHOOK, "url") not in loaded.unset:
        yield Finding((*_WEBHOOK, "enabled"), "no_url", "is true, and there is no `url`", "Set `url`, or `enabled` to false.", "error")
    # The channel itself connects without TLS to allowed networks only.
    if section.url is not None and section.url.lower().startswith("http:") and not section.allowed_networks:
        what = "begins with http://, and `allowed_networks` names no network that may be sent to without encryption"
        cure = "Use https://, or name the receiver's network in `allowed_networks` if it is trusted."
        yield Finding((*_WEBHOOK, "url"), "plaintext", what, cure, blocks_run=True)
    if not _is_signed(loaded, section):
        what = "is not set, so alerts are not signed and receivers cannot tell who sent them"
        cure = 'Make a secret with `echo "whsec_$(openssl rand -base64 32)" > FILE`, name the file here, and give it to the receiver.'
        yield Finding((*_WEBHOOK, "secret_file"), "unsigned_webhook", what, cure)


def _is_signed(loaded: Loaded, section: Webhook) -> bool:
    """There is a secret, or there will be once its file or variable is there."""
    given = (section.secret, section.secret_file, section.secret_next, section.secret_next_file)
    return any(value is not None for value in given) or any(
        (*_WEBHOOK, key) in loaded.unset for key in ("secret", "secret_file", "secret_next", "secret_next_file")
    )
