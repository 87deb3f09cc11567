// Files that are sent to be transcribed, one after the other.

import { sentence, ServerError, transcribe } from "./server.js";
import { FileTurns, Transcript } from "./transcript.js";

/** @typedef {"waiting" | "sending" | "working" | "done" | "failed"} State */

export class Job {
  #stop = new AbortController();
  /** @type {State} */ state = "waiting";
  /** The share of the file that is sent, 0 to 1. */
  sent = 0;
  /** Seconds that are transcribed, and those of the whole file, where the server knows them. */
  seconds = 0;
  duration = 0;
  /** What is missing of the file although it was transcribed. */
  warning = "";
  /** What went wrong, and whether it was the key. */
  problem = "";
  unauthorised = false;
  onchange = () => {};

  constructor(/** @type {File} */ file, /** @type {import("./connection.js").Choice} */ choice) {
    this.file = file;
    this.choice = choice;
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
      const onevent = (/** @type {any} */ event) => this.#take(event, turns);
      const { duration, warning } = await transcribe(
        this.file,
        this.choice,
        onsent,
        onevent,
        signal,
      );
      this.transcript.duration = duration;
      this.warning = warning ? sentence(warning) : "";
      this.#set("done");
    } catch (error) {
      this.unauthorised = error instanceof ServerError && error.status === 401;
      this.problem = /** @type {Error} */ (error).message;
      this.#set("failed");
    }
  }

  /** Begins again what failed. */
  again(/** @type {import("./connection.js").Choice} */ choice) {
    this.choice = choice;
    this.problem = this.warning = "";
    this.sent = this.seconds = this.duration = 0;
    this.transcript.clear();
    this.#stop = new AbortController();
    this.#set("waiting");
  }

  cancel() {
    this.#stop.abort(new Error("Cancelled."));
    if (this.state !== "waiting") return; // or else the request tells
    this.problem = "Cancelled.";
    this.#set("failed");
  }

  /** Lets the file go. */
  forget() {
    this.cancel();
    URL.revokeObjectURL(this.transcript.recording);
  }

  #take(/** @type {any} */ event, /** @type {FileTurns} */ turns) {
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
