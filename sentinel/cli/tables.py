"""Tables on a terminal."""

from collections.abc import Collection, Sequence

import click

from sentinel.cli.problems import show


def table(rows: Sequence[Sequence[str]], right: Collection[int], *, err: bool = False) -> None:
    """Print lines with aligned columns.

    Args:
        rows: their cells, headings first, all of the same number.
        right: columns of numbers.
        err: to standard error instead of standard output.
    """
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))]
        text = "  ".join(cells).rstrip()
        show(text if number else click.style(text, dim=True), err=err)
