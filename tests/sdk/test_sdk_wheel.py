"""What is shipped: the package alone, typed, small, and working as built."""

import subprocess
import sys
import zipfile
from pathlib import Path

SDK = Path(__file__).parents[2] / "sdk" / "python"


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    """It is built without the network, is smaller than 100 kB, asks for nothing but the optional client, and can be imported as it is."""
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    subprocess.run(command, cwd=SDK, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("llm_sentinel_sdk-*.whl")
    assert wheel.stat().st_size < 100_000
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    modules = {path.name for path in (SDK / "src" / "llm_sentinel").iterdir() if path.suffix == ".py" or path.name == "py.typed"}
    assert "py.typed" in modules
    assert {name.split("/")[1] for name in names if name.startswith("llm_sentinel/")} == modules
    assert {name.split("/")[0] for name in names} == {"llm_sentinel", wheel.name.rsplit("-", 3)[0] + ".dist-info"}
    assert [line for line in metadata.splitlines() if line.startswith("Requires-Dist")] == [
        "Requires-Dist: confluent-kafka>=2.6; extra == 'kafka'"
    ]
    program = f"import sys; sys.path.insert(0, {str(wheel)!r}); import llm_sentinel; print(llm_sentinel.__version__, llm_sentinel.__file__)"
    done = subprocess.run((sys.executable, "-I", "-S", "-c", program), check=True, capture_output=True, timeout=60)
    version, place = done.stdout.decode().split()
    assert place.startswith(str(wheel))
    assert wheel.name.startswith(f"llm_sentinel_sdk-{version}-")
