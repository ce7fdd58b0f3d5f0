"""When a study's results were worked on, as the runs in MLflow have it."""

import pandas as pd

from analysis.store.load import TrackedResults, latest
from analysis.store.runs import address, opened
from search_spaces import grid

STAGES = ("pretraining", "ticket", "transfer")
COLUMNS = ["key", "stage", "theta", "host", "begin", "end"]


def spans(results: TrackedResults, tracking_uri: str | None = None) -> pd.DataFrame:
    """A row for each finished result of a study, as they began.

    Columns: key; stage, one of STAGES; theta, whose chain it belongs to or starts from; host, the
    machine; begin and end in seconds since 1970. What was interrupted begins where it was taken up.
    """
    cells = grid.expand(results.study)
    thetas = {name: cell.name for name, cell in cells.thetas.items()}
    thetas |= {name: cell.theta_cell.name for name, cell in cells.tickets.items()}
    thetas |= {name: cell.ticket_cell.theta_cell.name for name, cell in cells.transfers.items()}
    with opened(address(tracking_uri)) as store:
        runs = latest(store.runs(STAGES, results.parent.experiment))
    rows = [
        (key, run.tags["stage"], thetas[key], run.tags.get("host", ""), run.start_time, run.when)
        for key, run in runs.items()
        if key in thetas
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values("begin", ignore_index=True)
    return table.assign(begin=table["begin"] / 1000, end=table["end"] / 1000)
