"""geoosd.config: files, overrides, refusals that name the key, directories and sockets."""

import os
from pathlib import Path

import pytest

from geoosd import config
from geoosd.config import Address, Paths
from geoosd.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "geoos.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def refused(text, write):
    with pytest.raises(ConfigError) as error:
        config.load(write(text))
    message = str(error.value)
    assert message.startswith("cannot ")
    return message


# -- what is taken ---------------------------------------------------------------------------------


def test_the_defaults_are_loopback_and_private(write):
    loaded = config.load(write(""))
    assert loaded.bridge_listen == Address("127.0.0.1", 1235)
    assert loaded.engine_listen == Address("127.0.0.1", 1236)
    assert loaded.broadcaster_listen == Address("127.0.0.1", 8765)
    assert loaded.bridge.record == "metadata"
    assert loaded.bridge.enrich is False
    assert loaded.upstreams == ()


def test_a_whole_file_is_resolved(write):
    path = write(
        """
        [bridge]
        listen = "[::1]:2000"
        [[bridge.upstream]]
        id = "desk"
        url = "http://10.0.0.7:1234/v1/"
        kind = "lmstudio"
        models = ["a", "b"]
        api_key_credential = "desk-key"
        timeout = 30
        [[bridge.upstream]]
        id = "cloud"
        url = "https://example.org/api"
        [log]
        level = "debug"
        """
    )
    loaded = config.load(path)
    assert loaded.source == path
    assert loaded.bridge_listen == Address("::1", 2000)
    assert loaded.log.level == "debug"
    desk, cloud = loaded.upstreams
    assert desk == config.Upstream(
        "desk",
        "http://10.0.0.7:1234",
        kind="lmstudio",
        models=("a", "b"),
        api_key_credential="desk-key",
        timeout=30.0,
    )
    assert (cloud.url, cloud.kind, cloud.max_concurrency) == ("https://example.org/api", "auto", 4)


def test_overrides_are_toml_or_a_bare_word(write):
    loaded = config.load(
        write("[broadcaster]\ntick = 33\n"),
        [
            "broadcaster.tick=100",
            "log.level=warning",
            ' bridge.system_prompt = "be brief"',
            "bridge.outbox=7",
            "broadcaster.listen=127.0.0.1:0",
            "compositor.legacy_socket=a=b",
        ],
    )
    assert loaded.broadcaster.tick == 100
    assert loaded.log.level == "warning"
    assert loaded.bridge.system_prompt == "be brief"
    assert loaded.bridge.outbox == 7
    assert loaded.broadcaster_listen == Address("127.0.0.1", 0)
    assert loaded.compositor.legacy_socket == "a=b"


def test_the_file_is_the_named_one_else_the_environments_else_the_systems(
    write, monkeypatch, tmp_path
):
    named = write('[log]\nlevel = "error"\n')
    monkeypatch.setenv("GEOOS_CONFIG", str(named))
    assert config.load().log.level == "error"
    monkeypatch.delenv("GEOOS_CONFIG")
    monkeypatch.setattr(config, "DEFAULT_CONFIG", tmp_path / "nothing.toml")
    assert config.load().source is None
    monkeypatch.setattr(config, "DEFAULT_CONFIG", named)
    assert config.load().source == named


