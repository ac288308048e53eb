// Line numbers beside the steps, marks at lines with errors, and a key made from the name.
"use strict";

for (const editor of document.querySelectorAll("[data-editor]")) {
  const gutter = editor.querySelector(".gutter");
  const area = editor.querySelector("textarea");
  let shown = 0;

  function number() {
    const wanted = area.value.split("\n").length;
    while (shown < wanted) {
      const line = document.createElement("span");
      line.textContent = String(++shown);
      gutter.append(line);
    }
    while (shown > wanted) {
      gutter.lastElementChild.remove();
      shown -= 1;
    }
    follow();
  }
  function follow() {
    gutter.scrollTop = area.scrollTop;
  }
  function mark() {
    const wrong = new Set([...document.querySelectorAll("#problems [data-line]")].map((each) => each.dataset.line));
    [...gutter.children].forEach((line, index) => line.classList.toggle("wrong", wrong.has(String(index + 1))));
  }
  area.addEventListener("input", number);
  area.addEventListener("scroll", follow);
  // A new line begins where the last one did, a level deeper after a colon.
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const before = area.value.slice(0, area.selectionStart);
    const line = before.slice(before.lastIndexOf("\n") + 1);
    const indent = line.match(/^ */)[0] + (/:\s*$/.test(line) ? "  " : "") + (/^ *- /.test(line) ? "  " : "");
    event.preventDefault();
    // Unlike setting the value, this can be undone.
    if (!document.execCommand("insertText", false, "\n" + indent)) area.setRangeText("\n" + indent, area.selectionStart, area.selectionEnd, "end");
    number();
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "problems") mark();
  });
  document.getElementById("problems").addEventListener("click", (event) => {
    const link = event.target.closest("[data-line]");
    if (!link) return;
    event.preventDefault();
    const lines = area.value.split("\n");
    const start = lines.slice(0, link.dataset.line - 1).join("\n").length + (link.dataset.line > 1 ? 1 : 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[link.dataset.line - 1] || "").length);
    area.scrollTop = (link.dataset.line - 4) * (area.scrollHeight / lines.length);
  });
  number();
  mark();
}

const key = document.getElementById("key");
const named = document.getElementById("name");
if (key && named) {
  const slug = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 80).replace(/^-+|-+$/g, "");
  let own = key.value !== "" && key.value !== slug(named.value);
  key.addEventListener("input", () => { own = key.value !== ""; });
  named.addEventListener("input", () => { if (!own) key.value = slug(named.value); });
}
