"""The paper's items as a table: answered or runnable."""

import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.reproduction.answers import Answer, Held
from analysis.reproduction.cost import Labelled, labelled, trainings
from analysis.reproduction.items import ITEMS, Item
from search_spaces.reading import studies

WIDEST = 120
WORDS = {True: "seen", False: "not seen", None: "open"}
FOOTER = (
    "answered: what our STUDY says beside the paper's number; whether they agree is for the "
    "reader. A claim is seen, not seen or open by the rule that docs/paper.md states. runnable: "
    "STUDY (trainings), from nothing and for that item alone; items share most of theirs."
)


@dataclass(frozen=True)
class Row:
    """An item and what is known of it. study: what has answered; answer: what it says; costs:
    trainings that it takes, by the study that can answer."""

    item: Item
    study: str | None
    answer: Answer | None
    costs: Mapping[str, int]

    @property
    def status(self) -> str:
        """answered or runnable."""
        return "runnable" if self.answer is None else "answered"


def rows(held: Mapping[str, Held], only: str | None = None) -> list[Row]:
    """Every item, answered by the first of its studies that can; `only`: by that study alone. held:
    what a store has, by study."""
    named = dict.fromkeys(name for item in ITEMS for name in item.studies)
    cells = {name: labelled(studies.load(name)) for name in named}
    return [_row(item, held, cells, only) for item in ITEMS]


def _row(
    item: Item, held: Mapping[str, Held], cells: Mapping[str, list[Labelled]], only: str | None
) -> Row:
    for name in (only,) if only else item.studies:
        answer = item.question.answer(held[name]) if name in held else None
        if answer is not None:
            return Row(item, name, answer, {})
    costs = {name: trainings(item.question, cells[name]) for name in item.studies}
    return Row(item, None, None, costs)


def frame(found: list[Row]) -> pd.DataFrame:
    """The rows for programs. ours and paper: shares in [0, 1] where they are numbers; holds: is a
    claim seen; missing: transfers that the answer lacks; trainings: of `study`, where it is to be
    run."""
    records = []
    for row in found:
        answer, costs = row.answer, dict(row.costs)
        study = row.study or next(iter(costs), None)
        records.append(
            {
                "place": row.item.place,
                "what": row.item.what,
                "paper": row.item.stated,
                "status": row.status,
                "study": study,
                "ours": answer.value if answer else None,
                "answer": answer.text if answer else None,
                "holds": answer.holds if answer else None,
                "missing": answer.missing if answer else None,
                "trainings": costs.get(study) if study else None,
                "note": row.item.note or None,
            }
        )
    return pd.DataFrame(records).astype({"missing": "Int64", "trainings": "Int64"})


def lines(found: list[Row], width: int | None = None) -> list[str]:
    """The rows for people, on a terminal of so many columns (default: this one, at most 120)."""
    width = width or min(shutil.get_terminal_size().columns, WIDEST)
    cells = [("in the paper", "", "paper's", "here")]
    last = ""
    for row in found:
        place = "" if row.item.place == last else row.item.place
        last = row.item.place
        cells.append((place, row.item.what, _stated(row.item), _here(row)))
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    indent = sum(widths) + 2 * len(widths)
    printed = []
    for *first, here in cells:
        start = "".join(f"{text:{size}}  " for text, size in zip(first, widths, strict=True))
        wrapped = _wrapped(here, max(20, width - indent))
        printed.append(start + wrapped[0])
        printed += [" " * indent + line for line in wrapped[1:]]
    counts = pd.Series([row.status for row in found]).value_counts()
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    return [*printed, "", told, *textwrap.wrap(FOOTER, width)]


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of a text, whose numbers keep their unit."""
    bound = text.replace(" %", "\N{NO-BREAK SPACE}%")
    lines = textwrap.wrap(bound, width, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _stated(item: Item) -> str:
    if not isinstance(item.stated, float):
        return item.stated or "-"
    digits = 1 if item.place == "Table A2" else 2
    return f"{100 * item.stated:.{digits}f} %"


def _here(row: Row) -> str:
    if row.answer is None:
        first, *others = row.costs.items()
        ways = [first, *(other for other in others if other[1] < first[1])]
        return f"runnable: {', '.join(f'{name} ({count:,})' for name, count in ways)}"
    answer = row.answer
    claim = f"{WORDS[answer.holds]}: " if row.item.place == "claim" else ""
    lacks = f" ({answer.missing} transfers missing)" if answer.missing else ""
    return f"{row.study}: {claim}{answer.text}{lacks}"
