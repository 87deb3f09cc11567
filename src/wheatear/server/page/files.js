// Files that are sent to be transcribed, one after the other.

import { ServerError, transcribe } from "./server.js";
import { Transcript, turnsOfFile } from "./transcript.js";

/** @typedef {"waiting" | "sending" | "working" | "done" | "failed"} State */

export class Job {
  #stop = new AbortController();
  /** @type {State} */ state = "waiting";
  /** How much of the file the server has, 0 to 1. */
  sent = 0;
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
      const body = await transcribe(this.file, this.choice, (sent) => this.#sent(sent), signal);
      for (const turn of turnsOfFile(body)) this.transcript.settle(turn);
      this.transcript.duration = body.duration;
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
    this.problem = "";
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

  #sent(/** @type {number} */ share) {
    this.sent = share;
    this.#set(share < 1 ? "sending" : "working");
  }

  #set(/** @type {State} */ state) {
    this.state = state;
    this.onchange();
  }
}
