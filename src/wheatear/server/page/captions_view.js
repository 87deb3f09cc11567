// The transcript on the page: a window of its settled turns, so that hours of captions need little
// memory, and the unsettled turn.  Text is inserted as text nodes, never as HTML.

import { $ } from "./dom.js";
import { startOf } from "./transcript.js";
import { clock, nameOfLanguage } from "./format.js";

const MOST = 200; // turns on the page while it follows
const STEP = 100; // turns that "earlier" and "later" bring
const NEAR = 80; // pixels from the bottom within which the page keeps following
const CONFIDENCE_STEPS = [0.4, 0.6, 0.75, 0.9]; // each one starts a darker shade

/** @typedef {import("./transcript.js").Turn} Turn */
/** @typedef {import("./transcript.js").Transcript} Transcript */

export class CaptionsView {
  #log = $("log");
  #turns = $("turns");
  #partial = $("partial");
  #earlier = $("earlier");
  #later = $("later");
  #latest = $("latest");
  /** @type {Transcript | null} */ #transcript = null;
  #from = 0; // the turns on the page
  #to = 0;
  #following = true;
  #growing = false; // new turns are then announced
  /** Called with the time to play from. */
  onseek = (/** @type {number} */ _seconds) => {};

  constructor() {
    this.#earlier.onclick = () => this.#move(-STEP);
    this.#later.onclick = () => this.#move(STEP);
    this.#latest.onclick = () => {
      this.follow();
      this.#log.focus({ preventScroll: true });
    };
    addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#keepUp()).observe(document.body);
    this.#turns.onclick = ({ target }) => {
      const { at } = /** @type {HTMLElement} */ (target).dataset;
      if (at) this.onseek(Number(at));
    };
  }

  /** Shows a transcript, at its end if it is growing. */
  show(/** @type {Transcript | null} */ transcript, growing = false) {
    if (this.#transcript) this.#transcript.onadded = this.#transcript.onpartial = () => {};
    this.#transcript = transcript;
    const count = transcript?.turns.length ?? 0;
    this.#following = growing;
    this.#render(growing ? count - MOST : 0, growing ? count : MOST);
    this.#showPartial();
    if (transcript) {
      transcript.onadded = () => this.#add();
      transcript.onpartial = () => this.#showPartial();
    }
    if (growing) this.#toBottom();
    else scrollTo(0, 0);
  }

  /** True while the transcript grows, so that the page follows its end. */
  set growing(/** @type {boolean} */ growing) {
    this.#growing = growing;
    this.#log.ariaLive = growing ? "polite" : "off";
    this.#label();
  }

  /** Shows the newest turns and follows new ones. */
  follow() {
    const count = this.#transcript?.turns.length ?? 0;
    this.#render(count - MOST, count);
    this.#following = true;
    this.#toBottom();
  }

  // -- turns

  /** Appends a turn that has just been settled. */
  #add() {
    const { turns } = /** @type {Transcript} */ (this.#transcript);
    const newest = turns.length - 1;
    const room = this.#following || this.#to - this.#from < MOST + STEP;
    if (this.#to === newest && room) {
      const row = this.#row(newest);
      row.classList.add("settling");
      this.#turns.append(row);
      this.#to++;
      while (this.#following && this.#to - this.#from > MOST) {
        this.#turns.firstElementChild?.remove();
        this.#from++;
      }
    }
    this.#label();
  }

  /** Moves the window; visible text keeps its place on the screen. */
  #move(/** @type {number} */ by) {
    const kept = by < 0 ? this.#turns.firstElementChild : this.#turns.lastElementChild;
    const index = by < 0 ? this.#from : this.#to - 1;
    const before = kept?.getBoundingClientRect().top ?? 0;
    if (by < 0) {
      const from = Math.max(0, this.#from + by);
      this.#render(from, Math.min(this.#to, from + MOST + STEP));
    } else this.#render(Math.max(this.#from, this.#to + by - MOST - STEP), this.#to + by);
    const row = this.#turns.children[index - this.#from];
    if (row) scrollBy(0, row.getBoundingClientRect().top - before);
    this.#log.focus({ preventScroll: true }); // the button may be gone
  }

  #render(/** @type {number} */ from, /** @type {number} */ to) {
    this.#from = Math.max(0, from);
    this.#to = Math.min(to, this.#transcript?.turns.length ?? 0);
    this.#log.ariaLive = "off"; // screen readers have announced them already
    const indices = Array.from({ length: this.#to - this.#from }, (_, at) => this.#from + at);
    this.#turns.replaceChildren(...indices.map((index) => this.#row(index)));
    setTimeout(() => (this.#log.ariaLive = this.#growing ? "polite" : "off"), 200);
    this.#label();
  }

  #row(/** @type {number} */ index) {
    const { turns, recording } = /** @type {Transcript} */ (this.#transcript);
    const turn = turns[index];
    const row = document.createElement("li");
    const when = document.createElement("p");
    const text = document.createElement("p");
    row.className = "turn";
    when.className = "when";
    text.className = "words shaded";
    text.dir = "auto";
    write(text, turn);
    when.append(recording ? seeker(startOf(turn)) : timeOf(startOf(turn)));
    if (turn.language && turn.language !== turns[index - 1]?.language) {
      const language = document.createElement("span");
      language.textContent = turn.language;
      language.title = nameOfLanguage(turn.language);
      when.append(" ", language);
    }
    row.append(when, text);
    return row;
  }

  #label() {
    const count = this.#transcript?.turns.length ?? 0;
    const below = count - this.#to;
    this.#earlier.hidden = this.#from === 0;
    this.#earlier.textContent = `Show earlier captions (${this.#from})`;
    this.#later.hidden = below === 0;
    this.#later.textContent = `Show later captions (${below})`;
    this.#latest.hidden = this.#following || !this.#growing;
    this.#keepUp();
  }

  // -- the unsettled turn

  #showPartial() {
    const partial = this.#transcript?.partial;
    this.#partial.hidden = !partial || this.#to < (this.#transcript?.turns.length ?? 0);
    const [when, text] = this.#partial.children;
    if (partial) {
      const at = clock(startOf(partial));
      if (when.textContent !== at) when.replaceChildren(timeOf(startOf(partial)));
      write(/** @type {HTMLElement} */ (text), partial);
    } else text.replaceChildren();
    this.#keepUp();
  }

  // -- following

  #scrolled() {
    const newest = this.#to === (this.#transcript?.turns.length ?? 0);
    this.#following = newest && atBottom();
    this.#latest.hidden = this.#following || !this.#growing;
  }

  #keepUp() {
    if (this.#following && this.#growing) this.#toBottom();
  }

  #toBottom() {
    scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
    this.#latest.hidden = true;
  }
}

