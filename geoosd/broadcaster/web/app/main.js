/**
 * The page: joins the connection to the map, the thought stream, the sessions and the prompt.
 *
 * `?ui=hidden` leaves the map alone on the screen (for a wall or an OBS browser source); `h`
 * switches it. Keys: `f` fits the map, `/` goes to the prompt.
 */

import { Connection, placeOfToken } from "../client.js";
import { Scene } from "../core/scene.js";
import { Announcer } from "./announcer.js";
import { listen, zoomMiddle } from "./gestures.js";
import { Inspector } from "./inspector.js";
import { Labels } from "./labels.js";
import { TokenMap } from "./map.js";
import { Prompt } from "./prompt.js";
import { Sessions } from "./sessions.js";
import { Status } from "./status.js";
import { Stream } from "./stream.js";
import { applyTheme, FIRST_THEME } from "./theme.js";
import { Welcome } from "./welcome.js";

const $ = (id) => document.getElementById(id);
const now = () => performance.now() / 1000;
const motion = matchMedia("(prefers-reduced-motion: reduce)");

const scene = new Scene();
const labels = new Labels($("labels"));
const map = new TokenMap($("map"), { labels, reducedMotion: () => motion.matches });
const inspector = new Inspector($("inspector"));
const sessions = new Sessions($("sessions"), $("sessions-more"), scene);
const announcer = new Announcer($("announcer"));
const stream = new Stream($("stream"), $("newest"), inspectSpan);
const prompt = new Prompt({
  form: $("prompt"),
  text: $("prompt-text"),
  send: $("prompt-send"),
  error: $("prompt-error"),
  models: $("prompt-models"),
  model: $("prompt-model"),
});
const welcome = new Welcome({
  empty: $("empty"),
  title: $("empty-title"),
  advice: $("empty-advice"),
  address: document.querySelector("#copy-address code"),
});
const status = new Status({
  body: document.body,
  text: $("connection-text"),
  chip: $("connection"),
  missed: $("missed"),
  toasts: $("toasts"),
});

const connection = new Connection(neuralAddress(), {
  onState: (state) => status.show(state),
  onHello: ({ theme }) => theme && useTheme(theme),
  onSnapshot: begin,
  onMessage: take,
  onGap: (gap) => status.gap(gap),
});

/** The WebSocket beside this page. */
function neuralAddress() {
  const url = new URL("neural", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = "";
  return url;
}

function useTheme(theme) {
  const applied = applyTheme(theme, document.documentElement);
  document.querySelector('meta[name="theme-color"]').content = theme.background;
  labels.theme = applied;
  sessions.colors = applied.css;
  map.setTheme(applied);
}

function begin(snapshot) {
  scene.reset(snapshot);
  map.reset(snapshot, (model) => scene.modelIndex(model));
  stream.clear();
  for (const token of snapshot.tokens ?? []) stream.append(token, scene.modelIndex(token.model));
  const running = scene.ordered().find(({ phase }) => phase !== "ended");
  if (running) announcer.started(running.session);
  refresh();
}

function take(message) {
  const { type, payload } = message;
  if (type === "ThemeChanged") useTheme(payload.theme);
  const session = scene.apply(message, now());
  if (type === "TokenVisualizationUpdate") takeToken(payload, session);
  if (type === "SessionStarted") announcer.started(payload.session);
  if (type === "SessionEnded" && session) {
    stream.end(session);
    announcer.ended(session.session);
  }
  refresh();
}

function takeToken(payload, session) {
  const token = payload.model ? payload : { ...payload, model: session?.model ?? null };
  const model = scene.modelIndex(token.model);
  stream.append(token, model);
  announcer.token(token);
  map.light(token, model, now());
  const district = token.district ?? 0;
  if (token.model && !scene.districts.has(district)) {
    scene.districts.set(district, { index: district, model: token.model });
  }
}

function refresh() {
  sessions.update();
  prompt.offer(scene.models);
  welcome.show(stream.empty);
  labels.names = new Map([...scene.districts].map(([index, { model }]) => [index, model ?? ""]));
  $("fit").setAttribute("aria-pressed", String(map.following));
}

function inspectSpan(token, span) {
  if (token === null) {
    inspector.hide();
    map.mark(null);
    return;
  }
  inspector.show(token, besideSpan(span));
  map.mark(placeOfToken(token));
}

/** The card stands beside the panel, not over the text; over or under the line when narrow. */
function besideSpan(span) {
  const { left, right, top, bottom } = span.getClientRects()[0];
  const panel = $("panel").getBoundingClientRect();
  if (panel.width > innerWidth * 0.7) return { left, right, top, bottom };
  return { left: panel.left, right: innerWidth, top, bottom };
}

function inspectPlace(entry) {
  $("fit").setAttribute("aria-pressed", String(map.following));
  map.canvas.classList.toggle("over-token", entry !== null);
  map.mark(entry);
  if (entry === null) {
    inspector.hide();
    return;
  }
  const { x, y } = map.view.toScreen(entry.x, entry.y);
  inspector.show(entry.token, { left: x - 10, right: x + 10, top: y - 10, bottom: y + 10 });
}

/** Sizes, and which part of the map the panel covers: its right side, or the bottom when narrow. */
function layOut() {
  const panel = $("panel").getBoundingClientRect();
  const insets = { top: 72, right: 12, bottom: 64, left: 12 };
  if (panel.width > 0) {
    if (panel.width < innerWidth * 0.7) insets.right = innerWidth - panel.left;
    else insets.bottom = innerHeight - panel.top + 44;
  }
  map.resize(innerWidth, innerHeight, insets);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(input|textarea|select)$/i.test(event.target.tagName)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "f") fit();
  if (event.key === "h") {
    document.body.classList.toggle("bare");
    layOut();
  }
  if (event.key === "/") {
    event.preventDefault();
    $("prompt-text").focus();
  }
}

function fit() {
  map.fit();
  $("fit").setAttribute("aria-pressed", "true");
}

async function copyAddress() {
  const hint = $("copy-hint");
  try {
    await navigator.clipboard.writeText(document.querySelector("#copy-address code").textContent);
    hint.textContent = "copied";
  } catch {
    hint.textContent = "select and copy";
  }
}

document.body.classList.toggle("bare", new URLSearchParams(location.search).get("ui") === "hidden");
$("map-missing").hidden = map.works;
listen(map, inspectPlace);
$("zoom-in").addEventListener("click", () => zoomMiddle(map, 1.6));
$("zoom-out").addEventListener("click", () => zoomMiddle(map, 1 / 1.6));
$("fit").addEventListener("click", fit);
$("copy-address").addEventListener("click", copyAddress);
addEventListener("keydown", onKey);
addEventListener("resize", layOut);
addEventListener("online", () => connection.retryNow());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  connection.retryNow();
  welcome.show(stream.empty);
});
useTheme(FIRST_THEME);
layOut();
connection.open();
