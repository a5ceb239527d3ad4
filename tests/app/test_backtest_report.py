"""The report as a file: nothing of an event is markup, nothing is fetched, and what is drawn is what was."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from alert_anomalies import Found as Short
from alert_anomalies import anomalies
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from past_inputs import HOUR_NS, MINUTE_NS, START_NS, file_past, ignore, record, simulated, spike, write

from sentinel.alerting.sightings import Subject
from sentinel.app.backtest.alerts import PastAlert
from sentinel.app.backtest.compare import changes
from sentinel.app.backtest.outcome import Outcome, Row
from sentinel.app.backtest.reading import Trial, go_over
from sentinel.app.backtest.replay import Found
from sentinel.app.backtest.run import compared, drawing, noisiest, outcomes, plots
from sentinel.app.backtest.sieve import Account
from sentinel.app.backtest.tally import Fired, Kind
from sentinel.app.backtest.trace import Drawn, Mark, Traces, Watched
from sentinel.app.report.lanes import lanes_plot
from sentinel.app.report.markup import printable, tag
from sentinel.app.report.page import Report, page
from sentinel.app.report.picture import picture_svg
from sentinel.app.report.scales import TimeScale, scale_of
from sentinel.app.report.series_plot import series_plot
from sentinel.app.report.spans import bars
from sentinel.config.schema import Alerting, Config, Detection, Zscore
from sentinel.core.alert import Worth
from sentinel.core.batch import SeriesKey
from sentinel.detection.ticks import TickBand

HOSTILE = SeriesKey("t\"'", "<script>alert(1)</script>\u202e", "]]><img src=x onerror=alert(2)>")
GPT = SeriesKey("default", "chat", "gpt")


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep it."""
        self.text += data


def alert(series: SeriesKey, at_min: float, minutes: float = 10, severity: int = 1, metric: str = "latency_ms") -> PastAlert:
    """One alert."""
    strongest = structs.replace(
        anomalies(Short(0))[0],
        tenant=series.tenant,
        service=series.service,
        model=series.model,
        metric=metric,
        explanation=f"{metric} of {series.service} / {series.model} was <b>high</b>",
    )
    started = START_NS + int(at_min * MINUTE_NS)
    return PastAlert(f"a{at_min}", Subject(series, "latency_spike"), severity, started, started + int(minutes * MINUTE_NS), 3, 1, strongest)


def outcome(*alerts: PastAlert, name: str = "sentinel.yaml") -> Outcome:
    """What came of a day."""
    account = Account(events=1_000, first_ns=START_NS, last_ns=START_NS + 24 * HOUR_NS, series={one.subject.series for one in alerts})
    by_severity = [sum(one.severity == at for one in alerts) for at in range(3)]
    rows = [Row(Kind(one.subject.series, one.subject.type, "level"), Fired(START_NS, START_NS, [0, 3, 0]), 1) for one in alerts]
    return Outcome(name, account, list(alerts), by_severity, len(alerts), rows, 300_000_000_000)


def drawn(series: SeriesKey, values: list[float], **changed: object) -> Drawn:
    """A plot of these values, one a minute, with a band from 80 to 120."""
    n = len(values)
    flat = np.full(n, 100.0)
    made = Drawn(Watched(series, "latency_ms"), "median", START_NS, MINUTE_NS, np.array(values), None, flat - 20, flat, flat + 20, [], 0)
    return replace(made, **changed)


