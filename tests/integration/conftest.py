"""The whole stack: one for all tests that leave it as it was, one for each that does not."""

import importlib.util

import pytest

from .scripted import ScriptedUpstream
from .stack import Stack, running, until


def pytest_collection_modifyitems(items):
    if importlib.util.find_spec("xllamacpp") is None:
        skip = pytest.mark.skip(reason="the extra is not installed: pip install 'geoos[engine]'")
        for item in items:
            if "engine" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def session_stack(tmp_path_factory):
    with running(tmp_path_factory.mktemp("stack"), engine=True) as stack:
        yield stack


@pytest.fixture
def shared_stack(session_stack):
    """A running geoos with the embedded model, idle; leave it as you found it."""

    def idle():
        return not session_stack.status()["bridge"]["status"]["requests"]

    until(idle, 60, "the end of an earlier test's requests")
    return session_stack


@pytest.fixture
def stack(tmp_path):
    """A running geoos with the embedded model, for this test alone."""
    with running(tmp_path, engine=True) as stack:
        yield stack


@pytest.fixture
def scripted():
    """A model server that answers with a recording, at the pace a test sets."""
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
def light_stack(tmp_path, scripted):
    """A running geoos in front of a scripted model server."""
    with running(tmp_path, engine=False, upstream=scripted.url) as stack:
        yield stack


@pytest.fixture
def unstarted(tmp_path):
    """A configured geoos that the test starts."""
    stack = Stack(tmp_path, engine=False)
    yield stack
    stack.kill()
