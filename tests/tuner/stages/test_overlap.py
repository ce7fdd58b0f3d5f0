"""Both stages side by side: a study that was run on 2 busy cores is replayed through what hands out
the work. (recorded.json: the study, and by name what each of its results took then.)"""

import json
from pathlib import Path

import pytest

from search_spaces.keys import key
from search_spaces.reading import studies
from tests.support.replay import bound, replay
from trainables.store.ledger import Ledger
from tuner.scheduling.worklist import worklist
from tuner.stages import chains

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text())


@pytest.fixture(scope="module")
def study():
    return studies.validate(RECORDED["study"], "recorded")


@pytest.fixture
def work(study, tmp_path):
    return worklist(study, Ledger(tmp_path))


@pytest.fixture
def seconds(work):
    """What each result took, by key."""
    names = {name: cell.pretraining for name, cell in work.grid.thetas.items()}
    for name, cell in work.grid.tickets.items():
        names[name] = " ".join(map(str, cell.place))
    for name, cell in work.grid.transfers.items():
        place = (*cell.ticket_cell.place, cell.regime, cell.transfer.seed)
        names[name] = " ".join(map(str, place))
    return {name: RECORDED["seconds"][title] for name, title in names.items()}


@pytest.mark.parametrize("slots", [2, 4, 8, 16])
@pytest.mark.parametrize("longer", [1, 10])
def test_a_recorded_study_takes_little_longer_than_it_must(work, seconds, slots, longer):
    """Also if its transfers took so many times as long."""
    seconds = {n: s * longer if n in work.grid.transfers else s for n, s in seconds.items()}
    least = bound(work, seconds, slots)
    spans = replay(work, seconds, slots)
    assert spans.keys() == work.grid.keys
    assert least <= max(span.end for span in spans.values()) + 1e-6 < 1.15 * least


@pytest.mark.parametrize("slots", [2, 4, 8])
def test_transfers_begin_between_their_ticket_and_the_last_one(work, seconds, slots):
    spans = replay(work, seconds, slots)
    begins = {name: spans[name].begin for name in work.grid.transfers}
    behind = work.grid.behind.items()
    assert all(begins[name] >= spans[each].end for name, all_ in behind for each in all_)
    assert min(begins.values()) < max(spans[name].end for name in work.grid.sources)


@pytest.mark.parametrize("slots", [4, 8])
def test_no_chain_is_held_up_by_transfers(work, seconds, slots):
    recorded = {c.theta: [key(spec) for spec in c.results] for c in chains.unfinished(work)}
    spans = replay(work, seconds, slots)
    for names in recorded.values():
        assert spans[names[-1]].end == pytest.approx(sum(seconds[name] for name in names))


def test_two_cores_are_busy_all_the_time(work, seconds):
    spans = replay(work, seconds, 2)
    assert sum(seconds.values()) > 0.95 * 2 * max(span.end for span in spans.values())
