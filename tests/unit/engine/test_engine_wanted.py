"""geoosd engine --check-wanted: what the unit's ExecCondition= asks."""

import http.server
import logging
import threading

import pytest
import structlog

from geoosd.engine.__main__ import main
from geoosd.runtime import journal


class _Refuses(http.server.BaseHTTPRequestHandler):
    """A server that wants a key: it is there all the same."""

    def do_GET(self):
        self.send_error(401)

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    with http.server.HTTPServer(("127.0.0.1", 0), _Refuses) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def logging_as_before():
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    structlog.configure(**before)
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def configured(tmp_path, monkeypatch, logging_as_before):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)

    def write(text):
        path = tmp_path / "geoos.toml"
        path.write_text(text)
        return main(["--check-wanted", "--config", str(path)])

    return write


@pytest.mark.parametrize(
    ("enabled", "code", "said"), [("yes", 0, ""), ("no", 1, 'not wanted: [engine] enabled = "no"')]
)
def test_the_configuration_decides(enabled, code, said, configured, capsys):
    assert configured(f"[engine]\nenabled = '{enabled}'") == code
    err = capsys.readouterr().err
    assert (said in err) if said else not err


def test_not_beside_another_server(url, configured, capsys):
    assert configured(f"[[bridge.upstream]]\nid = 'mine'\nurl = '{url}'") == 1
    assert f"mine answers at {url}" in capsys.readouterr().err


def test_wanted_where_nobody_answers(configured):
    assert configured("[[bridge.upstream]]\nid = 'mine'\nurl = 'http://127.0.0.1:1'") == 0


def test_skipped_without_its_package(configured, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert configured("") == 1
    assert "xllamacpp is not installed" in capsys.readouterr().err


def test_a_bad_configuration_is_the_engines_to_tell(configured):
    assert configured("[engine]\nenabled = 'perhaps'") == 0


def test_the_journal_gets_a_record_that_is_no_error(configured, monkeypatch):
    records = []

    class Sink:
        send = staticmethod(records.append)
        flush = staticmethod(lambda: None)

    monkeypatch.setattr(journal, "stderr_is_journal", lambda: True)
    monkeypatch.setattr(journal, "JournalSocket", Sink)
    assert configured("[engine]\nenabled = 'no'") == 1
    (record,) = records
    assert record["MESSAGE"] == 'not wanted: [engine] enabled = "no"'
    assert (str(record["PRIORITY"]), record["GEOOS_DAEMON"]) == ("6", "engine")
