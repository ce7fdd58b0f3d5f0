"""Are finished results still what was written, and can more be?"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from search_spaces.base import Spec
from search_spaces.errors import InputError
from trainables.store.ledger import Ledger


def set_damaged_aside(specs: Iterable[Spec], ledger: Ledger) -> list[str]:
    """Moves results that are not what was written out of the way, so that they are computed again.
    Returns a line for each: which, why, and where it is kept."""
    damages = (ledger.set_aside_if_damaged(spec) for spec in specs if ledger.has(spec))
    return [damage for damage in damages if damage]


@contextmanager
def on_sound_storage(ledger: Ledger) -> Iterator[None]:
    """Raises InputError for whatever fails inside while nothing can be written to the storage: a
    full disk shows in many ways, and each is this one."""
    try:
        yield
    except Exception as error:
        check_storage(ledger, error)
        raise


def check_storage(ledger: Ledger, because: Exception | None = None) -> None:
    """Raises InputError if nothing can be written to the storage at this moment."""
    if reason := ledger.fault():
        raise InputError(
            f"storage {ledger.root}: cannot be written any more ({reason}): mend that and run the "
            "same command again; what is complete is kept"
        ) from because
