"""Python imports this first in every process that has its folder on PYTHONPATH: in a study that is
run by a test, every epoch is written down, and chosen trainings fail.

The product knows nothing of it. COUNT_TO: the log, one line of JSON an event. KEEP_SECONDS: how
often progress is kept, if not as the product does it. FAIL: a file of keys, one a line; the
training behind such a key raises an error. CHUNK: trials that one call of Ray Tune runs at most.
"""

import importlib.machinery
import json
import os
import sys
import time
import uuid
from pathlib import Path

KEPT_IN = "trainables.store.checkpoints"
"""Where every training goes through `epochs` of the class that keeps its progress."""


class Finder:
    """Finds a module as Python does, and has it changed once it is loaded: no sooner, since what
    Ray reads when it is imported counts."""

    def find_spec(self, name, path=None, target=None):
        if name not in CHANGED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            CHANGED[name](module)

        spec.loader.exec_module = exec_module
        return spec


def hook(module):
    own = [c for c in vars(module).values() if getattr(c, "__module__", "") == KEPT_IN]
    (kept,) = [c for c in own if hasattr(c, "epochs")]
    plain = kept.epochs
    if "KEEP_SECONDS" in os.environ:
        kept.__init__.__defaults__ = (float(os.environ["KEEP_SECONDS"]), True)

    def epochs(self, training, last):
        key, attempt = self.path.stem, uuid.uuid4().hex
        if key in failing():
            raise ValueError(f"made to fail in process {os.getpid()}")

        def note(event, number):
            if self.writes:  # Ranks train together; the first one speaks for all.
                write([key, attempt, event, number, time.time()])

        def watched(progress):
            number = progress.epoch + 1 if progress else 1
            trained = training(progress)
            while number <= last:
                note("begins", number)
                epoch = next(trained, None)
                if epoch is None:
                    return
                note("ended", number)
                yield epoch
                number += 1

        return plain(self, watched, last)

    kept.epochs = epochs


def failing():
    return Path(os.environ["FAIL"]).read_text().split() if "FAIL" in os.environ else []


def write(event):
    """At once or not at all, whoever else writes and whatever is killed."""
    if "COUNT_TO" in os.environ:
        file = os.open(os.environ["COUNT_TO"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(file, json.dumps(event).encode() + b"\n")
        os.close(file)


def chunked(module):
    module.CHUNK = int(os.environ.get("CHUNK", module.CHUNK))


CHANGED = {KEPT_IN: hook, "tuner.stages.transfer": chunked}

if {"COUNT_TO", "FAIL", "CHUNK"} & {*os.environ}:
    sys.meta_path.insert(0, Finder())
