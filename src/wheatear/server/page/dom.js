// The page's elements, by their ids.

export const $ = (/** @type {string} */ id) =>
  /** @type {HTMLElement} */ (document.getElementById(id));

/** Sets a text, and leaves the element alone (and screen readers quiet) if it has it. */
export function set(/** @type {Element | null} */ element, /** @type {string} */ text) {
  if (element && element.textContent !== text) element.textContent = text;
}

/** Does what a browser may forbid, such as keeping something. */
export function attempt(/** @type {() => void} */ action) {
  try {
    action();
  } catch (error) {
    console.info(String(error));
  }
}

/** Says something that passes. */
export function tell(/** @type {string} */ message) {
  $("said").textContent = message;
  $("said").classList.add("shown");
  setTimeout(() => $("said").classList.remove("shown"), 4000);
}
