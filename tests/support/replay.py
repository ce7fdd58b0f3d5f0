"""A recorded study once more, in simulated time: who runs when, as the stages hand out work."""

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.keys import key
from tuner.cluster.capacity import Capacity
from tuner.scheduling.worklist import Worklist
from tuner.stages import chains
from tuner.stages.transfer import QueueSearcher


@dataclass(frozen=True)
class Span:
    """When a result was worked on, in seconds from the start."""

    begin: float
    end: float


def replay(work: Worklist, seconds: Mapping[str, float], slots: int) -> dict[str, Span]:
    """What is worked on when, by key, if each result takes so many seconds of one of `slots` cores.
    More chains than cores share them."""
    capacity = Capacity(cpus=slots, gpus=0, workers=1, trial_cpus=1, trial_gpus=0)
    making = [[key(spec) for spec in chain.results] for chain in chains.unfinished(work)]
    at_once, left, now = capacity.chains(len(making)), dict(seconds), 0.0
    trials: dict[str, str] = {}
    begun: dict[str, float] = {}
    spans: dict[str, Span] = {}

    def room() -> float:
        return capacity.beside(min(len(making), at_once)) if making else float("inf")

    def ready(job: str) -> bool:
        return not any(name in chain for chain in making for name in work.grid.behind[job])

    def chunk() -> QueueSearcher:
        return QueueSearcher(work.queue, lambda job: {"key": job}, ready, room, lambda: None)

    searcher = chunk()
    while making or not work.queue.over:
        # Once no chain is left, Ray Tune alone says how many run.
        while len(trials) < slots and (given := searcher.suggest(str(len(begun)))):
            if isinstance(given, dict):
                trials[given["key"]] = str(len(begun))
                begun[given["key"]] = now
                searcher.on_trial_result(trials[given["key"]], {})
            elif trials or work.queue.over:
                break
            else:
                searcher = chunk()
        crowd = making[:at_once]
        pace = {chain[0]: min(1.0, slots / len(crowd)) for chain in crowd} | dict.fromkeys(
            trials, 1.0
        )
        assert sum(pace.values()) < slots + 1e-9, "more at work than there are cores"
        begun = {**dict.fromkeys(pace, now), **begun}
        step = min(left[name] / speed for name, speed in pace.items())
        now += step
        for name, speed in pace.items():
            left[name] -= step * speed
        for name in [name for name in pace if left[name] < 1e-9]:
            spans[name] = Span(begun[name], now)
            if name in trials:
                searcher.on_trial_complete(trials.pop(name))
        making = [rest for chain in making if (rest := [n for n in chain if n not in spans])]
    return spans


def bound(work: Worklist, seconds: Mapping[str, float], slots: int) -> float:
    """No schedule is faster: the longest chain and the longest transfer of its last ticket, or all
    of the work on cores that are never idle."""
    behind = work.grid.behind
    longest = 0.0
    for chain in chains.unfinished(work):
        names = [key(spec) for spec in chain.results]
        last = [seconds[name] for name, sources in behind.items() if names[-1] in sources]
        longest = max(longest, sum(seconds[name] for name in names) + max(last, default=0.0))
    return max(longest, sum(seconds.values()) / slots)
