"""A study's versions in MLflow: studies of one name that differ in content, as by `--set`.

Each has a run of its own, which stands for it, with its digest as the tag `version`. Runs that
earlier releases wrote have no such tag: the study among their artifacts says which version it is.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.store import artifacts
from analysis.store.disclosure import public
from analysis.store.runs import Run, Store, opened
from search_spaces.errors import InputError
from search_spaces.reading import studies
from search_spaces.reading.differences import differences
from search_spaces.study import Study

TAG = "version"
CONCLUDED = "concluded"
"""The tag that says when a verdict was last written, in milliseconds since 1970."""
STUDY_FILE = "study.yaml"
MARK = "@"
"""Between a study's name and a version's digest; no name has it."""


@dataclass(frozen=True)
class Version:
    """digest: what tells it from the others, as `Study.version`; run: what stands for it."""

    digest: str
    run: Run

    @property
    def complete(self) -> bool:
        """Are all of its transfers?"""
        return self.run.tags.get("state") == "complete"

    @property
    def when(self) -> int:
        """When it was last run, or begun."""
        return _when(self.run)


def stored(run: Run, uri: str) -> Study:
    """The study that a run stands for. Raises InputError if it is not among its artifacts, or not
    one that this release reads."""
    origin = f"{STUDY_FILE} of run {run.run_id}"
    content = artifacts.read(run, STUDY_FILE, uri)
    if content is None:
        raise InputError(f"{origin}: is not among its artifacts ({run.artifact_uri})")
    return studies.validate(studies.parse(content.decode("utf-8"), origin), origin)


def of(runs: Iterable[Run], uri: str) -> list[Version]:
    """The versions that the parent runs of one study stand for: those that are incomplete, then the
    complete ones, each by when it was run. Of two runs of one version the later counts."""
    found = {_digest(run, uri): run for run in sorted(runs, key=_when)}
    versions = [Version(digest, run) for digest, run in found.items()]
    return sorted(versions, key=lambda version: (version.complete, version.when))


def known(name: str, uri: str) -> list[Version]:
    """The versions of a study that a store has, as `of` orders them. Raises InputError if it cannot
    be read."""
    with opened(uri) as store:
        return of(store.runs(["study"], name), uri)


def named(study: str, digest: str) -> str:
    """A version by its study's name and its digest, as `chosen` takes it."""
    return f"{study}{MARK}{digest}"


def held(study: Study, among: Iterable[Version], uri: str) -> Version | None:
    """The version that a study is, if it is one of some."""
    there = list(among)
    for version in there:
        if version.digest == study.version:
            return version
    # An earlier release has fewer fields, and so another digest of the same content.
    return next((v for v in there if _read(v.run, uri) == study.version), None)


def title(version: Version, among: Sequence[Version]) -> str:
    """What a version is called: by its study's name alone where it has no other."""
    name = version.run.experiment
    return name if len(among) < 2 else named(name, version.digest)


def differing(version: Version, among: Iterable[Version], uri: str) -> list[str]:
    """What a version sets otherwise than the first that was begun, as `--set` takes it."""
    first = min(among, key=lambda each: each.run.start_time)
    if version == first:
        return []
    try:
        found = differences(stored(first.run, uri), stored(version.run, uri))
    except InputError:
        return []
    return [f"{field}={here}" for field, _, here in found]


def chosen(store: Store, asked: str | None, uri: str) -> tuple[Version, list[Version]]:
    """(the version asked for, all of its study's).

    asked: NAME, or NAME@DIGEST, of which a beginning will do; default: the study that was run last.
    Of a study without a digest it is the latest complete version, or the latest. Raises InputError,
    which says what there is, for what is not there.
    """
    parents = store.runs(["study"])
    if not parents:
        raise InputError(
            f"tracking store {public(uri)}: holds no study yet: python -m tuner run quickstart"
        )
    latest = max(parents, key=_when)
    name, _, digest = (latest.experiment if asked is None else asked).partition(MARK)
    names = {run.experiment for run in parents}
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        holds = ", ".join(sorted(names))
        raise InputError(f"study {name}: not in {public(uri)}: {hint}it holds {holds}")
    versions = of((run for run in parents if run.experiment == name), uri)
    fitting = [version for version in versions if version.digest.startswith(digest)]
    if digest and len(fitting) != 1:
        there = ", ".join(named(name, version.digest) for version in versions)
        fault = "fits several of its versions" if fitting else "no such version"
        raise InputError(f"study {asked}: {fault}: there are {there}")
    return fitting[-1], versions


def _when(run: Run) -> int:
    return int(run.tags.get(CONCLUDED, run.when))


def _digest(run: Run, uri: str) -> str:
    return run.tags.get(TAG) or _read(run, uri)


def _read(run: Run, uri: str) -> str:
    """The digest of the study among a run's artifacts."""
    try:
        return stored(run, uri).version
    except InputError:
        # Not to be read by this release, but still not one of the others.
        return run.run_id[:6]
