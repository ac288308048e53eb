// The builder's keys, and changes without loading the page anew: it asks for the same pages, and puts in what differs.
"use strict";

const builder = () => document.getElementById("builder");
const tell = (text) => { document.getElementById("said").textContent = text; };
let queue = Promise.resolve();
let held = null;
const folded = new Set();

document.documentElement.classList.add("scripted");

// One after another, so that each change knows of the one before.
function go(address, form, keep) {
  queue = queue.then(() => load(address, form, keep)).catch(() => flash(document.body.dataset.failed));
}

async function load(address, form, keep) {
  let body;
  if (form) {
    body = new URLSearchParams(form);
    body.set("revision", builder().dataset.revision);
  }
  const answer = await fetch(address, body ? { method: "POST", body } : {});
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = fresh.getElementById("builder");
  if (!next) {
    if (!answer.ok) throw new Error(answer.status);
    location.href = answer.url;
    return;
  }
  history.replaceState(null, "", answer.url);
  document.title = fresh.title;
  document.querySelector("h1").textContent = fresh.querySelector("h1").textContent;
  put(fresh, next, keep);
}

function put(fresh, next, keep) {
  const active = document.activeElement;
  const id = active && builder().contains(active) ? active.id : "";
  const top = document.querySelector(".side-panel").scrollTop;
  const panel = document.getElementById("panel");
  // What somebody types in stays as it is; only what is said beside it changes.
  const same = keep && panel.dataset.for === fresh.getElementById("panel").dataset.for;
  if (same) {
    for (const part of fresh.querySelectorAll("#panel [data-live]")) document.getElementById(part.id)?.replaceWith(part);
    fresh.getElementById("panel").replaceWith(panel);
  }
  const here = builder();
  for (const part of ["bench-bar", "matches", "stale", "bench"]) {
    const now = document.getElementById(part), then = fresh.getElementById(part);
    if (now && then) now.replaceWith(then);
    else if (now) now.remove();
    else if (then) document.getElementById("bench").before(then);
  }
  Object.assign(here.dataset, { revision: next.dataset.revision, focus: next.dataset.focus });
  const said = fresh.getElementById("flashes");
  document.getElementById("flashes").replaceChildren(...said.childNodes);
  tell(document.querySelector("#flashes .flash")?.textContent || "");
  setTimeout(() => document.querySelector("#flashes .said")?.remove(), 6000);
  dress();
  const wanted = same ? id : here.dataset.focus || id;
  const target = document.getElementById(wanted) || document.getElementById(id);
  if (same) document.querySelector(".side-panel").scrollTop = top;
  if (target && target !== document.activeElement) target.focus({ preventScroll: same });
  if (!same && wanted === "panel-title") first()?.focus();
}

// Where one goes on in a panel: its first field or button.
const first = () => document.querySelector("#panel input:not([type=hidden]), #panel select, #panel textarea, #panel .offer");

// What only works with a script is shown with one.
function dress() {
  for (const each of document.querySelectorAll("[data-insert], [data-fold]")) each.hidden = false;
  for (const key of folded) fold(key, true);
}

function fold(key, closed) {
  const button = document.querySelector(`[data-fold="${CSS.escape(key)}"]`);
  if (!button) return;
  closed ? folded.add(key) : folded.delete(key);
  button.closest(".node").classList.toggle("folded", closed);
  button.setAttribute("aria-expanded", String(!closed));
}

document.addEventListener("click", (event) => {
  const inserts = event.target.closest("[data-insert]");
  if (inserts) {
    const area = inserts.closest(".field").querySelector("textarea");
    area.setRangeText(inserts.textContent, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("change", { bubbles: true }));
    area.focus();
  }
  const folds = event.target.closest("[data-fold]");
  if (folds) fold(folds.dataset.fold, !folded.has(folds.dataset.fold));
  const link = event.target.closest("#builder a[data-part]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.href);
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("#builder form[data-part]");
  if (!form) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const data = new FormData(form, event.submitter);
  if (form.method === "get") go(`${form.action}?${new URLSearchParams(data)}`);
  else go(form.action, data, "autosave" in form.dataset);
}, true);

document.addEventListener("change", (event) => {
  const form = event.target.closest("#builder form[data-autosave]");
  if (form) go(form.action, new FormData(form), true);
});

function operate(does, values) {
  const data = new FormData(document.getElementById("op"));
  for (const [name, value] of Object.entries({ do: does, ...values })) data.set(name, value);
  go(builder().dataset.base, data);
}

const cards = () => [...document.querySelectorAll(".step-title")].filter((each) => each.offsetParent);
const cardOf = (element) => element?.closest("[data-card]") || document.querySelector(".step.chosen[data-card]");
const titled = (card) => card.querySelector(".step-title");

function toward(card, key) {
  const every = cards(), at = every.indexOf(titled(card)), node = card.closest(".node");
  if (key === "ArrowUp") return every[at - 1];
  if (key === "ArrowDown") return every[at + 1];
  if (key === "ArrowRight") return node.querySelector(":scope > .fork .step-title");
  return node.parentElement.closest(".node")?.querySelector(".step-title");
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select"), control = event.ctrlKey || event.metaKey;
  if (event.key === "Escape" && event.target.closest("#builder")) {
    (document.querySelector(".step.chosen .step-title") || cards()[0])?.focus();
    return;
  }
  if (typing || document.querySelector("dialog[open]")) return;
  const card = cardOf(event.target), key = card?.dataset.card, letter = event.key.toLowerCase();
  const can = (done) => { event.preventDefault(); done?.(); };
  if (control && letter === "z") return can(() => operate(event.shiftKey ? "redo" : "undo", { step: key || "" }));
  if (control && letter === "y") return can(() => operate("redo", { step: key || "" }));
  if (!control && event.key === "/") return can(() => document.getElementById("find").focus());
  if (!control && event.key === "?") return can(() => go(`${builder().dataset.base}?help=1`));
  if (!card) {
    if (event.key === "ArrowDown") can(() => cards()[0]?.focus());
    if (!control && letter === "a") can(() => document.getElementById("plus-first")?.click());
    return;
  }
  if (control && (letter === "c" || letter === "x") && !String(getSelection())) {
    return can(() => {
      held = { key, cut: letter === "x" };
      tell((held.cut ? builder().dataset.cut : builder().dataset.copied).replace("{what}", titled(card).textContent));
    });
  }
  if (control && letter === "v") {
    if (!held) return tell(builder().dataset.nothing);
    const place = { parent: key, branch: card.dataset.kind === "action" ? "then" : "yes", nth: 0, around: held.cut ? 1 : "" };
    return can(() => operate(held.cut ? "move" : "copy", { step: held.key, ...place }));
  }
  if (control) return;
  if (event.altKey && event.key === "ArrowUp") return can(() => operate("up", { step: key }));
  if (event.altKey && event.key === "ArrowDown") return can(() => operate("down", { step: key }));
  if (event.altKey) return;
  if (event.key.startsWith("Arrow")) return can(() => toward(card, event.key)?.focus());
  if (event.key === "Delete") return can(() => operate(event.shiftKey ? "lift" : "remove", { step: key }));
  const adds = { a: "then", y: "yes", n: "no" }[letter];
  if (adds) {
    const plus = (branch) => document.getElementById(`plus-${branch}-${key}`);
    return can(() => (plus(adds) || (adds === "then" && plus("yes")))?.click());
  }
  if (letter === "f") can(() => fold(key, !folded.has(key)));
});

dress();
if (builder().dataset.focus === "panel-title") first()?.focus();
