/**
 * Reads the stream aloud through a live region: whole sentences, at most every three seconds,
 * instead of every token. One session at a time, the one that began last.
 */

import { splitSentences } from "../core/text.js";

const INTERVAL = 3000;
const MAX_WAITING = 2000;

export class Announcer {
  #session = null;
  #text = "";
  #timer = null;

  /** @param {HTMLElement} region  visually hidden, aria-live="polite" */
  constructor(region) {
    this.region = region;
  }

  started(session) {
    this.#session = session;
    this.#text = "";
  }

  token({ session, role, choice, current_token: text }) {
    if (session !== this.#session || choice || (role && role !== "answer")) return;
    this.#text = (this.#text + text).slice(-MAX_WAITING);
    this.#timer ??= setTimeout(() => this.#speak(), INTERVAL);
  }

  ended(session) {
    if (session !== this.#session) return;
    this.#say(this.#text);
    this.#text = "";
  }

  #speak() {
    this.#timer = null;
    const [complete, rest] = splitSentences(this.#text);
    this.#text = rest;
    this.#say(complete);
  }

  #say(text) {
    if (text.trim() === "") return;
    const line = document.createElement("p");
    line.textContent = text;
    this.region.append(line);
    while (this.region.childElementCount > 3) this.region.firstElementChild.remove();
  }
}
