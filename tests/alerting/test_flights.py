"""Which canaries are under way and which logs are silent: plain values, no clock."""

from sentinel.alerting.flights import MOST, Flights
from sentinel.core.batch import PartitionId

FIRST, SECOND = PartitionId("c", "t", 0), PartitionId("c", "t", 1)


def flights(silence_s: float = 10.0) -> Flights:
    """With two logs from second 100 on."""
    made = Flights(silence_s)
    made.owned([FIRST, SECOND], 100.0)
    return made


def test_a_canary_is_measured_once() -> None:
    """Its second arrival, and one that this process never sent, measure nothing."""
    made = flights()
    made.sent("a", FIRST, 101.0)
    assert made.stored("a")
    assert made.arrived("a", 103.5) == 2.5
    assert made.arrived("a", 104.0) is None
    assert not made.stored("b")
    assert made.arrived("b", 104.0) is None


def test_silence_names_the_log_and_how_far_the_last_one_came() -> None:
    """Each log by itself, the longest silence first; what came back is not silent."""
    made = flights()
    assert made.silent(110.0) == []
    made.sent("a", FIRST, 101.0)
    made.sent("b", SECOND, 101.0)
    made.stored("b")
    assert made.silent(111.0) == [
        "no canary came back from c/t/0 for 11 s; the last one was sent and is not stored",
        "no canary came back from c/t/1 for 11 s; the last one is stored and was not delivered",
    ]
    made.arrived("b", 111.0)
    made.sent("c", FIRST, 112.0)
    made.unsent("c", "no broker")
    assert made.silent(112.0) == ["no canary came back from c/t/0 for 12 s; the last one could not be sent: no broker"]
    assert made.longest_s(112.0) == 12.0


def test_a_log_that_is_new_has_its_time() -> None:
    """A partition counts from its assignment on, and no longer once it is gone."""
    made = flights()
    made.owned([SECOND], 200.0)
    assert [line.split(" for ")[0] for line in made.silent(200.0)] == ["no canary came back from c/t/1"]
    made.owned([FIRST], 300.0)
    assert made.silent(310.0) == []
    assert len(made.silent(310.1)) == 1


def test_the_limit_acts() -> None:
    """A longer `silence_secs` is more patient."""
    assert [len(flights(silence_s).silent(115.0)) for silence_s in (10.0, 20.0)] == [2, 0]


def test_memory_is_bounded() -> None:
    """Canaries that never come back are forgotten, the oldest first."""
    made = flights()
    for i in range(MOST + 10):
        made.sent(f"canary {i}", FIRST, 101.0)
    assert made.arrived("canary 9", 102.0) is None
    assert made.arrived("canary 10", 102.0) == 1.0
