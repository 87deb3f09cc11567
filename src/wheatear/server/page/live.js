// Live captions: audio of the microphone is sent to one session after the other, and their text
// makes up one transcript.
//
// Audio is kept until a final event covers it.  After a lost connection the next session gets the
// unsettled audio again, then all audio recorded since.  Nothing is lost, and times continue.

import { Connection } from "./connection.js";
import { MicrophoneError } from "./microphone.js";
import { models, sentence, ServerError } from "./api.js";
import { SampleBuffer } from "./audio_buffer.js";

const BURST = 5; // blocks sent for each recorded one: waiting audio is sent at five times real time
const DRAIN = 40; // ms between bursts after the last block
const ON_THE_WAY = 1; // seconds of audio that may wait in the socket
const TURN = 45; // seconds of sent audio kept during speech, longer than any turn
const QUIET = 5; // the same during silence
const LONGEST = 120; // seconds of audio kept in total
const CAUGHT_UP = 2; // seconds of audio that may wait when a session has caught up
const ROUNDING = 0.1; // seconds by which the server's times may differ
const STALE = 5_000; // ms after which the delay of the last words is out of date
const RETRIES = [0.5, 1, 2, 4, 8]; // seconds before each

/**
 * States of live captions: idle, asking (for the microphone), connecting, live, finishing,
 * reconnecting. The final states after an error are lost, full and key.
 * @typedef {"idle" | "asking" | "connecting" | "live" | "finishing" | "reconnecting" | "lost" |
 *   "full" | "key"} State
 * @typedef {import("./connection.js").SessionOptions} SessionOptions
 */

export class LiveCaptions {
  #buffer = new SampleBuffer();
  #microphone;
  /** @type {Connection | null} */ #connection = null;
  /** @type {SessionOptions} */ #options;
  #offset = 0; // position where the session began
  #sent = 0; // position of the first unsent sample
  #started = 0; // position where Start was pressed
  #answered = false; // true if the session has sent more than `ready`
  #everAnswered = false; // true if any session has since Start was pressed
  #stopping = false;
  #attempts = 0; // number of starts
  #tries = 0; // number of attempts to reconnect
  #timer = 0;
  #backlog = 0; // unsent seconds when the session began; 0 once they are sent
  #delay = { seconds: 0, at: 0 }; // delay of the last words, and their arrival

  /** @type {State} */ state = "idle";
  /** The problem, as a sentence. */
  problem = "";
  /** Called when the state or the problem has changed. */
  onchange = () => {};
  /** Called with each block's peak, 0 to 1. */
  onlevel = (/** @type {number} */ _peak) => {};

  /**
   * @param {import("./transcript.js").Transcript} transcript
   * @param {import("./microphone.js").Microphone} microphone
   */
  constructor(transcript, microphone) {
    this.transcript = transcript;
    this.#microphone = microphone;
  }

  /** True while captions are live or a connection is attempted. */
  get busy() {
    return ["asking", "connecting", "live", "finishing", "reconnecting"].includes(this.state);
  }

  /** Seconds of recorded audio. */
  get elapsed() {
    return this.#buffer.end / (this.#microphone.rate || 1);
  }

