"""The shipped quickstart's keys, pinned: a changed default is a visible decision.

If this fails, results of earlier runs are no longer found. Where that is meant, pin the new keys.
"""

from search_spaces import grid, reading


def test_quickstart_keys():
    study = reading.load("quickstart")
    assert {cell.pretraining: cell.key for cell in grid.thetas(study)} == THETAS
    tickets, transfers = grid.tickets(study), grid.transfers(study)
    assert (len(tickets), len(transfers)) == (43, 102)
    assert [tickets[0].key, tickets[-1].key] == TICKETS
    assert [transfers[0].key, transfers[50].key, transfers[-1].key] == TRANSFERS


THETAS = {
    "standard": "e070bcb74017f639",
    "fast_adversarial": "14a0f2513d0f7dbd",
    "adversarial": "ae9a794799309810",
}
TICKETS = ["262bae5bc5dd9b49", "73218e0a0b241bbf"]
TRANSFERS = ["de3d83cdafd3972d", "112cdfb905b84be3", "bee746c8b08e2e09"]
