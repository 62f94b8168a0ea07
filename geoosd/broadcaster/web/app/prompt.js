/**
 * The prompt box: Enter sends `POST api/prompt {"prompt", "model"?, "all"?}`, Shift+Enter breaks
 * the line. The answer does not come back here: it arrives on the WebSocket like everybody's.
 *
 * The reply's body is read to its end, because closing it early could end the generation.
 */

const EVERY_MODEL = "\u0000all";

export class Prompt {
  /** @param {{form, text, send, error, models, model}} elements */
  constructor(elements) {
    Object.assign(this, elements);
    this.known = [];
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.text.addEventListener("input", () => this.#grow());
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
  }

  /** Offer these models; a choice is shown when there are several. */
  offer(models) {
    if (models.length === this.known.length) return;
    this.known = [...models];
    const chosen = this.model.value;
    const option = (label, value) => {
      const element = document.createElement("option");
      element.textContent = label;
      element.value = value;
      return element;
    };
    this.model.replaceChildren(
      option("default model", ""),
      ...models.map((model) => option(model, model)),
      option("all models", EVERY_MODEL),
    );
    this.model.value = chosen;
    this.models.hidden = models.length < 2;
  }

  async #send() {
    const prompt = this.text.value;
    if (prompt.trim() === "" || this.form.classList.contains("busy")) return;
    this.#fail(null);
    this.form.classList.add("busy");
    try {
      const response = await fetch("api/prompt", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ prompt, ...this.#choice() }),
      });
      if (!response.ok) throw new Error(await reasonOf(response));
      this.text.value = "";
      this.#grow();
      this.#drain(response);
    } catch (error) {
      const unreachable = error instanceof TypeError;
      this.#fail(unreachable ? "cannot send the prompt: geoos does not answer" : error.message);
    } finally {
      this.form.classList.remove("busy");
    }
  }

  #choice() {
    const { value } = this.model;
    if (value === EVERY_MODEL) return { all: true };
    return value === "" ? {} : { model: value };
  }

  async #drain(response) {
    try {
      await response.text();
    } catch {
      // The stream of messages on the WebSocket says how the session ended.
    }
  }

  #fail(message) {
    this.error.hidden = message === null;
    this.error.textContent = message ?? "";
  }

  #grow() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(180, this.text.scrollHeight)}px`;
  }
}

/** The most telling text of an error reply. */
async function reasonOf(response) {
  const text = await response.text();
  const plain = `cannot send the prompt: HTTP ${response.status}`;
  try {
    const { error, reason, message } = JSON.parse(text);
    return error?.message ?? error?.reason ?? reason ?? message ?? (error ? String(error) : plain);
  } catch {
    return text.length > 0 && text.length < 300 && !text.startsWith("<") ? text : plain;
  }
}
