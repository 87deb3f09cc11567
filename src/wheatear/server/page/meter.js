// The level of the microphone: its last seconds as bars, or one bar with reduced motion.

const QUIET = -60; // dBFS, the lower end
const LOUD = -0.5; // clipping starts here
const BAR = 3; // pixels; the gap between bars is as wide
const ANNOUNCE_EVERY = 500; // ms between values for screen readers

const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Meter {
  #canvas;
  #context;
  /** @type {number[]} Levels, 0 to 1, the newest last. */
  #levels = [];
  #odd = 0;
  #announced = 0;

  constructor(/** @type {HTMLCanvasElement} */ canvas) {
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    new ResizeObserver(() => this.#resize()).observe(canvas);
    for (const query of [still, matchMedia("(prefers-color-scheme: dark)")])
      query.addEventListener("change", () => this.#draw());
  }

  /** Adds the peak of a block, 0 to 1. */
  add(/** @type {number} */ peak) {
    const decibels = 20 * Math.log10(Math.max(peak, 1e-6));
    const level = Math.max(0, 1 - decibels / QUIET);
    if (this.#odd++ % 2) this.#levels.push(Math.max(level, this.#levels.pop() ?? 0));
    else this.#levels.push(level); // a bar is two blocks
    this.#levels.splice(0, this.#levels.length - 400);
    this.#announce(level, decibels > LOUD ? "too loud" : level < 0.1 ? "silent" : "");
    requestAnimationFrame(() => this.#draw());
  }

  off() {
    this.#levels = [];
    this.#announced = 0;
    this.#announce(0, "off");
    this.#draw();
  }

  #announce(/** @type {number} */ level, /** @type {string} */ text) {
    if (performance.now() - this.#announced < ANNOUNCE_EVERY) return;
    this.#announced = performance.now();
    const percent = Math.round(level * 100);
    this.#canvas.ariaValueNow = String(percent);
    this.#canvas.ariaValueText = text || `${percent} %`;
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#canvas;
    this.#canvas.width = clientWidth * devicePixelRatio;
    this.#canvas.height = clientHeight * devicePixelRatio;
    this.#draw();
  }

  #draw() {
    const { width, height } = this.#canvas;
    const context = this.#context;
    const style = getComputedStyle(this.#canvas);
    const bar = BAR * devicePixelRatio;
    context.clearRect(0, 0, width, height);
    context.fillStyle = style.getPropertyValue("--rest");
    context.fillRect(0, (height - devicePixelRatio) / 2, width, devicePixelRatio);
    context.fillStyle = style.color;
    if (still.matches) {
      context.fillRect(0, height / 2 - bar, width * (this.#levels.at(-1) ?? 0), 2 * bar);
      return;
    }
    this.#levels.toReversed().forEach((level, index) => {
      const tall = level ** 3 * (height - bar) + bar;
      if (level > 0)
        context.fillRect(width - (2 * index + 1) * bar, (height - tall) / 2, bar, tall);
    });
  }
}
