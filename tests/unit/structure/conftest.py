"""Trees for the tests of geoosd.structure."""

import pytest
import trees


@pytest.fixture
def report_of(tmp_path):
    """Writes files, and gives the report of their tree."""
    return lambda files: trees.report(tmp_path, files)
