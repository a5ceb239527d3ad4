"""What receivers raise besides the errors of the port, so that the courier knows how patient to be."""

from sentinel.core.errors import PermanentError, RetryableError


class RefusedError(RetryableError):
    """The other side says no for a reason that does not pass by itself: a person has to mend something, there or in our configuration.

    It is tried again, but slowly: nothing is lost while somebody mends it.
    """


class GoneError(PermanentError):
    """The other side says it never wants anything from us again. The receiver is out of use until the daemon is started again."""
