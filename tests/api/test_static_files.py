"""The status page's files: they load nothing from elsewhere, and nothing in them could turn text into markup or code."""

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sentinel.api import server
from sentinel.config.schema import Api

FILES = sorted(file for file in server.STATIC.iterdir() if file.is_file())
SCRIPTS = [file for file in FILES if file.suffix == ".js"]
PAGES = [file for file in FILES if file.suffix == ".html"]
SVG_NAMESPACE = "http://www.w3.org/2000/svg"
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|\bFunction\(|DOMParser|createContextualFragment"
    r"|srcdoc|javascript:|\.cssText|setAttribute\(\s*[\"'](?:style|on)|importScripts|localStorage|set(?:Timeout|Interval)\(\s*[\"'`]"
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
