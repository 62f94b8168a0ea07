"""Themes over HTTP: a real broadcaster beside a real compositor."""

import json

import httpx
import pytest
import trio
from test_broadcaster_tokens import ADMIN, VIEWER, bearer, key_file
from test_broadcaster_viewers import standing, watching
from test_compositor_service import world

from geoosd.wire.messages import MAX_THEME_BYTES, ThemeChanged

__all__ = ["key_file", "world"]

MINE = {
    "name": "mine",
    "title": "Mine",
    "background": "#000000",
    "text": "#ffffff",
    "muted": "#888888",
    "accent": "#ff8800",
    "ramp": ["#000000", "#ff8800", "#ffffff"],
    "tints": ["#ffffff"],
}


def client(stand, **options):
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{stand.port}", **options)


async def test_a_theme_is_kept_over_restarts_and_every_viewer_sees_it(world, tmp_path):
    await world.start()
    async with standing(tmp_path, feed=False) as stand, client(stand) as http:
        assert (await http.put("/api/themes/mine", json=MINE)).status_code == 201
        again = await http.put("/api/themes/mine", json=MINE | {"title": "Mine, again"})
        assert again.status_code == 200
        assert (await http.get("/api/themes/mine")).json()["title"] == "Mine, again"
        # The one in use: whoever watches gets the new colours at once.
        listed = (await http.get("/api/themes")).json()
        current = next(each for each in listed["themes"] if each["name"] == listed["current"])
        async with watching(stand, "?tick=0") as watcher:
            assert (await watcher.next())["payload"]["theme"] == current
            louder = current | {"accent": "#123456"}
            answer = await http.put(f"/api/themes/{current['name']}", json=louder)
            assert (answer.status_code, answer.json()) == (200, louder)
            while (message := await watcher.next())["message_type"] != "ThemeChanged":
                pass
            assert message["payload"]["theme"] == louder
        await world.call("io.geoos.Compositor.SetTheme", {"name": "mine"})
        await world.stop()
        assert (await http.put("/api/themes/mine", json=MINE)).status_code == 503
        await world.start()
        listed = (await http.get("/api/themes")).json()
        assert listed["current"] == "mine"
        titles = {each["name"]: each["title"] for each in listed["themes"]}
        assert titles["mine"] == "Mine, again"
        assert louder in listed["themes"]


def without(field):
    return {key: value for key, value in MINE.items() if key != field}


@pytest.mark.parametrize(
    ("theme", "named"),
    [
        (MINE | {"accent": "orange"}, "$.accent"),
        (MINE | {"ramp": ["#000000", "#ggg000"]}, "$.ramp[1]"),
        (MINE | {"ramp": ["#000000"]}, "$.ramp"),
        (MINE | {"tints": []}, "$.tints"),
        (MINE | {"title": "x" * 81}, "$.title"),
        (MINE | {"text": 7}, "$.text"),
        (MINE | {"name": "other"}, "$.name"),
        (MINE | {"name": "../mine"}, "$.name"),
        (without("muted"), "muted"),
        ([], "object"),
    ],
)
async def test_a_bad_theme_is_refused_by_field_and_changes_nothing(world, tmp_path, theme, named):
    await world.start()
    async with standing(tmp_path, feed=False) as stand, client(stand) as http:
        answer = await http.put("/api/themes/mine", json=theme)
        assert answer.status_code == 400
        assert named in answer.json()["error"]["message"]
        assert (await http.get("/api/themes/mine")).status_code == 404
    assert not (world.runtime.state_dir / "themes").exists()


async def test_what_is_no_theme_at_all(world, tmp_path):
    await world.start()
    kind = {"content-type": "application/json"}
    async with standing(tmp_path, feed=False) as stand, client(stand, headers=kind) as http:
        large = json.dumps(MINE | {"more": "x" * MAX_THEME_BYTES})
        assert (await http.put("/api/themes/mine", content=large)).status_code == 413
        assert (await http.put("/api/themes/mine", content=b"x" * (2 << 20))).status_code == 413
        for body in (b"", b"{", b"\xff", b"[" * 60_000):
            assert (await http.put("/api/themes/mine", content=body)).status_code == 400
        plain = {"content-type": "text/plain"}
        answer = await http.put("/api/themes/mine", content=json.dumps(MINE), headers=plain)
        assert answer.status_code == 415
        assert (await http.post("/api/themes/mine", json=MINE)).status_code == 405
        assert (await http.delete("/api/themes/mine")).status_code == 405
        for path in ("/api/themes/", "/api/themes/Mine", "/api/themes/%2e%2e", "/api/themes/none"):
            assert (await http.get(path)).status_code == 404
        assert (await http.put("/api/themes/a/b", json=MINE)).status_code == 404
        foreign = {"origin": "https://evil.example"}
        answer = await http.put("/api/themes/mine", json=MINE, headers=foreign)
        assert answer.status_code == 403
        assert (await http.get("/api/themes/mine")).status_code == 404


async def test_a_viewer_s_token_may_look_at_themes_and_an_admin_s_keep_one(
    world, tmp_path, key_file
):
    await world.start()
    async with (
        standing(tmp_path, f"broadcaster.token_key={key_file}", feed=False) as stand,
        client(stand) as http,
    ):
        path = "/api/themes/mine"
        assert (await http.put(path, json=MINE)).status_code == 401
        refused = await http.put(path, json=MINE, headers=bearer(VIEWER))
        assert refused.status_code == 403
        assert "insufficient_scope" in refused.headers["www-authenticate"]
        assert (await http.get(path, headers=bearer(VIEWER))).status_code == 404
        assert (await http.put(path, json=MINE, headers=bearer(ADMIN))).status_code == 201
        assert (await http.get(path, headers=bearer(VIEWER))).json() == MINE


async def test_several_at_once_leave_one_whole_theme(world, tmp_path):
    """Each answer is the theme that it kept; the last one in is what a restart finds."""
    await world.start()
    async with standing(tmp_path, feed=False) as stand, client(stand) as http:
        codes = []

        async def put(number):
            theme = MINE | {"title": f"Mine {number}"}
            codes.append((await http.put("/api/themes/mine", json=theme)).status_code)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(put, number)
        assert sorted(codes) == [200] * 7 + [201]
        shown = (await http.get("/api/themes/mine")).json()
        await world.stop()
        await world.start()
        assert (await http.get("/api/themes/mine")).json() == shown


async def test_a_reload_shows_what_has_changed_in_the_files(world, tmp_path):
    await world.start()
    path = world.runtime.state_dir / "themes" / "mine.json"
    async with standing(tmp_path, feed=False) as stand, client(stand) as http:
        await http.put("/api/themes/mine", json=MINE)
        await world.call("io.geoos.Compositor.SetTheme", {"name": "mine"})
        consumer, hello = await world.consumer("newest")
        assert hello.theme.name == "mine"
        path.write_text(json.dumps(MINE | {"title": "Edited"}))
        await world.call("io.geoos.Daemon.Reload")
        assert (await consumer.expect(ThemeChanged)).theme.title == "Edited"
        # While it is away the default stands in; it is still the one that was chosen.
        path.rename(path.with_suffix(".away"))
        await world.call("io.geoos.Daemon.Reload")
        assert (await consumer.expect(ThemeChanged)).theme.name == "aurora"
        path.with_suffix(".away").rename(path)
        await world.call("io.geoos.Daemon.Reload")
        assert (await consumer.expect(ThemeChanged)).theme.title == "Edited"
