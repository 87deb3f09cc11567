// The page's state and controls.

import { key, models, ServerError } from "./api.js";
import { CaptionsView } from "./captions_view.js";
import { $, notify, set } from "./dom.js";
import { allowExport, offerExport } from "./export.js";
import { FileJob } from "./files.js";
import { clock } from "./format.js";
import { LiveCaptions } from "./live.js";
import { Meter } from "./meter.js";
import { Microphone } from "./microphone.js";
import { Settings } from "./settings.js";
import { jobLine, paceOf, problemOf, STATES } from "./status_text.js";
import { Transcript } from "./transcript.js";

/**
 * A transcript in the list: captions of the microphone or of a file.
 * @typedef {{transcript: Transcript, live?: LiveCaptions, job?: FileJob, row: HTMLElement}} Item
 */

const audio = /** @type {HTMLAudioElement} */ ($("player"));
const microphone = new Microphone();
const captions = new CaptionsView();
const settings = new Settings();
const meter = new Meter(/** @type {HTMLCanvasElement} */ ($("meter")));

/** @type {Item[]} */ const items = [];
/** @type {Item | undefined} */ let shown;
/** @type {LiveCaptions | undefined} */ let live;
/** @type {"unreachable" | "key" | ""} */ let trouble = "";
let troubleText = "";
let lastSound = 0;

// -- the server

async function connect() {
  try {
    settings.offer(await models());
    trouble = "";
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    trouble = error.status === 401 ? "key" : "unreachable";
    troubleText = key.value || error.status !== 401 ? error.message : "";
  }
  show();
}

/** @type {HTMLFormElement} */ ($("key-form")).onsubmit = async (event) => {
  event.preventDefault();
  const field = /** @type {HTMLInputElement} */ ($("key"));
  key.set(field.value);
  field.value = "";
  if (live?.state === "key") live.state = "idle";
  await connect();
  if (!trouble) $("start").focus();
};

// -- the microphone

async function toggle() {
  if (live?.busy) return live.stop();
  if (trouble) await connect();
  if (trouble) return;
  lastSound = performance.now();
  if (!live) {
    const transcript = new Transcript("Microphone");
    live = new LiveCaptions(transcript, microphone);
    live.onchange = show;
    live.onlevel = (peak) => {
      meter.add(peak);
      if (peak > 0.001) lastSound = performance.now();
    };
    addItem({ transcript, live });
  }
  if (shown?.live !== live) select(items.find((item) => item.live));
  else captions.follow();
  await live.start(settings.options, settings.input);
  settings.listMicrophones();
}

settings.onswitch = () => {
  if (live?.busy) live.switch(settings.options);
};
$("start").onclick = toggle;
document.onkeydown = (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.repeat) return;
  event.preventDefault();
  toggle();
};

// -- files

let working = Promise.resolve();

function add(/** @type {Iterable<File>} */ files) {
  for (const file of files) {
    const job = new FileJob(file, settings.options);
    job.onchange = show;
    select(addItem({ transcript: job.transcript, job }));
    run(job);
  }
}

function run(/** @type {FileJob} */ job) {
  working = working.then(async () => {
    await job.run();
    if (job.state === "done") notify(`${job.file.name} is transcribed`);
  });
}

const picker = /** @type {HTMLInputElement} */ ($("file"));
$("open").onclick = () => picker.click();
picker.onchange = () => {
  add(picker.files ?? []);
  picker.value = "";
};
$("cancel").onclick = () => shown?.job?.cancel();

document.ondragover = (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dropping");
};
document.ondragleave = (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
};
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  add(event.dataTransfer?.files ?? []);
};
captions.onseek = (seconds) => {
  audio.currentTime = seconds;
  audio.play();
};
audio.onerror = () => (audio.hidden = true); // a format that this browser cannot play

// -- the list of transcripts

/** Adds a transcript to the list. */
function addItem(/** @type {Omit<Item, "row">} */ what) {
  const row = document.createElement("li");
  const button = document.createElement("button");
  const item = { ...what, row };
  button.type = "button";
  button.textContent = what.transcript.title;
  button.onclick = () => select(item);
  row.append(button);
  $("transcripts").append(row);
  items.push(item);
  return item;
}

function select(/** @type {Item | undefined} */ item) {
  if (shown && shown !== item && isEmptyFailure(shown)) remove(shown);
  shown = item;
  captions.show(item?.transcript ?? null, item?.live !== undefined);
  const { recording = "" } = item?.transcript ?? {};
  audio.pause();
  audio.hidden = !recording;
  if (recording) audio.src = recording;
  else audio.removeAttribute("src");
  show();
}

