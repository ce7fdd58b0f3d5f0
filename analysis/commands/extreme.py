"""python -m analysis extreme: the verdict, by both rules."""

import json
import sys
from typing import Annotated, Literal

import typer

from analysis.options import Format, StudyName, TrackingUri, load_study, nothing

_FIELDS = {"one-std": "extreme", "non-inferiority": "non_inferiority"}
_UNJUDGED = "no pruned ticket of {} is under both the standard and the adversarial regime"


def extreme(
    study: StudyName = None,
    rule: Annotated[
        Literal["both", "one-std", "non-inferiority"],
        typer.Option(help="The paper's, or by confidence bounds on the difference to dense."),
    ] = "both",
    explain: Annotated[
        bool, typer.Option("--explain", help="Each rule's own table, with all that is behind it.")
    ] = False,
    form: Format = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """How sparse a ticket may be and still be a double win, for each theta, pruning and task."""
    results = load_study(study, tracking_uri, with_correct=True)

    from analysis.store import evidence, runs
    from analysis.tables.confirmation import confirmed
    from analysis.tables.rules import evidence_lines, one_std_lines
    from analysis.tables.text import format_table, records
    from analysis.tables.verdict import verdict_lines
    from analysis.verdict import completeness, flags, one_std

    uri = runs.address(tracking_uri)
    judged, shown = flags.verdicts(results, evidence.flags(results.parent, uri))
    shown = confirmed(shown, evidence.autoattacks(results.parent, uri))
    if judged.empty:
        print(f"nothing to judge: {_UNJUDGED.format(results.study.name)}", file=sys.stderr)
        return 1
    if not judged["levels_complete"].any():
        return nothing("judge", results)
    by_rule = {"one-std": judged, "non-inferiority": shown}
    chosen = by_rule if rule == "both" else {rule: by_rule[rule]}
    if form == "json":
        content = {
            "study": results.study.name,
            "rule": one_std.RULE,
            **{_FIELDS[name]: records(table) for name, table in chosen.items()},
            "missing": results.missing.to_dict("records"),
        }
        print(json.dumps(content, indent=2, ensure_ascii=False))
    elif form == "csv":
        print("\n\n".join(format_table(table, "csv") for table in chosen.values()))
    else:
        blocks = [verdict_lines(judged, shown)]
        if explain or rule != "both":
            blocks = [one_std_lines(judged)] if "one-std" in chosen else []
            blocks += [evidence_lines(judged, shown)] if "non-inferiority" in chosen else []
        lacks = completeness.lines(results.expected)
        print("\n".join([*lacks, "\n\n".join("\n".join(block) for block in blocks)]))
    return 0
