"""What was measured as lines of text. Pure: imports no torch."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from trainables.bench.table import aligned, amount

Row = Mapping[str, Any]
WIDTH = 80
"""Columns of the lines, for two batch sizes."""


def lines(record: Row) -> list[str]:
    """The tables of speed and of size, what each row is, and why others are not there."""
    rows = record["rows"]
    told = [f"{row['name']}: {row['about']}" for row in rows]
    told += [f"{name}: not measured: {why}" for name, why in record["absent"].items()]
    wrapped = [part for line in told for part in wrap(line, WIDTH, subsequent_indent="  ")]
    return [*_speed(rows), "", *_size(rows), "", *wrapped]


def _speed(rows: Sequence[Row]) -> list[str]:
    """images/s by batch size, and how many times the dense network's (quartiles of rounds)."""
    batches = list(rows[0]["speed"])
    head = [""]
    for batch in batches:
        head += [f"batch {batch}", "x dense"]
    cells = [head]
    for row in rows:
        line = [row["name"]]
        for batch in batches:
            speed = row["speed"][batch]
            line += [f"{amount(speed['images_per_second']['median'])}/s", _ratio(speed["ratio"])]
        cells.append(line)
    return aligned(cells)


def _size(rows: Sequence[Row]) -> list[str]:
    cells = [["", "on disk", "zipped", "memory", "MACs", "not zero", "SA", "agrees"]]
    for row in rows:
        numbers = [_volume(row[name]) for name in ("file", "zipped", "memory")]
        numbers += [_count(row[name]) for name in ("macs", "nonzero_macs")]
        cells.append([row["name"], *numbers, _percent(row["sa"]), _percent(row["agrees"])])
    return aligned(cells)


def _ratio(ratio: Mapping[str, float]) -> str:
    median, low, high = (_times(ratio[name]) for name in ("median", "low", "high"))
    return f"{median} ({low}-{high})"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def _volume(size: int | None) -> str:
    if size is None:
        return "-"
    unit, name = next(u for u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")) if size >= u[0])
    return f"{amount(size / unit)} {name}"


def _count(number: int | None) -> str:
    if number is None:
        return "-"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{amount(number / size)} {letter}"
    return str(number)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
