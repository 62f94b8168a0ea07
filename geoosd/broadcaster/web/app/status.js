/**
 * How the connection is, and what was missed while it was not.
 */

import { plural } from "../core/text.js";

const TOAST_MILLISECONDS = 7000;
const WORDS = {
  connecting: "connecting",
  live: "live",
  resuming: "resuming",
  lost: "lost",
  refused: "refused",
  closed: "closed",
};

export class Status {
  #timer = null;
  #retryAt = null;

  /** @param {{body, text, chip, missed, toasts}} elements */
  constructor(elements) {
    Object.assign(this, elements);
    this.count = 0;
  }

  show({ state, retryIn, reason }) {
    this.body.dataset.connection = state;
    this.chip.title = reason ?? "";
    clearInterval(this.#timer);
    this.#retryAt = retryIn === null ? null : Date.now() + retryIn;
    this.#write(state);
    const waitsLong = (state === "lost" || state === "refused") && retryIn > 1000;
    if (waitsLong) this.#timer = setInterval(() => this.#write(state), 1000);
  }

  gap({ dropped, reason }) {
    this.count += dropped;
    this.missed.hidden = false;
    this.missed.textContent = `${this.count.toLocaleString("en")} missed`;
    this.missed.title = "messages that this page did not receive";
    this.toast(`${plural(dropped, "message")} missed${reason ? `: ${reason}` : ""}`);
  }

  toast(text) {
    const toast = document.createElement("p");
    toast.textContent = text;
    this.toasts.append(toast);
    while (this.toasts.childElementCount > 3) this.toasts.firstElementChild.remove();
    setTimeout(() => toast.remove(), TOAST_MILLISECONDS);
  }

  #write(state) {
    const seconds = this.#retryAt === null ? 0 : Math.ceil((this.#retryAt - Date.now()) / 1000);
    const says = state === "lost" || state === "refused";
    const wait = says && seconds > 1 ? `, again in ${seconds} s` : "";
    this.text.textContent = WORDS[state] + wait;
  }
}
