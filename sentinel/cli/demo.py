"""`sentinel demo`: the daemon in embedded mode on simulated traffic with faults, status page included."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from sentinel.cli.run import prepare_numerics, start_logging
from sentinel.config.schema import Api, Config, Embedded, Observability, Storage


@click.command()
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port of the status page, on loopback.")
@click.option("--rate", default=20.0, show_default=True, type=click.FloatRange(0.1, 5_000), help="Simulated events per second.")
@click.option("--seed", default=7, show_default=True, type=click.IntRange(0), help="The same seed gives the same traffic.")
@click.option(
    "--state-dir", type=click.Path(path_type=Path), help="Keep the data there; default: a temporary directory, removed at the end."
)
def demo(port: int, rate: float, seed: int, state_dir: Path | None) -> int:
    """Run the daemon on simulated traffic, with nothing to set up. Stop it with Ctrl-C."""
    prepare_numerics(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-sentinel" / "numba")
    from sentinel.app.demo import traffic  # noqa: PLC0415  imports numba, which reads the variable set above
    from sentinel.app.serve import serve  # noqa: PLC0415  likewise

    with ExitStack() as stack:
        directory = state_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sentinel-demo-")))
        config = Config(
            state_dir=str(directory),
            api=Api(bind_addr=f"127.0.0.1:{port}"),
            storage=Storage(embedded=Embedded(rollup_interval_secs=1.0)),
            observability=Observability(log_level="warning", log_json=False),
        )
        start_logging(config)
        click.echo("sentinel demo: starting (the first start on a machine compiles for some seconds) ...", err=True)
        serve(config, traffic(rate, seed))
    return 0
