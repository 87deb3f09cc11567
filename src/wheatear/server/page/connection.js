// One session of live captions: a WebSocket from `ready` to `end`.

import { address, key } from "./server.js";

const PING = 5_000; // ms
const UNANSWERED = 3; // pings after which the connection is gone, whatever the socket says

/**
 * @typedef {{model: string, language: string, latency: number, phrases: string[]}} Choice
 * What the server said last, as far as it was an error, and how many seconds it had heard when it
 * said that it was the end.
 * @typedef {{code: number, error: {code: string, message: string} | null, heard: number | null}}
 *   Closing
 */

export class Connection {
  #socket;
  #timer = setInterval(() => this.#ping(), PING);
  #unanswered = 0;
  /** Whether the server has said that it is ready. */
  ready = false;
  /** Called with each message of the server's. */
  onmessage = (/** @type {any} */ _message) => {};
  /** Called once, when it is over. */
  onclose = (/** @type {Closing} */ _closing) => {};

  constructor(/** @type {Choice} */ choice, /** @type {number} */ rate) {
    const url = address("ws");
    url.protocol = url.protocol.replace("http", "ws");
    url.search = String(
      new URLSearchParams([
        ["model", choice.model],
        ["language", choice.language],
        ["latency", String(choice.latency)],
        ["rate", String(rate)],
        ["encoding", "s16"],
        ["channels", "1"],
        ["interim", "1"],
        ...choice.phrases.map((phrase) => ["phrases", phrase]),
      ]),
    );
    const protocols = key.value ? ["wheatear", `key.${key.value}`] : ["wheatear"];
    this.#socket = new WebSocket(url, protocols);
    this.#socket.binaryType = "arraybuffer";
    /** @type {Closing["error"]} */ let error = null;
    /** @type {Closing["heard"]} */ let heard = null;
    this.#socket.onmessage = ({ data }) => {
      this.#unanswered = 0;
      const message = JSON.parse(data);
      if (message.type === "ready") this.ready = true;
      if (message.type === "end") heard = message.duration;
      error = message.type === "error" ? message : null;
      this.onmessage(message);
    };
    this.#socket.onclose = ({ code }) => {
      clearInterval(this.#timer);
      this.onclose({ code, error, heard });
    };
  }

  /** Samples that the network has not taken yet. */
  get waiting() {
    return this.#socket.bufferedAmount / 2;
  }

  send(/** @type {import("./tape.js").Samples} */ samples) {
    this.#socket.send(samples);
  }

  switch(/** @type {{language?: string, latency_ms?: number}} */ to) {
    this.#tell({ type: "switch", ...to });
  }

  finish() {
    this.#tell({ type: "finish" });
  }

  /** Hangs up; `onclose` is not called any more. */
  abandon() {
    clearInterval(this.#timer);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #tell(/** @type {object} */ message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #ping() {
    if (++this.#unanswered > UNANSWERED) {
      this.abandon();
      this.onclose({ code: 1006, error: null, heard: null });
    } else this.#tell({ type: "ping" });
  }
}
