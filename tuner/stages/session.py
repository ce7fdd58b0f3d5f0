"""What run, search and evidence work in."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from search_spaces.study import Study
from trainables.store.ledger import Ledger
from tuner.runtime.console import quiet
from tuner.runtime.interrupts import interruptible
from tuner.runtime.lock import only_run
from tuner.storage.integrity import on_sound_storage
from tuner.tracking.window import Window


@contextmanager
def opened(
    study: Study, ledger: Ledger, name: str, kept: Callable[[], str]
) -> Iterator[tuple[Console, Path, Window]]:
    """(the terminal, the log that takes all other output, the window in MLflow) for work on a
    study: nobody else's at the time, ended in order by signals and by a storage that fails.

    name: what the log's begins with; kept: what an interruption says is there. Raises InputError
    if another works on the study, or if MLflow does not answer.
    """
    log = ledger.root / "logs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    with (
        only_run(ledger.root, study.name),
        interruptible(kept),
        on_sound_storage(ledger),
        quiet(log) as console,
    ):
        yield console, log, Window(study, ledger, partial(console.print, markup=False))
