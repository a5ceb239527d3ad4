"""TLS towards receivers: certificates and host names are always verified."""

import ssl

from sentinel.core.errors import StartupError


def client_context(ca_file: str | None, key: str) -> ssl.SSLContext:
    """A context that trusts the system's certificate authorities, or those of a file.

    Args:
        ca_file: PEM file; None for the system's.
        key: of the configuration, for the error.

    Raises:
        StartupError: the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StartupError(f"cannot use {key} {ca_file}: {reason}. Name a PEM file with certificates that this user may read") from error
