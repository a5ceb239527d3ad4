"""`sentinel plot`: one series with its band and anomalies, as a file anyone can open."""

from pathlib import Path

import click

from sentinel.cli.past import check_target, loaded, past, past_options, progress, write
from sentinel.cli.problems import show


@click.command()
@past_options
@click.option("--tenant", default="default", show_default=True, help="Tenant of the series.")
@click.option("--service", required=True, help="Service of the series.")
@click.option("--model", required=True, help="Model of the series.")
@click.option("--metric", required=True, help="What to draw, such as latency_ms, requests_per_minute or error_rate.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Where to: a page when the name ends in .html, a picture when it ends in .svg.",
)
def plot(
    file: Path | None,
    files: tuple[Path, ...],
    start_ns: int | None,
    end_ns: int | None,
    tenant: str,
    service: str,
    model: str,
    metric: str,
    out: Path,
    *,
    kafka: bool,
    store: bool,
) -> int:
    """Draw one metric of one series over time: its values, what was expected, anomalies, and the alerts they would have been."""
    if out.suffix not in {".html", ".svg"}:
        raise click.BadParameter("give a name that ends in .html or .svg", param_hint="--out")
    found = loaded(file, kafka=kafka)
    source = past(found, files, start_ns, end_ns, kafka=kafka, store=store)
    from sentinel.app.backtest.run import drawing  # noqa: PLC0415  numba, after `past` has prepared it
    from sentinel.app.backtest.trace import Watched  # noqa: PLC0415  likewise
    from sentinel.app.report.picture import picture_page, picture_svg  # noqa: PLC0415  likewise
    from sentinel.core.batch import SeriesKey  # noqa: PLC0415  likewise

    check_target(out)
    with progress("plot") as shown:
        drawn, outcome = drawing(source, found.config, Watched(SeriesKey(tenant, service, model), metric), shown)
    write(out, (picture_page if out.suffix == ".html" else picture_svg)(drawn, outcome))
    show(f"plot: {out}")
    return 0
