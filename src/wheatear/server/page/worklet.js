// Runs in the audio thread: cuts the microphone's audio into blocks of 16-bit samples.

const BLOCK = 0.04; // seconds

class Blocks extends AudioWorkletProcessor {
  #size = Math.round(sampleRate * BLOCK);
  #block = new Int16Array(this.#size);
  #filled = 0;
  #peak = 0;
  #done = false;

  constructor() {
    super();
    this.port.onmessage = () => this.#flush();
  }

  /** Receives a quantum: a list of inputs, each a list of channels of floats. */
  process([channels]) {
    const count = channels[0]?.length ?? 0;
    for (let at = 0; at < count; at++) {
      let sum = 0;
      for (const channel of channels) sum += channel[at];
      this.#add(sum / channels.length);
    }
    return !this.#done;
  }

  #add(sample) {
    this.#peak = Math.max(this.#peak, Math.abs(sample));
    this.#block[this.#filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
    if (this.#filled === this.#size) this.#send(this.#block);
  }

  #send(samples) {
    this.port.postMessage({ samples, peak: this.#peak }, [samples.buffer]);
    this.#block = new Int16Array(this.#size);
    this.#filled = 0;
    this.#peak = 0;
  }

  /** Posts the incomplete last block, and null as the end mark. */
  #flush() {
    if (this.#filled) this.#send(this.#block.slice(0, this.#filled));
    this.port.postMessage(null);
    this.#done = true;
  }
}

registerProcessor("blocks", Blocks);
