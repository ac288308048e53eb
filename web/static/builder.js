// The builder's keys, and changes without loading the page anew: it asks for the same pages, and puts in what differs.
"use strict";

const builder = () => document.getElementById("builder");
const tell = (text) => { document.getElementById("said").textContent = text; };
let queue = Promise.resolve();
let held = null;
let dragged = null;
// What was opened last by a link or a key, where one goes on after Escape.
let opener = "";
// What somebody means who asks for it twice in a moment; anything else is asked for once.
const REPEATABLE = new Set(["undo", "redo", "up", "down"]);
// Fields lose the focus while they are put elsewhere.
let isPutting = false;
// What had the focus when parts of the page were put in last.
let placed = null;
// The form in which somebody typed something that was not sent yet.
let typed = null;
// Keys that steps had when what is still on its way was written; a first name gives a step another one.
const renamed = new Map();
const folds = `folded ${location.pathname}`;
const folded = new Set(JSON.parse(sessionStorage.getItem(folds) || "[]"));
// Of what is sent while the page is left.
const MOST_KEPT = 60000;

document.documentElement.classList.add("scripted");

const isBox = (control) => control.type === "checkbox" || control.type === "radio";
const nameOf = (control) => control.id || `${control.name} ${isBox(control) ? control.value : ""}`;
const stateOf = (control) => isBox(control) ? control.checked : control.multiple ? [...control.selectedOptions].map((each) => each.value).join("\n") : control.value;
// What stands in the fields of a form, by their names.
const statesOf = (form) => new Map([...form.elements].filter((each) => "value" in each && each.type !== "hidden" && each.localName !== "button").map((each) => [nameOf(each), stateOf(each)]));
const savesItself = (form) => "autosave" in form.dataset;

// One after another, so that each change knows of the one before. `source` is the form that is sent.
function go(address, form, keep, source) {
  if (typed?.isConnected && source !== typed) {
    if (savesItself(typed)) save(typed);
    else if (!confirm(builder().dataset.leave)) return;
  }
  typed = null;
  const from = document.activeElement, sent = source && statesOf(source);
  queue = queue.then(() => load(address, form, keep, { from, source, sent })).catch((error) => {
    if (source) typed = source;
    flash(error.said || document.body.dataset.failed);
  }).finally(() => { if (source) delete source.dataset.sent; });
}
const save = (form) => go(form.action, new FormData(form), true, form);

async function load(address, form, keep, asked) {
  let body;
  if (form) {
    body = new URLSearchParams(form);
    body.set("revision", builder().dataset.revision);
    while (renamed.has(body.get("step"))) body.set("step", renamed.get(body.get("step")));
  }
  const keepalive = Boolean(body) && String(body).length < MOST_KEPT;
  const headers = { accept: "text/html" };
  const answer = await fetch(address, body ? { method: "POST", body, keepalive, headers } : { headers });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = fresh.getElementById("builder");
  if (!next) {
    if (body && answer.status === 401) return again(address, body);
    // A refusal says why; to ask again would not help.
    if (!answer.ok) throw Object.assign(new Error(answer.status), { said: answer.status === 403 && fresh.querySelector("h1 + p")?.textContent });
    location.href = answer.url;
    return;
  }
  const before = body?.get("step"), now = new URL(answer.url).searchParams.get("step");
  const isNamed = body?.get("do") === "set" && now && now !== before;
  if (isNamed) renamed.set(before, now);
  // A key that is free again may be another step's.
  for (const key of renamed.keys()) if (fresh.getElementById(`card-${key}`)) renamed.delete(key);
  const panel = document.getElementById("panel");
  let same = keep && panel.dataset.for === fresh.getElementById("panel").dataset.for;
  // Something was typed in a panel that leaves, while what takes its place was on its way.
  const late = !same && typed !== asked.source && panel.contains(typed) ? typed : null;
  if (late && savesItself(late)) {
    typed = null;
    builder().dataset.revision = next.dataset.revision;
    await load(late.action, new FormData(late), true, { from: document.activeElement, source: late, sent: statesOf(late) });
    await load(answer.url, null, false, asked);
    if (!document.querySelector("#flashes .flash")) speak(fresh);
    return;
  }
  if (late) same = !confirm(builder().dataset.leave);
  // What could not be kept is answered where it was sent to, which is the address of no panel.
  const isKept = answer.ok;
  if (isKept) history.replaceState(null, "", answer.url);
  document.title = fresh.title;
  document.querySelector("h1").textContent = fresh.querySelector("h1").textContent;
  isPutting = true;
  try {
    put(fresh, next, same, isNamed, asked);
  } finally {
    isPutting = false;
  }
  // It is saved with what is typed next, or by its button.
  if (!isKept && asked.source && savesItself(asked.source)) typed = asked.source.isConnected ? asked.source : document.querySelector("#panel form[data-autosave]");
}

