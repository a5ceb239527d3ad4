"""What servers written in Java need: a runtime, and their jars from a pom file."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.servers.install import SERVERS, install_packages, run_to_end
from tools.servers.process import NotInstalledError

_OLDEST = 17


def find_java() -> str:
    """The Java program to run: JAVA_HOME's, else the one on the PATH. Raises NotInstalledError when it is missing or too old."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home, "bin")) if home else None)
    if java is None:
        raise NotInstalledError(f"Java {_OLDEST} or newer is not {f'in JAVA_HOME ({home})' if home else 'on the PATH'}")
    banner = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', banner)
    if version is None or int(version[1]) < _OLDEST:
        raise NotInstalledError(f"{java} is not Java {_OLDEST} or newer: {banner.strip() or 'it says nothing'}")
    return java


def find_jars(pom: Path) -> Path:
    """The directory with the jars that a pom file lists. Raises NotInstalledError when they were not installed."""
    jars = _directory(pom)
    if not jars.is_dir():
        raise NotInstalledError(f"{jars} does not exist")
    return jars


def install_jars(pom: Path) -> None:
    """Put the jars that a pom file lists, and all they need, into their directory; quick when they are there.

    Maven checks the repository's checksums. Where Java or Maven is missing, Debian's packages are installed.

    Raises:
        NotInstalledError: Java or Maven is missing and we may not install packages.
        ServerError: the packages or jars could not be had.
    """
    jars = _directory(pom)
    maven = _find_java_and_maven(needs_maven=not jars.is_dir())
    if jars.is_dir():
        return
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix=".incoming-") as scratch:
        incoming = Path(scratch, "jars")
        run_to_end(
            [maven, "-q", "-B", "--strict-checksums", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={incoming}"]
        )
        try:
            incoming.rename(jars)
        except OSError:
            if not jars.is_dir():  # else another process was faster, with the same jars
                raise


def _directory(pom: Path) -> Path:
    """Named after the pom's text: a changed pom is a new installation."""
    return SERVERS / pom.name.partition(".")[0] / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]


def _find_java_and_maven(*, needs_maven: bool) -> str:
    missing = "Maven (mvn) is not on the PATH" if needs_maven and shutil.which("mvn") is None else ""
    try:
        find_java()
    except NotInstalledError as reason:
        missing = str(reason)
    if missing:
        install_packages(["maven", "default-jre-headless"], missing)
        find_java()
    return shutil.which("mvn") or "mvn"
