// The microphone: permission, the audio thread, and its blocks of 16-bit samples.

/** The reason why the microphone cannot be used, as a sentence for the user. */
export class MicrophoneError extends Error {}

const HIGHEST_RATE = 48_000; // Hz that the server accepts

/** @type {Record<string, string>} */
const REASONS = {
  NotAllowedError:
    "This page may not use the microphone. Allow it in the browser, by the icon beside the " +
    "address, and start again. Files can be transcribed without it.",
  NotFoundError: "No microphone was found. Plug one in and start again, or transcribe a file.",
  NotReadableError: "The microphone cannot be read. Another program may be using it.",
  OverconstrainedError: "The selected microphone is gone. Select another one in “More”.",
};

export class Microphone {
  /** @type {AudioContext | undefined} */ #context;
  /** @type {MediaStream | undefined} */ #stream;
  /** @type {MediaStreamAudioSourceNode | undefined} */ #source;
  /** @type {AudioWorkletNode | undefined} */ #node;
  /** @type {WakeLockSentinel | undefined} */ #awake;

  constructor() {
    document.addEventListener("visibilitychange", () => {
      if (this.open && !document.hidden) this.#stayAwake(); // hiding the page released the lock
    });
  }

  /** Called with each block of samples and its peak, 0 to 1. */
  onblock = (
    /** @type {import("./audio_buffer.js").Samples} */ _samples,
    /** @type {number} */ _peak,
  ) => {};
  /** Called when the microphone is unplugged. */
  onlost = () => {};

  /** Samples per second; known once it is open, constant until the page is closed. */
  get rate() {
    return this.#context?.sampleRate ?? 0;
  }

  get open() {
    return this.#stream !== undefined;
  }

  /**
   * Requests the microphone and starts recording.
   * @param {{device: string, clean: boolean}} choice  device: its id, "" for the browser's choice
   */
  async start({ device, clean }) {
    if (!navigator.mediaDevices)
      throw new MicrophoneError(
        "Browsers give the microphone only to pages from https addresses or from localhost. " +
          "Files can be transcribed without it.",
      );
    try {
      this.#context ??= await this.#makeContext();
      this.#context.resume(); // within the user's click, and again below
      this.#stream = await navigator.mediaDevices.getUserMedia({
        audio: {
          deviceId: device ? { exact: device } : undefined,
          channelCount: 1,
          echoCancellation: clean,
          noiseSuppression: clean,
          autoGainControl: true,
        },
      });
      await this.#context.resume();
    } catch (error) {
      if (error instanceof MicrophoneError) throw error;
      const { name, message } = /** @type {Error} */ (error);
      throw new MicrophoneError(REASONS[name] ?? `The microphone cannot be used: ${message}`);
    }
    this.#stream.getAudioTracks()[0].onended = () => this.onlost();
    this.#source = this.#context.createMediaStreamSource(this.#stream);
    this.#node = new AudioWorkletNode(this.#context, "blocks", { numberOfOutputs: 0 });
    this.#node.port.onmessage = ({ data }) => this.onblock(data.samples, data.peak);
    this.#source.connect(this.#node);
    this.#stayAwake();
  }

  /** Stops recording after the last block. */
  async stop() {
    const [stream, source, node, awake] = [this.#stream, this.#source, this.#node, this.#awake];
    this.#stream = this.#awake = undefined;
    if (!stream || !node) return;
    for (const track of stream.getTracks()) track.stop();
    await new Promise((resolve) => {
      node.port.onmessage = ({ data }) =>
        data ? this.onblock(data.samples, data.peak) : resolve(undefined);
      node.port.postMessage("flush");
    });
    source?.disconnect();
    if (!this.#stream) await this.#context?.suspend();
    await awake?.release();
  }

  async #makeContext() {
    let context = new AudioContext();
    if (context.sampleRate > HIGHEST_RATE) {
      context.close();
      context = new AudioContext({ sampleRate: HIGHEST_RATE });
    }
    try {
      await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    } catch {
      context.close();
      throw new MicrophoneError("The server cannot be reached.");
    }
    // A phone call interrupts the audio.
    context.onstatechange = () => {
      if (this.#stream && context.state !== "running") context.resume().catch(() => {});
    };
    return context;
  }

  /** Keeps the screen of a phone on, since the microphone stops when it turns off. */
  async #stayAwake() {
    try {
      this.#awake = await navigator.wakeLock?.request("screen");
    } catch {
      // Low battery, or not allowed: captions end when the screen turns off.
    }
  }
}

/** The available microphones. Browsers reveal their names once one was allowed. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter(({ kind, label }) => kind === "audioinput" && label);
}
