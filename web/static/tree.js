// Arrows from steps that jump to those where they lead, in lanes at the left edge of a tree. Words say the same.
"use strict";
{
  const LANE = 8, MOST_LANES = 6, MOST_ON_A_PHONE = 3;
  let drawing = 0;
  const isSeen = (node) => node?.getClientRects().length > 0;

  // One arrow for each target, with a line from every step that jumps there.
  function arrowsOf(tree) {
    const found = new Map();
    for (const from of tree.querySelectorAll("[data-jump]")) {
      const to = tree.querySelector(`[data-step="${CSS.escape(from.dataset.jump)}"]`);
      if (!isSeen(from) || !isSeen(to)) continue;
      if (!found.has(to)) found.set(to, { to, from: [] });
      found.get(to).from.push(from);
    }
    return [...found.values()];
  }

  // The left edge of a step, and the middle of its icon.
  function edge(node, box) {
    const step = node.querySelector(".step").getBoundingClientRect(), kind = node.querySelector(".kind").getBoundingClientRect();
    return { x: step.left - box.left, y: kind.top + kind.height / 2 - box.top };
  }

  // Short arrows stand next to the steps. Where the lanes do not suffice, the last one is shared.
  function giveLanes(arrows, most) {
    const lanes = [];
    for (const each of [...arrows].sort((one, other) => (one.high - one.low) - (other.high - other.low))) {
      let lane = lanes.findIndex((taken) => taken.every((other) => each.high < other.low || other.high < each.low));
      if (lane < 0) lane = Math.min(lanes.length, most - 1);
      (lanes[lane] ||= []).push(each);
      each.lane = lane;
    }
    return lanes.length;
  }

  function place(arrows, tree) {
    const box = tree.getBoundingClientRect();
    for (const each of arrows) {
      each.end = edge(each.to, box);
      each.starts = each.from.map((node) => edge(node, box));
      const heights = [each.end, ...each.starts].map((point) => point.y);
      [each.low, each.high] = [Math.min(...heights), Math.max(...heights)];
    }
  }

  function draw(tree) {
    tree.querySelector("svg.jumps")?.remove();
    const arrows = arrowsOf(tree);
    tree.classList.toggle("jumping", arrows.length > 0);
    if (!arrows.length) return;
    place(arrows, tree);
    const lanes = giveLanes(arrows, innerWidth < 736 ? MOST_ON_A_PHONE : MOST_LANES);
    tree.style.setProperty("--lanes", lanes);
    // Room for the lanes may have broken lines anew.
    place(arrows, tree);
    const made = (name, values) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
      return element;
    };
    const svg = made("svg", { class: "jumps", "aria-hidden": "true", focusable: "false" });
    for (const { end, starts, low, high, lane } of arrows) {
      const x = (lanes - lane - 1) * LANE + 1.5;
      const lines = starts.map((start) => `M${start.x - 2} ${start.y}H${x}`).join("");
      svg.append(made("path", { class: "jump-line", d: `${lines}M${x} ${low}V${high}M${x} ${end.y}H${end.x - 8}` }));
      svg.append(made("path", { class: "jump-head", d: `M${end.x - 2} ${end.y}l-7 -4v8z` }));
    }
    // A list has nothing but its entries.
    tree.firstElementChild.append(svg);
  }

  function drawAll() {
    drawing = 0;
    for (const tree of document.querySelectorAll(".tree:not(.tree *)")) draw(tree);
    changes.takeRecords();
  }
  const soon = () => { drawing ||= requestAnimationFrame(drawAll); };
  const changes = new MutationObserver(soon);
  changes.observe(document.getElementById("main"), { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
  new ResizeObserver(soon).observe(document.body);
}
