// What the builder puts in counts contacts as it does on other pages.
"use strict";

new MutationObserver((changes) => {
  for (const each of changes) {
    for (const node of each.addedNodes) if (node.nodeType === 1) htmx.process(node);
  }
}).observe(document.getElementById("builder"), { childList: true, subtree: true });
