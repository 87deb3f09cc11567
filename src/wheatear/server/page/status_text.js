// States as text.

import { clock } from "./format.js";

const SLOW = 3; // seconds of unsent audio from which the page shows a warning
const LATE = 2; // seconds of delay from which the page shows it
const SILENT = 5_000; // ms without sound from which the page shows a warning

export const STATES = {
  idle: "Ready",
  asking: "Waiting for the microphone",
  connecting: "Connecting",
  live: "Live",
  finishing: "Finishing",
  reconnecting: "Reconnecting",
  lost: "Connection lost",
  full: "Server full",
  key: "API key required",
  unreachable: "Server unreachable",
};

const JOBS = {
  waiting: "Waiting for the previous file …",
  sending: "Sending …",
  working: "Transcribing …",
  done: "",
  failed: "",
};

/** The state of a file. */
export function jobLine(/** @type {import("./files.js").FileJob} */ { state, seconds, duration }) {
  if (state !== "working" || !seconds) return JOBS[state];
  return `Transcribing: ${clock(seconds)}${duration ? ` of ${clock(duration)}` : ""}`;
}

/** @typedef {import("./live.js").LiveCaptions} LiveCaptions */

/** The current problem of live captions, or "".  silent: ms since the last sound. */
export function problemOf(
  /** @type {LiveCaptions} */ { state, problem, unsent, catchingUp },
  /** @type {number} */ silent,
) {
  if (problem || state !== "live") return problem;
  if (unsent > SLOW && !catchingUp)
    return `The network is too slow: ${Math.round(unsent)} seconds of audio wait to be sent.`;
  if (silent > SILENT) return "The microphone is silent. Is it muted, or the wrong one?";
  return "";
}

/** The delay of captions behind the speaker. */
export function paceOf(/** @type {LiveCaptions} */ { state, behind, unsent, catchingUp }) {
  if (state !== "live") return "";
  if (catchingUp) return `Catching up, ${Math.round(unsent)} s`;
  return behind < LATE ? "on time" : `${Math.round(behind)} s behind`;
}
