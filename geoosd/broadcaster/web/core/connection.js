/**
 * A viewer's connection that keeps itself alive: the client library of geoos.
 *
 *     import { Connection } from "./connection.js";
 *
 *     const connection = new Connection("ws://127.0.0.1:8765/neural", {
 *       onState: ({ state, retryIn, reason }) => console.log(state),
 *       onSnapshot: (snapshot) => draw(snapshot),       // the scene; replaces what you held
 *       onMessage: ({ type, timestamp, seq, payload }) => update(type, payload),
 *       onGap: ({ dropped, reason }) => console.warn(`${dropped} messages missed`),
 *     });
 *     connection.open();
 *
 * After a loss it connects again by itself and asks for what follows the last message it saw
 * (`epoch` and `after`): if the server still holds that, `onMessage` simply goes on, with nothing
 * twice and nothing left out. Otherwise the server says how much is missing (`onGap`) or sends
 * the scene anew (`onSnapshot`). Numbers may skip where channels are filtered: only a gap that
 * was announced is a loss.
 *
 * States: `connecting` (first attempt), `live` (Hello received), `resuming` (lost a moment ago),
 * `lost` (several attempts failed; still trying), `refused` (the server says no: close code 1008;
 * still trying, rarely), `closed` (by {@link Connection.close}).
 *
 * Waits grow by half from `minDelay` to `maxDelay`, each shortened by up to half at random, so that
 * viewers do not return in step. A server that restarts tells each viewer when to come back; that is
 * obeyed. WebSocket, timers and randomness are taken as options: tests
 * pass their own, Node before 22 passes the `ws` package's class.
 */

import { connectionUrl, parseMessage, parsePicture } from "./protocol.js";

/** Close codes of the broadcaster (docs/interfaces.md, "WebSocket"). */
export const CLOSE = Object.freeze({
  RESTART: 1001,
  REFUSED: 1008,
  TOO_BIG: 1009,
  TOO_MANY_VIEWERS: 1013,
  STALLED: 4000,
});

const LOST_AFTER_ATTEMPTS = 4;

/** What the reason of a restart says: each viewer is given a time of its own. */
const RETRY_IN = /retry in (\d{1,9}) ms$/;
const MAX_RETRY_IN = 60000;

/** A restart takes about a second: after it a viewer that doubled might wait for two more. */
const GROWTH = 1.5;

const DEFAULTS = {
  channels: undefined,
  models: undefined,
  tick: undefined,
  view: undefined,
  minDelay: 250,
  maxDelay: 8000,
  refusedDelay: 30000,
  onState: () => {},
  onHello: () => {},
  onSnapshot: () => {},
  onMessage: () => {},
  onGap: () => {},
  onPicture: () => {},
};

export class Connection {
  #socket = null;
  #timer = null;
  #attempts = 0;
  #toldThrough = -1;
  #options;
  #environment;

