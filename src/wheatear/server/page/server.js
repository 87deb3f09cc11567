// The server's HTTP side: the key, the models, a file's transcript.

import { attempt } from "./dom.js";

const KEY = "wheatear-key";

/** An address of the server, wherever it is mounted. */
export function address(/** @type {string} */ path) {
  return new URL(path, document.baseURI);
}

/** The key lives as long as the tab, or the page where the browser lets it keep nothing. */
export const key = {
  value: "",
  set(/** @type {string} */ value) {
    this.value = value;
    attempt(() => sessionStorage.setItem(KEY, value));
  },
};
attempt(() => (key.value = sessionStorage.getItem(KEY) ?? ""));

/** What the server answered instead of what was asked for. */
export class ServerError extends Error {
  constructor(/** @type {string} */ message, /** @type {number} */ status) {
    super(message);
    /** Of HTTP; 0 where there was no answer. */
    this.status = status;
  }
}

/**
 * @typedef {{id: string, languages: string[], latencies_ms: number[],
 *   default_latency_ms: number, default?: boolean}} Model
 * @returns {Promise<Model[]>}
 */
export async function models() {
  const response = await fetch(address("v1/models"), { headers: headers() }).catch(() => {
    throw unreachable();
  });
  const text = await response.text();
  if (!response.ok) throw refused(text, response.status);
  return JSON.parse(text).data;
}

/**
 * Sends a file and emits the server's events while it is transcribed; resolves with the last one.
 * @param {File} file
 * @param {{model: string, language: string, phrases: string[]}} choice
 * @param {(share: number) => void} onsent  called with the share of the file that is sent, 0 to 1
 * @param {(event: any) => void} onevent  called with every event of the transcript
 * @param {AbortSignal} signal
 * @returns {Promise<any>}
 */
export function transcribe(file, choice, onsent, onevent, signal) {
  const form = new FormData();
  form.append("model", choice.model);
  form.append("language", choice.language);
  form.append("response_format", "verbose_json");
  form.append("stream", "true");
  form.append("timestamp_granularities[]", "word");
  form.append("timestamp_granularities[]", "segment");
  for (const phrase of choice.phrases) form.append("keywords[]", phrase);
  form.append("file", file); // last, so that the rest is known while it comes
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not report the progress of an upload
    const events = new EventReader();
    /** @type {any} */ let last = null;
    const read = () => {
      if (request.status === 200)
        for (const event of events.read(request.responseText)) onevent((last = event));
    };
    request.open("POST", address("v1/audio/transcriptions"));
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onsent(total ? loaded / total : 0);
    request.upload.onload = () => onsent(1);
    request.onprogress = read;
    request.onload = () => {
      const { status, responseText: text } = request;
      if (status !== 200) return reject(refused(text, status));
      read();
      if (last?.error) reject(new ServerError(sentence(last.error.message), status));
      else if (last?.type === "transcript.text.done") resolve(last);
      else reject(new ServerError("The server ended before the transcript was complete.", 0));
    };
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Reads the events of a growing `text/event-stream`. */
class EventReader {
  #at = 0;

  /** Yields the events that are complete and new.  text: all that has come so far. */
  *read(/** @type {string} */ text) {
    for (let end; (end = text.indexOf("\n\n", this.#at)) >= 0; this.#at = end + 2) {
      const block = text.slice(this.#at, end);
      const data = block.split("\n").find((line) => line.startsWith("data: "));
      if (data && data !== "data: [DONE]") yield JSON.parse(data.slice(6));
    }
  }
}

/** @returns {Record<string, string>} */
function headers() {
  return key.value ? { Authorization: `Bearer ${key.value}` } : {};
}

function unreachable() {
  return new ServerError("The server cannot be reached.", 0);
}

function refused(/** @type {string} */ text, /** @type {number} */ status) {
  try {
    return new ServerError(sentence(JSON.parse(text).error.message), status);
  } catch {
    return new ServerError(`The server answered with an error, ${status}.`, status); // a proxy's
  }
}

/** What a server says, as a sentence. */
export function sentence(/** @type {string} */ message) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
