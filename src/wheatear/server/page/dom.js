// Access to the page's elements by their ids.

export const $ = (/** @type {string} */ id) =>
  /** @type {HTMLElement} */ (document.getElementById(id));

/** Sets the text of an element unless it has it already: screen readers read each change. */
export function set(/** @type {Element | null} */ element, /** @type {string} */ text) {
  if (element && element.textContent !== text) element.textContent = text;
}

/** Runs what a browser may forbid, such as storage. */
export function attempt(/** @type {() => void} */ action) {
  try {
    action();
  } catch (error) {
    console.info(String(error));
  }
}

/** Shows a message for four seconds. */
export function notify(/** @type {string} */ message) {
  $("notice").textContent = message;
  $("notice").classList.add("shown");
  setTimeout(() => $("notice").classList.remove("shown"), 4000);
}