def test_names_from_events_are_text() -> None:
    """Markup in a name, a reason or a file's name becomes text, and what cannot be seen is shown."""
    before, after = outcome(alert(HOSTILE, 5), name="<i>x</i>"), outcome(alert(HOSTILE, 700, severity=2), name="<u>y</u>")
    mark = Mark(2.0, 1, START_NS, before.alerts[0].strongest)
    plot = drawn(HOSTILE, [100.0, 110.0], marks=[mark])
    text = page(Report("<b>in</b>", "<s>lost</s>", before, after, changes(before.alerts, after.alerts, 0), [plot]))
    elements = Elements(text)
    page_words = "html head meta title style body main h1 h2 h3 p b span div figure figcaption table thead tbody tr th td details summary"
    assert {name for name, _ in elements.found} <= {*page_words.split(), "svg", "g", "rect", "line", "path", "circle", "text"}
    assert all(not key.startswith("on") and key not in {"style", "href", "src"} for _, given in elements.found for key in given)
    assert "<script>alert(1)</script>\\u202e" in elements.text
    assert "<i>x</i>" in elements.text
    assert "<s>lost</s>" in elements.text
    assert "\u202e" not in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)  # noqa: S314  our own output


def test_the_policy_allows_the_style_and_nothing_else() -> None:
    """Its hash is that of the one style element."""
    text = page(Report("file", None, outcome(alert(GPT, 5)), None, None, []))
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(given["content"] for name, given in Elements(text).found if name == "meta" and "http-equiv" in given)
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@given(st.text(), st.dictionaries(st.from_regex("[a-z]{1,8}", fullmatch=True), st.text(), max_size=3))
def test_any_text_survives_as_text(text: str, attributes: dict[str, str]) -> None:
    """What a parser reads back is what was meant, invisible characters spelled out."""
    (name, given_back), read = Elements(tag("p", text, **attributes)).found[0], Elements(tag("p", text)).text
    assert name == "p"
    assert {key: value or "" for key, value in given_back.items()} == {key: printable(value) for key, value in attributes.items()}
    assert read == printable(text)


def test_the_headline_is_the_answer() -> None:
    """In words, with a rate; of less than a week it is called extrapolated; of nothing it says so."""
    text = Elements(page(Report("file", None, outcome(alert(GPT, 5), alert(GPT, 900, severity=2)), None, None, []))).text
    assert "You would have been alerted 2 times in 1 d (1 critical, 1 warning). That is 14 a week, extrapolated (90% interval 2.4" in text
    assert "The data covers 1 d, less than a week" in text
    quiet = Elements(page(Report("file", None, outcome(), None, None, []))).text
    assert "Nobody would have been alerted in these 1 d." in quiet
    assert "No detector found anything." in quiet


def test_both_configurations_are_told_apart() -> None:
    """What disappears, what appears, what is told with another severity; or that nothing is different."""
    before = outcome(alert(GPT, 5), alert(GPT, 100), name="a.yaml")
    after = outcome(alert(GPT, 5, severity=2), alert(GPT, 500), name="b.yaml")
    text = Elements(page(Report("file", None, before, after, compared(before, after), []))).text
    assert "1 alert would disappear with b.yaml" in text
    assert "1 alert would appear with b.yaml" in text
    assert "1 alert would have another severity" in text
    same = Elements(page(Report("file", None, before, before, compared(before, before), []))).text
    assert "Both would have told you the same." in same


def test_a_plot_shows_gaps_as_gaps() -> None:
    """A line is not drawn over time without values, and a value alone is a point; the band may have gaps too."""
    nan = float("nan")
    one = drawn(GPT, [100.0, 101.0, nan, 99.0, nan, 100.0, 100.0], lower=np.array([80.0, 80, nan, nan, 80, 80, 80]))
    root = ET.fromstring(series_plot(one, [], "label"))  # noqa: S314  our own output
    kinds = [(element.tag, element.get("class")) for element in root.iter()]
    assert kinds.count(("path", "value")) == 2 + 1  # one more in the legend
    assert kinds.count(("circle", "point")) == 1
    assert kinds.count(("path", "band")) == 2
    assert root.get("aria-label") == "label"


