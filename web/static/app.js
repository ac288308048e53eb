// The little that pages do by themselves; without it everything still works, on pages of its own.
"use strict";

const dialog = document.getElementById("dialog");

// A question that HTMX put into the dialog opens it.
document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target === dialog && dialog.firstElementChild) dialog.showModal();
});
document.body.addEventListener("click", (event) => {
  const closes = event.target.closest("[data-close]");
  // A click beside it loses nothing that was typed in it.
  const isBeside = event.target === dialog && ![...dialog.querySelectorAll("input, select, textarea")].some(isChanged);
  if (dialog && dialog.open && (closes || isBeside)) {
    event.preventDefault();
    dialog.close();
  }
});

function flash(text) {
  const line = document.createElement("p");
  line.className = "flash error";
  line.textContent = text;
  document.getElementById("flashes").replaceChildren(line);
}
for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.body.addEventListener(failure, (event) => {
    flash(event.detail.xhr?.status === 401 ? document.body.dataset.ended : document.body.dataset.failed);
  });
}

// What goes to a frame leaves the page and what is typed in it alone.
function isPreview(event) {
  return Boolean(event.submitter && event.submitter.formTarget);
}

// Asked twice, a form is sent once.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post" || isPreview(event)) return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "1";
});
// The back button brings the page as it was left.
window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// A field for a contact offers those that are found by what is typed.
let finding;
document.addEventListener("input", (event) => {
  const field = event.target;
  if (!field.dataset.finds || !field.list) return;
  clearTimeout(finding);
  finding = setTimeout(async () => {
    const wanted = field.value;
    const answer = await fetch(`${field.dataset.finds}?q=${encodeURIComponent(wanted)}`);
    const found = answer.ok && !answer.redirected ? await answer.text() : "";
    if (field.value === wanted) field.list.innerHTML = found;
  }, 200);
});

// What was wrong is no longer what stands there. Where errors follow what is typed, the server says so.
document.addEventListener("input", (event) => {
  const field = event.target.closest(".field.wrong");
  if (!field || field.querySelector("[data-live]")) return;
  field.classList.remove("wrong");
  field.querySelector(".errors")?.remove();
  event.target.removeAttribute("aria-invalid");
});

// One more of the rows of a form, without asking the server.
document.addEventListener("click", (event) => {
  const more = event.target.closest("[data-add-row]");
  const rows = more && more.form.querySelector("[data-rows]");
  if (!rows || !rows.lastElementChild) return;
  event.preventDefault();
  const row = rows.lastElementChild.cloneNode(true);
  for (const each of row.querySelectorAll("input")) each.value = "";
  rows.append(row);
  row.querySelector("input").focus();
});

// What is to be sent to somebody is copied by a button; one selects it by hand without a script.
for (const button of document.querySelectorAll("[data-copies]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    document.getElementById(button.dataset.copies).select();
    // Works on addresses without TLS too.
    if (document.execCommand("copy")) button.textContent = button.dataset.done;
  });
}

// Who chose no timezone, and whose browser is in another one, can choose that.
function zoneOf(name) {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone;
  } catch {
    return name;
  }
}
for (const form of document.querySelectorAll("[data-browser-zone]")) {
  const zone = zoneOf();
  if (!zone || zone === zoneOf(form.dataset.browserZone)) continue;
  form.elements.timezone.value = zone;
  const says = form.querySelector("[data-says]");
  says.textContent = says.dataset.says.replace("*", zone);
  form.hidden = false;
}

// Whoever leaves a form with something typed is asked.
for (const form of document.querySelectorAll("form[data-unsaved]")) {
  // What an error brought back was typed, too. Where a page says other errors, only those of its fields count.
  const wrong = form.dataset.unsaved === "fields" ? null : document.querySelector(".flash.error");
  let typed = Boolean(wrong || form.querySelector(".field.wrong"));
  form.addEventListener("input", () => { typed = true; });
  form.addEventListener("submit", (event) => { if (!isPreview(event)) typed = false; });
  window.addEventListener("beforeunload", (event) => { if (typed) event.preventDefault(); });
}

// What was typed before the scripts ran is told to them as if it were typed now.
function isChanged(control) {
  if (control.type === "checkbox" || control.type === "radio") return control.checked !== control.defaultChecked;
  if (control.multiple && control.options) return [...control.options].some((each) => each.selected !== each.defaultSelected);
  if (control.options) {
    const options = [...control.options];
    return control.selectedOptions[0] !== (options.findLast((each) => each.defaultSelected) || options.find((each) => !each.disabled));
  }
  if (control.type === "hidden" || !("defaultValue" in control)) return false;
  if (control.localName === "textarea") return control.value !== control.defaultValue;
  // Browsers drop what a field of its type cannot hold.
  return control.value !== Object.assign(document.createElement("input"), { type: control.type, value: control.defaultValue }).value;
}
document.addEventListener("DOMContentLoaded", () => {
  const changed = [...document.forms].flatMap((form) => [...form.elements]).filter(isChanged);
  for (const each of changed) each.dispatchEvent(new Event("input", { bubbles: true }));
  for (const each of changed) {
    // Where one types, the browser tells the change itself when one goes on.
    if (each !== document.activeElement || /^(checkbox|radio|select)/.test(each.type)) each.dispatchEvent(new Event("change", { bubbles: true }));
  }
});

// An answer takes no fields away in which somebody typed while it was on its way; it is asked for again instead.
const awaited = new Map();
document.addEventListener("input", (event) => {
  for (const [xhr, { elt, target }] of awaited) {
    const form = elt.closest("form");
    if (form && form.contains(event.target) && target.contains(event.target)) awaited.set(xhr, { elt, target, overtaken: true });
  }
});
document.body.addEventListener("htmx:beforeRequest", (event) => {
  awaited.set(event.detail.xhr, { elt: event.detail.requestConfig.elt, target: event.detail.target, overtaken: false });
});
document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { elt, overtaken } = awaited.get(event.detail.xhr) || {};
  if (!overtaken || !event.detail.shouldSwap || !elt.isConnected) return;
  event.detail.shouldSwap = false;
  htmx.trigger(elt, event.detail.requestConfig.triggeringEvent.type);
});
document.body.addEventListener("htmx:afterRequest", (event) => { awaited.delete(event.detail.xhr); });
