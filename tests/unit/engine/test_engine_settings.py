import pytest

from geoosd.engine.core.settings import context_for, threads_for


@pytest.mark.parametrize(
    ("configured", "cpus", "threads"),
    [(0, 0, 1), (0, 1, 1), (0, 2, 2), (0, 4, 4), (0, 6, 4), (0, 16, 8), (0, 128, 16), (3, 128, 3)],
)
def test_threads(configured, cpus, threads):
    assert threads_for(configured, cpus) == threads


@pytest.mark.parametrize(
    ("trained", "context"), [(None, 8192), (32768, 8192), (4096, 8192), (512, 1024)]
)
def test_context(trained, context):
    assert context_for(trained) == context
