"""Which transfers show signs of masked gradients: decided anew from the numbers in the ledger."""

from collections.abc import Iterator

from search_spaces.finished.evidence import (
    AttackEvidence,
    AutoAttackEvidence,
    Evidence,
    RecordEvidence,
)
from search_spaces.spec import Transfer
from trainables.evidence.gradient_masking import Flag, check_flags, flags, warnings_flag
from trainables.store.ledger import Ledger
from trainables.store.tensors import read


def raised(spec: Evidence, ledger: Ledger) -> Iterator[tuple[Transfer, Flag]]:
    """The flags that a gathered piece of evidence raises, and on which transfers: by its attacks,
    by AutoAttack's warnings, and by the checks that the study itself asked for."""
    if isinstance(spec, AttackEvidence):
        right = read(ledger.file(spec, "correct.safetensors"))
        for flag in flags(right, ledger.result(spec)["zero_gradients"]):
            yield spec.network.transfer, flag
    elif isinstance(spec, AutoAttackEvidence):
        result = ledger.result(spec)
        for flag in warnings_flag(result["warnings"], result["images"]):
            yield spec.network.transfer, flag
    elif isinstance(spec, RecordEvidence):
        for transfer in spec.transfers:
            if checks := ledger.result(transfer).get("checks"):
                record = read(ledger.file(transfer, "correct.safetensors"))
                for flag in check_flags(checks, record):
                    yield transfer, flag
