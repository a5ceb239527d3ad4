"""The status page in a real browser: what it shows first, what a person can do with it, and that hostile text stays text."""

import json

from page_answers import PAYLOADS, READY, Serve, anomaly, hostile, quiet, show_events, told

from tools.screenshot import Page


async def test_a_blocked_script_would_be_noticed(serve: Serve, tab: Page) -> None:
    """The checks below can fail: markup that carries code is refused by the policy, and the refusal is reported."""
    await tab.show(await serve(quiet()) + "control")
    assert [failure for failure in tab.failures if "Content Security Policy" in failure]


async def test_hostile_texts_are_shown_as_text(serve: Serve, tab: Page) -> None:
    """Payloads in every text of every answer run nothing, break no policy, make no element and are readable on the page."""
    await tab.show(await serve(hostile()))
    await tab.wait_until(READY)
    over_time = await tab.evaluate("document.getElementById('windows').innerText")
    assert all(payload in over_time for payload in PAYLOADS if len(payload) < 30 and payload.isprintable())
    for row in range(1, len(PAYLOADS) + 1):
        await tab.evaluate(f"document.querySelector('#windows li:nth-child({row}) button.link').click()")
    await tab.wait_until("document.querySelector('#details .chip')")
    await show_events(tab)
    for row in range(1, len(PAYLOADS) + 1):
        await tab.evaluate(f"document.querySelector('#anomalies tbody tr:nth-child({row}) button.link').click()")
    await tab.wait_until("document.querySelector('#details .facts')")
    await tab.evaluate("document.querySelector('#baselines button.link').click()")
    assert tab.failures == []
    made = 'script:not([src]), iframe, style, img:not([src^="static/"]), [onerror], [onload], [onfocus], [autofocus]'
    assert await tab.evaluate(f"document.querySelectorAll({json.dumps(made)}).length") == 0
    text = await tab.evaluate("document.body.innerText")
    assert PAYLOADS[0] in text
    assert "\\u202egnp.exe\\u200b" in text
    assert not set(text) & set("\u202e\u200b\u0000\u001b")


async def test_long_names_do_not_widen_the_page(serve: Serve, tab: Page) -> None:
    """On a phone nothing but the tables scrolls sideways, however long the names are."""
    await tab.show(await serve(hostile()), width=390, height=844)
    await tab.wait_until(READY)
    assert await tab.evaluate("document.documentElement.scrollWidth") <= 390


async def test_an_empty_daemon_says_what_to_do(serve: Serve, tab: Page) -> None:
    """A first visitor finds the command that sends an event, with this daemon's own address in it."""
    address = await serve(quiet())
    await tab.show(address)
    await tab.wait_until(READY)
    assert await tab.evaluate("document.getElementById('welcome').checkVisibility()")
    assert f"curl -X POST {address}api/v1/events" in await tab.evaluate("document.getElementById('welcome').innerText")
    assert tab.failures == []


async def test_replicas_that_do_not_answer_are_named(serve: Serve, tab: Page) -> None:
    """Baselines without a replica's part are not taken for all of them; its name and reason stay text."""
    missing = [{"replica": "<b>two</b>", "partitions": ["t/1"], "reason": "no answer within 2 s"}]
    await tab.show(await serve(quiet() | {"baselines": {"baselines": [], "count": 0, "missing": missing}}))
    await tab.wait_until("document.getElementById('baselines-note').textContent")
    note = await tab.evaluate("document.getElementById('baselines-note').textContent")
    assert note == "Without replica <b>two</b>: no answer within 2 s."
    assert tab.failures == []


async def test_errors_of_the_api_are_shown(serve: Serve, tab: Page) -> None:
    """A question without answer is named on the page with the daemon's reason; the other figures still come."""
    busy = {"title": "Service Unavailable", "status": 503, "detail": "the store is <b>busy</b>"}
    await tab.show(await serve(quiet() | {"baselines": busy}))
    await tab.wait_until(READY)
    notices = await tab.evaluate("document.getElementById('notices').innerText")
    assert "/api/v1/baselines: 503 Service Unavailable: the store is <b>busy</b>" in notices
    assert await tab.evaluate("document.getElementById('state-text').textContent") == "Healthy"


