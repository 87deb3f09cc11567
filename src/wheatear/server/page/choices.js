// The settings: what the server's models offer, and what was chosen, remembered by the browser.

import { $, attempt } from "./dom.js";
import { microphones } from "./microphone.js";
import { nameOfLanguage } from "./writing.js";

const STORE = "wheatear";

/** @typedef {import("./server.js").Model} Model */

const select = (/** @type {string} */ id) => /** @type {HTMLSelectElement} */ ($(id));
const input = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ ($(id));

export class Choices {
  /** @type {Record<string, any>} */ #kept = remembered();
  /** @type {Model[]} */ #models = [];
  /** Called when something was chosen that a session can change on its way. */
  onswitch = () => {};

  constructor() {
    const form = /** @type {HTMLFormElement} */ ($("settings"));
    form.onsubmit = (event) => event.preventDefault();
    form.onchange = ({ target }) => this.#changed(/** @type {HTMLElement} */ (target).id);
    input("clean").checked = this.#kept.clean ?? false;
    input("shade").checked = this.#kept.shade ?? true;
    input("phrases").value = this.#kept.phrases ?? "";
    this.#shade();
    navigator.mediaDevices?.addEventListener("devicechange", () => this.listMicrophones());
    this.listMicrophones();
  }

  /** What a session or a file is to be heard with. */
  get choice() {
    return {
      model: select("model").value,
      language: select("language").value || "auto",
      latency: Number(select("latency").value),
      phrases: input("phrases")
        .value.split(/[,\n]/)
        .map((p) => p.trim())
        .filter(Boolean),
    };
  }

  get sound() {
    return { device: select("microphone").value, clean: input("clean").checked };
  }

  /** Offers what the server has. */
  offer(/** @type {Model[]} */ models) {
    this.#models = models;
    /** @type {HTMLElement} */ ($("settings")).hidden = false;
    const usual = models.find((model) => model.default) ?? models[0];
    fill(
      "model",
      models.map(({ id }) => [id, id]),
      this.#kept.model,
      usual?.id,
    );
    this.#offerModel();
  }

  /** Lists the microphones; browsers name them once one has been allowed. */
  async listMicrophones() {
    const found = (await microphones()).filter(({ deviceId }) => deviceId !== "default");
    const options = found.map(({ deviceId, label }) => /** @type {Option} */ ([deviceId, label]));
    fill("microphone", [["", "The browser’s choice"], ...options], this.#kept.microphone, "");
  }

  /** Holds what cannot be changed while a session is on. */
  lock(/** @type {boolean} */ on) {
    for (const id of ["model", "microphone", "clean", "phrases"])
      /** @type {HTMLInputElement} */ ($(id)).disabled = on;
  }

  #offerModel() {
    const model = this.#models.find(({ id }) => id === select("model").value);
    const tags = (model?.languages ?? []).filter(
      (tag, _, all) => tag !== "auto" && !all.some((other) => other.startsWith(`${tag}-`)),
    );
    const names = tags.map((tag) => /** @type {Option} */ ([tag, nameOfLanguage(tag)]));
    names.sort(([, a], [, b]) => a.localeCompare(b, "en"));
    fill("language", [["auto", "Whatever is spoken"], ...names], this.#kept.language, "auto");
    /** @type {HTMLElement} */ ($("language-field")).hidden = tags.length === 0;
    const latencies = model?.latencies_ms ?? [];
    fill(
      "latency",
      latencies.map((ms) => [String(ms), `${ms} ms${remark(ms, latencies)}`]),
      this.#kept.latency,
      String(model?.default_latency_ms),
    );
  }

  #changed(/** @type {string} */ id) {
    for (const name of ["model", "language", "latency", "microphone"])
      if (name === id) this.#kept[name] = select(name).value;
    if (id === "phrases") this.#kept.phrases = input(id).value;
    if (id === "clean" || id === "shade") this.#kept[id] = input(id).checked;
    attempt(() => localStorage.setItem(STORE, JSON.stringify(this.#kept)));
    if (id === "model") this.#offerModel();
    if (id === "shade") this.#shade();
    if (id === "language" || id === "latency") this.onswitch();
  }

  #shade() {
    document.body.classList.toggle("unshaded", !input("shade").checked);
  }
}

/** @typedef {[string, string]} Option  value and text */

/** Fills a list and chooses the first of the values that it has. */
function fill(
  /** @type {string} */ id,
  /** @type {Option[]} */ options,
  /** @type {(string | undefined)[]} */ ...values
) {
  const list = select(id);
  list.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  const chosen = values.find((value) => options.some(([known]) => known === value));
  if (chosen !== undefined) list.value = chosen;
}

function remark(/** @type {number} */ ms, /** @type {number[]} */ all) {
  if (all.length > 1 && ms === Math.min(...all)) return ", soonest";
  if (all.length > 1 && ms === Math.max(...all)) return ", most accurate";
  return "";
}

function remembered() {
  let kept = null;
  attempt(() => (kept = JSON.parse(localStorage.getItem(STORE) ?? "null")));
  return kept ?? {};
}