$("clear").onclick = async () => {
  const dialog = /** @type {HTMLDialogElement} */ ($("sure"));
  if (shown?.transcript.saved !== false) return clear();
  dialog.returnValue = "keep";
  dialog.onclose = () => dialog.returnValue === "clear" && clear();
  dialog.showModal();
};

/** True for a file that failed without any text. */
function isEmptyFailure(/** @type {Item} */ { job, transcript }) {
  return job?.state === "failed" && transcript.empty;
}

function remove(/** @type {Item} */ item) {
  items.splice(items.indexOf(item), 1);
  item.row.remove();
  item.job?.release();
}

function clear() {
  if (!shown) return;
  const index = items.indexOf(shown);
  remove(shown);
  if (shown.live) live = undefined;
  select(items[Math.min(index, items.length - 1)]);
  $("start").focus();
}

addEventListener("beforeunload", (event) => {
  if (items.some(({ transcript }) => !transcript.saved)) event.preventDefault();
});

// -- display

function show() {
  const state = live?.busy ? live.state : trouble || (live?.state ?? "idle");
  const { job } = shown ?? {};
  const listening = live?.busy ?? false;
  set($("state").firstElementChild, STATES[state]);
  $("state").dataset.state = state;
  document.title = `${listening ? "● " : ""}Wheatear`;

  const wanted = state === "key" || Boolean(job?.unauthorized && !key.value);
  if ($("key-form").hidden === wanted) {
    $("key-form").hidden = !wanted;
    if (wanted) $("key").focus();
  }
  showProblem(state);

  $("start").dataset.doing = listening ? "stop" : "start";
  set($("start-text"), listening ? "Stop" : live?.transcript.duration ? "Resume" : "Start");
  settings.lock(listening);
  captions.growing = listening && shown?.live !== undefined;
  if (!microphone.open) meter.off();

  const bare = !shown || !(listening || shown.job || shown.transcript.duration);
  $("shelf").hidden = items.length === 0 || (bare && items.length === 1);
  $("clear").hidden = Boolean(shown?.live && listening);
  for (const { row, job } of items) {
    const tab = /** @type {HTMLElement} */ (row.firstElementChild);
    tab.ariaCurrent = row === shown?.row ? "true" : null;
    const failed = job?.state === "failed";
    tab.classList.toggle("failed", failed);
    tab.title = failed ? job?.problem ?? "" : "";
  }
  $("problem").classList.toggle("warning", Boolean(job?.warning));
  $("job").hidden = !job?.busy;
  if (job) showJob(job);
}

function showProblem(/** @type {string} */ state) {
  const { job } = shown ?? {};
  const text = live?.busy
    ? problemOf(live, performance.now() - lastSound)
    : trouble
      ? troubleText
      : (live?.problem ?? "");
  const [line, again] = $("problem").children;
  set(line, job?.problem || job?.warning || text);
  $("problem").hidden = !line.textContent;
  /** @type {HTMLElement} */ (again).hidden =
    !job?.problem && !["unreachable", "full", "lost"].includes(state);
}

$("again").onclick = () => {
  if (shown?.job?.problem) {
    shown.job.again(settings.options);
    select(shown);
    run(shown.job);
  } else if (trouble) connect();
  else toggle();
  $("start").focus();
};

function showJob(/** @type {FileJob} */ job) {
  const [line, bar] = $("job").children;
  const progress = /** @type {HTMLProgressElement} */ (bar);
  set(line, jobLine(job));
  if (job.state === "sending") progress.value = job.sent;
  else if (job.duration) progress.value = Math.min(1, job.seconds / job.duration);
  else progress.removeAttribute("value");
}

/** Updates what depends on the time. */
function tick() {
  set($("elapsed"), clock(live?.elapsed ?? 0));
  set($("pace"), live ? paceOf(live) : "");
  const any = Boolean(shown && !shown.transcript.empty);
  allowExport(any);
  $("empty").hidden = any || Boolean(shown?.job);
  const invitation = trouble ? "" : "Press Start and speak, or open a recording.";
  set($("invitation"), live?.busy ? "Listening …" : invitation);
  if (live?.state === "live") showProblem("live");
}

setInterval(tick, 250);
if (/Mac|iP/.test(navigator.platform)) set(document.querySelector("#shortcut kbd"), "⌘");
set($("privacy"), `Audio and captions are sent to ${location.host} only.`);
offerExport(() => shown?.transcript);
connect();
show();
tick();
