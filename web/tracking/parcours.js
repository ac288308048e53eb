// Tells Parcours which pages somebody sees who came by one of its links. No cookie; the tab remembers the
// visit from page to page only with consent: window.parcoursConsent = true before this script, or
// parcours.consent(true) later. parcours.hit("page-key") tells of a page that was shown without loading one.
(function (w, d) {
  "use strict";
  var to = new URL("p", d.currentScript.src).href, name = "parcours", visit = null, from = d.referrer;
  function stored(value) {
    try {
      if (value === undefined) return sessionStorage.getItem(name);
      if (value) sessionStorage.setItem(name, value); else sessionStorage.removeItem(name);
    } catch (_) { return null; } // Storage may be switched off.
  }
  function consent(given) {
    w.parcoursConsent = given === true;
    stored(w.parcoursConsent ? visit : null);
  }
  function hit(page) {
    if (!visit) return;
    var body = JSON.stringify({ url: location.href, referrer: from, visit: visit, page: page });
    from = location.href;
    if (!(navigator.sendBeacon && navigator.sendBeacon(to, body)))
      fetch(to, { method: "POST", body: body, keepalive: true, mode: "no-cors", credentials: "omit" }).catch(function () {});
  }
  function start() {
    var here = new URL(location.href), given = here.searchParams.get(name);
    if (given) {
      // Only our part goes: the rest of the address stays as it was written.
      var rest = here.search.slice(1).split("&").filter(function (each) { return each.split("=")[0] !== name; }).join("&");
      history.replaceState(history.state, "", here.pathname + (rest && "?" + rest) + here.hash);
    }
    visit = given || (w.parcoursConsent === true ? stored() : null);
    if (given && w.parcoursConsent === true) stored(visit);
    d.querySelectorAll("input[name=_visit]").forEach(function (input) { input.value = visit || ""; });
    hit();
  }
  w.parcours = { hit: hit, consent: consent };
  if (d.prerendering) d.addEventListener("prerenderingchange", start, { once: true }); else start();
})(window, document);
