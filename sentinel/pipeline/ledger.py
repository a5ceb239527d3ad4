"""The conservation ledger: received = stored + dead-lettered + duplicate + filtered + in flight, per partition, since start.

`in_flight` is counted on its own from the work that exists, so that an event that vanished shows as an imbalance.
"""

from dataclasses import dataclass, fields

from sentinel.core.batch import PartitionId
from sentinel.core.ports import Outcome


@dataclass(slots=True)
class Account:
    """The counts of one partition, in events."""

    received: int = 0
    stored: int = 0
    dead_lettered: int = 0
    duplicate: int = 0
    filtered: int = 0
    in_flight: int = 0

    @property
    def imbalance(self) -> int:
        """Events that are nowhere; 0 unless something vanished (or appeared: negative)."""
        return self.received - self.stored - self.dead_lettered - self.duplicate - self.filtered - self.in_flight


class Ledger:
    """The accounts of all partitions, kept by the pipeline.

    >>> ledger, log = Ledger(), PartitionId("c", "t", 0)
    >>> ledger.received(log, 3)
    >>> ledger.settled(log, 3, Outcome(stored=1, dead_letters=(), duplicates=1, filtered=0))
    >>> ledger.accounts[log].imbalance
    1
    """

    def __init__(self) -> None:
        self.accounts: dict[PartitionId, Account] = {}

    def received(self, source: PartitionId, events: int) -> None:
        """Events were read and are being worked on."""
        account = self.accounts.setdefault(source, Account())
        account.received += events
        account.in_flight += events

    def settled(self, source: PartitionId, events: int, outcome: Outcome) -> None:
        """Work that held `events` is done; the outcome says where they are."""
        account = self.accounts.setdefault(source, Account())
        account.in_flight -= events
        account.stored += outcome.stored
        account.dead_lettered += len(outcome.dead_letters)
        account.duplicate += outcome.duplicates
        account.filtered += outcome.filtered

    def released(self, source: PartitionId, events: int) -> None:
        """Events were dropped because their partition is no longer ours; its new owner reads them again."""
        account = self.accounts.setdefault(source, Account())
        account.received -= events
        account.in_flight -= events

    def total(self) -> Account:
        """The sum over all partitions."""
        total = Account()
        for account in self.accounts.values():
            for field in fields(Account):
                setattr(total, field.name, getattr(total, field.name) + getattr(account, field.name))
        return total
