"""Build the container image without a container engine, and try it: `python -m tools.image`.

It needs root, buildah, and for a base of its own mmdebstrap (on Debian: apt-get install buildah mmdebstrap). Where a registry can be
reached, name its Python image with --base; otherwise a base with Python is made from Debian packages.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCAL_BASE = "sentinel-base:debian"
PACKAGES = "python3,python3-venv,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs")


class Builder:
    """buildah with its storage in a directory, which may be thrown away afterwards."""

    def __init__(self, storage: Path) -> None:
        self._command = ["buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run"), "--storage-driver", "vfs"]

    def run(self, *args: str, capture: bool = False) -> str:
        """One command; its output when it is captured. Ends the program with its code when it fails."""
        done = subprocess.run([*self._command, *args], check=False, text=True, stdout=subprocess.PIPE if capture else None)
        if done.returncode:
            sys.exit(f"buildah {args[0]} failed with {done.returncode}")
        return done.stdout or ""

    def make_base(self, suite: str) -> None:
        """A base image from Debian packages."""
        with tempfile.TemporaryDirectory(prefix="sentinel-base-") as directory:
            tar = Path(directory) / "base.tar"
            subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", suite, str(tar)], check=True)
            (Path(directory) / "Dockerfile").write_text('FROM scratch\nADD base.tar /\nCMD ["/bin/sh"]\n', encoding="utf-8")
            self.run("bud", "--quiet", "--isolation", "chroot", "--tag", LOCAL_BASE, directory)

    def build(self, base: str, tag: str, version: str, revision: str) -> None:
        """The image. The host's certificate authorities are lent to the build, so that its proxies are trusted there too."""
        arguments = {"BASE": base, "VERSION": version, "REVISION": revision}
        options = [option for name, text in arguments.items() for option in ("--build-arg", f"{name}={text}")]
        lent = ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.is_dir() else []
        self.run("bud", "--isolation", "chroot", "--format", "docker", *options, *lent, "--tag", tag, str(ROOT))

    def try_out(self, tag: str, *command: str) -> None:
        """Run a command in a new container of the image, as its user."""
        container = self.run("from", tag, capture=True).strip()
        try:
            self.run("run", "--isolation", "chroot", container, "--", *command)
        finally:
            self.run("rm", container, capture=True)


def main() -> None:
    """Build, try `sentinel version` and `sentinel doctor`, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="base image with Python 3.11 or newer; default: made from Debian packages")
    parser.add_argument("--suite", default="bookworm", help="Debian release of that base")
    parser.add_argument("--tag", default="llm-sentinel:dev")
    parser.add_argument("--version", default="dev")
    parser.add_argument("--revision", default="unknown")
    parser.add_argument("--storage", type=Path, help="keep images there; default: a temporary directory, removed at the end")
    options = parser.parse_args()
    needed = ["buildah"] if options.base else ["buildah", "mmdebstrap"]
    missing = [name for name in needed if shutil.which(name) is None]
    if missing or os.geteuid():
        sys.exit(f"needs root and {', '.join(needed)}" + (f"; not installed: {', '.join(missing)}" if missing else ""))
    with tempfile.TemporaryDirectory(prefix="sentinel-image-") as directory:
        builder = Builder(options.storage or Path(directory))
        began = time.monotonic()
        if options.base is None:
            builder.make_base(options.suite)
        builder.build(options.base or f"localhost/{LOCAL_BASE}", options.tag, options.version, options.revision)
        took_s = time.monotonic() - began
        builder.try_out(options.tag, "sentinel", "version")
        builder.try_out(options.tag, "sentinel", "doctor")
        print(builder.run("images", options.tag, capture=True).rstrip())
        print(f"built in {took_s:.0f} s")


if __name__ == "__main__":
    main()
