"""The shipped quickstart's keys, pinned: a changed default is a visible decision.

If this fails, results of earlier runs are no longer found. Where that is meant, pin the new keys.
"""

from search_spaces import grid
from search_spaces.reading import studies


def test_quickstart_keys():
    study = studies.load("quickstart")
    assert {cell.pretraining: cell.key for cell in grid.thetas(study)} == THETAS
    tickets, transfers = grid.tickets(study), grid.transfers(study)
    assert (len(tickets), len(transfers)) == (43, 102)
    assert [tickets[0].key, tickets[-1].key] == TICKETS
    assert [transfers[0].key, transfers[50].key, transfers[-1].key] == TRANSFERS


THETAS = {
    "standard": "f5c5888c3ecf9ed2",
    "fast_adversarial": "c3f707355f7fa1a0",
    "adversarial": "69446393db88793f",
}
TICKETS = ["eaec4923b9f4c355", "475e1d49a9eb7813"]
TRANSFERS = ["a56fdc05040e7bc4", "5d2ff0c71cc12e59", "3a55377bb0d857c4"]
