"""The report as one HTML file that needs nothing else: no network, no other file."""

from base64 import b64encode

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.report.report import Report, gather
from analysis.store import load
from analysis.store.load import TrackedResults
from analysis.tables.text import cell_text, records


def of(results: TrackedResults, uri: str) -> str:
    """The page of a study, of all that its store holds."""
    return render(gather(results, uri, load.tags(results, uri)))


def render(report: Report) -> str:
    """The page. All that comes from users or stores is escaped."""
    pages = Environment(
        loader=PackageLoader("analysis.report", "."), autoescape=True, undefined=StrictUndefined
    )
    return pages.get_template("page.html.j2").render(
        report=report, records=records, cell_text=cell_text, base64=_base64
    )


def _base64(content: bytes) -> str:
    return b64encode(content).decode()
