/**
 * A line for each session: model, upstream, phase, tokens, speed, time to first token, and the
 * trace of strength and confidence where they were measured.
 *
 * Rows are kept and changed in place, at most five times a second.
 */

import { tokensPerSecond } from "../core/scene.js";
import { duration, plural } from "../core/text.js";
import { TINTS } from "./theme.js";

const MAX_ROWS = 6;
const MIN_INTERVAL = 200;

export class Sessions {
  #rows = new Map();
  #timer = null;

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} more  line for those that do not fit
   * @param {import("../core/scene.js").Scene} scene
   */
  constructor(list, more, scene) {
    this.list = list;
    this.more = more;
    this.scene = scene;
    this.colors = null;
  }

  /** Show the scene soon. */
  update() {
    this.#timer ??= setTimeout(() => this.#show(), MIN_INTERVAL);
  }

  #show() {
    this.#timer = null;
    const ordered = this.scene.ordered();
    const shown = ordered.slice(0, MAX_ROWS);
    const names = new Set(shown.map(({ session }) => session));
    for (const [name, row] of this.#rows) {
      if (names.has(name)) continue;
      row.element.remove();
      this.#rows.delete(name);
    }
    shown.forEach((session, at) => this.#place(session, at));
    this.more.hidden = ordered.length <= MAX_ROWS;
    this.more.textContent = `and ${plural(ordered.length - MAX_ROWS, "earlier session")}`;
    if (shown.some(({ phase }) => phase !== "ended")) this.update();
  }

  #place(session, at) {
    let row = this.#rows.get(session.session);
    if (!row) {
      row = makeRow();
      this.#rows.set(session.session, row);
    }
    if (this.list.children[at] !== row.element) {
      this.list.insertBefore(row.element, this.list.children[at] ?? null);
    }
    this.#fill(row, session);
  }

  #fill(row, session) {
    row.element.dataset.phase = session.error ? "failed" : session.phase;
    row.dot.className = `dot m${this.scene.modelIndex(session.model) % TINTS}`;
    row.name.textContent = session.model ?? "unnamed model";
    row.name.title = `session ${session.session}`;
    row.upstream.textContent = originText(session);
    row.upstream.title = session.replayOf ? `recorded as session ${session.replayOf}` : "";
    if (session.replayOf) row.element.dataset.replay = "";
    row.phase.textContent = phaseText(session);
    row.phase.title = session.error ?? "";
    const part = session.phase === "prefill" && session.total ? session.processed : null;
    row.progress.hidden = part === null;
    if (part !== null) [row.progress.max, row.progress.value] = [session.total, part];
    row.figures.textContent = figures(session, performance.now() / 1000);
    row.figures.title = "tokens · tokens per second · time to first token";
    row.foot.hidden = row.figures.textContent === "";
    this.#trace(row, session);
  }

  #trace(row, session) {
    const { strength, confidence } = session;
    const measured = strength.length > 0 || confidence.length > 0;
    row.trace.hidden = !measured;
    row.absent.hidden = measured || session.measured !== false;
    if (!measured) return;
    row.trace.setAttribute("aria-label", traceText(strength, confidence));
    row.trace.title = traceText(strength, confidence);
    drawTrace(row.trace, session, this.colors);
  }
}

function makeRow() {
  const element = document.createElement("li");
  const part = (tag, className, parent) => {
    const child = document.createElement(tag);
    child.className = className;
    parent.append(child);
    return child;
  };
  const head = part("div", "session-head", element);
  const dot = part("span", "dot", head);
  const name = part("span", "name", head);
  const upstream = part("span", "upstream", head);
  const phase = part("span", "phase", head);
  const progress = part("progress", "progress", element);
  progress.setAttribute("aria-label", "prompt read");
  const foot = part("div", "session-foot", element);
  const figuresPart = part("span", "figures", foot);
  const absent = part("span", "absent", foot);
  absent.textContent = "no probabilities";
  absent.title = "the server sends no probabilities for this request";
  const trace = part("canvas", "trace", foot);
  trace.setAttribute("role", "img");
  return { element, dot, name, upstream, phase, progress, foot, figures: figuresPart, absent, trace };
}

/** Where it comes from: a replay is never shown as if it happened now. */
function originText({ replayOf, upstream }) {
  if (replayOf) return "replay of a recording";
  return upstream ? `via ${upstream}` : "";
}

function phaseText(session) {
  if (session.phase === "queued") {
    return session.position ? `queued, ${session.position} ahead` : "queued";
  }
  if (session.phase === "prefill" && session.total) {
    return `prefill ${session.processed ?? 0}/${session.total}`;
  }
  if (session.phase !== "ended") return session.phase;
  if (session.error) return "failed";
  return { stop: "done", length: "length limit" }[session.finishReason] ?? session.finishReason ?? "ended";
}

function figures(session, now) {
  const parts = [];
  if (session.tokens > 0) parts.push(plural(session.tokens, "token"));
  const rate = tokensPerSecond(session, now);
  if (rate !== null) parts.push(`${rate.toFixed(rate < 10 ? 1 : 0)} tok/s`);
  if (session.timeToFirstToken !== null) {
    parts.push(`first ${duration(session.timeToFirstToken)}`);
  }
  return parts.join(" · ");
}

function traceText(strength, confidence) {
  const last = (name, values) =>
    values.length > 0 ? `${name} ${values.at(-1).toFixed(2)}` : `${name} absent`;
  return `${last("strength", strength)}, ${last("confidence", confidence)}`;
}

function drawTrace(canvas, { strength, confidence }, colors) {
  const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
  const width = 72;
  const height = 22;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  if (colors === null) return;
  const y = (value) => height - 2 - value * (height - 4);
  const line = (values) => {
    context.beginPath();
    const step = width / Math.max(23, values.length - 1);
    values.forEach((value, i) => context.lineTo(width - (values.length - 1 - i) * step, y(value)));
  };
  line(confidence);
  context.globalAlpha = 0.55;
  context.strokeStyle = colors.muted;
  context.lineWidth = 1;
  context.stroke();
  line(strength);
  context.globalAlpha = 1;
  context.strokeStyle = colors.accent;
  context.lineWidth = 1.6;
  context.lineJoin = "round";
  context.stroke();
}
