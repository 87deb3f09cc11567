// What has been said: settled turns, and the one that is still being said.  Times in seconds.

/**
 * @typedef {{text: string, start: number, end: number, confidence?: number, space_before: boolean}}
 *   Word
 * @typedef {{text: string, start: number, end: number, language: string | null}} Span
 * @typedef {Span & {words: Word[]}} Segment
 * @typedef {Span & {words: Word[], segments: Segment[], settled: boolean}} Turn
 * @typedef {Span & {words: Word[], segments?: Span[]}} Said  A partial or a final of the server.
 */

export class Transcript {
  /** @type {Turn[]} Settled turns with words, in order; silence is left out. */
  turns = [];
  /** @type {Turn | null} */
  partial = null;
  /** Up to here everything is settled. */
  settled = 0;
  /** Length of the audio. */
  duration = 0;
  /** Whether the reader has taken all of it along. */
  saved = true;
  /** Address of the recording, where it can be played. */
  recording = "";
  /** Called when a turn has been added, and when the partial has changed. */
  onadded = (/** @type {Turn} */ _turn) => {};
  onpartial = () => {};

  constructor(/** @type {string} */ title) {
    this.title = title;
  }

  /** Takes a final whose session began at `offset`. */
  settle(/** @type {Said} */ said, offset = 0) {
    const turn = { ...shifted(said, offset), settled: true };
    this.settled = turn.end;
    this.duration = Math.max(this.duration, turn.end);
    this.partial = null;
    if (turn.words.length > 0) {
      this.turns.push(turn);
      this.saved = false;
      this.onadded(turn);
    }
    this.onpartial();
  }

  /**
   * Takes a partial.  One that says less than is known is left out: a new session is hearing
   * again what an earlier one had heard.
   */
  say(/** @type {Said} */ said, offset = 0) {
    const turn = shifted(said, offset);
    if (this.partial && turn.end < this.partial.end) return;
    this.partial = turn;
    this.saved = false;
    this.onpartial();
  }

  /** All that there is to read, the turn that is not settled among it. */
  get all() {
    return this.partial ? [...this.turns, this.partial] : this.turns;
  }

  get empty() {
    return this.turns.length === 0 && !this.partial;
  }

  get text() {
    return this.all.map(({ text }) => text).join("\n");
  }
}

/** When the first word of a turn was said. */
export function begun(/** @type {Turn} */ turn) {
  return turn.words[0]?.start ?? turn.start;
}

/** @returns {Turn} */
function shifted(/** @type {Said} */ said, /** @type {number} */ offset) {
  const shift = (/** @type {{start: number, end: number}} */ { start, end }) => ({
    start: milliseconds(start + offset),
    end: milliseconds(end + offset),
  });
  const { text, language } = said;
  const words = said.words.map((word) => ({ ...word, ...shift(word) }));
  const spans = said.segments ?? [said];
  const segments = spans.map((span) => ({
    text: span.text,
    language: span.language,
    ...shift(span),
    words: /** @type {Word[]} */ ([]),
  }));
  for (const word of words) {
    const segment = segments.findLast(({ start }) => start <= word.start) ?? segments[0];
    segment?.words.push(word);
  }
  return { text, language, ...shift(said), words, segments, settled: false };
}

const milliseconds = (/** @type {number} */ seconds) => Math.round(seconds * 1000) / 1000;

/**
 * Finals out of the verbose JSON that the server makes of a file: a turn for each segment, which
 * lasts until the next one begins.
 * @param {{segments: Omit<Span, "language">[], words: {word: string, start: number, end: number,
 *   confidence?: number}[], language: string | null, duration: number}} body
 * @returns {Said[]}
 */
export function turnsOfFile({ segments, words, language, duration }) {
  let next = 0;
  return segments.map(({ text, ...span }, index) => {
    const until = segments[index + 1]?.start ?? Infinity;
    /** @type {Word[]} */ const mine = [];
    let at = 0;
    for (; next < words.length && words[next].start < until; next++) {
      const { word, ...rest } = words[next];
      const found = Math.max(at, text.indexOf(word, at));
      mine.push({ ...rest, text: word, space_before: /\s/.test(text.slice(at, found)) });
      at = found + word.length;
    }
    const segment = { language, ...span, text };
    return {
      ...segment,
      start: index === 0 ? 0 : segment.start,
      end: Math.min(until, Math.max(duration, segment.end)),
      words: mine,
      segments: [segment],
    };
  });
}
