"""geoosd engine --check-wanted: what the unit's ExecCondition= asks."""

import http.server
import threading

import pytest

from geoosd.engine.__main__ import main


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
def configured(tmp_path, monkeypatch):
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
    assert capsys.readouterr().err.strip() == said


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


def test_the_journal_is_told_that_it_is_no_error(configured, monkeypatch, capsys):
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    configured("[engine]\nenabled = 'no'")
    assert capsys.readouterr().err.startswith("<6>not wanted")