// Whoever is not signed in any more is asked to, on a page that keeps what was sent.
function again(address, body) {
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: address, hidden: true });
  for (const [name, value] of body) form.append(Object.assign(document.createElement("textarea"), { name, value }));
  document.body.append(form);
  form.submit();
}

function put(fresh, next, same, isNamed, { from, source, sent }) {
  const active = document.activeElement;
  const id = active && builder().contains(active) ? active.id : "";
  const panel = document.getElementById("panel"), top = panel.scrollTop, map = document.getElementById("map")?.scrollTop;
  const find = document.getElementById("find");
  if (find.value !== find.defaultValue) fresh.getElementById("find").value = find.value;
  // What somebody types in stays as it is; only what is said beside it changes.
  if (same) {
    for (const part of fresh.querySelectorAll("#panel [data-live]")) {
      const control = panel.querySelector(`[aria-describedby~="${CSS.escape(part.id)}"]`);
      if (control) part.querySelector(".errors") ? control.setAttribute("aria-invalid", "true") : control.removeAttribute("aria-invalid");
      document.getElementById(part.id)?.replaceWith(part);
    }
    fresh.getElementById("panel").replaceWith(panel);
  }
  const here = builder();
  for (const part of ["bench-bar", "matches", "stale", "bench"]) {
    const now = document.getElementById(part), then = fresh.getElementById(part);
    if (now && then) now.replaceWith(then);
    else if (now) now.remove();
    else if (then) document.getElementById("bench").before(then);
  }
  const { revision, focus, only } = next.dataset;
  Object.assign(here.dataset, { revision, focus, only });
  speak(fresh);
  dress();
  if (source?.closest("#panel")) follow(source, sent, isNamed);
  // Whoever went elsewhere meanwhile stays there.
  const isElsewhere = active !== from && active !== placed && document.getElementById(id);
  const wanted = same || isElsewhere ? id : here.dataset.focus || id;
  const target = same && panel.contains(active) ? active : document.getElementById(wanted) || document.getElementById(id);
  if (same) document.getElementById("panel").scrollTop = top;
  if (map) document.getElementById("map")?.scrollTo(0, map);
  if (target) unfold(target);
  if (target && target !== document.activeElement) target.focus({ preventScroll: same });
  if (!same && wanted === "panel-title") first()?.focus();
  placed = document.activeElement;
}

function speak(fresh) {
  document.getElementById("flashes").replaceChildren(...fresh.getElementById("flashes").childNodes);
  tell(document.querySelector("#flashes .flash")?.textContent || "");
  setTimeout(() => document.querySelector("#flashes .said")?.remove(), 6000);
}