def test_places_lie_on_the_plot() -> None:
    """Whatever the values, nothing is drawn outside; the axis becomes logarithmic where a linear one would show nothing."""
    linear = scale_of([90.0, 110.0, 300.0], 100.0, 200.0, 0.0)
    assert not linear.logarithmic
    assert linear.low == 0.0
    wide = scale_of([1.0, 90.0, 90_000.0], 100.0, 200.0, 0.0)
    assert wide.logarithmic
    for scale in (linear, wide, scale_of([], 0.0, 200.0, 0.0), scale_of([0.0], 0.0, 200.0, 0.0), scale_of([-5.0, 5.0], 0.0, 200.0, 0.0)):
        assert scale.low < scale.high
        assert all(0.0 <= scale.at(value) <= 200.0 for value in (-1e12, 0.0, 1e-9, 50.0, 1e12))
        assert scale.at(scale.high) < scale.at(scale.low)
        assert all(scale.low <= mark <= scale.high for mark in scale.marks())


@given(st.integers(0, 2 * 10**18), st.integers(10**9, 10**17))
def test_times_are_marked_sparingly(start_ns: int, length_ns: int) -> None:
    """A handful of round times, whatever the length."""
    marks = TimeScale(start_ns, start_ns + length_ns, 0.0, 1_000.0).marks()
    assert len(marks) <= 15
    assert all(start_ns <= at <= start_ns + length_ns for at, _ in marks)


def test_bars_that_cannot_be_told_apart_become_one() -> None:
    """It has the highest severity and says how many it stands for; those that are apart stay apart."""
    x = TimeScale(START_NS, START_NS + 7 * 24 * HOUR_NS, 0.0, 1_000.0)
    merged = list(bars([alert(GPT, at, minutes=1, severity=int(at == 3)) for at in range(5)], x, 3.0))
    assert [(bar.count, bar.severity) for bar in merged] == [(5, 1)]
    assert merged[0].says.startswith("5 alerts, the first of the most severe: 2026-01-15 00:03:00 UTC")
    assert len(list(bars([alert(GPT, at * 1_000) for at in range(5)], x, 3.0))) == 5


