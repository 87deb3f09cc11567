// Recorded samples that no final event covers yet, so that a new session can transcribe them.
// Positions are samples since the transcript began.

/** @typedef {Int16Array<ArrayBuffer>} Samples */

export class SampleBuffer {
  /** @type {{at: number, samples: Samples}[]} */
  #blocks = [];
  /** Position of the first sample kept. */
  begin = 0;
  /** Position after the last one. */
  end = 0;

  /** @param {Samples} samples */
  add(samples) {
    this.#blocks.push({ at: this.end, samples });
    this.end += samples.length;
  }

  /** The rest of the block that holds a position; undefined at the end. */
  next(/** @type {number} */ position) {
    const block = this.#blocks.findLast(({ at }) => at <= position);
    return block && position < this.end ? block.samples.subarray(position - block.at) : undefined;
  }

  /** Discards the samples before a position. */
  discard(/** @type {number} */ position) {
    if (position <= this.begin) return;
    this.begin = Math.min(position, this.end);
    while (this.#blocks.length > 0) {
      const { at, samples } = this.#blocks[0];
      if (at + samples.length > this.begin) {
        this.#blocks[0] = { at: this.begin, samples: samples.subarray(this.begin - at) };
        return;
      }
      this.#blocks.shift();
    }
  }

  /** Discards the samples after a position. */
  truncate(/** @type {number} */ position) {
    this.#blocks = this.#blocks.filter(({ at }) => at < position);
    this.end = Math.max(this.begin, Math.min(this.end, position));
  }
}
