"""geoosctl's command line, run in process beside a :class:`ScriptedServer`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from scripted_varlink import ScriptedServer

from geoosctl.cli import cli


@pytest.fixture
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEOOS_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("GEOOS_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


@pytest.fixture
def control(runtime_dir: Path) -> Iterator[ScriptedServer]:
    server = ScriptedServer(runtime_dir / "control.sock")
    yield server
    server.close()


@pytest.fixture
def geoosctl(runtime_dir: Path) -> Any:
    """Runs a command line; the result's output, stderr and exit code."""

    def run(*args: str, **options: Any) -> Result:
        result = CliRunner().invoke(cli, list(args), **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run