def test_lanes_of_a_flood_stay_readable() -> None:
    """As many lanes as one can read, those with most alerts, and a bounded file."""
    many = [alert(SeriesKey("default", f"s{at % 40}", "m"), at / 10, minutes=1) for at in range(4_000)]
    text = lanes_plot(many, START_NS, START_NS + 24 * HOUR_NS)
    assert text.count('class="lane"') == 24
    assert len(text) < 500_000


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hours of two series, with ten minutes of high latency of one of them after two."""
    return write(tmp_path_factory.mktemp("past") / "events.jsonl", simulated(3, 0.7, spike(2, 10)))


def test_what_is_drawn_is_what_was(events: Path) -> None:
    """The fault stands out where it was, quantiles are those of the requests, and anomalies are marked at their times."""
    config = Config(alerting=Alerting(event_anomalies=True))
    (verdict,) = outcomes(file_past(events), [("x", config)], ignore)
    assert Watched(GPT, "latency_ms") in noisiest(verdict, None)
    (one,) = plots(file_past(events), config, [Watched(GPT, "latency_ms")], verdict.account.length_ns, ignore)
    times = one.start_ns + (np.arange(len(one.value)) + 0.5) * one.width_ns - START_NS
    inside = (times > 2 * HOUR_NS + one.width_ns) & (times < 2 * HOUR_NS + 10 * MINUTE_NS - one.width_ns)
    assert np.nanmedian(one.value[inside]) > 4 * np.nanmedian(one.value[~inside])
    assert one.high is not None
    known = np.isfinite(one.value)
    assert np.all(one.high[known] >= one.value[known])
    assert all(one.start_ns <= mark.ts_ns <= one.start_ns + len(one.value) * one.width_ns for mark in one.marks)
    svg = picture_svg(one, verdict)
    assert ET.fromstring(svg).tag.endswith("svg")  # noqa: S314  our own output
    assert "latency_ms of chat / gpt" in svg


def test_counts_and_shares_are_drawn_by_time(events: Path) -> None:
    """Requests a minute add up to all requests; a share lies between 0 and 1; a sum follows from its metric."""
    total = sum(b'"model_name":"gpt"' in line for line in events.read_bytes().splitlines())
    requests, _ = drawing(file_past(events), Config(), Watched(GPT, "requests_per_minute"), ignore)
    minutes = requests.width_ns / MINUTE_NS
    assert np.nansum(requests.value) * minutes == pytest.approx(total, rel=0.01)
    shares, _ = drawing(file_past(events), Config(), Watched(GPT, "error_rate"), ignore)
    assert np.nanmin(shares.value) >= 0.0
    assert np.nanmax(shares.value) <= 1.0
    assert requests.high is None


def test_sparse_series_get_longer_stretches(tmp_path: Path) -> None:
    """The median of two requests says nothing: stretches hold some more, as long as there is still something to see."""
    path = write(tmp_path / "events", [record(i * 30) for i in range(2_000)])
    chat = Watched(SeriesKey("default", "chat", "m"), "latency_ms")
    one, _ = drawing(file_past(path), Config(), chat, ignore)
    assert 8 * 30 <= one.width_ns // 10**9 <= 2 * 8 * 30 + 30
    few, _ = drawing(file_past(write(tmp_path / "few", [record(i * 30) for i in range(150)])), Config(), chat, ignore)
    assert 60 <= len(few.value) <= 150


class Expecting:
    """Time windows that expect a fixed band of two metrics of GPT, and nothing of a third."""

    def bands(self) -> list[TickBand]:
        """As of `OverTime`."""
        nan = float("nan")
        return [
            TickBand(GPT, "latency_ms", 100.0, 80.0, 130.0, 104.0, 0.9, 500, False),
            TickBand(GPT, "skew", 1.0, 0.5, 1.5, 0.75, 0.9, 500, False),
            TickBand(GPT, "ttft_ms", nan, nan, nan, nan, 0.0, 0, False),
            TickBand(HOSTILE, "latency_ms", 1.0, 0.0, 2.0, 1.0, 0.9, 500, True),
        ]


def test_bands_are_drawn_as_they_were_expected(events: Path) -> None:
    """Looked at once for each stretch of time; a metric that only a detector knows has the detector's figure as its value."""
    wanted = [Watched(GPT, metric) for metric in ("latency_ms", "skew", "ttft_ms")]
    traces = Traces(wanted, MINUTE_NS, Worth("critical", events=False, costly_usd=None))

    class Expected:
        def see(self, found: Found) -> None:
            traces.see(replace(found, over_time=Expecting()))

    go_over(file_past(events), [Trial(Config(), [Expected()])], ignore, MINUTE_NS)
    drawn_by = {one.what.metric: one for one in traces.drawn()}
    latency, skew = drawn_by["latency_ms"], drawn_by["skew"]
    for one, band in ((latency, (80.0, 100.0, 130.0)), (skew, (0.5, 1.0, 1.5))):
        known = np.isfinite(one.lower)
        assert known.mean() > 0.95
        assert [float(np.unique(column[known])[0]) for column in (one.lower, one.expected, one.upper)] == list(band)
    assert set(np.unique(skew.value[np.isfinite(skew.value)])) == {0.75}
    assert skew.measure == "as judged"
    assert not np.isfinite(drawn_by["ttft_ms"].lower).any()
    assert series_plot(latency, [], "x").count('class="band"') >= 1
    assert "expected band" not in series_plot(drawn_by["ttft_ms"], [], "x")


def test_only_the_strongest_are_marked_in_a_flood(events: Path) -> None:
    """The others are counted."""
    config = Config(detection=Detection(zscore=Zscore(threshold=0.1)))
    traces = Traces([Watched(GPT, "latency_ms")], MINUTE_NS, Worth("critical", events=True, costly_usd=None))
    go_over(file_past(events), [Trial(config, [traces])], ignore)
    (one,) = traces.drawn()
    assert len(one.marks) == 400
    assert one.unmarked > 400
    assert [mark.ts_ns for mark in one.marks] == sorted(mark.ts_ns for mark in one.marks)
