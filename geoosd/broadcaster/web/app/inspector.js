/**
 * The card that says what is known of one token; what is not known, it says is absent.
 */

import { probabilityOf, provenanceOf } from "../core/protocol.js";
import { percent, visibleText } from "../core/text.js";

const MAX_ALTERNATIVES = 6;
const MARGIN = 12;

export class Inspector {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
  }

  /**
   * Show *token* beside a rectangle of the screen, which is never covered.
   *
   * @param {object} token
   * @param {{left: number, right: number, top: number, bottom: number}} beside
   */
  show(token, beside) {
    const title = part("div", "token", visibleText(token.current_token) || "(empty)");
    this.element.replaceChildren(title, facts(token));
    if (token.alternatives?.length) this.element.append(alternatives(token));
    this.element.hidden = false;
    this.#moveBeside(beside);
  }

  hide() {
    this.element.hidden = true;
  }

  #moveBeside({ left, right, top, bottom }) {
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const fitsLeft = left - width - MARGIN > 0;
    const fitsRight = right + width + MARGIN < innerWidth;
    let x = fitsRight ? right + MARGIN : left - width - MARGIN;
    let y = (top + bottom - height) / 2;
    if (!fitsLeft && !fitsRight) {
      x = (left + right - width) / 2;
      y = top - height - MARGIN > 0 ? top - height - MARGIN : bottom + MARGIN;
    }
    const inside = (value, size, room) => Math.max(8, Math.min(value, room - size - 8));
    this.element.style.left = `${inside(x, width, innerWidth)}px`;
    this.element.style.top = `${inside(y, height, innerHeight)}px`;
  }
}

function facts(token) {
  const list = part("dl", "facts");
  const add = (name, value, source) => {
    list.append(part("dt", "", name));
    const description = part("dd", value === null ? "absent" : "", value ?? "absent");
    if (value !== null && source && source !== "unstated") {
      description.append(part("small", "", source));
    }
    list.append(description);
  };
  const probability = probabilityOf(token);
  const shown = probability === null ? null : percent(probability);
  add("probability", shown, provenanceOf(token, "activation"));
  const confidence = typeof token.confidence === "number" ? token.confidence.toFixed(2) : null;
  add("confidence", confidence, provenanceOf(token, "confidence"));
  const entropy = typeof token.entropy === "number" ? `${token.entropy.toFixed(2)} bit` : null;
  add("entropy", entropy, provenanceOf(token, "entropy"));
  const id = token.token_id ?? null;
  add("token", id === null ? null : `#${id}`, provenanceOf(token, "token_id"));
  add("place", placeText(token));
  add("position", String(token.sequence_position));
  return list;
}

function placeText({ hilbert_position: position, district, cell }) {
  if (!Array.isArray(position)) return null;
  const where = position.map((part) => part.toFixed(4)).join(", ");
  return cell === null || cell === undefined
    ? where
    : `${where} · cell ${cell} of district ${district ?? 0}`;
}

function alternatives(token) {
  const list = part("ol", "alternatives");
  for (const [text, probability] of token.alternatives.slice(0, MAX_ALTERNATIVES)) {
    const item = part("li", text === token.current_token ? "taken" : "");
    const bar = part("meter", "");
    bar.value = probability;
    item.append(part("span", "word", visibleText(text)), bar, part("span", "", percent(probability)));
    list.append(item);
  }
  return list;
}

function part(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
