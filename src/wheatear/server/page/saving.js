// Taking captions along: as files, as text.

import { $, tell } from "./dom.js";
import { json, srt, vtt } from "./subtitles.js";

/** @typedef {import("./transcript.js").Transcript} Transcript */

/** @type {Record<string, {type: string, make: (transcript: Transcript) => string}>} */
const FORMATS = {
  srt: { type: "application/x-subrip", make: ({ all }) => srt(all) },
  vtt: { type: "text/vtt", make: ({ all }) => vtt(all) },
  json: { type: "application/json", make: json },
};
const BUTTONS = ["save", "copy", ...Object.keys(FORMATS)];

/** Makes the buttons work.  shown: the transcript that they are about. */
export function offerSaving(/** @type {() => Transcript | undefined} */ shown) {
  for (const ending of Object.keys(FORMATS))
    $(ending).onclick = () => {
      const transcript = shown();
      if (transcript) taken(transcript, `Saved as ${download(transcript, ending)}`);
    };
  $("copy").onclick = async () => {
    const transcript = shown();
    if (!transcript) return;
    try {
      await navigator.clipboard.writeText(transcript.text);
      taken(transcript, "Copied");
    } catch {
      tell("This browser does not let the page copy. Save the captions as a file instead.");
    }
  };
}

export function allowSaving(/** @type {boolean} */ any) {
  for (const id of BUTTONS) /** @type {HTMLButtonElement} */ ($(id)).disabled = !any;
}

function download(/** @type {Transcript} */ transcript, /** @type {string} */ ending) {
  const { type, make } = FORMATS[ending];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([make(transcript)], { type }));
  link.download = `${transcript.title.replace(/\.\w{1,5}$/, "")}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return link.download;
}

function taken(/** @type {Transcript} */ transcript, /** @type {string} */ message) {
  transcript.saved = true;
  $("saving").hidePopover();
  tell(message);
}