  /** Seconds of audio that wait to be sent. */
  get unsent() {
    const waiting = this.#buffer.end - this.#sent + (this.#connection?.waiting ?? 0);
    return waiting / (this.#microphone.rate || 1);
  }

  /** True while audio is sent that waited for the connection, and the wait does not grow. */
  get catchingUp() {
    if (this.unsent < CAUGHT_UP) this.#backlog = 0;
    return this.#backlog > 0 && this.unsent < this.#backlog + CAUGHT_UP;
  }

  /** Seconds by which captions exceed the selected latency. */
  get behind() {
    const { seconds, at } = this.#delay;
    const known = performance.now() - at < STALE; // a pause is no delay
    return this.unsent + (known ? Math.max(0, seconds) : 0);
  }

  /**
   * Starts or resumes.
   * @param {SessionOptions} options
   * @param {{device: string, clean: boolean}} input
   */
  async start(options, input) {
    const attempt = ++this.#attempts;
    this.#options = options;
    this.#stopping = this.#everAnswered = false;
    this.#tries = 0;
    this.#started = this.#buffer.end;
    this.#sent = this.#buffer.begin;
    this.#set("asking");
    this.#microphone.onblock = (samples, peak) => this.#record(samples, peak);
    this.#microphone.onlost = () => this.stop("The microphone was unplugged.");
    try {
      await this.#microphone.start(input);
    } catch (error) {
      if (!(error instanceof MicrophoneError)) throw error;
      return this.#set("idle", error.message);
    }
    if (this.#stopping || attempt !== this.#attempts) return this.#microphone.stop(); // stopped
    this.#connect();
  }

  /** Stops recording and waits for the last words; a second call does not wait. */
  async stop(problem = "") {
    if (this.#stopping) return this.#giveUp("lost", "Stopped before the last words came.");
    this.#stopping = true;
    this.#set("finishing", problem);
    await this.#microphone.stop();
    if (!this.#everAnswered && !this.#connection?.ready) return this.#reject("idle", problem);
    this.#drain();
  }

  /** Changes language and latency. */
  switch(/** @type {SessionOptions} */ options) {
    this.#options = options;
    if (this.#connection?.ready)
      this.#connection.switch({ language: options.language, latency_ms: options.latency });
  }

  // -- audio

  #record(/** @type {import("./audio_buffer.js").Samples} */ samples, /** @type {number} */ peak) {
    this.#buffer.add(samples);
    this.onlevel(peak);
    this.#send();
    if (this.#buffer.end - this.#buffer.begin > LONGEST * this.#microphone.rate)
      this.#giveUp(
        "lost",
        this.#connection?.ready
          ? "The network is too slow for live captions, so they were stopped."
          : "The server did not come back, so captions were stopped.",
      );
  }

  #send() {
    const connection = this.#connection;
    if (!connection?.ready) return;
    const { rate } = this.#microphone;
    for (let count = 0; count < BURST && connection.waiting < ON_THE_WAY * rate; count++) {
      const samples = this.#buffer.next(this.#sent);
      if (!samples) break;
      connection.send(samples);
      this.#sent += samples.length;
    }
    this.#buffer.discard(this.#sent - (this.transcript.partial ? TURN : QUIET) * rate);
  }

  /** Sends the rest after the microphone has stopped, then finishes the session. */
  #drain() {
    if (!this.#connection?.ready) return;
    this.#send();
    if (this.#sent < this.#buffer.end) this.#timer = setTimeout(() => this.#drain(), DRAIN);
    else this.#connection.finish();
  }

  // -- sessions

  #connect() {
    this.#set(
      this.#stopping ? "finishing" : this.#tries ? "reconnecting" : "connecting",
      this.problem,
    );
    this.#offset = this.#sent = this.#buffer.begin;
    this.#answered = false;
    this.#connection = new Connection(this.#options, this.#microphone.rate);
    this.#connection.onmessage = (message) => this.#receive(message);
    this.#connection.onclose = (closing) => this.#closed(closing);
  }

  #receive(/** @type {any} */ message) {
    const { rate } = this.#microphone;
    const offset = this.#offset / rate;
    if (message.type === "ready") {
      this.#backlog = this.#tries > 0 ? this.unsent : 0;
      if (this.#stopping) this.#drain();
      else this.#set("live");
      return;
    }
    if (message.type === "error" || message.type === "end") return; // handled when the socket closes
    this.#answered = this.#everAnswered = true;
    this.#tries = 0;
    if (message.type === "partial") this.transcript.update(message, offset);
    if (message.type === "final") {
      this.transcript.settle(message, offset);
      this.#buffer.discard(this.#offset + Math.round(message.end * rate));
    }
    if (message.type === "partial" || message.type === "final") {
      const seconds = (this.#sent - this.#offset) / rate - message.end;
      this.#delay = { seconds: seconds - this.#options.latency / 1000, at: performance.now() };
    }
  }

  async #closed(/** @type {import("./connection.js").CloseReport} */ { code, error, duration }) {
    const connection = this.#connection;
    this.#connection = null;
    if (duration !== null) {
      const { rate } = this.#microphone;
      this.#buffer.discard(this.#offset + Math.round(duration * rate));
      if (this.#stopping && this.#buffer.end - this.#buffer.begin < ROUNDING * rate) {
        this.#buffer.discard(this.#buffer.end);
        return this.#set("idle", this.problem);
      }
    }
    let message = error ? sentence(error.message) : "";
    if (code === 1013 && !this.#everAnswered)
      return this.#reject("full", message || "The server is full. Try again in a moment.");
    if ((error || code === 1008) && code !== 1013 && !this.#answered)
      return this.#reject(
        error?.code.includes("key") ? "key" : "lost",
        message || "The server rejected the session.",
      );
    if (!connection?.ready) {
      const why = await failureReason();
      if (this.#connection || !this.busy) return; // stopped while waiting
      if (why.status === 401) return this.#reject("key", why.message);
      if (why.status === 200 && !this.#everAnswered) return this.#reject("full", why.message);
      message ||= why.message;
    }
    this.#retry(message);
  }

  #retry(/** @type {string} */ message) {
    if (this.#stopping && this.#tries >= RETRIES.length)
      return this.#giveUp("lost", "The connection was lost before the last words came.");
    const seconds = RETRIES[Math.min(this.#tries++, RETRIES.length - 1)];
    const why = message || "The connection was lost.";
    this.#set(
      this.#stopping ? "finishing" : "reconnecting",
      this.#stopping
        ? `${why} The last audio is sent again.`
        : `${why} Audio is kept for a minute or more and captioned after reconnecting.`,
    );
    this.#timer = setTimeout(() => this.#connect(), seconds * 1000);
  }

  /** Ends captions after a rejection; audio of a start that was never answered is discarded. */
  #reject(/** @type {State} */ state, /** @type {string} */ problem) {
    this.#giveUp(state, problem);
    if (!this.#everAnswered) this.#buffer.truncate(this.#started);
    this.#set(state, problem);
  }

  /** Ends captions without the server.  Unsettled audio is kept for a later start. */
  #giveUp(/** @type {State} */ state, problem = "") {
    clearTimeout(this.#timer);
    this.#connection?.cancel();
    this.#connection = null;
    this.#stopping = true;
    this.#microphone.onblock = () => {};
    this.#microphone.stop();
    this.#set(state, problem);
  }

  #set(/** @type {State} */ state, problem = "") {
    this.state = state;
    this.problem = problem;
    this.transcript.duration = Math.max(this.transcript.settled, this.elapsed);
    this.onchange();
  }
}

/** The probable reason of a failed connection, which browsers do not reveal. */
async function failureReason() {
  try {
    await models();
    return new ServerError("The server accepts no more streams now. Try again in a moment.", 200);
  } catch (error) {
    if (error instanceof ServerError) return error;
    throw error;
  }
}
