// The settings: options of the server's models and the user's selection, stored by the browser.

import { $, attempt } from "./dom.js";
import { microphones } from "./microphone.js";
import { nameOfLanguage } from "./format.js";

const STORE = "wheatear";

/** @typedef {import("./api.js").Model} Model */

const select = (/** @type {string} */ id) => /** @type {HTMLSelectElement} */ ($(id));
const input = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ ($(id));

export class Settings {
  /** @type {Record<string, any>} */ #stored = stored();
  /** @type {Model[]} */ #models = [];
  /** Called after the change of a setting that a running session can switch. */
  onswitch = () => {};

  constructor() {
    const form = /** @type {HTMLFormElement} */ ($("settings"));
    form.onsubmit = (event) => event.preventDefault();
    form.onchange = ({ target }) => this.#changed(/** @type {HTMLElement} */ (target).id);
    input("clean").checked = this.#stored.clean ?? false;
    input("shade").checked = this.#stored.shade ?? true;
    input("phrases").value = this.#stored.phrases ?? "";
    this.#shade();
    navigator.mediaDevices?.addEventListener("devicechange", () => this.listMicrophones());
    this.listMicrophones();
  }

  /** The options of a session or a file. */
  get options() {
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

  /** The input device, and true if the browser reduces noise. */
  get input() {
    return { device: select("microphone").value, clean: input("clean").checked };
  }

  /** Fills the lists with the models of the server. */
  offer(/** @type {Model[]} */ models) {
    this.#models = models;
    /** @type {HTMLElement} */ ($("settings")).hidden = false;
    const usual = models.find((model) => model.default) ?? models[0];
    fill(
      "model",
      models.map(({ id }) => [id, id]),
      this.#stored.model,
      usual?.id,
    );
    this.#offerModel();
  }

  /** Lists the microphones. Browsers reveal their names once one was allowed. */
  async listMicrophones() {
    const found = (await microphones()).filter(({ deviceId }) => deviceId !== "default");
    const options = found.map(({ deviceId, label }) => /** @type {Option} */ ([deviceId, label]));
    fill("microphone", [["", "Browser default"], ...options], this.#stored.microphone, "");
  }

  /** Disables settings that a running session cannot change. */
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
    fill("language", [["auto", "Detect automatically"], ...names], this.#stored.language, "auto");
    /** @type {HTMLElement} */ ($("language-field")).hidden = tags.length === 0;
    const latencies = model?.latencies_ms ?? [];
    fill(
      "latency",
      latencies.map((ms) => [String(ms), `${ms} ms${latencyNote(ms, latencies)}`]),
      this.#stored.latency,
      String(model?.default_latency_ms),
    );
  }

  #changed(/** @type {string} */ id) {
    for (const name of ["model", "language", "latency", "microphone"])
      if (name === id) this.#stored[name] = select(name).value;
    if (id === "phrases") this.#stored.phrases = input(id).value;
    if (id === "clean" || id === "shade") this.#stored[id] = input(id).checked;
    attempt(() => localStorage.setItem(STORE, JSON.stringify(this.#stored)));
    if (id === "model") this.#offerModel();
    if (id === "shade") this.#shade();
    if (id === "language" || id === "latency") this.onswitch();
  }

  #shade() {
    document.body.classList.toggle("unshaded", !input("shade").checked);
  }
}

/** @typedef {[string, string]} Option  value and text */

/** Fills a list and selects the first of the values that it has. */
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

function latencyNote(/** @type {number} */ ms, /** @type {number[]} */ all) {
  if (all.length > 1 && ms === Math.min(...all)) return ", fastest";
  if (all.length > 1 && ms === Math.max(...all)) return ", most accurate";
  return "";
}

function stored() {
  let found = null;
  attempt(() => (found = JSON.parse(localStorage.getItem(STORE) ?? "null")));
  return found ?? {};
}
