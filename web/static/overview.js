// Figures that follow the contacts, and a box beside the pointer on the graph. Without it, the pages say the same.
"use strict";

const EVERY_MS = 5000;
const LATER_MS = 30000;

// The parts of an answer that differ from the page take their place; all else stays as it is, and so do
// focus, selection and what is pointed at.
function putIn(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const here = document.getElementById(part.id);
    if (!here || here.outerHTML === part.outerHTML) continue;
    if (here.matches(":hover") && here.id === "chart") continue;
    // Somebody reads older entries.
    if (here.id === "entries" && !document.getElementById("older")) continue;
    // Somebody chooses days.
    if (here.form && (here === document.activeElement || here.value !== here.defaultValue)) continue;
    const focused = here.contains(document.activeElement) && document.activeElement.getAttribute("href");
    here.replaceWith(part);
    window.htmx?.process(part);
    if (focused) for (const link of part.querySelectorAll("a")) if (link.getAttribute("href") === focused) link.focus();
  }
}

let wanted = true;
let timer = null;
let asking = false;

async function refresh() {
  clearTimeout(timer);
  const tab = document.querySelector("[data-live-address]");
  if (!tab || !wanted || document.hidden || asking) return;
  const address = tab.dataset.liveAddress;
  let next = EVERY_MS;
  asking = true;
  try {
    const answer = await fetch(address, { headers: { "HX-Request": "true" }, redirect: "error" });
    if (!answer.ok) throw new Error(answer.status);
    const html = await answer.text();
    // Another tab may have been opened meanwhile.
    if (document.querySelector("[data-live-address]")?.dataset.liveAddress === address) putIn(html);
  } catch {
    next = LATER_MS;
  }
  asking = false;
  timer = setTimeout(refresh, next);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

const live = document.querySelector("[data-live-switch]");
if (live) {
  live.hidden = false;
  live.addEventListener("click", () => {
    wanted = !wanted;
    live.setAttribute("aria-pressed", String(wanted));
    live.querySelector("[data-live-word]").textContent = wanted ? live.dataset.liveOn : live.dataset.liveOff;
    refresh();
  });
  timer = setTimeout(refresh, EVERY_MS);
}

// The box: the words are those of the column's own title, which is taken out so that they do not come twice.
function told(column) {
  const title = column.querySelector("title");
  if (title) {
    column.dataset.told = title.textContent;
    title.remove();
  }
  return column.dataset.told || "";
}

document.addEventListener("pointermove", (event) => {
  const column = event.target.closest?.(".column");
  for (const tip of document.querySelectorAll(".chart-tip")) {
    const frame = tip.parentElement;
    if (!column || !frame.contains(column)) {
      tip.hidden = true;
      continue;
    }
    tip.textContent = told(column);
    tip.hidden = false;
    const box = frame.getBoundingClientRect();
    const left = event.clientX - box.left;
    tip.style.left = `${left > box.width / 2 ? left - tip.offsetWidth - 14 : left + 14}px`;
  }
});