function atBottom() {
  const { scrollHeight } = document.documentElement;
  return scrollHeight - innerHeight - scrollY < NEAR;
}

/** Writes the words of a turn; unchanged elements are kept. */
function write(
  /** @type {HTMLElement} */ element,
  /** @type {Turn} */ { words, language, settled },
) {
  if (language) element.lang = language;
  const spans = element.getElementsByTagName("span");
  while (spans.length > words.length) element.lastChild?.remove();
  words.forEach((word, index) => {
    let span = spans[index];
    if (!span) {
      span = document.createElement("span");
      element.append(index > 0 && word.space_before ? " " : "", span);
    }
    if (span.textContent !== word.text) span.textContent = word.text;
    if (!settled) return;
    span.className = `sure${shade(word.confidence)}`;
    span.title = describe(word);
  });
}

function shade(confidence = 1) {
  return CONFIDENCE_STEPS.filter((least) => confidence >= least).length;
}

function describe(/** @type {import("./transcript.js").Word} */ { start, confidence }) {
  const at = `at ${clock(start)}.${Math.floor((start * 10) % 10)}`;
  return confidence === undefined ? at : `${Math.round(confidence * 100)} % confident, ${at}`;
}

function timeOf(/** @type {number} */ seconds) {
  const time = document.createElement("time");
  time.dateTime = `PT${seconds.toFixed(1)}S`;
  time.textContent = clock(seconds);
  return time;
}

function seeker(/** @type {number} */ seconds) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.at = String(seconds);
  button.textContent = clock(seconds);
  button.ariaLabel = `Play from ${clock(seconds)}`;
  return button;
}
