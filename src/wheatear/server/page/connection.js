// One session of live captions: a WebSocket from `ready` to `end`.

import { address, key } from "./api.js";

const PING = 5_000; // ms
const UNANSWERED = 3; // pings after which the connection counts as lost

/**
 * @typedef {{model: string, language: string, latency: number, phrases: string[]}} SessionOptions
 *
 * The close code, the last message if it was an error, and the seconds of audio in `end`.
 * @typedef {{code: number, error: {code: string, message: string} | null,
 *   duration: number | null}} CloseReport
 */

export class Connection {
  #socket;
  #timer = setInterval(() => this.#ping(), PING);
  #unanswered = 0;
  /** True once the server is ready. */
  ready = false;
  /** Called with each message of the server. */
  onmessage = (/** @type {any} */ _message) => {};
  /** Called once, when the connection is closed. */
  onclose = (/** @type {CloseReport} */ _closing) => {};

  constructor(/** @type {SessionOptions} */ options, /** @type {number} */ rate) {
    const url = address("ws");
    url.protocol = url.protocol.replace("http", "ws");
    url.search = String(
      new URLSearchParams([
        ["model", options.model],
        ["language", options.language],
        ["latency", String(options.latency)],
        ["rate", String(rate)],
        ["encoding", "s16"],
        ["channels", "1"],
        ["interim", "1"],
        ...options.phrases.map((phrase) => ["phrases", phrase]),
      ]),
    );
    const protocols = key.value ? ["wheatear", `key.${key.value}`] : ["wheatear"];
    this.#socket = new WebSocket(url, protocols);
    this.#socket.binaryType = "arraybuffer";
    /** @type {CloseReport["error"]} */ let error = null;
    /** @type {CloseReport["duration"]} */ let duration = null;
    this.#socket.onmessage = ({ data }) => {
      this.#unanswered = 0;
      const message = JSON.parse(data);
      if (message.type === "ready") this.ready = true;
      if (message.type === "end") duration = message.duration;
      error = message.type === "error" ? message : null;
      this.onmessage(message);
    };
    this.#socket.onclose = ({ code }) => {
      clearInterval(this.#timer);
      this.onclose({ code, error, duration });
    };
  }

  /** Samples that the browser has not sent yet. */
  get waiting() {
    return this.#socket.bufferedAmount / 2;
  }

  send(/** @type {import("./audio_buffer.js").Samples} */ samples) {
    this.#socket.send(samples);
  }

  switch(/** @type {{language?: string, latency_ms?: number}} */ to) {
    this.#sendMessage({ type: "switch", ...to });
  }

  finish() {
    this.#sendMessage({ type: "finish" });
  }

  /** Closes the connection without a call of `onclose`. */
  cancel() {
    clearInterval(this.#timer);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #sendMessage(/** @type {object} */ message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #ping() {
    if (++this.#unanswered > UNANSWERED) {
      this.cancel();
      this.onclose({ code: 1006, error: null, duration: null });
    } else this.#sendMessage({ type: "ping" });
  }
}
