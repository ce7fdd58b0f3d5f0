"""The only writer of runs to MLflow: derived from the ledger, by the driver alone.

One experiment a study, a parent run for each version of it, child runs for thetas, tickets and
transfers. A run is FINISHED only when all of it is written; runs cut short are removed and written
again. What failed is a FAILED run with the reason, until its result is there.

MLflow has a run below one other at most, and a result has one run: what versions share hangs below
the version that was written first, and names all of them in its tag `versions`.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from analysis.store import versions
from search_spaces.keys import key
from search_spaces.spec import Dataset
from tuner.scheduling.worklist import Worklist
from tuner.storage import state
from tuner.storage.entries import Entry, datasets, entries, metrics, params, tags, trial_entry
from tuner.storage.failures import Failure, of_key, recorded
from tuner.tracking import notes

VERSIONS = "versions"
TICKET_FILES = ("mask.safetensors", "result.json", "spec.json")
"""Of a ticket, among its run's artifacts."""
_METRICS_A_CALL = 1000
_PARAMS_A_CALL = 100
_LONGEST_PARAM = 500


@dataclass
class Tracker:
    """A version of a study's window in MLflow, connected. alone: is it the only one of its study?
    before: the status that its own run had;
    `runs`: content key -> run of what is written; `shared`: of those that do not name this version,
    content key -> the versions that they name; `failed`: content key -> (run, when) of what is
    shown as failed; ended: when the last of the version's results did, in milliseconds."""

    client: Any
    uri: str
    work: Worklist
    experiment: str
    parent: str
    alone: bool
    before: str
    runs: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    ended: int | None = None

    @property
    def version(self) -> str:
        """The version's digest."""
        return self.work.study.version

    @property
    def named(self) -> str:
        """The version as `analysis --study` takes it."""
        return versions.named(self.work.study.name, self.version)

    @property
    def title(self) -> str:
        """What the version is called: by its study's name alone where it has no other."""
        return self.work.study.name if self.alone else self.named

    def log(self, entry: Entry) -> None:
        """Writes one complete result as a child run; of one that is there it only says, if need be,
        that it is one of this version's too."""
        from mlflow.entities import Metric

        if entry.key in self.runs:
            self._share(entry.key)
            return
        result = self.work.ledger.result(entry.spec)
        run_id = self._child(entry, tags(entry, result), int(1000 * result["started"]))
        values = [
            Metric(m.name, m.value, int(1000 * m.time), m.step) for m in metrics(entry, result)
        ]
        for start in range(0, len(values), _METRICS_A_CALL):
            self.client.log_batch(run_id, metrics=values[start : start + _METRICS_A_CALL])
        self.client.log_inputs(run_id, [_input(*used) for used in datasets(entry)])
        if entry.stage == "ticket":
            folder = self.work.ledger.folder(entry.spec)
            for file in TICKET_FILES:
                self.client.log_artifact(run_id, str(folder / file), "ticket")
        ended = int(1000 * result["ended"])
        self.client.set_terminated(run_id, end_time=ended)
        self.ended = max(ended, self.ended or 0)
        self.runs[entry.key] = run_id
        self._no_failure(entry.key)

    def log_failure(self, entry: Entry, failure: Failure) -> None:
        """Shows a failure as a child run, in place of an earlier one of the same key; does nothing
        for one that is there."""
        if self.failed.get(entry.key, ("", ""))[1] == failure.when:
            return
        self._no_failure(entry.key)
        log = str(self.work.ledger.root / failure.log)
        about = {"reason": failure.error, "log": log, "when": failure.when}
        about |= {"stage": entry.stage, "key": entry.key, "state": "failed"}
        about[notes.NOTE] = f"Failed: {failure.error}\n\nAll that is known: {log}"
        run_id = self._child(entry, about | {"attempts": str(failure.attempts)})
        self.client.set_terminated(run_id, "FAILED")
        self.failed[entry.key] = run_id, failure.when

    def show(self, entry: Entry) -> None:
        """Writes a result, or, while there is none, the failure that is recorded in its place."""
        if self.work.ledger.has(entry.spec):
            self.log(entry)
        elif failure := of_key(self.work.ledger.root, entry.key):
            self.log_failure(entry, failure)

    def catch_up(self) -> None:
        """Writes every complete result of the study that MLflow lacks, its search's trials too, and
        every failure that is recorded."""
        missing = recorded(self.work.ledger.root)
        study = self.work.study
        trials = state.trials(study, self.work.ledger) if study.search else []
        tried = [trial_entry(study, finished.trial) for finished in trials]
        for entry in (*entries(self.work.grid).values(), *tried):
            if entry.key in self.runs:
                self._share(entry.key)
            elif self.work.ledger.has(entry.spec):
                self.log(entry)
            elif entry.key in missing:
                self.log_failure(entry, missing[entry.key])
        for name in self.failed.keys() - missing.keys():
            self._no_failure(name)

    def _share(self, name: str) -> None:
        """Has the run of a result that another version wrote name this one."""
        if name in self.shared:
            named = f"{self.shared.pop(name)} {self.version}".strip()
            self.client.set_tag(self.runs[name], VERSIONS, named)

    def _child(self, entry: Entry, about: dict[str, str], started: int | None = None) -> str:
        """A new child run with an entry's parameters; its id."""
        from mlflow.entities import Param

        run = self.client.create_run(
            self.experiment,
            start_time=started,
            run_name=entry.name,
            tags={"mlflow.parentRunId": self.parent, VERSIONS: self.version, **about},
        )
        settings = [Param(name, value[:_LONGEST_PARAM]) for name, value in params(entry).items()]
        self.client.log_batch(run.info.run_id, params=settings[:_PARAMS_A_CALL])
        return str(run.info.run_id)

    def _no_failure(self, name: str) -> None:
        """Takes away the run that shows a key as failed, if there is one."""
        if name in self.failed:
            self.client.delete_run(self.failed.pop(name)[0])

    def settle(self, settings: dict[str, str]) -> None:
        """Puts parameters under the parent run, once: MLflow takes no others in their place."""
        from mlflow.entities import Param

        if self.client.get_run(self.parent).data.params:
            return
        values = [Param(name, value[:_LONGEST_PARAM]) for name, value in settings.items()]
        for start in range(0, len(values), _PARAMS_A_CALL):
            self.client.log_batch(self.parent, params=values[start : start + _PARAMS_A_CALL])

    def measure(self, numbers: dict[str, float]) -> None:
        """Puts numbers of this run of the study under the parent run, beside earlier runs'."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        values = [Metric(name, value, now, 0) for name, value in numbers.items()]
        self.client.log_batch(self.parent, metrics=values)

    def attach(
        self, files: Mapping[str, bytes], folder: str | None = None, run: str | None = None
    ) -> None:
        """Puts files, named by their paths, under a run, default: the parent, in a folder of it if
        one is named, in place of those there."""
        with tempfile.TemporaryDirectory() as scratch:
            for name, content in files.items():
                path = Path(scratch, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.client.log_artifacts(run or self.parent, scratch, folder)

    def describe(self, summary: notes.Summary) -> None:
        """Says at the study's experiment and parent run what there is to see, also of its other
        versions."""
        state = "complete" if summary.done == summary.total else "incomplete"
        concluded = str(int(1000 * time.time()))
        for name, value in (("state", state), (versions.CONCLUDED, concluded)):
            self.client.set_tag(self.parent, name, value)
        summary = replace(summary, versions=self._versions())
        self.client.set_experiment_tag(self.experiment, notes.NOTE, notes.experiment(summary))
        self.client.set_tag(self.parent, notes.NOTE, notes.parent(summary))

    def _versions(self) -> list[notes.VersionLine]:
        """All versions of the study that the store has, the one first that readers take."""
        known = versions.known(self.work.study.name, self.uri)
        return [
            notes.VersionLine(
                versions.title(version, known),
                version.digest,
                version.run.run_id,
                version.complete,
                versions.differing(version, known, self.uri),
            )
            for version in reversed(known)
        ]

    def leave(self) -> None:
        """This run of the study is given up: its run is what it was before."""
        self.client.set_terminated(self.parent, self.before, self.ended)

    def kill(self) -> None:
        """This run of the study is cut short."""
        self.client.set_terminated(self.parent, "KILLED")

    def end(self, failed: bool = False) -> None:
        """This run of the study is over. What MLflow shows as its duration is from the first
        training's start to the last one's end, not to the end of a sync."""
        self.client.set_terminated(self.parent, "FAILED" if failed else "FINISHED", self.ended)


def _input(dataset: Dataset, context: str) -> Any:
    """A data set as MLflow shows what a run used; context: train or test."""
    from mlflow.entities import Dataset as Shown
    from mlflow.entities import DatasetInput, InputTag

    source = json.dumps({"uri": dataset.path or dataset.name})
    profile = json.dumps({"size": dataset.size, "view": dataset.view, "limit": dataset.limit})
    shown = Shown(dataset.title, key(dataset)[:8], "local", source, profile=profile)
    return DatasetInput(shown, [InputTag("mlflow.data.context", context)])
