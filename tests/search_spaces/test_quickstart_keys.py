"""The shipped quickstart's keys, pinned: a changed default is a visible decision.

If this fails, results of earlier runs are no longer found. Where that is meant, pin the new keys.
"""

from search_spaces import grid
from search_spaces.reading import studies


def test_quickstart_keys():
    study = studies.load("quickstart")
    assert {cell.pretraining: cell.key for cell in grid.thetas(study)} == THETAS
    tickets, transfers = grid.tickets(study), grid.transfers(study)
    assert (len(tickets), len(transfers)) == (43, 84)
    assert [tickets[place].key for place in (0, -4, -1)] == TICKETS
    assert [transfers[0].key, transfers[50].key, transfers[-1].key] == TRANSFERS


THETAS = {
    "standard": "b6ba1dab988055ef",
    "fast_adversarial": "ccb1ae790c29ac72",
    "adversarial": "5d334b7603ad63cb",
}
# Masks drawn at random, for the first and the last of the transfers' seeds, come last.
TICKETS = ["14325ce211a9fe3c", "0c168144aaf0f285", "19b171f20139311c"]
TRANSFERS = ["83ba0c45482302a2", "77ff6ae609216c92", "154a0495f1e7beb5"]
