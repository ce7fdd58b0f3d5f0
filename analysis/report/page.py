"""The report as one HTML file that needs nothing else: no network, no other file."""

import json
from base64 import b64encode
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import pandas as pd

from analysis.figures.evidence import Picture
from analysis.report.report import Exhibit, Report, gather
from analysis.store import load
from analysis.store.load import TrackedResults
from analysis.tables.text import cell_text, records


def of(results: TrackedResults, uri: str) -> str:
    """The page of a study, of all that its store holds."""
    return render(gather(results, uri, load.tags(results, uri)))


def render(report: Report) -> str:
    """The page. All that comes from users or stores is escaped."""
    template = Template((files("analysis.report") / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        name=escape(report.name),
        verdicts=_items(report.verdicts) or "<p>Nothing to judge yet.</p>",
        lines=escape("\n".join(report.lines)),
        trouble=_trouble(report.trouble),
        data=script_json(report.curves),
        levels=_table(report.levels),
        pictures="".join(map(_picture, report.pictures)),
        evidence=_evidence(report.evidence, report.name),
        facts=_facts(report.facts),
        settings=escape(report.settings),
        commands=escape("\n".join(report.commands)),
    )


def script_json(content: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    text = json.dumps(content, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _items(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _trouble(lines: list[str]) -> str:
    if not lines:
        return "<p>Nothing is missing, and nothing is flagged.</p>"
    return f'<section class="trouble">{_items(lines)}</section>'


def _facts(facts: dict[str, str]) -> str:
    rows = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<dl>{''.join(rows)}</dl>"


def _table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in table.columns)
    rows = (
        "".join(f"<td>{escape(cell_text(value))}</td>" for value in row.values())
        for row in records(table)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"


def _evidence(tables: list[Exhibit], name: str) -> str:
    if not tables:
        return f"<p>None was computed: <code>python -m tuner evidence {escape(name)}</code></p>"
    return "".join(
        f"<details class=evidence><summary>{escape(one.name)} ({_count(one)})</summary>"
        f"<p class=about>{escape(one.about)}</p>{_table(one.shown)}</details>"
        for one in tables
    )


def _picture(picture: Picture) -> str:
    data, title = b64encode(picture.png).decode(), escape(picture.title)
    return (
        f"<details class=evidence{'' if picture.tall else ' open'}><summary>{title}</summary>"
        f'<img alt="{title}" src="data:image/png;base64,{data}"></details>'
    )


def _count(one: Exhibit) -> str:
    first = f"the first {len(one.shown)} of " if len(one.shown) < one.rows else ""
    return f"{first}{one.rows} rows"
