// Times and languages as text.

/** "0:07", "1:02:03" */
export function clock(/** @type {number} */ seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  return (hours ? `${hours}:${two(minutes)}` : `${minutes}`) + `:${two(whole % 60)}`;
}

const names = new Intl.DisplayNames(["en"], { type: "language", languageDisplay: "standard" });

/** "English (United States)" */
export function nameOfLanguage(/** @type {string} */ tag) {
  try {
    return names.of(tag) ?? tag;
  } catch {
    return tag; // a name of the model's own
  }
}
