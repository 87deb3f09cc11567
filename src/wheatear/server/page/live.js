// Listening: the microphone's audio goes to session after session, and what they say into one
// transcript.
//
// Audio is kept until a final has settled it.  When a connection drops, the next session hears
// again what was not settled and all that was said meanwhile, so nothing is lost and times go on.

import { Connection } from "./connection.js";
import { MicrophoneError } from "./microphone.js";
import { models, sentence, ServerError } from "./server.js";
import { Tape } from "./tape.js";

const BURST = 5; // blocks sent for each one heard: what waits goes out at five times real time
const DRAIN = 40; // ms between bursts when no block comes any more
const ON_THE_WAY = 1; // seconds of audio that may wait in the socket
const TURN = 45; // seconds kept of what was sent while somebody speaks: no turn is longer
const QUIET = 5; // and while nobody does
const LONGEST = 120; // seconds kept in all
const CAUGHT_UP = 2; // seconds of audio that may wait when a session has caught up
const ROUNDING = 0.1; // seconds by which a server may count otherwise
const STALE = 5_000; // ms after which the lateness of words tells nothing any more
const RETRIES = [0.5, 1, 2, 4, 8]; // seconds before each

/**
 * idle, asking (for the microphone), connecting, live, finishing, reconnecting; and what ends it:
 * lost, full, key.
 * @typedef {"idle" | "asking" | "connecting" | "live" | "finishing" | "reconnecting" | "lost" |
 *   "full" | "key"} State
 * @typedef {import("./connection.js").Choice} Choice
 */

export class Live {
  #tape = new Tape();
  #microphone;
  /** @type {Connection | null} */ #connection = null;
  /** @type {Choice} */ #choice;
  #offset = 0; // where the session began
  #sent = 0; // up to where it has been sent
  #started = 0; // where Start was pressed
  #answered = false; // whether the session has said anything but that it is ready
  #everAnswered = false; // whether any has since Start was pressed
  #stopping = false;
  #attempts = 0; // to start
  #tries = 0; // to connect again
  #timer = 0;
  #backlog = 0; // seconds that waited when the session began; 0 once they were sent
  #late = { seconds: 0, at: 0 }; // how late the last words came, and when that was

  /** @type {State} */ state = "idle";
  /** What is wrong, as a sentence. */
  problem = "";
  /** Called when one of these has changed. */
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

  /** Whether it is at work, or trying. */
  get busy() {
    return ["asking", "connecting", "live", "finishing", "reconnecting"].includes(this.state);
  }

  /** Seconds of audio heard. */
  get elapsed() {
    return this.#tape.end / (this.#microphone.rate || 1);
  }

