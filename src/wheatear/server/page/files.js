// Files to transcribe, one after the other.

import { sentence, ServerError, transcribe } from "./api.js";
import { FileTurns, Transcript } from "./transcript.js";

/** @typedef {"waiting" | "sending" | "working" | "done" | "failed"} State */

export class FileJob {
  #stop = new AbortController();
  /** @type {State} */ state = "waiting";
  /** Share of the file that is sent, 0 to 1. */
  sent = 0;
  /** Transcribed seconds, and seconds of the whole file if the server knows them. */
  seconds = 0;
  duration = 0;
  /** Parts of a damaged file that could not be transcribed. */
  warning = "";
  /** The error; true if the API key caused it. */
  problem = "";
  unauthorized = false;
  onchange = () => {};

  constructor(/** @type {File} */ file, /** @type {import("./connection.js").SessionOptions} */ options) {
    this.file = file;
    this.options = options;
    this.transcript = new Transcript(file.name);
    this.transcript.recording = URL.createObjectURL(file);
  }

  get busy() {
    return ["waiting", "sending", "working"].includes(this.state);
  }

  async run() {
    if (this.state !== "waiting") return;
    this.#set("sending");
    try {
      const { signal } = this.#stop;
      const turns = new FileTurns(this.transcript);
      const onsent = (/** @type {number} */ share) => this.#sent(share);
      const onevent = (/** @type {any} */ event) => this.#receive(event, turns);
      const { duration, warning } = await transcribe(
        this.file,
        this.options,
        onsent,
        onevent,
        signal,
      );
      this.transcript.duration = duration;
      this.warning = warning ? sentence(warning) : "";
      this.#set("done");
    } catch (error) {
      this.unauthorized = error instanceof ServerError && error.status === 401;
      this.problem = /** @type {Error} */ (error).message;
      this.#set("failed");
    }
  }

  /** Prepares a failed file for another attempt. */
  again(/** @type {import("./connection.js").SessionOptions} */ options) {
    this.options = options;
    this.problem = this.warning = "";
    this.sent = this.seconds = this.duration = 0;
    this.transcript.clear();
    this.#stop = new AbortController();
    this.#set("waiting");
  }

  cancel() {
    this.#stop.abort(new Error("Canceled."));
    if (this.state !== "waiting") return; // else the request reports it
    this.problem = "Canceled.";
    this.#set("failed");
  }

  /** Cancels the transcription and releases the file. */
  release() {
    this.cancel();
    URL.revokeObjectURL(this.transcript.recording);
  }

  #receive(/** @type {any} */ event, /** @type {FileTurns} */ turns) {
    if (event.type === "transcript.text.delta") turns.grow(event.delta);
    else if (event.type === "transcript.text.segment") turns.settle(event);
    else if (event.type === "transcript.progress") {
      this.seconds = event.seconds;
      this.duration = event.duration ?? 0;
    } else return;
    this.onchange();
  }

  #sent(/** @type {number} */ share) {
    this.sent = share;
    this.#set(share < 1 ? "sending" : "working");
  }

  #set(/** @type {State} */ state) {
    this.state = state;
    this.onchange();
  }
}
