"""The status page: plain files that load nothing from elsewhere and show hostile text as text."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sentinel.api import guard, server
from sentinel.config.schema import Api
from tools.screenshot import CURE, Page, browse, find_chromium

FILES = sorted(file for file in server.STATIC.iterdir() if file.is_file())
SCRIPTS = [file for file in FILES if file.suffix == ".js"]
PAGES = [file for file in FILES if file.suffix == ".html"]
SVG_NAMESPACE = "http://www.w3.org/2000/svg"
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|\bFunction\(|DOMParser|createContextualFragment"
    r"|srcdoc|javascript:|\.cssText|setAttribute\(\s*[\"'](?:style|on)|importScripts|localStorage|set(?:Timeout|Interval)\(\s*[\"'`]"
)
PAYLOADS = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "'><svg/onload=alert(3)>",
    "javascript:alert(4)",
    "</text><script>alert(5)</script>",
    "<iframe srcdoc='<script>alert(6)</script>'>",
    "{{constructor.constructor('alert(7)')()}}",
    "${alert(8)}",
    "</option></select><img src=x onerror=alert(9)>",
    "\u202egnp.exe\u200b\u0000\u001b[31m",
    "__proto__",
    "constructor",
    "a" * 128,
    "<style>*{display:none}</style>",
    "<meta http-equiv=refresh content=0;url=//x>",
    '"onfocus=alert(10) autofocus x="',
)


class _Tags(HTMLParser):
    """Every start tag with its attributes, and the text inside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.lasttag in {"script", "style"}:
            self.inline += data.strip() if self.cdata_elem else ""


def _parse(page: Path) -> _Tags:
    tags = _Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    return tags


