"""python -m tuner studies: what is shipped."""

import typer

from search_spaces.reading.studies import head_comment, shipped


def studies() -> None:
    """List the shipped studies with their head comments."""
    for name, text in shipped().items():
        typer.echo(f"{name}\n")
        for line in head_comment(text).splitlines():
            typer.echo(f"  {line}".rstrip())
        typer.echo()