async def test_an_update_keeps_focus_and_rows(serve: Serve, tab: Page) -> None:
    """A row that stays is the same element after an update, so the keyboard's place is not lost."""
    answers = hostile()
    await tab.show(await serve(answers))
    await tab.wait_until(READY)
    await show_events(tab)
    await tab.evaluate("document.querySelector('#anomalies tbody tr:nth-child(2) button.link').focus()")
    answers["anomalies"]["anomalies"].append(anomaly(40))
    await tab.wait_until("document.querySelectorAll('#anomalies tbody tr').length === 17")
    assert await tab.evaluate("document.activeElement === document.querySelector('#anomalies tbody tr:nth-child(3) button.link')")


async def test_what_stood_out_over_time_comes_first(serve: Serve, tab: Page) -> None:
    """A card says what, where, since when, who had a part in it, what was changed, and which requests to look at."""
    await tab.show(await serve(told()))
    await tab.wait_until(READY)
    card = await tab.evaluate("document.querySelector('#windows li').innerText")
    assert "Error rate increase" in card
    assert "chat-api / gpt-4" in card
    assert "error_rate of chat-api / gpt-4 was 25% instead of 1% since 10:29:40." in card
    assert 'Finish reason content "filter" 75%, usually 12.5%' in card
    assert "User u_3f9a0c1d 50%" in card
    assert "Deploy: v2.1" in card
    assert "error_rate 25% · expected 1% · score 2.5× · 87.5% sure · rate" in card
    assert "trace-1" in card
    place = (
        "document.getElementById('windows').getBoundingClientRect().top < document.getElementById('traffic').getBoundingClientRect().top"
    )
    assert await tab.evaluate(place)
    assert await tab.evaluate("document.getElementById('events-card').checkVisibility()") is False
    assert "25%" in await tab.evaluate("document.getElementById('baselines').innerText")
    assert tab.failures == []


async def test_choosing_one_shows_all_of_it(serve: Serve, tab: Page) -> None:
    """Its details, with the plot of the events behind it, and a link that shows a colleague the same."""
    await tab.show(await serve(told()))
    await tab.wait_until(READY)
    await tab.evaluate("document.querySelector('#windows button.link').click()")
    await tab.wait_until("document.querySelector('#details .facts')")
    details = await tab.evaluate("document.getElementById('details').innerText")
    assert "2026-01-15T10:29:40.123Z" in details
    assert "anomaly=told" in await tab.evaluate("location.hash")
    assert await tab.evaluate("document.getElementById('metric').value") == "latency_ms"
    assert tab.failures == []


async def test_the_kinds_change_places(serve: Serve, tab: Page) -> None:
    """The toggle shows single events, is remembered in the address, and asks for the other kind."""
    asked: list[str] = []
    answers = told()
    await tab.show(await serve(answers, asked))
    await tab.wait_until(READY)
    assert any("/anomalies?" in path and "kind=window" in path for path in asked)
    await show_events(tab)
    assert any("/anomalies?" in path and "kind=event" in path for path in asked)
    assert "kind=event" in await tab.evaluate("location.hash")
    assert await tab.evaluate("document.getElementById('windows').checkVisibility()") is False
    assert await tab.evaluate("document.getElementById('kind-event').ariaPressed") == "true"
    await tab.evaluate("document.getElementById('baselines-event').click()")
    await tab.wait_until("document.querySelector('#baselines th:nth-child(5)').textContent === 'Median'")


async def test_a_verdict_is_sent_once_and_confirmed(serve: Serve, tab: Page) -> None:
    """A click says what a person thinks; when it could not be kept, the reason stands there."""
    asked: list[str] = []
    answers = told()
    await tab.show(await serve(answers, asked))
    await tab.wait_until(READY)
    await tab.evaluate("document.querySelectorAll('#windows .verdict button')[1].click()")
    await tab.wait_until("document.querySelector('#windows .verdict').innerText.includes('Noted: false alarm.')")
    assert [path for path in asked if path.startswith("POST") and "/feedback" in path] == ["POST /api/v1/anomalies/told/feedback"]
    answers["anomalies/told/feedback"] = {"status": 403, "detail": "this needs the scope <b>operate</b>"}
    await tab.evaluate("document.querySelectorAll('#windows .verdict button')[0].click()")
    await tab.wait_until(
        "document.querySelector('#windows .verdict').innerText.includes('403 Forbidden: this needs the scope <b>operate</b>')"
    )