  /** Seconds of audio that wait to be sent. */
  get unsent() {
    const waiting = this.#tape.end - this.#sent + (this.#connection?.waiting ?? 0);
    return waiting / (this.#microphone.rate || 1);
  }

  /** True while audio is sent that waited for the connection, and the wait does not grow. */
  get catchingUp() {
    if (this.unsent < CAUGHT_UP) this.#backlog = 0;
    return this.#backlog > 0 && this.unsent < this.#backlog + CAUGHT_UP;
  }

  /** Seconds by which captions come later than the latency that was asked for. */
  get behind() {
    const { seconds, at } = this.#late;
    const known = performance.now() - at < STALE; // who pauses does not fall behind
    return this.unsent + (known ? Math.max(0, seconds) : 0);
  }

  /**
   * Begins, or goes on.
   * @param {Choice} choice
   * @param {{device: string, clean: boolean}} sound
   */
  async start(choice, sound) {
    const attempt = ++this.#attempts;
    this.#choice = choice;
    this.#stopping = this.#everAnswered = false;
    this.#tries = 0;
    this.#started = this.#tape.end;
    this.#sent = this.#tape.begin;
    this.#set("asking");
    this.#microphone.onblock = (samples, peak) => this.#hear(samples, peak);
    this.#microphone.onlost = () => this.stop("The microphone was unplugged.");
    try {
      await this.#microphone.start(sound);
    } catch (error) {
      if (!(error instanceof MicrophoneError)) throw error;
      return this.#set("idle", error.message);
    }
    if (this.#stopping || attempt !== this.#attempts) return this.#microphone.stop(); // meanwhile
    this.#connect();
  }

  /** Stops hearing and waits for the last words; asked again, does not wait any more. */
  async stop(problem = "") {
    if (this.#stopping) return this.#giveUp("lost", "Stopped before the last words came.");
    this.#stopping = true;
    this.#set("finishing", problem);
    await this.#microphone.stop();
    if (!this.#everAnswered && !this.#connection?.ready) return this.#refused("idle", problem);
    this.#drain();
  }

  /** Goes on in another language or at another latency. */
  switch(/** @type {Choice} */ choice) {
    this.#choice = choice;
    if (this.#connection?.ready)
      this.#connection.switch({ language: choice.language, latency_ms: choice.latency });
  }

  // -- audio to the server

  #hear(/** @type {import("./tape.js").Samples} */ samples, /** @type {number} */ peak) {
    this.#tape.add(samples);
    this.onlevel(peak);
    this.#send();
    if (this.#tape.end - this.#tape.begin > LONGEST * this.#microphone.rate)
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
      const samples = this.#tape.next(this.#sent);
      if (!samples) break;
      connection.send(samples);
      this.#sent += samples.length;
    }
    this.#tape.forget(this.#sent - (this.transcript.partial ? TURN : QUIET) * rate);
  }

  /** Sends what is left after the microphone has stopped, then asks for the end. */
  #drain() {
    if (!this.#connection?.ready) return;
    this.#send();
    if (this.#sent < this.#tape.end) this.#timer = setTimeout(() => this.#drain(), DRAIN);
    else this.#connection.finish();
  }

  // -- sessions

  #connect() {
    this.#set(
      this.#stopping ? "finishing" : this.#tries ? "reconnecting" : "connecting",
      this.problem,
    );
    this.#offset = this.#sent = this.#tape.begin;
    this.#answered = false;
    this.#connection = new Connection(this.#choice, this.#microphone.rate);
    this.#connection.onmessage = (message) => this.#take(message);
    this.#connection.onclose = (closing) => this.#closed(closing);
  }

  #take(/** @type {any} */ message) {
    const { rate } = this.#microphone;
    const offset = this.#offset / rate;
    if (message.type === "ready") {
      this.#backlog = this.#tries > 0 ? this.unsent : 0;
      if (this.#stopping) this.#drain();
      else this.#set("live");
      return;
    }
    if (message.type === "error" || message.type === "end") return; // its closing tells the rest
    this.#answered = this.#everAnswered = true;
    this.#tries = 0;
    if (message.type === "partial") this.transcript.say(message, offset);
    if (message.type === "final") {
      this.transcript.settle(message, offset);
      this.#tape.forget(this.#offset + Math.round(message.end * rate));
    }
    if (message.type === "partial" || message.type === "final") {
      const seconds = (this.#sent - this.#offset) / rate - message.end;
      this.#late = { seconds: seconds - this.#choice.latency / 1000, at: performance.now() };
    }
  }

  async #closed(/** @type {import("./connection.js").Closing} */ { code, error, heard }) {
    const connection = this.#connection;
    this.#connection = null;
    if (heard !== null) {
      const { rate } = this.#microphone;
      this.#tape.forget(this.#offset + Math.round(heard * rate));
      if (this.#stopping && this.#tape.end - this.#tape.begin < ROUNDING * rate) {
        this.#tape.forget(this.#tape.end);
        return this.#set("idle", this.problem);
      }
    }
    let said = error ? sentence(error.message) : "";
    if (code === 1013 && !this.#everAnswered)
      return this.#refused("full", said || "The server is full. Try again in a moment.");
    if ((error || code === 1008) && code !== 1013 && !this.#answered)
      return this.#refused(
        error?.code.includes("key") ? "key" : "lost",
        said || "The server refused to listen.",
      );
    if (!connection?.ready) {
      const why = await reason();
      if (this.#connection || !this.busy) return; // stopped meanwhile
      if (why.status === 401) return this.#refused("key", why.message);
      if (why.status === 200 && !this.#everAnswered) return this.#refused("full", why.message);
      said ||= why.message;
    }
    this.#retry(said);
  }

  #retry(/** @type {string} */ said) {
    if (this.#stopping && this.#tries >= RETRIES.length)
      return this.#giveUp("lost", "The connection was lost before the last words came.");
    const seconds = RETRIES[Math.min(this.#tries++, RETRIES.length - 1)];
    const why = said || "The connection was lost.";
    this.#set(
      this.#stopping ? "finishing" : "reconnecting",
      this.#stopping
        ? `${why} The last words are sent again.`
        : `${why} What is said meanwhile is kept for a minute or more, and captioned then.`,
    );
    this.#timer = setTimeout(() => this.#connect(), seconds * 1000);
  }

  /** Ends it before it has begun, as if Start had not been pressed; or else as `#giveUp` does. */
  #refused(/** @type {State} */ state, /** @type {string} */ problem) {
    this.#giveUp(state, problem);
    if (!this.#everAnswered) this.#tape.rewind(this.#started);
    this.#set(state, problem);
  }

  /** Ends it without the server.  What was heard and not settled is kept, should it go on. */
  #giveUp(/** @type {State} */ state, problem = "") {
    clearTimeout(this.#timer);
    this.#connection?.abandon();
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

/** Why a socket may have been refused: browsers do not tell. */
async function reason() {
  try {
    await models();
    return new ServerError("The server takes no more streams now. Try again in a moment.", 200);
  } catch (error) {
    if (error instanceof ServerError) return error;
    throw error;
  }
}
