"""The page in Chromium against a fake broadcaster."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
from fake_broadcaster import FakeBroadcaster, Viewer, pack_cells, snapshot, token
from PIL import Image
from playwright.sync_api import FloatRect, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

THEMES = Path(__file__).resolve().parents[2] / "etc" / "themes"
TEXTS = ["The", " geometry", " of", " thought", "\n", " is", " a", " curve", "."]


def bright_pixels(page: Page) -> int:
    """Pixels of the map itself, without words and panels, that shine more than the curve."""
    page.evaluate("document.getElementById('labels').style.visibility = 'hidden'")
    clip: FloatRect = {"x": 40, "y": 80, "width": 540, "height": 460}
    picture = Image.open(BytesIO(page.screenshot(clip=clip))).convert("L")
    return sum(picture.histogram()[170:])


def brightest(page: Page) -> int:
    """The brightest pixel of the map itself, where the panel does not cover it."""
    page.evaluate("document.getElementById('labels').style.visibility = 'hidden'")
    clip: FloatRect = {"x": 40, "y": 80, "width": 540, "height": 460}
    picture = Image.open(BytesIO(page.screenshot(clip=clip))).convert("L")
    return max(level for level, count in enumerate(picture.histogram()) if count)


def begin(page: Page, broadcaster: FakeBroadcaster, **more: object) -> Viewer:
    page.goto(broadcaster.address)
    viewer = broadcaster.wait_for_viewer(1)
    viewer.send("Hello", {"epoch": "e1", "seq": 0, "version": 1, "theme": None})
    viewer.send("Snapshot", snapshot(0, **more))
    expect(page.locator("body")).to_have_attribute("data-connection", "live")
    return viewer


def say(viewer: Viewer, texts: list[str], first: int = 1, **more: object) -> int:
    """Send tokens; returns the next free seq."""
    for i, text in enumerate(texts):
        message = token(text, first + i - 1, 1000 + 37 * i, **more)
        viewer.send("TokenVisualizationUpdate", message, first + i)
    return first + len(texts)


def test_the_stream_is_the_concatenation_of_the_tokens(
    page: Page, broadcaster: FakeBroadcaster
) -> None:
    viewer = begin(page, broadcaster)
    expect(page.locator("#empty")).to_contain_text("http://127.0.0.1:1235/v1")
    viewer.send("SessionStarted", {"session": "s1", "model": "m", "upstream": "u"}, 1)
    say(viewer, TEXTS, 2, activation=0.5)
    expect(page.locator("#stream .t")).to_have_count(len(TEXTS))
    assert page.locator("#stream .text").text_content() == "".join(TEXTS)
    expect(page.locator("#empty")).to_be_hidden()
    expect(page.locator("#sessions li")).to_contain_text("9 tokens")


def bridge(address: str, *models: str, **details: str) -> dict[str, object]:
    """What ``api/status`` says of a bridge at *address*."""
    details = {"upstreams": "discovered", "models": ", ".join(models), **details}
    links = [{"name": "compositor", "peer": "/run"}, {"name": "upstream lab", "peer": "http://lab"}]
    status = {"addresses": [address], "details": details, "links": links}
    return {"daemons": [{"name": "control"}, {"name": "bridge", "status": status}]}


def test_before_the_first_token_it_says_what_to_do(
    page: Page, broadcaster: FakeBroadcaster
) -> None:
    broadcaster.status = bridge("http://127.0.0.1:4321")
    begin(page, broadcaster)
    title, advice = page.locator("#empty-title"), page.locator("#empty-advice")
    expect(title).to_have_text("No model to ask yet")
    expect(advice).to_contain_text("Start LM Studio, Ollama, llama.cpp or vLLM")
    expect(page.locator("#copy-address code")).to_have_text("http://127.0.0.1:4321/v1")
    broadcaster.status = bridge("http://127.0.0.1:4321", upstreams="configured")
    expect(advice).to_contain_text("No model is ready at http://lab.")
    broadcaster.status = bridge("http://127.0.0.1:4321", "qwen3", "phi-4")
    expect(advice).to_contain_text("qwen3 and 1 more are ready. Type a prompt below")
    expect(title).to_have_text("Nothing has been thought yet")


def test_streams_side_by_side_keep_apart(page: Page, broadcaster: FakeBroadcaster) -> None:
    viewer = begin(page, broadcaster)
    for i, text in enumerate(TEXTS):
        session, role = ("a", "answer") if i % 2 else ("b", "reasoning")
        message = token(text, i, i, session=session, role=role)
        viewer.send("TokenVisualizationUpdate", message, i + 1)
    expect(page.locator("#stream .t")).to_have_count(len(TEXTS))
    texts = page.locator("#stream .text").all_text_contents()
    assert texts == ["".join(TEXTS[::2]), "".join(TEXTS[1::2])]
    expect(page.locator("#stream .reasoning .badge")).to_have_text("reasoning")


def test_the_map_lights_up(page: Page, broadcaster: FakeBroadcaster) -> None:
    page.emulate_media(reduced_motion="reduce")  # the camera jumps
    viewer = begin(page, broadcaster)
    assert bright_pixels(page) == 0
    say(viewer, TEXTS, activation=0.9)
    expect(page.locator("#stream .t")).to_have_count(len(TEXTS))
    # Software GL may take a few pictures' time for its first frame with light in it.
    assert any(bright_pixels(page) > 20 for _ in range(20))


def test_what_is_remembered_close_together_is_no_brighter_than_alone(
    page: Page, broadcaster: FakeBroadcaster
) -> None:
    page.emulate_media(reduced_motion="reduce")
    # The last cell holds the view at the whole district, where a cell is less than a pixel.
    for crowd in (0, 5000):
        cells = [(0, cell, 9.0) for cell in (*range(crowd), 1_000, (1 << 20) - 1)]
        page.goto("about:blank")
        page.goto(broadcaster.address)
        viewer = broadcaster.wait_for_viewer(1 + (crowd > 0))
        viewer.send("Hello", {"epoch": "e1", "seq": 0, "version": 1, "theme": None})
        viewer.send("Snapshot", snapshot(0, cells=pack_cells(cells)))
        expect(page.locator("body")).to_have_attribute("data-connection", "live")
        shines = [brightest(page) for _ in range(10)]
        assert 30 < max(shines) < 150, shines


def test_of_a_session_that_began_before_only_what_is_known_is_said(
    page: Page, broadcaster: FakeBroadcaster
) -> None:
    sessions = [{"session": name, "phase": "ended", "tokens": 9} for name in ("a", "b", "c")]
    tokens = [token("x", 8, 3, session="a", activation=0.5), token("y", 8, 4, session="b")]
    begin(page, broadcaster, sessions=sessions, tokens=tokens)
    expect(page.locator("#sessions li")).to_have_count(3)
    absent = page.locator("#sessions .absent")
    # The newest first: c, of which no token came; b, without probabilities; a, with them.
    assert [absent.nth(row).is_visible() for row in range(3)] == [False, True, False]


def test_unknown_probability_is_not_made_up(page: Page, broadcaster: FakeBroadcaster) -> None:
    viewer = begin(page, broadcaster)
    viewer.send("TokenVisualizationUpdate", token("known", 0, 5, activation=0.0), 1)
    viewer.send("TokenVisualizationUpdate", token("unknown", 1, 9), 2)
    known, unknown = page.locator("#stream .t").first, page.locator("#stream .t").last
    expect(known).to_have_class("t p0")
    expect(unknown).to_have_class("t unknown")
    unknown.hover()
    expect(page.locator("#inspector dd").first).to_have_text("absent")
    expect(page.locator("#sessions li")).to_contain_text("2 tokens")
    expect(page.locator("#sessions .absent")).to_be_hidden()  # one token told its own
    payload = {"session": "s1", "strength": 0.4, "data": {"confidence": 0.7}}
    viewer.send("NeuralStateUpdate", payload, 3)
    expect(page.locator("#sessions .trace")).to_have_attribute(
        "aria-label", "strength 0.40, confidence 0.70"
    )


def test_a_token_is_inspected_on_the_map_and_by_keyboard(
    page: Page, broadcaster: FakeBroadcaster
) -> None:
    viewer = begin(page, broadcaster)
    more = {
        "activation": 0.25,
        "alternatives": [["<b>", 0.5], ["cat", 0.25]],
        "provenance": {"activation": "measured"},
    }
    viewer.send("TokenVisualizationUpdate", token("cat", 0, 777, **more), 1)
    expect(page.locator("#stream .t")).to_have_count(1)
    page.locator("#stream").press("ArrowLeft")
    inspector = page.locator("#inspector")
    expect(inspector).to_contain_text("25 %")
    expect(inspector.locator(".word").first).to_have_text("<b>")
    page.locator("#stream").press("Escape")
    expect(inspector).to_be_hidden()
    page.emulate_media(reduced_motion="reduce")
    page.locator("#fit").click()
    # Fitted to one cell, the token is in the middle of what the panel leaves free.
    box = page.locator("#panel").bounding_box()
    assert box is not None
    page.mouse.move((box["x"] + 12) / 2, 640 / 2 + (72 - 64) / 2)
    expect(inspector).to_contain_text("cell 777 of district 0")


def test_the_view_fits_itself_until_it_is_moved(page: Page, broadcaster: FakeBroadcaster) -> None:
    begin(page, broadcaster)
    fit = page.locator("#fit")
    expect(fit).to_have_attribute("aria-pressed", "true")
    page.locator("#map").press("ArrowRight")
    page.mouse.move(200, 200)
    expect(fit).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("f")
    expect(fit).to_have_attribute("aria-pressed", "true")
    page.mouse.wheel(0, -300)
    page.mouse.move(210, 200)
    expect(fit).to_have_attribute("aria-pressed", "false")


def test_enter_sends_the_prompt(page: Page, broadcaster: FakeBroadcaster) -> None:
    begin(page, broadcaster)
    box = page.locator("#prompt-text")
    box.fill("What is a")
    box.press("Shift+Enter")
    box.press_sequentially("curve?")
    box.press("Enter")
    assert broadcaster.wait_for_prompt() == {"prompt": "What is a\ncurve?"}
    expect(box).to_have_value("")


def test_a_model_is_chosen_where_there_are_several(
    page: Page, broadcaster: FakeBroadcaster
) -> None:
    names = ["one", "two"]
    districts = [
        {"index": i, "model": name, "id_space": "ids", "layout": 0} for i, name in enumerate(names)
    ]
    begin(page, broadcaster, districts=districts)
    page.locator("#prompt-model").select_option("two")
    page.locator("#prompt-text").fill("hi")
    page.locator("#prompt-send").click()
    assert broadcaster.wait_for_prompt() == {"prompt": "hi", "model": "two"}


def test_a_refused_prompt_says_why_and_is_kept(
    page: Page, broadcaster: FakeBroadcaster, complaints: list[str]
) -> None:
    begin(page, broadcaster)
    reason = "cannot reach a model: no upstream answers; start one"
    broadcaster.prompt_reply = (503, {"error": {"message": reason}})
    page.locator("#prompt-text").fill("hello")
    page.locator("#prompt-text").press("Enter")
    expect(page.locator("#prompt-error")).to_have_text(reason)
    expect(page.locator("#prompt-text")).to_have_value("hello")
    assert ["503" in complaint for complaint in complaints] == [True]
    complaints.clear()


def test_a_dropped_connection_resumes(
    page: Page, broadcaster: FakeBroadcaster, complaints: list[str]
) -> None:
    viewer = begin(page, broadcaster)
    next_seq = say(viewer, TEXTS[:4])
    expect(page.locator("#stream .t")).to_have_count(4)
    viewer.drop()
    again = broadcaster.wait_for_viewer(2)
    assert again.query == {"epoch": "e1", "after": str(next_seq - 1)}
    again.send("Hello", {"epoch": "e1", "seq": next_seq, "version": 1})
    for i, text in enumerate(TEXTS[4:], 4):
        again.send("TokenVisualizationUpdate", token(text, i, i), next_seq + i)
    expect(page.locator("#stream .t")).to_have_count(len(TEXTS))
    assert page.locator("#stream .text").text_content() == "".join(TEXTS)
    expect(page.locator("#missed")).to_be_hidden()
    complaints.clear()  # Chromium may tell of the cut connection


def test_a_gap_is_announced(page: Page, broadcaster: FakeBroadcaster) -> None:
    viewer = begin(page, broadcaster)
    viewer.send("Gap", {"from_seq": 3, "to_seq": 40, "dropped": 37, "reason": "lag"})
    expect(page.locator("#toasts")).to_contain_text("37 messages missed: lag")
    expect(page.locator("#missed")).to_have_text("37 missed")


def test_the_colour_of_a_word_begins_with_the_word(
    page: Page, broadcaster: FakeBroadcaster
) -> None:
    viewer = begin(page, broadcaster)
    texts = ["The", "  map", " ", "\n", " of"]
    say(viewer, texts, activation=0.1)
    expect(page.locator("#stream .t")).to_have_count(5)
    assert page.locator("#stream .t").all_text_contents() == ["The", "map", " ", "\n", "of"]
    assert page.locator("#stream .text").text_content() == "".join(texts)


def test_hostile_text_stays_text(page: Page, broadcaster: FakeBroadcaster) -> None:
    viewer = begin(page, broadcaster)
    hostile = ["<img src=x onerror=alert(1)>", "</p><script>alert(2)</script>", "\u202eabc"]
    payload = {"session": "s1", "model": "<b>model</b>", "upstream": "<i>u</i>"}
    viewer.send("SessionStarted", payload, 1)
    say(viewer, hostile, 2, activation=0.5, model="<b>model</b>", alternatives=[["<u>x</u>", 0.5]])
    expect(page.locator("#stream .t")).to_have_count(3)
    assert page.locator("#stream .text").text_content() == "".join(hostile)
    page.locator("#stream .t").first.hover()
    expect(page.locator("#inspector .word").first).to_have_text("<u>x</u>")
    expect(page.locator("#sessions .name")).to_have_text("<b>model</b>")
    viewer.send("SessionEnded", {"session": "s1", "error": "<s>gone</s>"}, 9)
    expect(page.locator("#stream .note")).to_have_text("stopped: <s>gone</s>")
    assert page.locator("#panel :is(b, i, s, u, script, img)").count() == 0


def test_the_stream_is_bounded(page: Page, broadcaster: FakeBroadcaster) -> None:
    viewer = begin(page, broadcaster)
    say(viewer, ["old "] * 300, session="early")
    say(viewer, [f"{i} " for i in range(2100)], 301)
    expect(page.locator("#stream .t").last).to_have_text("2099 ")
    expect(page.locator("#stream .t")).to_have_count(2000)
    expect(page.locator('#stream [data-session="early"]')).to_have_count(0)
    expect(page.locator("#stream .block")).to_have_class("block answer trimmed")


FOLLOWED = "() => stream.scrollHeight - stream.scrollTop - stream.clientHeight < 2"
"""Whether the end of the stream is in sight; an element is a variable by its id."""


def test_the_newest_is_followed_until_the_reader_goes_up(
    page: Page, broadcaster: FakeBroadcaster
) -> None:
    viewer = begin(page, broadcaster)
    seq = say(viewer, [f"{i} " for i in range(900)])
    expect(page.locator("#stream .t")).to_have_count(900)
    page.wait_for_function(FOLLOWED)
    # Sessions take room above in the moment in which the browser tells of the last scroll.
    page.evaluate(
        """() => {
            document.getElementById("sessions").style.minHeight = "200px";
            stream.dispatchEvent(new Event("scroll"));
        }"""
    )
    page.wait_for_function(FOLLOWED)
    expect(page.locator("#newest")).to_be_hidden()
    seq = say(viewer, ["more "] * 300, seq)
    expect(page.locator("#stream .t")).to_have_count(1200)
    page.wait_for_function(FOLLOWED)
    page.evaluate("stream.scrollBy(0, -600)")
    expect(page.locator("#newest")).to_be_visible()
    before = page.evaluate("stream.scrollTop")
    say(viewer, ["unseen "] * 300, seq)
    expect(page.locator("#stream .t")).to_have_count(1500)
    assert page.evaluate("stream.scrollTop") == before
    page.locator("#newest").click()
    page.wait_for_function(FOLLOWED)


def test_a_late_joiner_sees_sessions_tokens_and_cells(
    page: Page, broadcaster: FakeBroadcaster
) -> None:
    begin(
        page,
        broadcaster,
        sessions=[{"session": "s1", "model": "m", "phase": "generating", "tokens": 12}],
        tokens=[token("before ", 11, 44, model="m")],
        cells=pack_cells([(0, cell * 97, 5.0) for cell in range(200)]),
        districts=[{"index": 0, "model": "m", "id_space": "ids", "layout": 0}],
    )
    expect(page.locator("#stream .text")).to_have_text("before ")
    expect(page.locator("#sessions li")).to_contain_text("12 tokens")


def test_a_replay_is_not_shown_as_live(page: Page, broadcaster: FakeBroadcaster) -> None:
    viewer = begin(page, broadcaster)
    viewer.send("SessionStarted", {"session": "r1", "upstream": "u", "replay_of": "s1"}, 1)
    expect(page.locator("#sessions .upstream")).to_have_text("replay of a recording")


@pytest.mark.parametrize("name", ["ember", "paper"])
def test_a_theme_changes_the_page(page: Page, broadcaster: FakeBroadcaster, name: str) -> None:
    viewer = begin(page, broadcaster)
    theme = json.loads((THEMES / f"{name}.json").read_text())
    viewer.send("ThemeChanged", {"theme": theme}, 1)
    red, green, blue = bytes.fromhex(theme["background"][1:])
    expect(page.locator("body")).to_have_css("background-color", f"rgb({red}, {green}, {blue})")


CONTRASTS = """async () => {
    const { contrast, mix, parseHex } = await import("/core/color.js");
    const root = getComputedStyle(document.documentElement);
    const named = (name) => parseHex(root.getPropertyValue(name).trim());
    const raised = named("--raised");
    const words = [...Array(16).keys()].map((shade) =>
        contrast(named(`--p${shade}`), shade < 4 ? named(`--wash${shade}`) : raised));
    const others = ["--text", "--muted", "--accent", "--failure", "--warning"];
    return [...words, ...others.map((name) => contrast(named(name), raised))];
}"""


@pytest.mark.parametrize("name", ["aurora", "ember", "paper"])
def test_all_text_is_legible_in_every_theme(
    page: Page, broadcaster: FakeBroadcaster, name: str
) -> None:
    viewer = begin(page, broadcaster)
    theme = json.loads((THEMES / f"{name}.json").read_text())
    viewer.send("ThemeChanged", {"theme": theme}, 1)
    red, green, blue = bytes.fromhex(theme["background"][1:])
    expect(page.locator("body")).to_have_css("background-color", f"rgb({red}, {green}, {blue})")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) == 21
    assert min(contrasts) >= 4.45  # WCAG AA asks for 4.5; colours are whole numbers


@pytest.mark.parametrize(("width", "height"), [(390, 844), (844, 390), (2560, 1440)])
def test_nothing_is_cut_off_at_any_width(
    page: Page, broadcaster: FakeBroadcaster, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    viewer = begin(page, broadcaster)
    say(viewer, TEXTS, activation=0.5)
    expect(page.locator("#stream .t")).to_have_count(len(TEXTS))
    for part in ("#prompt-text", "#prompt-send", "#connection", "#fit", "#stream"):
        box = page.locator(part).bounding_box()
        assert box is not None, part
        assert box["x"] >= 0, part
        assert box["y"] >= 0, part
        assert box["x"] + box["width"] <= width, part
        assert box["y"] + box["height"] <= height, part
