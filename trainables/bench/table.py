"""The bench's rows as a table of text. Pure: imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trainables.bench.interleaving import Quartiles

HEAD = ["", "batch", "ours", "of roofline"]
NOTE = (
    "x NAME: how many times as fast as NAME we are, in the same rounds (median, quartiles);\n"
    "of roofline: of the rate that the counted operations would have at this machine's own\n"
    "matrix-product rate"
)


@dataclass(frozen=True)
class BenchRow:
    """One line of the table.

    rate: `unit` a second, ours; against: how many times as fast as others we are, by contender;
    roofline: the share we reach of what the counted operations would allow at this machine's own
    matrix-product rate; traffic: of what their bytes, unfused, would at its copy rate (GPUs).
    """

    name: str
    unit: str
    batch: int | None
    rounds: int
    rate: Quartiles
    against: Mapping[str, Quartiles] = field(default_factory=dict)
    roofline: Quartiles | None = None
    traffic: Quartiles | None = None


@dataclass(frozen=True)
class Table:
    """A table that can be printed line by line: the names of the rows to come, and the contenders
    that they are compared with."""

    names: Sequence[str]
    others: Sequence[str]

    def head(self) -> str:
        return self._aligned([*HEAD, *(f"x {name}" for name in self.others)])

    def line(self, row: BenchRow) -> str:
        return self._aligned(
            [
                row.name,
                str(row.batch or ""),
                f"{amount(row.rate.median)} {row.unit}/s",
                _share(row.roofline) + (f", {_share(row.traffic)} of copy" if row.traffic else ""),
                *(_ratio(row.against.get(name)) for name in self.others),
            ]
        )

    def _aligned(self, cells: Sequence[str]) -> str:
        widths = [max(map(len, ("", *self.names))), 5, 20, 18, *[20] * len(self.others)]
        return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()


def lines(rows: Sequence[BenchRow]) -> list[str]:
    """The table, columns aligned, and what its columns mean."""
    others = dict.fromkeys(name for row in rows for name in row.against)
    table = Table([row.name for row in rows], list(others))
    return [table.head(), *map(table.line, rows), NOTE]


def amount(value: float) -> str:
    """'8.31', '412', '3,214', '86 million'."""
    if value >= 1e6:
        return f"{value / 1e6:,.0f} million"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _share(share: Quartiles | None) -> str:
    return f"{100 * share.median:.0f} %" if share else ""


def _ratio(ratio: Quartiles | None) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" if ratio else ""


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of text, columns below each other."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
