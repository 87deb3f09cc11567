// Captions as files and as text for other programs.

import { subtitles, ServerError } from "./api.js";
import { $, notify } from "./dom.js";

/** @typedef {import("./transcript.js").Transcript} Transcript */

/** @typedef {(transcript: Transcript) => string | Promise<string>} Make */

/** @type {Record<string, {type: string, make: Make}>} */
const FORMATS = {
  srt: { type: "application/x-subrip", make: ({ all }) => subtitles("srt", all) },
  vtt: { type: "text/vtt", make: ({ all }) => subtitles("vtt", all) },
  json: { type: "application/json", make: json },
};
const BUTTONS = ["save", "copy", ...Object.keys(FORMATS)];

/** Connects the buttons.  shown: returns the transcript to export. */
export function offerExport(/** @type {() => Transcript | undefined} */ shown) {
  for (const ending of Object.keys(FORMATS))
    $(ending).onclick = async () => {
      const transcript = shown();
      if (!transcript) return;
      try {
        exported(transcript, `Saved as ${await download(transcript, ending)}`);
      } catch (error) {
        if (!(error instanceof ServerError)) throw error;
        notify(`The captions were not saved. ${error.message}`);
      }
    };
  $("copy").onclick = async () => {
    const transcript = shown();
    if (!transcript) return;
    try {
      await navigator.clipboard.writeText(transcript.text);
      exported(transcript, "Copied");
    } catch {
      notify("This browser does not let the page copy. Save the captions as a file instead.");
    }
  };
}

export function allowExport(/** @type {boolean} */ any) {
  for (const id of BUTTONS) /** @type {HTMLButtonElement} */ ($(id)).disabled = !any;
}

async function download(/** @type {Transcript} */ transcript, /** @type {string} */ ending) {
  const { type, make } = FORMATS[ending];
  const content = await make(transcript);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = `${transcript.title.replace(/\.\w{1,5}$/, "")}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return link.download;
}

function exported(/** @type {Transcript} */ transcript, /** @type {string} */ message) {
  transcript.saved = true;
  $("saving").hidePopover();
  notify(message);
}

/** The whole transcript, in the shape of `wheatear transcribe --format json`. */
function json(/** @type {Transcript} */ { title, all, duration, partial }) {
  return JSON.stringify(
    {
      file: title,
      finals: all,
      text: all.map(({ text }) => text).join(" "),
      language: all.at(-1)?.language ?? null,
      duration,
      complete: partial === null,
    },
    null,
    1,
  );
}
