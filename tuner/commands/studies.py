"""python -m tuner studies and schema: what is shipped, and what a study file may hold."""

import json
from typing import Annotated

import typer

from search_spaces.reading.schema import json_schema, page
from search_spaces.reading.studies import head_comment, shipped


def studies() -> None:
    """List the shipped studies with their head comments."""
    for name, text in shipped().items():
        typer.echo(f"{name}\n")
        for line in head_comment(text).splitlines():
            typer.echo(f"  {line}".rstrip())
        typer.echo()


def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="As a page for people.")] = False,
) -> None:
    """Print the JSON schema of study files, by which editors complete and check YAML.

    `python -m tuner schema > study.json`, and as a study's first line
    `# yaml-language-server: $schema=study.json`.
    """
    typer.echo(page() if markdown else json.dumps(json_schema(), indent=1), nl=not markdown)
