"""python -m tuner bench: this machine, measured."""

from typing import Annotated

import typer

from search_spaces.errors import InputError
from tuner.options import note


def bench(
    peers: Annotated[
        bool, typer.Option("--peers", help="Also the attack libraries that are installed.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Rows with this in their name; repeat.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="ResNet-50 too, all in the batches trained with.")
    ] = False,
    packing: Annotated[
        bool, typer.Option("--packing", help="How many trainings side by side are best.")
    ] = False,
    growth: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="The commands on studies of N tiny transfers; repeat."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each contender.")] = 1,
    seconds: Annotated[float, typer.Option(min=0, help="At least, for each row.")] = 5.0,
    form: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Measure this machine: training steps and evaluation against the published loop, attack
    libraries and the machine's own limits; what Ray adds to a chain and a transfer; pruning.

    Contenders take turns; what counts are the ratios. About 3 minutes on 2 cores.
    """
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: takes cpu or cuda")
    if form not in ("table", "json"):
        raise InputError(f"--format {form}: takes table or json")
    from trainables.bench.measure import BenchSettings
    from tuner.bench import measure

    settings = BenchSettings(device, threads, (), full, (), seconds)
    if packing:
        text = measure.packing_output(settings, form, note)
    elif growth:
        text = measure.growth_output(growth, form, note)
    else:
        text = measure.table_output(settings, only or [], form, peers, note)
    typer.echo(text)
