"""geoosd.bridge.core.router: exact id, UPSTREAM/model, the default."""

from geoosd.bridge.core.router import Route, Router, Upstream


def table() -> Router:
    router = Router(
        [
            Upstream("engine", "http://e", priority=3),
            Upstream("lmstudio", "http://l", priority=0),
            Upstream("other", "http://o", priority=3),
        ]
    )
    router.update("engine", "ready", models=["gemma"])
    router.update("other", "ready", models=["gemma", "qwen"])
    return router


def test_ordered_by_priority_then_as_configured():
    assert [row.id for row in table().rows()] == ["lmstudio", "engine", "other"]


def test_default_is_the_best_ready_one():
    router = table()
    assert router.candidates() == [Route("engine", "gemma"), Route("other", "gemma")]
    assert router.update("lmstudio", "loading")
    assert router.candidates()[0].upstream == "engine"
    router.update("lmstudio", "ready", models=[])
    assert router.candidates() == [
        Route("lmstudio", None),
        Route("engine", "gemma"),
        Route("other", "gemma"),
    ]
    assert router.default().id == "lmstudio"


def test_loading_is_better_than_nothing():
    router = Router([Upstream("a", "http://a")])
    assert router.default() is None
    assert router.candidates() == []
    router.update("a", "loading")
    assert router.candidates() == [Route("a", None)]


def test_exact_model_goes_only_where_it_is():
    assert table().candidates("qwen") == [Route("other", "qwen")]
    assert table().candidates("gemma") == [Route("engine", "gemma"), Route("other", "gemma")]


def test_named_upstream():
    router = table()
    assert router.candidates("other/x/y") == [Route("other", "x/y")]
    assert router.candidates("lmstudio/x") == []
    router.update("other", "ready", models=["other/x"])
    assert router.candidates("other/x") == [Route("other", "other/x")]


def test_unknown_model_goes_to_the_default():
    router = table()
    assert router.candidates("gpt-9")[0] == Route("engine", "gpt-9")
    assert router.candidates("org/gpt-9")[0] == Route("engine", "org/gpt-9")
    assert router.candidates("other/")[0] == Route("engine", "other/")


def test_a_model_that_is_configured_elsewhere_goes_nowhere_else():
    router = table()
    router.replace([*router.rows(), Upstream("mine", "http://m", fixed=("secret",))])
    assert router.candidates("secret") == []
    router.update("mine", "ready")
    router.update("mine", "ready", models=["another"])
    assert router.candidates("secret") == [Route("mine", "secret")]
    router.update("mine", "down")
    assert router.candidates("secret") == []


def test_everywhere():
    router = table()
    router.update("lmstudio", "ready", models=[])
    assert router.everywhere() == [
        Route("lmstudio", None),
        Route("engine", "gemma"),
        Route("other", "gemma"),
        Route("other", "qwen"),
    ]


def test_update_tells_of_changes():
    router = table()
    assert not router.update("engine", "ready")
    assert router.update("engine", "down", reason="gone")
    assert not router.update("nobody", "ready")
    assert router.get("engine").reason == "gone"
    assert router.get("engine").answered
    assert not router.get("lmstudio").answered
    router.update("lmstudio", "down", reason="refuses connections")
    assert not router.get("lmstudio").answered, "nobody was there yet"
    assert router.get("nobody") is None


def test_what_is_known_of_an_upstream_goes_with_its_url():
    router = table()
    router.replace([Upstream("engine", "http://e"), Upstream("other", "http://elsewhere")])
    kept, moved = router.get("engine"), router.get("other")
    assert (kept.answered, kept.state, kept.models) == (True, "ready", ("gemma",))
    assert (moved.answered, moved.models) == (False, ())


def test_who_is_set_aside_comes_after_those_who_are_ready():
    router = table()
    assert router.set_circuit("engine", "open")
    assert not router.set_circuit("engine", "open")
    assert not router.set_circuit("nobody", "open")
    assert router.candidates("gemma") == [Route("other", "gemma"), Route("engine", "gemma")]
    router.update("lmstudio", "loading")
    assert [route.upstream for route in router.candidates()] == ["other", "engine", "lmstudio"]
    router.update("other", "down")
    assert router.default().id == "engine"
    router.set_circuit("engine", "half_open")
    assert router.candidates("gemma") == [Route("engine", "gemma")]
    router.update("other", "ready")
    router.set_circuit("engine", "closed")
    assert router.default().id == "engine"


def test_own_name():
    router = table()
    assert router.own_name("other", "qwen") == "qwen"
    assert router.own_name("other", "other/qwen") == "qwen"
    assert router.own_name("other", None) == "gemma"
    assert router.own_name("other", "what a client made up") is None
    assert router.own_name("nobody", "qwen") is None
    assert router.own_name("lmstudio", None) is None


def test_replace_keeps_what_is_known():
    router = table()
    router.replace(
        [
            Upstream("engine", "http://e", priority=1),
            Upstream("other", "http://elsewhere", fixed=("m",), models=("m",)),
        ]
    )
    assert [row.id for row in router.rows()] == ["other", "engine"]
    assert router.get("engine").state == "ready"
    assert router.get("engine").models == ("gemma",)
    assert router.get("other").state == "down"
    router.update("other", "ready", models=["a", "b"])
    assert router.get("other").models == ("m",)
