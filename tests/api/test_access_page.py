"""The pages in a real browser against a daemon that requires keys: they ask for one, and keep it no longer than the tab."""

import json

import pytest
from api_client import Client, Started
from key_ring import KeyRing

from sentinel.config.schema import Api
from tools.screenshot import Page

READY = "document.body.dataset.ready"
ENTRY = "document.querySelector('.key-entry input')"
STATE = "document.getElementById('state-text').textContent"
NOTICES = "document.getElementById('notices').innerText"


@pytest.fixture
async def guarded(start: Started, ring: KeyRing) -> Client:
    """A client of a daemon that requires keys."""
    return await start(api=Api(require_keys=True), prepare=ring.under)


async def give(tab: Page, key: str) -> None:
    """Type a key and send it."""
    await tab.wait_until(ENTRY)
    await tab.evaluate(f"{ENTRY}.value = {json.dumps(key)}, {ENTRY}.parentElement.querySelector('button').click()")


def unexpected(tab: Page) -> list[str]:
    """What went wrong in the page besides the refusals it was given."""
    return [failure for failure in tab.failures if "the server responded with a status of 40" not in failure]


async def test_the_status_page_asks_for_a_key(guarded: Client, ring: KeyRing, tab: Page) -> None:
    """No key, a wrong one, one for something else, a good one: it says what is missing, and shows the figures without a reload."""
    await tab.show(f"{guarded.url}/")
    await tab.wait_until(f"{READY} && {ENTRY}")
    assert await tab.evaluate(STATE) == "Key needed"
    assert "An API key is needed" in await tab.evaluate(NOTICES)
    await give(tab, ring.given("wrong secret")["X-API-Key"])
    await tab.wait_until(f"{NOTICES}.includes('no such API key')")
    await give(tab, ring.texts["ingester"])
    await tab.wait_until(f"{NOTICES}.includes('viewer')")
    await give(tab, f" {ring.texts['viewer']}\u200b\n")
    await tab.wait_until(f"{STATE} === 'Healthy' && !{ENTRY}")
    assert await tab.evaluate("document.getElementById('welcome').checkVisibility()")
    assert 'x-api-key: $SENTINEL_API_KEY"' in await tab.evaluate("document.getElementById('welcome-command').innerText")
    assert unexpected(tab) == []


@pytest.mark.parametrize(("status", "again"), [(401, False), (403, True), (429, True), (503, True), (0, True)])
async def test_a_page_without_a_key_asks_once(client: Client, tab: Page, status: int, again: bool) -> None:
    """After a 401 it waits for a person instead of knocking again: every attempt with a wrong key counts against this address."""
    await tab.show(f"{client.url}/docs")
    code = f"""Promise.all([import("/static/poll.js"), import("/static/api.js")]).then(([poll, api]) => new Promise((resolve) => {{
      const run = async () => {{ throw new api.ApiError("/x", "refused", {{ status: {status} }}); }};
      const poller = new poll.Poller([{{ name: "x", every: 1, run }}], 60_000, () => setTimeout(() => resolve(poller.timer)));
      poller.wake();
    }}))"""
    assert bool(await tab.evaluate(code)) is again


async def test_the_key_lives_as_long_as_the_tab(guarded: Client, ring: KeyRing, tab: Page) -> None:
    """A reload keeps it; it is in no address, no cookie, no lasting store and not on the page; the reference uses the same."""
    await tab.show(f"{guarded.url}/")
    await give(tab, ring.texts["viewer"])
    await tab.wait_until(f"{STATE} === 'Healthy'")
    await tab.show(f"{guarded.url}/docs")
    await tab.wait_until("document.querySelectorAll('.operation').length > 10")
    await tab.show(f"{guarded.url}/")
    await tab.wait_until(f"{STATE} === 'Healthy'")
    secret = ring.texts["viewer"].partition(".")[2]
    places = "[location.href, document.cookie, JSON.stringify(localStorage), document.documentElement.outerHTML].join()"
    assert secret not in await tab.evaluate(places)
    assert unexpected(tab) == []


async def test_the_reference_asks_for_a_key(guarded: Client, ring: KeyRing, tab: Page) -> None:
    """It shows the operations once it has one, and what each of them needs."""
    await tab.show(f"{guarded.url}/docs")
    await give(tab, ring.texts["viewer"])
    await tab.wait_until("document.querySelectorAll('.operation').length > 10")
    text = await tab.evaluate("document.getElementById('operations').textContent")
    assert "Needs the scope `ingest`, which these roles have: ingester, admin." in text
    assert not await tab.evaluate(ENTRY)
    assert unexpected(tab) == []


async def test_without_required_keys_nobody_is_asked(client: Client, tab: Page) -> None:
    """On loopback the page works as it is, and its examples name no key."""
    await tab.show(f"{client.url}/")
    await tab.wait_until(f"{READY} && {STATE} === 'Healthy'")
    assert not await tab.evaluate(ENTRY)
    assert "api-key" not in await tab.evaluate("document.getElementById('welcome-command').innerText")
    assert tab.failures == []
