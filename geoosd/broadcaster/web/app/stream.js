/**
 * The thought stream: the text of the sessions, token by token.
 *
 * One block for each (session, choice, role), whose text is exactly the tokens' concatenation.
 * A token with a known probability is tinted by it; one without looks plainly different. Text is
 * inserted with textContent alone. New tokens are put in once per animation frame, and only the
 * last {@link MAX_TOKENS} stay in the page.
 */

import { shadeOf } from "../core/scene.js";
import { SHADES, TINTS } from "./theme.js";

export const MAX_TOKENS = 2000;
const NEAR_END = 48;

export class Stream {
  #blocks = new Map();
  #waiting = [];
  #tokens = new WeakMap();
  #count = 0;
  #frame = null;
  #chosen = null;
  #sticks = true;
  #top = 0;

  /**
   * @param {HTMLElement} container  the scrolling element
   * @param {HTMLElement} newest     button shown while the reader is elsewhere
   * @param {(token: object|null, span: HTMLElement|null) => void} onInspect
   */
  constructor(container, newest, onInspect) {
    this.container = container;
    this.newest = newest;
    this.onInspect = onInspect;
    container.addEventListener("pointerover", (event) => this.#point(event.target));
    container.addEventListener("pointerleave", () => this.#choose(null));
    container.addEventListener("click", (event) => this.#point(event.target));
    container.addEventListener("keydown", (event) => this.#onKey(event));
    container.addEventListener("blur", () => this.#choose(null));
    container.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    new ResizeObserver(() => this.#sticks && this.#toEnd()).observe(container);
    newest.addEventListener("click", () => this.#toEnd());
  }

  get empty() {
    return this.#blocks.size === 0 && this.#waiting.length === 0;
  }

  /** Take in a token; *model* is its model's number. */
  append(token, model) {
    this.#waiting.push([token, model]);
    // A hidden page gets no frames: what waits stays bounded all the same.
    if (this.#waiting.length >= MAX_TOKENS) this.flush();
    else this.#frame ??= requestAnimationFrame(() => this.flush());
  }

  /** Begin anew. */
  clear() {
    this.#waiting = [];
    this.#blocks.clear();
    this.#count = 0;
    this.#choose(null);
    this.container.replaceChildren();
  }

  /** Say under the blocks of a session how it ended. */
  end({ session, error, finishReason }) {
    this.flush();
    for (const block of this.#blocks.values()) {
      if (block.session !== session) continue;
      block.element.classList.add("ended");
      block.note.textContent = error ? `stopped: ${error}` : noteOf(finishReason);
      block.note.hidden = block.note.textContent === "";
      block.note.classList.toggle("error", Boolean(error));
    }
    if (this.#sticks) this.#toEnd();
  }

  /** Put what waits into the page now. */
  flush() {
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#frame = null;
    const batches = new Map();
    for (const [token, model] of this.#waiting) {
      const block = this.#blockFor(token, model);
      const batch = batches.get(block) ?? document.createDocumentFragment();
      // White space before a word stays outside: at a line's end it would be a sliver of colour.
      const [lead] = token.current_token.match(/^ +(?=\S)/) ?? [""];
      batch.append(lead, this.#span(token, token.current_token.slice(lead.length)));
      batches.set(block, batch);
    }
    for (const [block, batch] of batches) block.text.append(batch);
    this.#count += this.#waiting.length;
    this.#waiting = [];
    this.#forgetOldest();
    if (this.#sticks) this.#toEnd();
  }

  #span(token, text) {
    const span = document.createElement("span");
    const shade = shadeOf(token, SHADES);
    span.className = shade === null ? "t unknown" : `t p${shade}`;
    span.textContent = text;
    this.#tokens.set(span, token);
    return span;
  }

  #blockFor(token, model) {
    const role = token.role ?? "answer";
    const key = JSON.stringify([token.session ?? null, token.choice ?? 0, role]);
    const known = this.#blocks.get(key);
    if (known) return known;
    const block = makeBlock(token, role, model);
    this.#blocks.set(key, block);
    this.container.append(block.element);
    return block;
  }

  #forgetOldest() {
    while (this.#count > MAX_TOKENS) {
      const [key, block] = this.#blocks.entries().next().value;
      const surplus = this.#count - MAX_TOKENS;
      const held = block.text.childElementCount;
      if (held <= surplus) {
        block.element.remove();
        this.#blocks.delete(key);
        this.#count -= held;
      } else {
        block.element.classList.add("trimmed");
        for (let left = surplus; left > 0; ) {
          const first = block.text.firstChild;
          if (first.nodeType === Node.ELEMENT_NODE) left -= 1;
          first.remove();
        }
        this.#count -= surplus;
      }
    }
  }

  #point(target) {
    this.#choose(target.classList?.contains("t") ? target : null);
  }

  #choose(span) {
    if (this.#chosen === span) return;
    this.#chosen?.classList.remove("chosen");
    this.#chosen = span;
    span?.classList.add("chosen");
    this.onInspect(span === null ? null : this.#tokens.get(span), span);
  }

  #onKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") this.#choose(null);
    if (step === undefined) return;
    event.preventDefault();
    const spans = [...this.container.querySelectorAll(".t")];
    if (spans.length === 0) return;
    const at = this.#chosen ? spans.indexOf(this.#chosen) : spans.length - (step > 0 ? 2 : 0);
    const next = spans[Math.min(spans.length - 1, Math.max(0, at + step))];
    next.scrollIntoView({ block: "nearest" });
    this.#choose(next);
  }

  #onScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.container;
    // The end may have moved away since, by a session above or text below: only who goes up leaves.
    if (scrollHeight - scrollTop - clientHeight < NEAR_END) this.#sticks = true;
    else if (scrollTop < this.#top) this.#sticks = false;
    this.#top = scrollTop;
    this.newest.hidden = this.#sticks;
  }

  #toEnd() {
    this.#sticks = true;
    this.newest.hidden = true;
    this.container.scrollTop = this.container.scrollHeight;
    this.#top = this.container.scrollTop;
  }
}

function makeBlock(token, role, model) {
  const element = document.createElement("article");
  element.className = `block ${role}`;
  if (token.session) element.dataset.session = token.session;
  const head = document.createElement("h3");
  const dot = document.createElement("span");
  dot.className = `dot m${model % TINTS}`;
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = token.model ?? "unnamed model";
  head.append(dot, name);
  for (const badge of badgesOf(token, role)) {
    const mark = document.createElement("span");
    mark.className = "badge";
    mark.textContent = badge;
    head.append(mark);
  }
  const text = document.createElement("p");
  text.className = "text";
  text.dir = "auto";
  const note = document.createElement("p");
  note.className = "note";
  note.hidden = true;
  element.append(head, text, note);
  return { element, text, note, session: token.session ?? null };
}

function badgesOf(token, role) {
  const badges = role === "answer" ? [] : [role];
  if (token.choice) badges.push(`choice ${token.choice + 1}`);
  return badges;
}

function noteOf(finishReason) {
  if (finishReason === "length") return "stopped at the length limit";
  return finishReason === null || finishReason === "stop" ? "" : `ended: ${finishReason}`;
}