  /**
   * @param {string|URL} url  `ws://HOST:8765/neural`
   * @param {object} options  callbacks as above; `channels`, `models`, `tick`, `view` of the query;
   *   `minDelay`, `maxDelay`, `refusedDelay` in milliseconds
   * @param {object} environment  `{WebSocket, setTimeout, clearTimeout, random}`
   */
  constructor(url, options = {}, environment = {}) {
    this.url = url;
    this.#options = { ...DEFAULTS, ...options };
    this.#environment = {
      WebSocket: globalThis.WebSocket,
      setTimeout: (callback, delay) => globalThis.setTimeout(callback, delay),
      clearTimeout: (timer) => globalThis.clearTimeout(timer),
      random: Math.random,
      ...environment,
    };
    /** Epoch of the server's numbering, and the last number seen in it; null before any. */
    this.epoch = null;
    this.after = null;
    /** Messages announced as missing since this object was made. */
    this.missed = 0;
    this.state = "closed";
  }

  /** Connect, and stay connected until {@link close}. */
  open() {
    if (this.state !== "closed") return;
    this.#setState("connecting");
    this.#connect();
  }

  /** Try again now instead of after the wait: call it when the network or the page comes back. */
  retryNow() {
    if (this.#timer === null) return;
    this.#clearTimer();
    this.#connect();
  }

  /** Change what is received: `{channels, models, tick, view}`; what is left out stays as it was. */
  subscribe(wanted) {
    this.#options = { ...this.#options, ...wanted };
    if (this.state !== "live") return;
    const payload = {
      channels: wanted.channels ?? null,
      models: wanted.models ?? null,
      tick: wanted.tick ?? null,
      view: wanted.view ?? null,
    };
    this.#socket.send(JSON.stringify({ message_type: "Subscribe", payload }));
  }

  /** Disconnect and stay disconnected. */
  close() {
    this.#clearTimer();
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.#setState("closed");
  }

  #connect() {
    const { channels, models, tick, view } = this.#options;
    const url = connectionUrl(this.url, {
      epoch: this.epoch,
      after: this.after,
      channels,
      models,
      tick,
      view,
    });
    const socket = new this.#environment.WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    // A socket that was given up must not speak for its successor.
    const ifCurrent = (act) => (event) => {
      if (this.#socket === socket) act(event);
    };
    socket.onmessage = ifCurrent(({ data }) => this.#receive(data));
    socket.onclose = ifCurrent(({ code, reason }) => this.#lose(code, reason));
    socket.onerror = () => {}; // a close event follows and says more
  }

  #receive(data) {
    if (typeof data !== "string") {
      const picture = parsePicture(data);
      if (picture) this.#options.onPicture(picture);
      return;
    }
    const message = parseMessage(data);
    if (message === null) return;
    const { type, payload, seq } = message;
    if (type === "Hello") this.#hello(payload);
    else if (type === "Snapshot") this.#snapshot(payload);
    else if (type === "Gap") this.#gap(payload);
    else if (seq === null || this.after === null || seq > this.after) {
      if (seq !== null) this.after = seq;
      this.#options.onMessage(message);
    }
  }

  #hello(hello) {
    this.#attempts = 0;
    const resumed = this.epoch !== null && hello.epoch === this.epoch;
    if (!resumed) {
      this.epoch = hello.epoch;
      this.after = null;
      this.#toldThrough = -1;
    }
    this.#options.onHello(hello, { resumed });
    this.#setState("live");
  }

  #snapshot(snapshot) {
    this.after = snapshot.at_seq;
    this.#options.onSnapshot(snapshot);
  }

  #gap(gap) {
    // `after` stays: what may not be dropped still comes, with numbers inside the gap. So a loss
    // right after a gap brings the same gap again; it is told once.
    const through = gap.to_seq ?? null;
    if (through !== null && through <= this.#toldThrough) return;
    this.#toldThrough = through ?? this.#toldThrough;
    this.missed += gap.dropped;
    this.#options.onGap(gap);
  }

  #lose(code, reason) {
    this.#socket = null;
    this.#attempts += 1;
    const delay = this.#delay(code, reason);
    this.#timer = this.#environment.setTimeout(() => {
      this.#timer = null;
      this.#connect();
    }, delay);
    this.#setState(this.#stateAfterLoss(code), { retryIn: delay, reason: reason || null });
  }

  #stateAfterLoss(code) {
    if (code === CLOSE.REFUSED) return "refused";
    if (this.#attempts >= LOST_AFTER_ATTEMPTS) return "lost";
    return this.epoch === null ? "connecting" : "resuming";
  }

  #delay(code, reason) {
    const { minDelay, maxDelay, refusedDelay } = this.#options;
    if (code === CLOSE.REFUSED) return refusedDelay;
    const told = code === CLOSE.RESTART ? RETRY_IN.exec(reason ?? "") : null;
    if (told) return Math.min(Number(told[1]), MAX_RETRY_IN);
    const crowded = code === CLOSE.TOO_MANY_VIEWERS ? 4 : 1;
    const full = Math.min(maxDelay, crowded * minDelay * GROWTH ** (this.#attempts - 1));
    return full * (1 - this.#environment.random() / 2);
  }

  #clearTimer() {
    if (this.#timer !== null) this.#environment.clearTimeout(this.#timer);
    this.#timer = null;
  }

  #setState(state, { retryIn = null, reason = null } = {}) {
    this.state = state;
    this.#options.onState({ state, retryIn, reason });
  }
}
