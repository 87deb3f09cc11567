// The server's HTTP API: key, models, transcription of files, subtitles.

import { attempt } from "./dom.js";

const KEY = "wheatear-key";

/** An address of the server, also behind a path prefix. */
export function address(/** @type {string} */ path) {
  return new URL(path, document.baseURI);
}

/** The API key, kept until the tab is closed; without browser storage, until the page is closed. */
export const key = {
  value: "",
  set(/** @type {string} */ value) {
    this.value = value;
    attempt(() => sessionStorage.setItem(KEY, value));
  },
};
attempt(() => (key.value = sessionStorage.getItem(KEY) ?? ""));

/** An error answer, or a missing answer. */
export class ServerError extends Error {
  constructor(/** @type {string} */ message, /** @type {number} */ status) {
    super(message);
    /** The HTTP status; 0 without an answer. */
    this.status = status;
  }
}

/**
 * @typedef {{id: string, languages: string[], latencies_ms: number[],
 *   default_latency_ms: number, default?: boolean}} Model
 * @returns {Promise<Model[]>}
 */
export async function models() {
  return JSON.parse(await fetchText("v1/models", { headers: headers() })).data;
}

/**
 * Sends a file and emits the server's events while it is transcribed; resolves with the last one.
 * @param {File} file
 * @param {{model: string, language: string, phrases: string[]}} options
 * @param {(share: number) => void} onsent  called with the share of the file that is sent, 0 to 1
 * @param {(event: any) => void} onevent  called with every event of the transcript
 * @param {AbortSignal} signal
 * @returns {Promise<any>}
 */
export function transcribe(file, options, onsent, onevent, signal) {
  const form = new FormData();
  form.append("model", options.model);
  form.append("language", options.language);
  form.append("response_format", "verbose_json");
  form.append("stream", "true");
  form.append("timestamp_granularities[]", "word");
  form.append("timestamp_granularities[]", "segment");
  for (const phrase of options.phrases) form.append("keywords[]", phrase);
  form.append("file", file); // last: the server reads the fields first
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

/**
 * Returns turns as subtitles, whose cues the server cuts.
 * @param {"srt" | "vtt"} format
 * @param {import("./transcript.js").Turn[]} turns
 */
export async function subtitles(format, turns) {
  const finals = turns.map(({ end, segments }) => ({
    end,
    segments: segments.map(({ words }) => ({
      words: words.map(({ text, start, end, space_before }) => ({ text, start, end, space_before })),
    })),
  }));
  const body = JSON.stringify({ format, finals });
  const request = { method: "POST", headers: headers(), body };
  return await fetchText("v1/audio/subtitles", request);
}

/** Returns the body of a response, and throws a ServerError for any but a successful one. */
async function fetchText(/** @type {string} */ path, /** @type {RequestInit} */ request) {
  try {
    const response = await fetch(address(path), request);
    const text = await response.text();
    if (response.ok) return text;
    throw refused(text, response.status);
  } catch (error) {
    throw error instanceof ServerError ? error : unreachable();
  }
}

/** Reads the events of a growing `text/event-stream`. */
class EventReader {
  #at = 0;

  /** Yields the new complete events.  text: everything received from the start. */
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

/** Formats a message of the server as a sentence. */
export function sentence(/** @type {string} */ message) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
