// What state things are in, in words.

import { clock } from "./writing.js";

const SLOW = 3; // seconds of audio waiting for the network that are worth a word
const LATE = 2; // seconds that captions may come late before the page says so
const SILENT = 5_000; // ms without any sound, likewise

export const STATES = {
  idle: "Ready",
  asking: "Waiting for the microphone",
  connecting: "Connecting",
  live: "Live",
  finishing: "Finishing",
  reconnecting: "Reconnecting",
  lost: "Connection lost",
  full: "Server full",
  key: "Key wanted",
  away: "Server away",
};

const JOBS = {
  waiting: "Waiting for the file before …",
  sending: "Sending …",
  working: "Transcribing …",
  done: "",
  failed: "",
};

/** The state of a file in words. */
export function jobLine(/** @type {import("./files.js").Job} */ { state, seconds, duration }) {
  if (state !== "working" || !seconds) return JOBS[state];
  return `Transcribing: ${clock(seconds)}${duration ? ` of ${clock(duration)}` : ""}`;
}

/** @typedef {import("./live.js").Live} Live */

/** What is wrong while it listens.  silent: ms since there was a sound. */
export function problemOf(
  /** @type {Live} */ { state, problem, unsent, catchingUp },
  /** @type {number} */ silent,
) {
  if (problem || state !== "live") return problem;
  if (unsent > SLOW && !catchingUp)
    return `The network is too slow: ${Math.round(unsent)} seconds of sound wait to be sent.`;
  if (silent > SILENT) return "The microphone is silent. Is it muted, or the wrong one?";
  return "";
}

/** How far captions are behind the speaker, in words. */
export function paceOf(/** @type {Live} */ { state, behind, unsent, catchingUp }) {
  if (state !== "live") return "";
  if (catchingUp) return `Catching up, ${Math.round(unsent)} s`;
  return behind < LATE ? "in step" : `${Math.round(behind)} s behind`;
}