async def test_nothing_over_time_says_so(serve: Serve, tab: Page) -> None:
    """An empty list is good news, and says where the single events are."""
    await tab.show(await serve(quiet()))
    await tab.wait_until(READY)
    empty = await tab.evaluate("document.getElementById('anomalies-empty').innerText")
    assert empty.startswith("Nothing stood out over time in the last hour.")
    assert "Single events" in empty


UNITS = {
    "error_rate": (0.25, "25%"),
    "slow_share": (0.001, "0.1%"),
    "requests_per_minute": (74, "74/min"),
    "cost_usd_per_minute": (1.92, "$1.92/min"),
    "latency_ms": (2810, "2.81 s"),
    "anything": (1234.5, "1,235"),
}


async def test_numbers_have_the_unit_of_their_name(serve: Serve, tab: Page) -> None:
    """Also those of time windows."""
    await tab.show(await serve(quiet()))
    calls = ", ".join(f"format.metricFormat({json.dumps(metric)})({value})" for metric, (value, _) in UNITS.items())
    assert await tab.evaluate(f"import('/static/format.js').then((format) => [{calls}])") == [shown for _, shown in UNITS.values()]


async def test_anomalies_of_a_minute_are_one_group(serve: Serve, tab: Page) -> None:
    """Anomalies of one series and minute are grouped under the strongest; another minute or series stands apart."""
    await tab.show(await serve(quiet()))
    one = {
        "service": "s",
        "model": "m",
        "timestamp": "2026-01-31T12:00:01Z",
        "severity": "info",
        "score": 9,
        "type": "t",
        "detector": "mad",
    }
    given = [
        one | {"id": "a"},
        one | {"id": "b", "timestamp": "2026-01-31T12:00:59Z", "severity": "critical", "score": 5},
        one | {"id": "c", "timestamp": "2026-01-31T12:01:00Z"},
        one | {"id": "d", "service": "other"},
    ]
    shape = "groups.map((group) => [group.strongest.id, group.members.map((anomaly) => anomaly.id).join()])"
    code = (
        f"import('/static/groups.js').then((groups_) => {{ const groups = groups_.groupAnomalies({json.dumps(given)}); return {shape}; }})"
    )
    assert await tab.evaluate(code) == [["c", "c"], ["b", "b,a"], ["d", "d"]]


async def test_silence_is_drawn_as_zero_requests(serve: Serve, tab: Page) -> None:
    """Steps without events between the first and now are zero requests without a latency; a mad range stays bounded."""
    await tab.show(await serve(quiet()))
    given = [{"timestamp": "1970-01-01T00:01:00Z", "requests": 6, "latency_p50_ms": 5}]
    shape = "map((point) => [point.at, point.requests, point.latency_p50_ms, point.open])"
    code = f"import('/static/traffic.js').then((traffic) => traffic.fillSteps({json.dumps(given)}, 60, %d).{shape})"
    assert await tab.evaluate(code % 185_000) == [[60_000, 6, 5, False], [120_000, 0, None, False], [180_000, 0, None, True]]
    assert len(await tab.evaluate(code % 1_800_000_000_000)) <= 1501


async def test_the_reference_shows_every_operation(serve: Serve, tab: Page) -> None:
    """The API reference has an entry for each operation of the document, with references followed."""
    body = {
        "$ref": "#/$defs/Question",
        "$defs": {"Question": {"type": "object", "properties": {"minutes": {"type": "integer", "minimum": 1}}}},
    }
    post = {
        "summary": PAYLOADS[0],
        "requestBody": {"content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "ok"}},
    }
    document = {
        "info": {"version": "1", "description": "about"},
        "paths": {"/a": {"get": {"responses": {}}, "post": post}, "/b": {"get": {}}},
    }
    await tab.show(await serve(quiet() | {"openapi.json": document}) + "docs")
    await tab.wait_until(READY)
    assert await tab.evaluate("document.querySelectorAll('.operation').length") == 3
    assert "integer, at least 1" in await tab.evaluate("document.getElementById('operations').textContent")
    assert tab.failures == []