// What was typed in a form since it was sent stays, in the fields that stand there now.
function follow(form, sent, isNamed) {
  const late = [...form.elements].filter((each) => sent.has(nameOf(each)) && sent.get(nameOf(each)) !== stateOf(each));
  if (!late.length) return;
  if (form.isConnected) {
    if ("preview" in form.dataset) preview(form);
    return;
  }
  for (const now of document.querySelectorAll("#panel form[data-autosave] :is(input, select, textarea)")) {
    const was = late.find((each) => nameOf(each) === nameOf(now));
    // Where a list has fewer entries now, the name may be another entry's.
    if (!was || (!isNamed && stateOf(now) !== sent.get(nameOf(was)))) continue;
    if (isBox(now)) now.checked = was.checked;
    else if (now.multiple) for (const each of now.options) each.selected = [...was.selectedOptions].some((one) => one.value === each.value);
    else now.value = was.value;
    typed = now.form;
  }
}

// Where one goes on in a panel: its first field or button.
const first = () => document.querySelector("#panel input:not([type=hidden]), #panel select, #panel textarea, #panel .offer");

// What only works with a script is shown with one.
function dress() {
  for (const each of document.querySelectorAll("[data-insert], [data-fold], [data-does]")) each.hidden = false;
  for (const key of folded) fold(key, true);
  if ("edits" in builder().dataset) for (const each of document.querySelectorAll(".step[data-card]")) each.draggable = true;
}

function fold(key, closed) {
  const button = document.querySelector(`[data-fold="${CSS.escape(key)}"]`);
  if (!button) return;
  closed ? folded.add(key) : folded.delete(key);
  button.closest(".node").classList.toggle("folded", closed);
  button.setAttribute("aria-expanded", String(!closed));
  sessionStorage.setItem(folds, JSON.stringify([...folded]));
}

// What is gone to is seen.
function unfold(element) {
  for (let node = element.closest(".node")?.parentElement.closest(".node"); node; node = node.parentElement.closest(".node")) {
    const key = node.querySelector("[data-card]").dataset.card;
    if (folded.has(key)) fold(key, false);
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-fold]");
  if (button) fold(button.dataset.fold, !folded.has(button.dataset.fold));
  const does = event.target.closest("[data-does]")?.dataset.does, chosen = document.querySelector(".step.chosen[data-card]");
  if (does && chosen) does === "put-held" ? paste(chosen) : hold(chosen, does === "hold-cut");
  const there = event.target.closest("#map a");
  if (there) {
    const card = document.getElementById(there.getAttribute("href").slice(1));
    event.preventDefault();
    unfold(card);
    card.scrollIntoView({ block: "center" });
    card.focus({ preventScroll: true });
  }
  const link = event.target.closest("#builder a[data-part]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  opener = link.id;
  go(link.href);
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("#builder form[data-part]");
  if (!form) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  // Enter in a field has sent it already, as a change.
  if ("autosave" in form.dataset && typed !== form && !event.submitter?.name) return;
  if (form.method === "post" && !savesItself(form) && !REPEATABLE.has(event.submitter?.value)) {
    if (form.dataset.sent) return;
    form.dataset.sent = "1";
  }
  const data = new FormData(form, event.submitter);
  if (form.method === "get") go(`${form.action}?${new URLSearchParams(data)}`);
  else go(form.action, data, "autosave" in form.dataset, form);
}, true);

// Whom a step is shown for changes no step.
const changesNothing = (control) => control.name === "sample" || Boolean(control.dataset.insert);

document.addEventListener("input", (event) => {
  if (!changesNothing(event.target)) typed = event.target.closest("#builder form[method=post]") || typed;
});
window.addEventListener("beforeunload", (event) => { if (typed?.isConnected) event.preventDefault(); });

