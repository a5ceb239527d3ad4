"""How notifications that are due are put into messages, and which of these may be under way at the same time. Pure."""

from collections.abc import Sequence

from sentinel.core.alert import Notification

Parcel = Sequence[Notification]
"""What goes into one message."""

Lane = Sequence[Parcel]
"""Parcels that are sent one after another; lanes are independent of each other."""


def lanes(due: Sequence[Notification], together: int = 1, tries_together: int = 3) -> list[Lane]:
    """The notifications as lanes, most urgent first.

    What is said of one alert stays in the order it was said, so that its end cannot overtake its beginning.

    Args:
        due: most urgent first, as the outbox gives them.
        together: most notifications in one message.
        tries_together: what was tried so often travels alone, so that one that is never accepted does not hold up others.
    """
    by_alert: dict[str, list[Notification]] = {}
    for notification in due:
        by_alert.setdefault(notification.alert.alert_id, []).append(notification)
    alone: list[Lane] = []
    shared: list[Notification] = []
    for notifications in by_alert.values():
        notifications.sort(key=lambda notification: notification.created_ns)
        if together == 1 or any(notification.attempts >= tries_together for notification in notifications):
            alone.append([[notification] for notification in notifications])
        else:
            shared += notifications
    if shared:
        alone.insert(0, [shared[at : at + together] for at in range(0, len(shared), together)])
    return alone