def test_the_well_known_servers_are_local_and_the_engine_is_last():
    servers = config.well_known(Address("127.0.0.1", 1236))
    assert [(server.id, server.url) for server in servers] == [
        ("lmstudio", "http://127.0.0.1:1234"),
        ("ollama", "http://127.0.0.1:11434"),
        ("llamacpp", "http://127.0.0.1:8080"),
        ("engine", "http://127.0.0.1:1236"),
    ]
    assert [server.priority for server in servers] == [0, 1, 2, 3]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[bridge]\nrecrod = 'off'\n", "unknown key bridge.recrod; do you mean bridge.record?"),
        ("[brigde]\n", "unknown key brigde; do you mean bridge?"),
        ("[bridge]\nmax_viewers = 3\n", "do you mean broadcaster.max_viewers?"),
        ("[log]\nzzzzzzzz = 1\n", "unknown key log.zzzzzzzz"),
        ("[[bridge.upstream]]\nid='a'\nurl='http://a'\nkidn='x'\n", "bridge.upstream.kind?"),
        ("[broadcaster]\nmax_viewers = 0\n", "broadcaster.max_viewers: expected `int` >= 1"),
        ("[broadcaster]\ntick = 17\n", "broadcaster.tick: 17 is none of 0, 16, 33, 100"),
        ("[log]\nformat = 'xml'\n", "log.format: 'xml' is none of 'auto', 'json', 'console'"),
        (
            "[[bridge.upstream]]\nid='a'\nurl='http://a'\nkind='x'\n",
            "].kind: 'x' is none of 'auto', ",
        ),
        ("[[bridge.upstream]]\nid='a'\nurl='http://a'\napi_key='x'\n", ".api_key_credential?"),
        ("[compositor]\nfps = '30'\n", "compositor.fps: expected `int`, got `str`"),
        ("[compositor]\ndecay_seconds = 0\n", "compositor.decay_seconds: expected `float` > 0"),
        ("[[bridge.upstream]]\nid='a'\n", "bridge.upstream[0]: object missing required field"),
        ("[[bridge.upstream]]\nid='a b'\nurl='http://a'\n", "bridge.upstream[0].id: "),
        ("bridge = 3\n", "bridge: expected `object`, got `int`"),
        ("[bridge]\nlisten = '1235'\n", "bridge.listen: '1235' is not HOST:PORT"),
        ("[bridge]\nlisten = ':1235'\n", "is not HOST:PORT"),
        ("[bridge]\nlisten = 'a:'\n", "is not HOST:PORT"),
        ("[bridge]\nlisten = 'a:x'\n", "is not HOST:PORT"),
        ("[bridge]\nlisten = 'a:\N{SUPERSCRIPT TWO}'\n", "is not HOST:PORT"),
        ("[bridge]\nlisten = 'a:65536'\n", "is not HOST:PORT"),
        (f"[bridge]\nlisten = 'a:{'9' * 5000}'\n", "is not HOST:PORT"),
        ("[compositor]\ndecay_seconds = nan\n", "compositor.decay_seconds: expected `float` > 0"),
        ("[[bridge.upstream]]\nid='a'\nurl='ftp://a'\n", "is not an http(s):// address"),
        ("[[bridge.upstream]]\nid='a'\nurl='http://'\n", "is not an http(s):// address"),
        ("[[bridge.upstream]]\nid='a'\nurl='http://[::1'\n", "is not an http(s):// address"),
        ("[[bridge.upstream]]\nid='a'\nurl='http://a:70000'\n", "is not an http(s):// address"),
        ("[[bridge.upstream]]\nid='a'\nurl='http://u:p@a'\n", "holds a password"),
        ("[[bridge.upstream]]\nid='a'\nurl='http://a/?key=k'\n", "url: holds a query"),
        ("[[bridge.upstream]]\nid='a'\nurl='http://a /'\n", "a fragment or a space; name"),
        ("[[bridge.upstream]]\nid='a'\nurl='http://u@a'\n", "api_key_credential"),
        ("not toml\n", "not TOML"),
        (b"\xff", "not UTF-8 at byte 0"),
    ],
)
def test_a_bad_file_is_refused_by_name(text, said, write, tmp_path):
    message = refused(text, write)
    assert said in message
    assert str(tmp_path / "geoos.toml") in message


@pytest.mark.parametrize(
    ("text", "overrides", "wanted"),
    [
        ('[bridge]\nlisen = "x"\n[log]\nformat = "json"', [], "json"),
        ('[bridge]\nlisen = "x"', ["log.format=json"], "json"),
        ('[log]\nformat = "jason"', [], "auto"),
        ("log = 3", [], "auto"),
        ("not TOML", [], "auto"),
        ("", ["nonsense"], "auto"),
        ("", [], "auto"),
    ],
)
def test_a_bad_file_is_still_asked_how_to_log(text, overrides, wanted, write):
    assert config.log_format(write(text), overrides) == wanted


def test_two_upstreams_of_one_name_are_refused(write):
    both = "[[bridge.upstream]]\nid='a'\nurl='http://a'\n" * 2
    message = refused(both, write)
    assert "bridge.upstream" in message
    assert "a" in message


