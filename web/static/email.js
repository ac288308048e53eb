// The preview of an email follows what is typed; without this, a button updates it.
"use strict";

const mail = document.getElementById("email-form");
const update = document.getElementById("update-preview");
let later;
function show() {
  mail.requestSubmit(update);
}
mail.addEventListener("input", () => {
  clearTimeout(later);
  later = setTimeout(show, 600);
});
show();
// A field is put where somebody typed last.
const isText = (field) => /^v_(subject|html|text)$/.test(field.name);
let last = isText(document.activeElement) ? document.activeElement : document.querySelector("[name=v_html]");
const insert = document.getElementById("insert");
document.getElementById("insert-field").hidden = false;
mail.addEventListener("focusin", (event) => {
  if (isText(event.target)) last = event.target;
});
insert.addEventListener("change", () => {
  if (!insert.value || !last) return;
  last.setRangeText(insert.value, last.selectionStart, last.selectionEnd, "end");
  insert.selectedIndex = 0;
  last.focus();
  last.dispatchEvent(new Event("input", { bubbles: true }));
});
