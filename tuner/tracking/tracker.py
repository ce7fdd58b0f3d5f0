"""The only writer of runs to MLflow: derived from the ledger, by the driver alone.

One experiment a study, a parent run for the study, child runs for thetas, tickets and transfers.
A run is FINISHED only when all of it is written; runs cut short are removed and written again.
What failed is a FAILED run with the reason, until its result is there.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from analysis.store import places
from analysis.store.runs import address
from search_spaces.keys import key
from tuner.scheduling.worklist import Worklist
from tuner.storage import state
from tuner.storage.entries import Entry, entries, metrics, params, tags, trial_entry
from tuner.storage.failures import Failure, of_key, recorded
from tuner.tracking import notes

_METRICS_A_CALL = 1000
_PARAMS_A_CALL = 100
_LONGEST_PARAM = 500


@dataclass
class Tracker:
    """A study's window in MLflow, connected. before: the status that its own run had; `runs`:
    content key -> run of what is written; `failed`: content key -> (run, when) of what is shown as
    failed."""

    client: Any
    uri: str
    work: Worklist
    experiment: str
    parent: str
    before: str
    runs: dict[str, str] = field(default_factory=dict)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)

    def log(self, entry: Entry) -> None:
        """Writes one complete result as a child run; does nothing for one that is there."""
        from mlflow.entities import Metric

        if entry.key in self.runs:
            return
        result = self.work.ledger.result(entry.spec)
        run_id = self._child(entry, tags(entry, result), int(1000 * result["started"]))
        values = [Metric(m.name, m.value, int(1000 * m.time), m.step) for m in metrics(result)]
        for start in range(0, len(values), _METRICS_A_CALL):
            self.client.log_batch(run_id, metrics=values[start : start + _METRICS_A_CALL])
        if entry.stage == "ticket":
            folder = self.work.ledger.folder(entry.spec)
            for file in ("mask.safetensors", "result.json", "spec.json"):
                self.client.log_artifact(run_id, str(folder / file), "ticket")
        self.client.set_terminated(run_id, end_time=int(1000 * result["ended"]))
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
                continue
            if self.work.ledger.has(entry.spec):
                self.log(entry)
            elif entry.key in missing:
                self.log_failure(entry, missing[entry.key])
        for name in self.failed.keys() - missing.keys():
            self._no_failure(name)

    def _child(self, entry: Entry, about: dict[str, str], started: int | None = None) -> str:
        """A new child run with an entry's parameters; its id."""
        from mlflow.entities import Param

        run = self.client.create_run(
            self.experiment,
            start_time=started,
            run_name=entry.name,
            tags={"mlflow.parentRunId": self.parent, **about},
        )
        settings = [Param(name, value[:_LONGEST_PARAM]) for name, value in params(entry).items()]
        self.client.log_batch(run.info.run_id, params=settings[:_PARAMS_A_CALL])
        return str(run.info.run_id)

    def _no_failure(self, name: str) -> None:
        """Takes away the run that shows a key as failed, if there is one."""
        if name in self.failed:
            self.client.delete_run(self.failed.pop(name)[0])

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
        """Says at the study's experiment and parent run what there is to see."""
        texts = notes.experiment(summary), notes.parent(summary)
        self.client.set_experiment_tag(self.experiment, notes.NOTE, texts[0])
        self.client.set_tag(self.parent, notes.NOTE, texts[1])
        state = "complete" if summary.done == summary.total else "incomplete"
        self.client.set_tag(self.parent, "state", state)

    def leave(self) -> None:
        """This run of the study is given up: its run is what it was before."""
        self.client.set_terminated(self.parent, self.before)

    def kill(self) -> None:
        """This run of the study is cut short."""
        self.client.set_terminated(self.parent, "KILLED")

    def end(self, failed: bool = False) -> None:
        """This run of the study is over."""
        self.client.set_terminated(self.parent, "FAILED" if failed else "FINISHED")


def open_tracker(client: Any, work: Worklist, origin: str) -> Tracker:
    """The study's experiment and parent run, made if missing, and what is already in them. origin:
    what the user calls the study, a name or a path."""
    uri, study = address(None), work.study
    experiment = client.get_experiment_by_name(study.name)
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    number = experiment.experiment_id if experiment else _made(client, uri, study.name)
    for name, value in notes.EXPERIMENT_TAGS.items():
        client.set_experiment_tag(number, name, value)
    parents = list(_search(client, number, "tags.stage = 'study'"))
    if parents:
        parent, before = parents[0].info.run_id, parents[0].info.status
        client.update_run(parent, status="RUNNING")
    else:
        before = "KILLED"
        tags = {"stage": "study", "mlflow.source.name": f"python -m tuner run {origin}"}
        parent = client.create_run(number, run_name=study.name, tags=tags).info.run_id
        client.set_experiment_tag(
            number, notes.NOTE, notes.experiment(notes.Summary(study.name, number, parent))
        )
    client.set_tag(parent, "study_key", key(study))
    client.set_tag(parent, "origin", origin)
    content = study.model_dump(mode="json", exclude_none=True)
    client.log_text(parent, yaml.safe_dump(content, sort_keys=False), "study.yaml")
    tracker = Tracker(client, uri, work, number, parent, _ended(before))
    for run in _search(client, number, "tags.stage != 'study'"):
        status, run_id, about = run.info.status, run.info.run_id, run.data.tags
        if status == "FINISHED" and about["key"] not in tracker.runs:
            tracker.runs[about["key"]] = run_id
        elif status == "FAILED" and about["key"] not in tracker.failed:
            tracker.failed[about["key"]] = run_id, about.get("when", "")
        else:
            # Cut short, or made twice by a request that was sent again.
            client.delete_run(run_id)
    return tracker


def _ended(status: str) -> str:
    """A status from before; a run that was killed has left it as if it went on."""
    return "KILLED" if status == "RUNNING" else status


def _made(client: Any, uri: str, name: str) -> str:
    """A new experiment. Where there is no server to say it, its artifacts' place is a URI of ours:
    MLflow's own is a bare path, which it misreads where a folder's name has a # or ? in it."""
    server = uri.startswith(("http:", "https:"))
    place = None if server else (places.artifacts_of(uri) / name).as_uri()
    return str(client.create_experiment(name, artifact_location=place))


def _search(client: Any, experiment: str, condition: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment], condition, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
