"""Has the source of a network of the user's own changed since it was trained?"""

from search_spaces import grid
from search_spaces.keys import key
from search_spaces.networks import is_users
from search_spaces.spec import Theta
from search_spaces.study import Study
from trainables.store.ledger import Ledger


def changed(study: Study, ledger: Ledger) -> list[str]:
    """A line where the ledger holds a resolved study's thetas from a former source of its network,
    and none from today's: all will be made anew, which nobody who changed a comment expects."""
    model = study.source.model
    wanted = [cell.theta for cell in grid.thetas(study)]
    if not is_users(model.arch) or any(ledger.has(theta) for theta in wanted):
        return []
    apart = {_apart_from_source(theta) for theta in wanted}
    stored = (theta for theta in ledger.all(Theta) if theta.model.arch == model.arch)
    former = {str(t.model.sha256)[:12] for t in stored if _apart_from_source(t) in apart}
    if not former:
        return []
    return [
        f"network {model.arch}: its source has changed: sha256 begins with "
        f"{str(model.sha256)[:12]}, stored results are of {', '.join(sorted(former))}: they "
        "stay under their own keys and all is made anew; put the file back to use them"
    ]


def _apart_from_source(theta: Theta) -> str:
    bare = theta.model.model_copy(update={"sha256": None})
    return key(theta.model_copy(update={"model": bare}))
