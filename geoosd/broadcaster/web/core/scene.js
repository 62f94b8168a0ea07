/**
 * What the page knows of the running sessions, from Snapshot and the messages after it.
 *
 * Pure: `now` is a monotonic time in seconds. Nothing is made up: a value no message carried
 * stays null. Speed is counted over the last {@link RATE_WINDOW} seconds of arrivals until the
 * session's end brings the bridge's own figure; time to first token likewise comes from the
 * timestamps of one source until the end states it.
 */

import { probabilityOf } from "./protocol.js";

export const RATE_WINDOW = 5;
export const MAX_SESSIONS = 64;
export const MAX_TRACE = 96;

/**
 * @typedef {object} Session
 * @property {string} session
 * @property {string|null} model
 * @property {string|null} upstream
 * @property {string|null} replayOf  the recorded session that is shown again; null: it is live
 * @property {"queued"|"prefill"|"generating"|"ended"} phase
 * @property {number|null} position   place in the queue
 * @property {number|null} processed  prompt tokens read, of `total`
 * @property {number|null} total
 * @property {number} tokens
 * @property {number|null} started          timestamp of its start
 * @property {number|null} timeToFirstToken seconds
 * @property {number|null} tokensPerSecond  as the bridge stated it at the end
 * @property {string|null} finishReason
 * @property {string|null} error
 * @property {boolean|null} measured  whether tokens come with probabilities; null: none came yet
 * @property {number[]} arrivals  monotonic times inside the rate window
 * @property {number[]} strength  the last values, oldest first; empty: absent
 * @property {number[]} confidence
 */

export class Scene {
  constructor() {
    /** @type {Map<string, Session>} in order of their start */
    this.sessions = new Map();
    /** Models in the order they were met; the place in it picks the tint. */
    this.models = [];
    /** @type {Map<number, {index: number, model: string|null, id_space: string, layout: number}>} */
    this.districts = new Map();
  }

  /** Begin anew from a Snapshot. */
  reset(snapshot) {
    this.sessions.clear();
    this.districts.clear();
    for (const district of snapshot.districts ?? []) {
      this.districts.set(district.index, district);
      this.modelIndex(district.model);
    }
    for (const view of snapshot.sessions ?? []) {
      const session = this.#session(view.session);
      session.model = view.model ?? null;
      session.upstream = view.upstream ?? null;
      session.replayOf = view.replay_of ?? null;
      session.phase = view.phase ?? "queued";
      session.tokens = view.tokens ?? 0;
      session.started = view.started || null;
      this.modelIndex(session.model);
    }
    for (const token of snapshot.tokens ?? []) notice(this.sessions.get(token.session), token);
  }

  /**
   * Take one message; unknown types change nothing.
   *
   * @param {import("./protocol.js").Message} message
   * @param {number} now  monotonic seconds
   * @returns {Session|null} the session it changed
   */
  apply({ type, payload, timestamp }, now) {
    const name = payload.session;
    if (type === "TokenVisualizationUpdate") return this.#token(payload, timestamp, now);
    if (typeof name !== "string") return null;
    if (type === "SessionStarted") return this.#started(payload, timestamp);
    if (type === "SessionProgress") return this.#progress(payload);
    if (type === "SessionEnded") return this.#ended(payload);
    if (type === "NeuralStateUpdate") return this.#state(payload);
    return null;
  }

  /** Number of a model for tints; null counts as the first. */
  modelIndex(model) {
    if (model === null || model === undefined) return 0;
    const known = this.models.indexOf(model);
    if (known >= 0) return known;
    this.models.push(model);
    return this.models.length - 1;
  }

  /** Running sessions first, newest first within each half. */
  ordered() {
    const newestFirst = [...this.sessions.values()].reverse();
    const running = newestFirst.filter(({ phase }) => phase !== "ended");
    return [...running, ...newestFirst.filter(({ phase }) => phase === "ended")];
  }

  #session(name) {
    const known = this.sessions.get(name);
    if (known) return known;
    const session = {
      session: name,
      model: null,
      upstream: null,
      replayOf: null,
      phase: "queued",
      position: null,
      processed: null,
      total: null,
      tokens: 0,
      started: null,
      timeToFirstToken: null,
      tokensPerSecond: null,
      finishReason: null,
      error: null,
      measured: null,
      arrivals: [],
      strength: [],
      confidence: [],
    };
    this.sessions.set(name, session);
    this.#forgetOldest();
    return session;
  }

  #forgetOldest() {
    if (this.sessions.size <= MAX_SESSIONS) return;
    const names = [...this.sessions.keys()];
    const ended = names.find((name) => this.sessions.get(name).phase === "ended");
    this.sessions.delete(ended ?? names[0]);
  }

  #started(payload, timestamp) {
    const session = this.#session(payload.session);
    session.model = payload.model ?? session.model;
    session.upstream = payload.upstream ?? session.upstream;
    session.replayOf = payload.replay_of ?? session.replayOf;
    session.started = timestamp || null;
    this.modelIndex(session.model);
    return session;
  }

  #progress(payload) {
    const session = this.#session(payload.session);
    if (session.phase === "ended") return session;
    session.phase = payload.phase;
    session.upstream = payload.upstream ?? session.upstream;
    session.position = payload.position ?? null;
    session.processed = payload.processed ?? null;
    session.total = payload.total ?? null;
    return session;
  }

  #token(payload, timestamp, now) {
    this.modelIndex(payload.model);
    if (typeof payload.session !== "string") return null;
    const session = this.#session(payload.session);
    session.model ??= payload.model ?? null;
    if (payload.role === "prompt") return session;
    notice(session, payload);
    if (session.phase !== "ended") session.phase = "generating";
    if (session.tokens === 0 && session.started !== null && timestamp >= session.started) {
      session.timeToFirstToken ??= timestamp - session.started;
    }
    session.tokens += 1;
    session.arrivals.push(now);
    forgetBefore(session.arrivals, now - RATE_WINDOW);
    return session;
  }

  #state(payload) {
    const session = this.#session(payload.session);
    remember(session.strength, payload.strength);
    remember(session.confidence, payload.data?.confidence);
    return session;
  }

  #ended(payload) {
    const session = this.#session(payload.session);
    session.phase = "ended";
    session.finishReason = payload.finish_reason ?? null;
    session.error = payload.error ?? null;
    session.timeToFirstToken = payload.time_to_first_token ?? session.timeToFirstToken;
    session.tokensPerSecond = payload.tokens_per_second ?? null;
    session.arrivals.length = 0;
    return session;
  }
}

/** Tokens per second of a session now: the bridge's figure once it ended, else counted here. */
export function tokensPerSecond(session, now) {
  if (session.phase === "ended") return session.tokensPerSecond;
  const inside = session.arrivals.filter((time) => time >= now - RATE_WINDOW);
  if (inside.length < 2) return null;
  const span = Math.max(now, inside.at(-1)) - inside[0];
  return span > 0 ? (inside.length - 1) / span : null;
}

/** Brightness class of a token: null where no probability is known. */
export function shadeOf(token, shades) {
  const probability = probabilityOf(token);
  return probability === null ? null : Math.min(shades - 1, Math.floor(probability * shades));
}

/** Note whether a session's tokens tell their probability: one that does is enough. */
function notice(session, token) {
  if (session && token.role !== "prompt") session.measured ||= probabilityOf(token) !== null;
}

function remember(values, value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return;
  values.push(value);
  if (values.length > MAX_TRACE) values.shift();
}

function forgetBefore(times, limit) {
  let first = 0;
  while (first < times.length && times[first] < limit) first += 1;
  if (first > 0) times.splice(0, first);
}
