"""The page's pure modules, run in Chromium: curve, messages, connection, scene, view, colours."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_broadcaster import FakeBroadcaster, hilbert_place, pack_cells
from playwright.sync_api import Browser, Page

from geoosd.compositor.core.hilbert import cell_at
from geoosd.wire import pictures

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Evaluate = Callable[..., Any]


@pytest.fixture(scope="module")
def core(browser: Browser) -> Iterator[Evaluate]:
    """``core(script, argument)``: run with the core modules at hand."""
    with FakeBroadcaster() as broadcaster:
        page: Page = browser.new_page()
        page.goto(broadcaster.address + "favicon.svg")  # the origin, without the page's scripts
        names = ["hilbert", "protocol", "connection", "scene", "cells", "view", "color", "text"]
        imports = "".join(
            f"const {name} = await import('{broadcaster.address}core/{name}.js');"
            for name in [*names, "curve"]
        )
        yield lambda script, argument=None: page.evaluate(
            f"async (input) => {{ {imports} {FAKE_SOCKET} {script} }}", argument
        )
        page.close()


FAKE_SOCKET = """
const sockets = [], timers = [], log = [];
class FakeSocket {
  constructor(url) { this.url = url; this.sent = []; sockets.push(this); }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.closed = true; }
  say(message_type, payload, seq) {
    this.onmessage({ data: JSON.stringify({ message_type, timestamp: 1, payload, seq }) });
  }
  lose(code = 1006, reason = "") { this.onclose({ code, reason }); }
}
const environment = (random = 0) => ({
  WebSocket: FakeSocket,
  setTimeout: (act, delay) => timers.push({ act, delay }),
  clearTimeout: () => {},
  random: () => random,
});
const connect = (options = {}, random = 0) => {
  const made = new connection.Connection("ws://h/neural", {
    onState: ({ state }) => log.push(state),
    onSnapshot: ({ at_seq }) => log.push(["snapshot", at_seq]),
    onMessage: ({ seq }) => log.push(seq),
    onGap: ({ dropped }) => log.push(["gap", dropped]),
    ...options,
  }, environment(random));
  made.open();
  return made;
};
const query = (socket) => Object.fromEntries(new URL(socket.url).searchParams);
"""


@pytest.mark.parametrize("order", [1, 2, 4, 10, 16])
def test_curve_equals_the_reference(core: Evaluate, order: int) -> None:
    random_indices = random.Random(order)
    indices = [random_indices.randrange(4**order) for _ in range(500)] + [0, 4**order - 1]
    places = core(
        "return input.indices.map((i) => { const p = hilbert.d2xy(i, input.order);"
        " return [p.x, p.y, hilbert.xy2d(p.x, p.y, input.order)]; })",
        {"indices": indices, "order": order},
    )
    assert places == [[*hilbert_place(index, order), index] for index in indices]


def test_curve_equals_the_compositors(core: Evaluate) -> None:
    indices = [random.Random(seed).randrange(4**10) for seed in range(300)]
    places = core("return input.map((i) => hilbert.d2xy(i, 10))", indices)
    expected = [cell_at(index, 10) for index in indices]
    assert [(place["x"], place["y"]) for place in places] == expected


def test_districts_keep_their_place_when_the_outer_curve_grows(core: Evaluate) -> None:
    districts = [0, 1, 5, 15, 16, 200, 4095, 2**32 - 1]
    places = core("return input.map((d) => hilbert.districtToPlace(d))", districts)
    expected = [hilbert_place(district, 16) for district in districts]
    assert [(place["x"], place["y"]) for place in places] == expected


def test_cells_and_tokens_have_the_same_place(core: Evaluate) -> None:
    x, y = hilbert_place(123456, 10)
    token = {"district": 3, "hilbert_position": [(x + 0.5) / 1024, (y + 0.5) / 1024]}
    by_token, by_cell, nowhere = core(
        "return [protocol.placeOfToken(input), protocol.placeOfCell(3, 123456),"
        " protocol.placeOfToken({})]",
        token,
    )
    assert by_token == by_cell
    assert nowhere is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', '{"message_type":1,"payload":{}}', '{"message_type":"A"}'],
)
def test_what_is_no_message_is_left_out(core: Evaluate, text: str) -> None:
    assert core("return protocol.parseMessage(input)", text) is None


def test_packed_cells_are_read(core: Evaluate) -> None:
    packed = pack_cells([(0, 5, 2.5), (7, 1_000_000, 0.25)])
    assert core("return protocol.decodeCells(input)", packed) == [
        {"district": 0, "cell": 5, "weight": 2.5},
        {"district": 7, "cell": 1_000_000, "weight": 0.25},
    ]
    assert core("return protocol.decodeCells(input)", "§") == []
    assert core("return protocol.decodeCells(input)", packed[:16]) == [
        {"district": 0, "cell": 5, "weight": 2.5}
    ]


def test_a_picture_frame_is_read(core: Evaluate) -> None:
    picture = core(
        "const bytes = new Uint8Array(18); const header = new DataView(bytes.buffer);"
        " header.setUint8(0, 1); header.setUint8(1, 2); header.setUint16(2, 640, true);"
        " header.setUint16(4, 480, true); header.setUint16(6, 5, true);"
        " header.setBigUint64(8, 99n, true); bytes[16] = 7;"
        " const p = protocol.parsePicture(bytes.buffer);"
        " return [p.kind, p.codec, p.width, p.height, p.view, Number(p.seq), p.data.length,"
        " p.data[0], protocol.parsePicture(new ArrayBuffer(3))]"
    )
    assert picture == [1, 2, 640, 480, "layers", 99, 2, 7, None]
    assert tuple(core("return protocol.VIEWS")) == pictures.VIEWS


def test_a_connection_resumes_after_the_last_number(core: Evaluate) -> None:
    log, queries, delays = core("""
        connect();
        sockets[0].say("Hello", { epoch: "e1", seq: 9 });
        sockets[0].say("Snapshot", { at_seq: 9 });
        sockets[0].say("TokenVisualizationUpdate", {}, 10);
        sockets[0].say("TokenVisualizationUpdate", {}, 14);
        sockets[0].lose();
        timers[0].act();
        sockets[1].say("Hello", { epoch: "e1", seq: 15 });
        sockets[1].say("TokenVisualizationUpdate", {}, 14);
        sockets[1].say("TokenVisualizationUpdate", {}, 15);
        return [log, sockets.map(query), timers.map(({ delay }) => delay)];
    """)
    assert log == ["connecting", "live", ["snapshot", 9], 10, 14, "resuming", "live", 15]
    assert queries == [{}, {"epoch": "e1", "after": "14"}]
    assert delays == [250]


def test_a_restarting_server_says_when_to_come_back(core: Evaluate) -> None:
    delays = core("""
        connect({}, 1);
        sockets[0].say("Hello", { epoch: "e1", seq: 9 });
        sockets[0].lose(1001, "restarting; retry in 730 ms");
        timers[0].act();
        sockets[1].lose(1001, "restarting; retry in 999999999 ms");
        timers[1].act();
        sockets[2].lose(1006, "restarting; retry in 730 ms");
        return timers.map(({ delay }) => delay);
    """)
    assert delays == [730, 60000, 281.25]


def test_a_new_epoch_begins_anew(core: Evaluate) -> None:
    log, last_query = core("""
        connect();
        sockets[0].say("Hello", { epoch: "e1", seq: 500 });
        sockets[0].say("Snapshot", { at_seq: 500 });
        sockets[0].lose(1001);
        timers[0].act();
        sockets[1].say("Hello", { epoch: "e2", seq: 3 });
        sockets[1].say("Snapshot", { at_seq: 3 });
        sockets[1].say("TokenVisualizationUpdate", {}, 4);
        sockets[1].lose();
        timers[1].act();
        return [log, query(sockets[2])];
    """)
    assert log[-3:] == [["snapshot", 3], 4, "resuming"]
    assert last_query == {"epoch": "e2", "after": "4"}


def test_a_gap_is_told_once_and_hides_nothing_that_still_comes(core: Evaluate) -> None:
    log, missed = core("""
        const made = connect();
        const gap = { from_seq: 10, to_seq: 49, dropped: 37, reason: "lag" };
        sockets[0].say("Hello", { epoch: "e1", seq: 9 });
        sockets[0].say("Snapshot", { at_seq: 9 });
        sockets[0].say("Gap", gap);
        sockets[0].lose();
        timers[0].act();
        sockets[1].say("Hello", { epoch: "e1", seq: 60 });
        sockets[1].say("Gap", gap);
        sockets[1].say("SessionEnded", { session: "s" }, 30);
        sockets[1].say("TokenVisualizationUpdate", {}, 50);
        sockets[1].say("Gap", { from_seq: null, to_seq: null, dropped: 5, reason: "outbox" });
        return [log, made.missed];
    """)
    assert log[3:] == [["gap", 37], "resuming", "live", 30, 50, ["gap", 5]]
    assert missed == 42


def test_waits_grow_up_to_a_limit_and_are_shortened_at_random(core: Evaluate) -> None:
    script = """
        connect({}, input);
        for (let i = 0; i < 8; i++) { sockets.at(-1).lose(); timers.at(-1).act(); }
        return [timers.map(({ delay }) => delay), log];
    """
    delays, log = core(script, 0)
    assert delays == [min(8000, 250 * 1.5**n) for n in range(8)]
    assert log[:5] == ["connecting", "connecting", "connecting", "connecting", "lost"]
    shortened, _ = core(script, 0.5)
    assert shortened == [0.75 * delay for delay in delays]


def test_refused_and_crowded_viewers_wait_longer(core: Evaluate) -> None:
    assert core("""
        connect();
        sockets[0].lose(1013);
        timers[0].act();
        sockets[1].lose(1008);
        return [timers.map(({ delay }) => delay), log.at(-1)];
    """) == [[1000, 30000], "refused"]


def test_retry_now_subscribe_and_close(core: Evaluate) -> None:
    sent, count, state, url = core("""
        const made = connect({
          channels: ["tokens"], tick: 33, models: ["a", "b"], view: "memory",
        });
        made.retryNow();                       // nothing to hurry
        sockets[0].lose();
        made.retryNow();
        sockets[1].say("Hello", { epoch: "e", seq: 0 });
        sockets[0].say("TokenVisualizationUpdate", {}, 1);   // a socket that was given up
        made.subscribe({ tick: 0 });
        sockets[1].onmessage({ data: "no json" });
        made.close();
        sockets[1].lose();
        return [sockets[1].sent, sockets.length, made.state, query(sockets[0])];
    """)
    assert sent == [
        {
            "message_type": "Subscribe",
            "payload": {"channels": None, "models": None, "tick": 0, "view": None},
        }
    ]
    assert (count, state) == (2, "closed")
    assert url == {"channels": "tokens", "tick": "33", "models": "a,b", "view": "memory"}


def test_a_session_from_queue_to_end(core: Evaluate) -> None:
    steps = core("""
        const made = new scene.Scene(), seen = [];
        const tell = (type, payload, timestamp, now) => {
          const s = made.apply({ type, payload: { session: "s", ...payload }, timestamp }, now);
          seen.push([s.phase, s.tokens, s.timeToFirstToken, scene.tokensPerSecond(s, now)]);
        };
        tell("SessionStarted", { model: "m", upstream: "u" }, 100, 0);
        tell("SessionProgress", { phase: "queued", position: 2 }, 100, 0);
        tell("SessionProgress", { phase: "prefill", upstream: "u2", total: 4 }, 100, 0);
        tell("SessionProgress", { phase: "prefill", processed: 2, total: 4 }, 100, 0);
        tell("TokenVisualizationUpdate", {}, 100.5, 1);
        tell("TokenVisualizationUpdate", {}, 100.6, 1.5);
        tell("TokenVisualizationUpdate", {}, 100.7, 2);
        tell("NeuralStateUpdate", { strength: 0.5, data: { confidence: null } }, 100.7, 2);
        tell("SessionEnded", { finish_reason: "stop", tokens_per_second: 9 }, 101, 3);
        const s = made.sessions.get("s");
        return [seen, s.strength, s.confidence, s.model, s.finishReason, s.upstream];
    """)
    seen, *rest = steps
    assert seen == [
        ["queued", 0, None, None],
        ["queued", 0, None, None],
        ["prefill", 0, None, None],
        ["prefill", 0, None, None],
        ["generating", 1, 0.5, None],
        ["generating", 2, 0.5, 2],
        ["generating", 3, 0.5, 2],
        ["generating", 3, 0.5, 2],
        ["ended", 3, 0.5, 9],
    ]
    assert rest == [[0.5], [], "m", "stop", "u2"]


def test_the_scene_stays_bounded_and_forgets_ended_sessions_first(core: Evaluate) -> None:
    names, first, unknown = core("""
        const made = new scene.Scene();
        const tell = (type, session) => made.apply({ type, payload: { session } }, 0);
        tell("SessionStarted", "first");
        tell("SessionStarted", "over");
        tell("SessionEnded", "over");
        for (let i = 0; i < scene.MAX_SESSIONS - 1; i++) tell("SessionStarted", `s${i}`);
        return [made.sessions.size, made.sessions.has("first") && !made.sessions.has("over"),
          tell("SomethingNew", "s1")];
    """)
    assert (names, first, unknown) == (64, True, None)


def test_a_ring_uploads_only_what_is_new(core: Evaluate) -> None:
    assert core("""
        const ring = new cells.Ring(4, 1), seen = [];
        const push = (n) => {
          for (let i = 0; i < n; i++) ring.push(i);
          seen.push(ring.takeChanges());
        };
        push(0); push(2); push(1); push(2); push(3); push(9);
        return seen;
    """) == [[], [[0, 2]], [[2, 3]], [[3, 4], [0, 1]], [[1, 4]], [[0, 4]]]


def test_memory_is_bounded_and_the_newest_token_of_a_cell_is_found(core: Evaluate) -> None:
    found, placeless, count, box, far = core("""
        const held = new cells.Cells();
        const at = (x, y, text) => held.light(
          { current_token: text, district: 0, hilbert_position: [x, y], session: "s" }, 0, 1);
        at(0.5, 0.5, "old"); at(0.25, 0.75, "else"); at(0.5, 0.5, "new");
        const found = held.nearest(0.501, 0.5, 0.01).token.current_token;
        const placeless = held.light({ current_token: "x" }, 0, 1);
        for (let i = 0; i < cells.MAX_MEMORY + 500; i++) {
          at((i % 1024 + 0.5) / 1024, (Math.floor(i / 1024) + 0.5) / 1024, "t");
        }
        return [found, placeless, held.memoryCount, held.box.right <= 1.001, held.nearest(5, 5, 1)];
    """)
    assert (found, placeless, count, box, far) == ("new", None, 16384, True, None)


def test_a_view_fits_beside_the_panel_and_zooms_around_the_pointer(core: Evaluate) -> None:
    left, right, before, after, moves = core("""
        const camera = new view.View();
        camera.resize(1000, 600, { top: 0, right: 400, bottom: 0, left: 0 });
        camera.fit({ left: 0, top: 0, right: 1, bottom: 1 });
        camera.jump();
        const [left, right] = [camera.toScreen(0, 0).x, camera.toScreen(1, 1).x];
        const before = camera.toWorld(100, 100);
        camera.zoomAt(2, 100, 100);
        let moves = 0;
        while (camera.step(1 / 60) && moves < 1000) moves += 1;
        return [left, right, before, camera.toWorld(100, 100), moves];
    """)
    assert 0 < left < right < 600
    assert after == pytest.approx(before, abs=1e-9)
    assert 10 < moves < 600


def test_text_colours_are_legible(core: Evaluate) -> None:
    assert core("""
        const [ground, ink] = ["#f6f3ea", "#23201a"].map(color.parseHex);
        return color.contrast(color.legible(color.parseHex("#e3d9c3"), ground, ink, 4.5), ground)
          >= 4.5 && color.toHex(color.parseHex("#0a5Ad1")) === "#0a5ad1"
          && color.contrast([0, 0, 0], [255, 255, 255]) === 21;
    """)


def test_numbers_and_text_as_shown(core: Evaluate) -> None:
    assert core("""return [
        text.percent(0.873), text.percent(0.0042), text.percent(1), text.percent(0.99996),
        text.duration(0.0841), text.duration(1.34), text.plural(1, "token"),
        text.plural(2048, "message"), text.shortText(" a\\nb\\u202e ", 9),
        text.shortText("abcdef", 4),
        text.visibleText(" \\n"), text.splitSentences("One. Two. Thr"), text.splitSentences("One")]
    """) == [
        "87 %", "0.42 %", "100 %", "100 %",
        "84 ms", "1.3 s", "1 token",
        "2,048 messages", "a↵b", "abc…",
        "␣↵", ["One. Two.", "Thr"], ["", "One"],
    ]  # fmt: skip


def test_only_even_depths_of_the_curve_are_drawn_and_only_what_is_seen(core: Evaluate) -> None:
    depths, whole, part = core("""
        const whole = curve.curveSegments([0], 2, { left: 0, top: 0, right: 1, bottom: 1 });
        const part = curve.curveSegments([0], 10, { left: 0, top: 0, right: 0.01, bottom: 0.01 });
        const depths = [24, 500, 4000, 90000].map((scale) => curve.visibleDepths(scale));
        return [depths.flat().map(({ depth }) => depth), whole.length / 6, part.length / 6];
    """)
    assert depths
    assert all(depth % 2 == 0 for depth in depths)
    assert (whole, part) == (15, 121)


def test_a_replay_is_known_as_one(core: Evaluate) -> None:
    told = core(
        """
        const made = new scene.Scene();
        made.reset({ sessions: [{ session: "late", replay_of: "old" }, { session: "live" }] });
        made.apply({ type: "SessionStarted", timestamp: 1,
                     payload: { session: "new", replay_of: "old" } }, 1);
        return [...made.sessions.values()].map(({ session, replayOf }) => [session, replayOf]);
        """
    )
    assert told == [["late", "old"], ["live", None], ["new", "old"]]