@pytest.mark.parametrize("rest", ["a", "", "[a", "a:99999"])
@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_a_password_is_not_repeated(scheme, rest, write):
    text = f"[[bridge.upstream]]\nid='a'\nurl='{scheme}://user:hunter2@{rest}'\n"
    assert "hunter2" not in refused(text, write)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*gone\.toml: no such file"):
        config.load(tmp_path / "gone.toml")


@pytest.mark.parametrize("override", ["log", "log=1", "log.=1", "log.level", "=1"])
def test_an_override_is_section_key_value(override, write):
    with pytest.raises(ConfigError, match=r"write it as section\.key=value"):
        config.load(write(""), [override])


def test_an_override_of_what_is_no_section_is_refused(write):
    with pytest.raises(ConfigError, match="log is not a section"):
        config.load(write("log = 1\n"), ["log.level=info"])


def test_an_override_names_its_key_when_it_is_wrong(write):
    with pytest.raises(ConfigError, match=r"do you mean log\.level\?"):
        config.load(write(""), ["log.levle=info"])


# -- addresses and paths ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("localhost", True), ("::1", True),
     ("0.0.0.0", False), ("::", False), ("192.168.1.2", False)],
)  # fmt: skip
def test_which_addresses_only_this_machine_reaches(host, loopback):
    assert Address(host, 1).is_loopback is loopback


def test_an_address_reads_as_it_is_written():
    assert str(Address("127.0.0.1", 80)) == "127.0.0.1:80"
    assert str(Address("::1", 80)) == "[::1]:80"


@pytest.mark.parametrize(
    ("environ", "runtime", "state"),
    [
        ({"GEOOS_RUNTIME_DIR": "/r", "GEOOS_STATE_DIR": "/s", "XDG_RUNTIME_DIR": "/x"}, "/r", "/s"),
        (
            {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/h/state"},
            "/run/user/7/geoos",
            "/h/state/geoos",
        ),
        ({"HOME": "/home/me"}, f"/tmp/geoos-{os.getuid()}", "/home/me/.local/state/geoos"),
        ({}, f"/tmp/geoos-{os.getuid()}", "/.local/state/geoos"),
    ],
)
def test_directories_follow_the_environment(environ, runtime, state):
    assert config.paths(environ) == Paths(Path(runtime), Path(state))


def test_the_process_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("GEOOS_RUNTIME_DIR", "/from/here")
    assert config.paths().runtime_dir == Path("/from/here")


def test_sockets_are_named_as_documented():
    where = Paths(Path("/run/geoos"), Path("/s"))
    assert where.varlink("bridge") == Path("/run/geoos/bridge.varlink")
    assert where.varlink("control") == Path("/run/geoos/control.sock")
    assert where.socket("feed.sock") == Path("/run/geoos/feed.sock")


def test_a_path_too_long_for_a_socket_is_named_with_its_remedy():
    fits = Paths(Path("/" + "x" * 104), Path("/"))
    assert len(str(fits.socket("a"))) == config.MAX_SOCKET_PATH
    with pytest.raises(ConfigError, match="too long"):
        fits.socket("ab")
    long = Paths(Path("/" + "\N{SNOWMAN}" * 40), Path("/"))
    with pytest.raises(ConfigError, match=r"too long for a socket .*set GEOOS_RUNTIME_DIR"):
        long.socket("control.sock")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("control.alerts=['pas']", "control.alerts[0]: 'pas' is not a rule such as"),
        ("control.alerts=['pas < 0.8', 'pass < 1']", "control.alerts[1]: 'pass' is not known"),
        ("control.webhook='ftp://x'", "control.webhook: 'ftp://x' is not an http(s):// address"),
        ("control.webhook='http://a:b@x/'", "control.webhook: holds a password"),
    ],
)
def test_alerts_that_cannot_be(override, says):
    with pytest.raises(ConfigError) as refused:
        config.load(None, [override])
    assert says in str(refused.value)


def test_alerts_as_they_are_wanted():
    loaded = config.load(None, ["control.alerts=[]", "control.webhook='http://127.0.0.1:9/x'"])
    assert (loaded.control.alerts, loaded.control.webhook) == ([], "http://127.0.0.1:9/x")
    assert "pas < 0.85" in config.load(None, []).control.alerts
