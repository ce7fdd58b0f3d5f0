"""docs/python.ipynb as one script: real Ray, real MLflow."""

import json
import subprocess
import sys

import pytest

from tests.support.commands import environment
from tests.support.paths import ROOT

NOTEBOOK = ROOT / "docs" / "python.ipynb"


@pytest.fixture(scope="module")
def script():
    """The notebook's code, then what it must have come to."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(not cell.get("outputs") for cell in cells), "outputs are not kept"
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_the_notebook_runs_as_it_stands(script, tmp_path):
    file = tmp_path / "notebook.py"
    file.write_text(
        "import matplotlib; matplotlib.use('Agg')\n" + script + "\n"
        "assert results.complete and results.missing.empty\n"
        "assert len(results.table) == 8 and 'From the standard theta' in results.verdict()\n"
        "assert {each.stage.split(':')[0] for each in heard} == {'source', 'transfers'}\n"
        "assert heard[-1].done == heard[-1].total == 8\n"
        "assert results.tickets == ['standard/dense/0', 'standard/imp/1', 'standard/imp/2']\n"
        "again = study.run(progress=print)\n"
        "assert again.table.equals(results.table)\n"
    )
    done = subprocess.run(
        [sys.executable, str(file)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The run's own words stay out of the notebook.
    assert "stage" not in done.stdout and done.stderr == ""
