// Transcripts as files: SubRip, WebVTT, JSON.  The rules are those of wheatear/formats.py: two
// lines of 42 letters, 17 letters a second.

/** @typedef {import("./transcript.js").Word} Word */
/** @typedef {import("./transcript.js").Turn} Turn */
/** @typedef {import("./transcript.js").Transcript} Transcript */
/** @typedef {{start: number, end: number, lines: string[]}} Cue */

const LETTERS = 42; // in a line
const LINES = 2;
const LETTERS_PER_SECOND = 17;
const LONGEST = 7; // seconds
const PAUSE = 1; // seconds between words that do not share a cue
const SHORTEST = 0.001;

export function srt(/** @type {Turn[]} */ turns) {
  return cues(turns)
    .map(({ start, end, lines }, index) => {
      const text = lines.join("\n").replaceAll("-->", "->");
      return `${index + 1}\n${clock(start, ",")} --> ${clock(end, ",")}\n${text}\n\n`;
    })
    .join("");
}

export function vtt(/** @type {Turn[]} */ turns) {
  const blocks = cues(turns).map(({ start, end, lines }) => {
    const text = lines.join("\n");
    const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
    return `${clock(start, ".")} --> ${clock(end, ".")}\n${escaped}\n\n`;
  });
  return "WEBVTT\n\n" + blocks.join("");
}

/** Everything there is, in the shape of `wheatear transcribe --format json`. */
export function json(/** @type {Transcript} */ { title, all, duration, partial }) {
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

/** Cues that do not overlap. */
export function cues(/** @type {Turn[]} */ turns) {
  /** @type {Cue[]} */ const cut = [];
  let last = 0;
  for (const turn of turns) {
    const groups = turn.segments.flatMap(({ words }) => split(words)).flatMap(grouped);
    groups.forEach((group, index) => {
      const words = group.flat();
      const lines = group.map(written);
      const start = Math.max(last, words[0].start);
      const read = lines.map(width).reduce((sum, letters) => sum + letters) / LETTERS_PER_SECOND;
      const wanted = Math.max(/** @type {Word} */ (words.at(-1)).end, start + Math.max(1, read));
      const next = groups[index + 1]?.[0][0].start ?? turn.end;
      last = Math.max(start + SHORTEST, Math.min(wanted, Math.max(next, words[0].start)));
      cut.push({ start, end: last, lines });
    });
  }
  return cut;
}

/** Lines, in lists that a long pause or a long time divides. */
function split(/** @type {Word[]} */ words) {
  /** @type {Word[][][]} */ const lists = [];
  for (const word of words) {
    const lines = lists.at(-1);
    const line = lines?.at(-1);
    const before = line?.at(-1);
    if (
      !lines ||
      !line ||
      !before ||
      word.start - before.end > PAUSE ||
      word.end - lines[0][0].start > LONGEST
    )
      lists.push([[word]]);
    else if (width(written([...line, word])) <= LETTERS) line.push(word);
    else lines.push([word]);
  }
  return lists;
}

function grouped(/** @type {Word[][]} */ lines) {
  const count = Math.ceil(lines.length / LINES);
  return Array.from({ length: count }, (_, at) => lines.slice(at * LINES, (at + 1) * LINES));
}

function written(/** @type {Word[]} */ words) {
  return words
    .map(({ text, space_before }) => (space_before ? " " : "") + text)
    .join("")
    .trim();
}

// Unicode's East Asian Width, W and F.
const WIDE =
  /[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\u3247\u3250-\u4dbf\u4e00-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{1b2fb}\u{20000}-\u{3fffd}]/u;

/** Letters, those of double width (Han, Kana, Hangul) twice, combining marks not at all. */
export function width(/** @type {string} */ text) {
  let sum = 0;
  for (const letter of text) sum += WIDE.test(letter) ? 2 : combines(letter) ? 0 : 1;
  return sum;
}

/** Whether a letter has a combining class: it then moves before a mark of the last class. */
function combines(/** @type {string} */ letter) {
  const last = "\u0345";
  return letter === last || !(last + letter).normalize("NFD").startsWith(last);
}

function clock(/** @type {number} */ seconds, /** @type {string} */ mark) {
  const ms = rounded(seconds * 1000);
  const two = (/** @type {number} */ value) => String(Math.floor(value)).padStart(2, "0");
  const thousandths = String(ms % 1000).padStart(3, "0");
  return `${two(ms / 3_600_000)}:${two((ms / 60_000) % 60)}:${two((ms / 1000) % 60)}${mark}${thousandths}`;
}

/** To the nearest whole number, and of two that are as near to the even one, as Python does. */
function rounded(/** @type {number} */ value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}
