"""The one study that the tests run, and its variants."""

from pathlib import Path

import yaml

from search_spaces.reading import studies
from search_spaces.study import Study

TINY = Path(__file__).with_name("tiny.yaml")


def tiny(*overrides: str) -> Study:
    """The study of tiny.yaml; overrides are as `--set` takes them, `downstream.0.seeds=[0]`."""
    return studies.load(str(TINY), list(overrides))


def write(study: Study, folder: Path) -> Study:
    """Writes a study as FOLDER/NAME.yaml, and gives it back."""
    content = study.model_dump(mode="json", exclude_none=True)
    (folder / f"{study.name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return study