// What a step says and when it is due for the chosen contact, while one types; nothing of it is kept.
let soon, previews = 0;
function preview(form) {
  clearTimeout(soon);
  soon = setTimeout(async () => {
    // Its step may have another key by now; what is drawn anew says it already.
    if (!form.isConnected) return;
    const turn = ++previews;
    const answer = await fetch(form.dataset.preview, { method: "POST", body: new URLSearchParams(new FormData(form)) }).catch(() => null);
    if (!answer?.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    // An older answer may come last.
    if (turn !== previews || !form.isConnected) return;
    for (const part of fresh.querySelectorAll("[data-live]")) document.getElementById(part.id)?.replaceWith(part);
  }, 400);
}
document.addEventListener("input", (event) => {
  const form = event.target.closest("#builder form[data-preview]");
  if (form && !event.target.dataset.insert) preview(form);
});

document.addEventListener("change", (event) => {
  const insert = event.target.dataset.insert;
  if (insert) {
    const field = document.getElementById(insert);
    field.setRangeText(event.target.value, field.selectionStart, field.selectionEnd, "end");
    event.target.selectedIndex = 0;
    field.focus();
    // One goes on typing around it; it is kept, and checked, when the field is left.
    field.dispatchEvent(new Event("input", { bubbles: true }));
    return;
  }
  // To put a field elsewhere takes the focus from it, which tells a change while somebody types.
  if (isPutting || changesNothing(event.target)) return;
  const form = event.target.closest("#builder form[data-autosave]");
  if (form) save(form);
});
// A field that took another one's place while somebody typed tells no change when it is left.
document.addEventListener("focusout", (event) => {
  const form = event.target.closest("#builder form[data-autosave]");
  if (form && form === typed && document.hasFocus() && event.target.isConnected && !isPutting) save(form);
});

// A card that is dragged to a `+` does what "Move…" does; the page that this would show says where it may go.
async function places(key) {
  const asked = new URLSearchParams({ moving: key, only: builder().dataset.only });
  const answer = await fetch(`${builder().dataset.base}?${asked}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return new Set([...page.querySelectorAll(".here button")].map((each) => each.id));
}

document.addEventListener("dragstart", (event) => {
  const card = event.target.closest?.("#builder [data-card]");
  if (!card || !card.draggable) return;
  event.dataTransfer.setData("text/plain", titled(card).textContent);
  event.dataTransfer.effectAllowed = "move";
  const mine = dragged = { key: card.dataset.card, places: places(card.dataset.card), known: null };
  mine.places.then((known) => {
    mine.known = known;
    if (dragged !== mine) return;
    builder().classList.add("dragging");
    for (const each of document.querySelectorAll(".plus")) each.classList.toggle("fits", known.has(each.id));
  }, () => { mine.known = new Set(); });
});
document.addEventListener("dragover", (event) => {
  const plus = dragged && event.target.closest?.(".plus");
  // Until it is known where it may go, it may go anywhere; it is asked again when it is dropped.
  if (plus && (!dragged.known || dragged.known.has(plus.id))) event.preventDefault();
});
document.addEventListener("drop", async (event) => {
  const plus = dragged && event.target.closest?.(".plus");
  if (!plus) return;
  event.preventDefault();
  const { key, places: asked } = dragged, place = new URL(plus.href).searchParams;
  const known = await asked.catch(() => new Set());
  if (!known.has(plus.id)) return say(builder().dataset.refused);
  const [parent, branch, nth, around] = ["parent", "branch", "nth", "around"].map((name) => place.get(name) || "");
  operate("move", { step: key, parent, branch, nth, around });
});
document.addEventListener("dragend", () => {
  dragged = null;
  builder().classList.remove("dragging");
});

function say(text) {
  tell(text);
  flash(text);
}

function operate(does, values) {
  const data = new FormData(document.getElementById("op"));
  for (const [name, value] of Object.entries({ do: does, only: builder().dataset.only, ...values })) data.set(name, value);
  go(builder().dataset.base, data);
}

function hold(card, cut) {
  held = { key: card.dataset.card, cut };
  tell((cut ? builder().dataset.cut : builder().dataset.copied).replace("{what}", titled(card).textContent));
}

// After a step, as its `+` does: what stands there comes below.
function paste(card) {
  if (!held) return tell(builder().dataset.nothing);
  const branch = card.dataset.kind === "action" ? "then" : "yes";
  const around = card.closest(".node").querySelector(`:scope > .fork.${branch} > .tree`) ? 1 : "";
  operate(held.cut ? "move" : "copy", { step: held.key, parent: card.dataset.card, branch, nth: 0, around });
}

const cards = () => [...document.querySelectorAll(".step-title")].filter((each) => each.offsetParent);
const cardOf = (element) => element?.closest("[data-card]") || document.querySelector(".step.chosen[data-card]");
const titled = (card) => card.querySelector(".step-title");

function toward(card, key) {
  const every = cards(), at = every.indexOf(titled(card)), node = card.closest(".node");
  if (key === "ArrowUp") return every[at - 1];
  if (key === "ArrowDown") return every[at + 1];
  if (key === "ArrowRight") {
    fold(card.dataset.card, false);
    return node.querySelector(":scope > .fork .step-title");
  }
  return node.parentElement.closest(".node")?.querySelector(".step-title");
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select"), control = event.ctrlKey || event.metaKey;
  if (event.key === "Escape" && (event.target === document.body || event.target.closest("#builder"))) {
    if (document.getElementById("stay")) return document.getElementById("stay").click();
    (document.querySelector(".step.chosen .step-title") || document.getElementById(opener) || cards()[0] || document.getElementById("plus-first"))?.focus();
    return;
  }
  if (typing || document.querySelector("dialog[open]")) return;
  const card = cardOf(event.target), key = card?.dataset.card, letter = event.key.toLowerCase();
  const can = (done) => { event.preventDefault(); done?.(); };
  const edits = "edits" in builder().dataset;
  if (edits && control && letter === "z") return can(() => operate(event.shiftKey ? "redo" : "undo", { step: key || "" }));
  if (edits && control && letter === "y") return can(() => operate("redo", { step: key || "" }));
  if (!control && event.key === "/") return can(() => document.getElementById("find").focus());
  const opens = !control && !event.altKey && { s: "open-settings", r: "review" }[letter];
  if (opens) return can(() => document.getElementById(opens)?.click());
  if (!control && event.key === "?") return can(() => { opener = event.target.id; go(`${builder().dataset.base}?help=1`); });
  if (!card) {
    if (event.key === "ArrowDown") can(() => cards()[0]?.focus());
    if (!control && !event.altKey && letter === "a") can(() => document.getElementById("plus-first")?.click());
    return;
  }
  if (edits && control && (letter === "c" || letter === "x") && !String(getSelection())) {
    return can(() => hold(card, letter === "x"));
  }
  if (edits && control && letter === "v") return can(() => paste(card));
  if (control) return;
  if (!event.altKey && event.key.startsWith("Arrow")) return can(() => toward(card, event.key)?.focus());
  if (!event.altKey && letter === "f") return can(() => fold(key, !folded.has(key)));
  if (!edits) return;
  if (event.altKey && event.key === "ArrowUp") return can(() => operate("up", { step: key }));
  if (event.altKey && event.key === "ArrowDown") return can(() => operate("down", { step: key }));
  if (event.altKey) return;
  if (letter === "m") return can(() => go(`${builder().dataset.base}?${new URLSearchParams({ moving: key, only: builder().dataset.only })}`));
  if (event.key === "Delete") return can(() => operate(event.shiftKey ? "lift" : "remove", { step: key }));
  const adds = { a: "then", y: "yes", n: "no" }[letter];
  if (adds) {
    const plus = (branch) => document.getElementById(`plus-${branch}-${key}`);
    return can(() => (plus(adds) || (adds === "then" && plus("yes")))?.click());
  }
});
// What is told is told once.
document.getElementById("flashes").setAttribute("aria-live", "off");

dress();
// Somebody may type already.
if (builder().dataset.focus === "panel-title" && document.activeElement === document.body) first()?.focus();