# ------------------------------------------------------------------------------------------------------------ static checks


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_have_no_inline_code_or_style(page: Path) -> None:
    """A strict content security policy blocks nothing of a page: it has no inline script, style or event attribute."""
    tags = _parse(page)
    assert tags.inline == ""
    for tag, attributes in tags.tags:
        assert tag not in {"style", "iframe", "object", "embed", "base", "form"}
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        assert tag != "script" or attributes.get("src")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_load_only_files_that_are_there(page: Path) -> None:
    """What a page loads is a file beside it, named relative to the page, so that a path prefix of a proxy is harmless."""
    for tag, attributes in _parse(page).tags:
        link = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        if link:
            assert link.startswith("static/")
            assert (server.STATIC / link.removeprefix("static/")).is_file()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_points_outside(file: Path) -> None:
    """No file names another host: the page works without the internet and tells nobody that it is looked at."""
    text = file.read_text(encoding="utf-8").replace(SVG_NAMESPACE, "")
    assert not re.search(r"(?:https?|wss?|ftp):|[\"'(]//\w", text)
    assert file.suffix != ".css" or not re.search(r"@import|url\(|expression\(", text)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_never_turn_text_into_markup_or_code(script: Path) -> None:
    """Names from telemetry reach the page as text nodes only: no script has a way to parse them."""
    assert not FORBIDDEN.findall(script.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_import_what_exists(script: Path) -> None:
    """Every import names a file beside the script and something that it exports."""
    text = script.read_text(encoding="utf-8")
    assert text.count("\nimport ") == len(re.findall(r'^import \{[^}]*\} from "\./[\w-]+\.js";$', text, re.MULTILINE))
    for names, file in re.findall(r'^import \{([^}]*)\} from "\./([\w-]+\.js)";$', text, re.MULTILINE):
        exported = (server.STATIC / file).read_text(encoding="utf-8")
        for name in filter(None, (name.strip() for name in names.split(","))):
            assert re.search(rf"^export (?:async )?(?:function|class|const) {name}\b", exported, re.MULTILINE), f"{file} has no {name}"
            assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{name} is imported but not used"


def test_scripts_find_every_element_they_name() -> None:
    """Each id that a script asks for stands in a page, once."""
    ids = [attributes["id"] for page in PAGES for _tag, attributes in _parse(page).tags if attributes.get("id")]
    named = {name for script in SCRIPTS for name in re.findall(r'byId\("([\w-]+)"\)', script.read_text(encoding="utf-8"))}
    assert named <= set(ids)
    for page in PAGES:
        own = [attributes["id"] for _tag, attributes in _parse(page).tags if attributes.get("id")]
        assert len(own) == len(set(own))


def test_every_path_is_documented() -> None:
    """The page asks only what the API documents, and all its paths are in one place."""
    text = (server.STATIC / "api.js").read_text(encoding="utf-8")
    asked = dict(re.findall(r'^ {2}(\w+): "(/[^"]+)",$', text, re.MULTILINE))
    context = cast("Any", SimpleNamespace(config=SimpleNamespace(api=Api())))
    documented = {operation.path for operation in server.operations(context)} | {"/api/v1/openapi.json"}
    assert asked
    assert set(asked.values()) <= documented
    assert "/api/v1/anomalies/{id}" in documented
    for script in SCRIPTS:
        code = re.sub(r"/\*.*?\*/", "", script.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert script.name == "api.js" or "/api/v1" not in code
        assert script.name == "api.js" or not re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon", code)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_files_stay_small(file: Path) -> None:
    """A file is short enough to be read in one sitting."""
    assert len(file.read_text(encoding="utf-8").splitlines()) < 400


# -------------------------------------------------------------------------------------------------------- in a real browser

Answers = dict[str, Any]


def _anomaly(number: int) -> dict[str, Any]:
    """An anomaly with a payload in every text."""
    fields = ("service", "model", "detector", "type", "direction", "explanation", "event_id", "trace_id", "partition")
    texts = {name: PAYLOADS[(number + place) % len(PAYLOADS)] for place, name in enumerate(fields)}
    numbers = {"value": 900.0 + number, "expected": 100.0, "lower": 50.0, "upper": 150.0, "score": 4.0 + number, "baseline_mean": 100.0}
    more = {"baseline_stddev": 16.0, "z_score": 50.0, "samples": 400, "window": 1000, "confidence": 0.9, "offset": number}
    at = f"2026-01-31T12:{number:02d}:00.000Z"
    severity = ("critical", "warning", "info", PAYLOADS[0])[number % 4]
    return texts | numbers | more | {"id": f"a{number}", "timestamp": at, "metric": "latency_ms", "severity": severity}


def _hostile() -> Answers:
    """Every answer of the API, with payloads wherever a text stands."""
    series = [{"service": payload, "model": PAYLOADS[place - 1]} for place, payload in enumerate(PAYLOADS)]
    numbers = dict.fromkeys(("mean", "stddev", "median", "mad", "q1", "q3", "p95", "p99", "min", "max", "lower", "upper"), 100.0)
    baselines = [
        one | numbers | {"metric": "latency_ms", "samples": 400, "updated_at": PAYLOADS[1], "partition": PAYLOADS[2]} for one in series
    ]
    event = {"timestamp": "2026-01-31T12:00:00Z", "latency_ms": 100.0, "error": PAYLOADS[0], "event_id": PAYLOADS[3]}
    point = {"timestamp": "2026-01-31T12:00:00Z", "requests": 10, "errors": 1, "cost_usd": 0.1, "latency_p50_ms": 1, "latency_p95_ms": 2}
    account = dict.fromkeys(("received", "stored", "dead_lettered", "duplicate", "filtered", "in_flight", "imbalance"), 1)
    counts = dict.fromkeys(
        ("uptime_s", "events_per_s", "events_received", "events_stored", "dead_letters", "duplicates", "series", "windows"), 9
    )
    status = counts | {"version": PAYLOADS[0], "mode": PAYLOADS[1], "queue_bytes": 1, "queue_max_bytes": 2, "paused": True, "rss_bytes": 1}
    health = {"status": "degraded", "reasons": list(PAYLOADS)}
    status |= {
        "store": {"events": 9, "bytes": 9},
        "health": health,
        "watermark": PAYLOADS[4],
        "lag": dict.fromkeys(PAYLOADS),
    }
    anomalies = [_anomaly(number) for number in range(len(PAYLOADS))]
    return {
        "status": status,
        "ledger": {"balanced": False, "partitions": [{"partition": payload} | account for payload in PAYLOADS]},
        "metrics/timeseries": {"series": [{"service": None, "model": None, "points": [point]}]},
        "baselines": {"baselines": baselines, "count": len(baselines)},
        "anomalies": {"anomalies": anomalies, "count": len(anomalies)},
        "telemetry": {"data": [event | one for one in series], "count": len(series)},
        "services": {"services": [{"service": one["service"], "models": list(PAYLOADS)} for one in series]},
    }


def _quiet() -> Answers:
    """The answers of a daemon that has seen nothing."""
    status = {
        "version": "1",
        "mode": "embedded",
        "events_received": 0,
        "store": {"events": 0},
        "health": {"status": "healthy", "reasons": []},
    }
    empty: Answers = {
        "baselines": {"baselines": []},
        "anomalies": {"anomalies": []},
        "telemetry": {"data": []},
        "services": {"services": []},
    }
    return empty | {"status": status, "ledger": {"balanced": True, "partitions": []}, "metrics/timeseries": {"series": []}}


Serve = Callable[[Answers], Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts the real pages with their real headers over scripted answers; gives the address."""
    servers: list[TestServer] = []

    async def start(answers: Answers) -> str:
        async def answer(request: web.Request) -> web.Response:
            body = answers[request.match_info["question"]]
            return web.json_response(body, status=body.get("status", 200) if "detail" in body else 200)

        def page(file: str) -> Callable[[web.Request], Any]:
            async def handler(_request: web.Request) -> web.FileResponse:
                return web.FileResponse(server.STATIC / file)

            return handler

        async def inline(_request: web.Request) -> web.Response:
            return web.Response(text="<body><img src=x onerror=alert(1)><script>alert(2)</script>", content_type="text/html")

        app = web.Application()
        for path, file in server.PAGES.items():
            app.router.add_get(path, page(file))
        app.router.add_get("/control", inline)
        app.router.add_static("/static", server.STATIC)
        app.router.add_route("*", "/api/v1/{question:.+}", answer)
        app.on_response_prepare.append(guard.secure)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        return str(servers[-1].make_url("/"))

    yield start
    await asyncio.gather(*(one.close() for one in servers))


@pytest.fixture
async def tab() -> AsyncIterator[Page]:
    """A tab of a real Chromium; without one the test is skipped with the cure."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip(CURE)
    async with browse(chromium) as page:
        yield page


READY = "document.body.dataset.ready"


async def test_a_blocked_script_would_be_noticed(serve: Serve, tab: Page) -> None:
    """The checks below can fail: markup that carries code is refused by the policy, and the refusal is reported."""
    await tab.show(await serve(_quiet()) + "control")
    assert [failure for failure in tab.failures if "Content Security Policy" in failure]


async def test_hostile_texts_are_shown_as_text(serve: Serve, tab: Page) -> None:
    """Payloads in every text of every answer run nothing, break no policy, make no element and are readable on the page."""
    await tab.show(await serve(_hostile()))
    await tab.wait_until(READY)
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
    await tab.show(await serve(_hostile()), width=390, height=844)
    await tab.wait_until(READY)
    assert await tab.evaluate("document.documentElement.scrollWidth") <= 390


async def test_an_empty_daemon_says_what_to_do(serve: Serve, tab: Page) -> None:
    """A first visitor finds the command that sends an event, with this daemon's own address in it."""
    address = await serve(_quiet())
    await tab.show(address)
    await tab.wait_until(READY)
    assert await tab.evaluate("document.getElementById('welcome').checkVisibility()")
    assert f"curl -X POST {address}api/v1/events" in await tab.evaluate("document.getElementById('welcome').innerText")
    assert tab.failures == []


async def test_errors_of_the_api_are_shown(serve: Serve, tab: Page) -> None:
    """A question without answer is named on the page with the daemon's reason; the other figures still come."""
    busy = {"title": "Service Unavailable", "status": 503, "detail": "the store is <b>busy</b>"}
    await tab.show(await serve(_quiet() | {"baselines": busy}))
    await tab.wait_until(READY)
    notices = await tab.evaluate("document.getElementById('notices').innerText")
    assert "/api/v1/baselines: 503 Service Unavailable: the store is <b>busy</b>" in notices
    assert await tab.evaluate("document.getElementById('state-text').textContent") == "Healthy"


async def test_an_update_keeps_focus_and_rows(serve: Serve, tab: Page) -> None:
    """A row that stays is the same element after an update, so the keyboard's place is not lost."""
    answers = _hostile()
    await tab.show(await serve(answers))
    await tab.wait_until(READY)
    await tab.evaluate("document.querySelector('#anomalies tbody tr:nth-child(2) button.link').focus()")
    answers["anomalies"]["anomalies"].append(_anomaly(40))
    await tab.wait_until("document.querySelectorAll('#anomalies tbody tr').length === 17")
    assert await tab.evaluate("document.activeElement === document.querySelector('#anomalies tbody tr:nth-child(3) button.link')")


async def test_anomalies_of_a_minute_are_one_group(serve: Serve, tab: Page) -> None:
    """Anomalies of one series and minute are grouped under the strongest; another minute or series stands apart."""
    await tab.show(await serve(_quiet()))
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
    await tab.show(await serve(_quiet()))
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
    await tab.show(await serve(_quiet() | {"openapi.json": document}) + "docs")
    await tab.wait_until(READY)
    assert await tab.evaluate("document.querySelectorAll('.operation').length") == 3
    assert "integer, at least 1" in await tab.evaluate("document.getElementById('operations').textContent")
    assert tab.failures == []
