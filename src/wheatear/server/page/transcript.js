// A transcript: settled turns and the unsettled one.  Times in seconds.

/**
 * @typedef {{text: string, start: number, end: number, confidence?: number, space_before: boolean}}
 *   Word
 * @typedef {{text: string, start: number, end: number, language: string | null}} Span
 * @typedef {Span & {words: Word[]}} Segment
 * @typedef {Span & {words: Word[], segments: Segment[], settled: boolean}} Turn
 * @typedef {Span & {words: Word[], segments?: Span[]}} Utterance  A partial or final event of the server.
 */

export class Transcript {
  /** @type {Turn[]} Settled turns with words, in order; silence is left out. */
  turns = [];
  /** @type {Turn | null} */
  partial = null;
  /** End of the settled part. */
  settled = 0;
  /** Length of the audio. */
  duration = 0;
  /** True if the user has saved all of it. */
  saved = true;
  /** Address of the recording, or "". */
  recording = "";
  /** Called when a turn has been added, and when the partial has changed. */
  onadded = (/** @type {Turn} */ _turn) => {};
  onpartial = () => {};

  constructor(/** @type {string} */ title) {
    this.title = title;
  }

  /** Takes a final whose session began at `offset`. */
  settle(/** @type {Utterance} */ utterance, offset = 0) {
    const turn = { ...shifted(utterance, offset), settled: true };
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
   * Takes a partial.  One that ends earlier than the last is ignored: a new session transcribes
   * the unsettled audio once more.
   */
  update(/** @type {Utterance} */ utterance, offset = 0) {
    const turn = shifted(utterance, offset);
    if (this.partial && turn.end < this.partial.end) return;
    this.partial = turn;
    this.saved = false;
    this.onpartial();
  }

  /** Removes all text. */
  clear() {
    this.turns = [];
    this.partial = null;
    this.settled = this.duration = 0;
    this.saved = true;
    this.onpartial();
  }

  /** All turns, the unsettled one included. */
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

/** The start of a turn's first word. */
export function startOf(/** @type {Turn} */ turn) {
  return turn.words[0]?.start ?? turn.start;
}

/** @returns {Turn} */
function shifted(/** @type {Utterance} */ utterance, /** @type {number} */ offset) {
  const shift = (/** @type {{start: number, end: number}} */ { start, end }) => ({
    start: milliseconds(start + offset),
    end: milliseconds(end + offset),
  });
  const { text, language } = utterance;
  const words = utterance.words.map((word) => ({ ...word, ...shift(word) }));
  const spans = utterance.segments ?? [utterance];
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
  return { text, language, ...shift(utterance), words, segments, settled: false };
}

const milliseconds = (/** @type {number} */ seconds) => Math.round(seconds * 1000) / 1000;

/** Builds the transcript of a file from its events: growing text and the segments that settle it. */
export class FileTurns {
  #transcript;
  #text = "";
  #end = 0;

  constructor(/** @type {Transcript} */ transcript) {
    this.#transcript = transcript;
  }

  /** Adds to the text that no segment has settled. */
  grow(/** @type {string} */ delta) {
    this.#text += delta;
    const time = { start: this.#end, end: this.#end };
    const words = this.#text.split(/(?<=\S)(?=\s)/).map((text) => ({
      text: text.trim(),
      space_before: /^\s/.test(text),
      ...time,
    }));
    this.#transcript.update({ text: this.#text.trim(), language: null, words, ...time });
  }

  /**
   * Takes a segment as a turn, which begins where the one before it ended.
   * @param {{text: string, end: number, language: string | null, words: {word: string,
   *   start: number, end: number, confidence?: number}[]}} segment
   */
  settle({ text, end, language, words }) {
    let at = 0;
    const spaced = words.map(({ word, ...rest }) => {
      const found = Math.max(at, text.indexOf(word, at));
      const space_before = /\s/.test(text.slice(at, found));
      at = found + word.length;
      return { ...rest, text: word, space_before };
    });
    const turn = { text, language, start: this.#end, end };
    this.#text = "";
    this.#end = end;
    this.#transcript.settle({ ...turn, words: spaced, segments: [turn] });
  }
}
