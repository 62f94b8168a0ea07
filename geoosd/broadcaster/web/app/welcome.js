/**
 * What is shown before the first token: where clients connect, and whether a model is there to ask.
 *
 * Both come from `api/status`. It is asked while nothing has been thought yet and somebody looks:
 * once where a model is there, again every few seconds where none is.
 */

import { bridgeOf } from "../core/status.js";

const AGAIN = 3000;

export class Welcome {
  #timer = null;
  #asking = false;

  /** @param {{empty, title, advice, address}} elements */
  constructor(elements) {
    Object.assign(this, elements);
    this.ready = false;
  }

  /** Show it or take it away; while it is shown it keeps itself true. */
  show(shown) {
    this.empty.hidden = !shown;
    if (shown && !this.ready) this.#ask();
  }

  async #ask() {
    if (this.#asking || this.#timer !== null || document.hidden) return;
    this.#asking = true;
    try {
      const response = await fetch("api/status");
      if (response.ok) this.#tell(bridgeOf(await response.json()));
    } catch {
      // geoos does not answer: the connection's chip says so.
    }
    this.#asking = false;
    if (!this.ready) this.#timer = setTimeout(() => this.#again(), AGAIN);
  }

  #again() {
    this.#timer = null;
    if (!this.empty.hidden) this.#ask();
  }

  #tell(bridge) {
    if (bridge === null) return;
    if (bridge.address !== null) this.address.textContent = `${bridge.address}/v1`;
    this.ready = bridge.models.length > 0;
    this.title.textContent = this.ready ? "Nothing has been thought yet" : "No model to ask yet";
    this.advice.textContent = this.ready ? invitation(bridge.models) : remedy(bridge.servers);
  }
}

function invitation([model, ...others]) {
  const who = others.length === 0 ? `${model} is` : `${model} and ${others.length} more are`;
  return `${who} ready. Type a prompt below, or point your OpenAI client at`;
}

/** With servers configured those are awaited, else every one that is started is found. */
function remedy(servers) {
  const first =
    servers.length > 0
      ? `No model is ready at ${servers.join(", ")}. Start it there`
      : "Start LM Studio, Ollama, llama.cpp or vLLM, and geoos finds it";
  return `${first}; geoosctl health says more. Clients connect to`;
}
