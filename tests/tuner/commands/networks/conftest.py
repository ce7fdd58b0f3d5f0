"""A storage that is finished, for all commands about its networks."""

import pytest

from tests.support import finished
from trainables.store.ledger import open_ledger


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    finished.finish(finished.write(folder), open_ledger(folder / "results"))
    return folder
