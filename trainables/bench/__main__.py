"""This program's speed against the published loop, attack libraries and the machine's own limits.

python -m trainables.bench [--only WORD] [--quick] [--peers] [--against eager|bf16|...] [--full]
                           [--device cpu|cuda] [--threads N] [--seconds S] [--format table|json]
python -m trainables.bench --packing [--device cpu|cuda]
python -m trainables.bench --check [--device cpu|cuda]

Needs torch, and neither Ray nor MLflow. Every row is printed as it is measured. --packing: how many
trainings side by side get most out of a machine. --check: do captured steps what eager ones do? One
line says so; exit code 1 where they do not.
"""

import argparse
import json
import sys
from dataclasses import asdict

import torch

from search_spaces.errors import InputError
from trainables.bench import measure, packing
from trainables.bench.equivalence import check
from trainables.bench.libraries import installed
from trainables.bench.measure import BenchSettings
from trainables.bench.rows import OURSELVES
from trainables.bench.table import NOTE, BenchRow, Table


def main() -> None:
    """The command line; bad input: one line on standard error, exit code 2."""
    of = _parser().parse_args()
    ourselves = dict.fromkeys([*(["eager"] if of.device == "cuda" else []), *of.against])
    settings = BenchSettings(
        of.device,
        of.threads,
        tuple(installed()) if of.peers else (),
        of.full,
        tuple(of.only),
        0.0 if of.quick else of.seconds,
        measure.TURN[of.device] / 3 if of.quick else None,
        tuple(ourselves),
    )
    try:
        measure.check_device(of.device)
        if of.check:
            sys.exit(0 if _check(torch.device(of.device)) else 1)
        if of.packing:
            _pack(settings, of.format)
        else:
            _measure(settings, of.format)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainables.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--packing", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--against", action="append", default=[], choices=list(OURSELVES))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--format", choices=["table", "json"], default="table")
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _measure(settings: BenchSettings, form: str) -> None:
    """The rows, each as soon as there is one; as JSON, a list of those there are in the end."""
    asks = measure.selected(settings)
    table = Table([a.name for a in asks], list(dict.fromkeys(n for a in asks for n in a.others)))
    rows: list[BenchRow] = []
    try:
        for row in measure.run(settings, _say):
            if not rows and form == "table":
                print(table.head(), flush=True)
            rows.append(row)
            if form == "table":
                print(table.line(row), flush=True)
    finally:
        if form == "json":
            print(json.dumps([asdict(row) for row in rows], indent=1), flush=True)
    if form == "table":
        print(NOTE)


def _pack(settings: BenchSettings, form: str) -> None:
    crowds: list[packing.Crowd] = []
    for crowd in packing.run(settings, _say):
        crowds.append(crowd)
        if form == "table":
            print(packing.line(crowd), flush=True)
    if form == "json":
        print(json.dumps([asdict(crowd) for crowd in crowds], indent=1))
    else:
        print("\n".join(packing.advice(crowds, settings)))


def _check(device: torch.device) -> bool:
    """Prints how far apart the cases are, and in the end one line; is all as it should be?"""
    findings: list[check.Finding] = []
    for finding in check.run(device):
        findings.append(finding)
        _say(check.line(finding, device))
    print(check.conclusion(findings, device), flush=True)
    return all(finding.holds(device) for finding in findings)


if __name__ == "__main__":
    main()
