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
