"""Opening a study's window: its experiment, the run of the version at hand, what both hold."""

import time
from collections.abc import Iterator
from typing import Any

import yaml

from analysis.store import places, versions
from analysis.store.runs import address
from analysis.store.versions import Version
from search_spaces.study import Study
from tuner.scheduling.worklist import Worklist
from tuner.tracking import notes
from tuner.tracking.tracker import VERSIONS, Tracker


def open_tracker(client: Any, work: Worklist, origin: str) -> Tracker:
    """The study's experiment and the parent run of its version, made if missing, and what is
    already in them. origin: what the user calls the study, a name or a path."""
    uri, study = address(None), work.study
    number = _experiment(client, uri, study.name)
    known = versions.known(study.name, uri)
    held = versions.held(study, known, uri)
    if held:
        parent, before = held.run.run_id, held.run.status
        client.update_run(parent, status="RUNNING")
    else:
        parent, before = _made(client, number, work), "KILLED"
    for name, value in {versions.TAG: study.version, "origin": origin}.items():
        client.set_tag(parent, name, value)
    client.set_tag(parent, "mlflow.source.name", f"python -m tuner run {origin}")
    content = study.model_dump(mode="json", exclude_none=True)
    client.log_text(parent, yaml.safe_dump(content, sort_keys=False), "study.yaml")
    known = versions.known(study.name, uri)
    _name_apart(client, known)
    tracker = Tracker(client, uri, work, number, parent, len(known) == 1, _ended(before))
    _take_stock(tracker)
    return tracker


def _experiment(client: Any, uri: str, name: str) -> str:
    """The number of a study's experiment, made if it is missing."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    if experiment:
        number = str(experiment.experiment_id)
    else:
        # Where there is no server to say it, its artifacts' place is a URI of ours: MLflow's own is
        # a bare path, which it misreads where a folder's name has a # or ? in it.
        server = uri.startswith(("http:", "https:"))
        place = None if server else (places.artifacts_of(uri) / name).as_uri()
        number = str(client.create_experiment(name, artifact_location=place))
    for tag, value in notes.EXPERIMENT_TAGS.items():
        client.set_experiment_tag(number, tag, value)
    return number


def _made(client: Any, experiment: str, work: Worklist) -> str:
    """A new parent run, begun when the first of the study's trainings was."""
    study: Study = work.study
    thetas = [cell.theta for name, cell in work.grid.thetas.items() if name in work.complete]
    started = min((work.ledger.result(theta)["started"] for theta in thetas), default=time.time())
    run = client.create_run(
        experiment,
        start_time=int(1000 * started),
        run_name=study.name,
        tags={"stage": "study", versions.TAG: study.version},
    )
    parent = str(run.info.run_id)
    about = notes.Summary(study.name, experiment, parent)
    client.set_experiment_tag(experiment, notes.NOTE, notes.experiment(about))
    return parent


def _name_apart(client: Any, known: list[Version]) -> None:
    """Has runs of several versions say which they are."""
    for version in known:
        name = versions.title(version, known)
        if version.run.name != name:
            client.update_run(version.run.run_id, name=name)
        if versions.TAG not in version.run.tags:
            client.set_tag(version.run.run_id, versions.TAG, version.digest)


def _take_stock(tracker: Tracker) -> None:
    """Notes the child runs that are there, and takes away what was cut short."""
    own = tracker.work.grid.keys
    for run in _search(tracker.client, tracker.experiment, "tags.stage != 'study'"):
        status, run_id, about = run.info.status, run.info.run_id, run.data.tags
        if status == "FINISHED" and about["key"] not in tracker.runs:
            tracker.runs[about["key"]] = run_id
            # What earlier releases wrote names no version, but hangs below its own.
            below = about.get("mlflow.parentRunId") == tracker.parent
            named = about.get(VERSIONS, tracker.version if below else "")
            if tracker.version not in named.split():
                tracker.shared[about["key"]] = named
            if about["key"] in own:
                tracker.ended = max(run.info.end_time or 0, tracker.ended or 0)
        elif status == "FAILED" and about["key"] not in tracker.failed:
            tracker.failed[about["key"]] = run_id, about.get("when", "")
        else:
            # Cut short, or made twice by a request that was sent again.
            tracker.client.delete_run(run_id)


def _ended(status: str) -> str:
    """A status from before; a run that was killed has left it as if it went on."""
    return "KILLED" if status == "RUNNING" else status


def _search(client: Any, experiment: str, condition: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment], condition, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
