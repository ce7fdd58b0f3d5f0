"""The platform as a library: a study, its run, and what came out of it.

    from doublewin import Study

    results = Study.load("quickstart").run(progress=print)
    print(results.verdict())

A run is a process of its own, the one that `python -m tuner run` starts: a notebook's kernel keeps
its output, its signals and its memory.
"""

from doublewin.results import Results
from doublewin.study import Study
from search_spaces.errors import InputError
from tuner.runtime.progress import Progress

__all__ = ["InputError", "Progress", "Results", "Study"]
