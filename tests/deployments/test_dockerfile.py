"""The Dockerfile, as text: what must hold whoever builds it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def test_no_registry_is_named() -> None:
    """The base is an argument with a plain name, and every stage is made from it."""
    assert re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE) == ["python:3.12-slim"]
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${BASE}"}
    assert "://" not in DOCKERFILE


def test_everything_is_installed_by_its_hash() -> None:
    """Each pip install of what is not ours asks for hashes and ready wheels."""
    installs = re.findall(r"pip install ([^&\n]*)", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in line and "--only-binary :all:" in line for line in installs if "-r requirements/" in line)
    assert [line for line in installs if "-r requirements/" not in line] == ["--quiet --no-deps --no-index dist/*.whl \\"]


def test_it_does_not_run_as_root() -> None:
    """By number, so that Kubernetes' runAsNonRoot can judge it; the state is a volume that user owns."""
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "chown 10001:10001 /var/lib/sentinel" in DOCKERFILE
    assert "VOLUME /var/lib/sentinel" in DOCKERFILE


def test_it_says_how_it_is_and_what_it_is() -> None:
    """A health check on liveness, labels, and an exec-form entry point that gets signals."""
    assert "/health/live" in DOCKERFILE
    assert 'ENTRYPOINT ["sentinel"]' in DOCKERFILE
    assert 'org.opencontainers.image.version="${VERSION}"' in DOCKERFILE


def test_only_what_is_needed_gets_into_the_build() -> None:
    """Everything is left out but what is named, so no state, no secret and no history can slip in."""
    assert IGNORED[1] == "*"
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    let_in = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    assert copied == let_in
