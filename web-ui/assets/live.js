// Keeps the part of a page marked `data-live` current: server-sent events say that something changed, the part is
// fetched anew and only what differs is touched, so that focus, selection, scrolling and open details stay. Pages work
// without it.
"use strict";
(() => {
  const part = document.querySelector("[data-live]");
  const sign = document.getElementById("live-state");
  if (!part || !window.EventSource) return;

  const QUIET_MS = 12000;      // heartbeats come every 5 s
  const REST_MIN_MS = 1000;    // between two fetches; longer when fetching takes long
  let lastHeard = Date.now(), wanted = false, fetching = false, restUntil = 0, timer = null;

  const show = (word, name) => {
    if (sign.textContent === word) return;
    sign.hidden = false;
    sign.textContent = word;
    sign.className = "live-state " + name;
  };

  const want = () => {
    wanted = true;
    if (fetching || timer || document.hidden) return;
    timer = setTimeout(fetchPart, Math.max(0, restUntil - Date.now()));
  };

  const fetchPart = async () => {
    timer = null;
    wanted = false;
    fetching = true;
    const began = Date.now();
    try {
      const answer = await fetch(part.dataset.live, { headers: { Accept: "text/html" }, redirect: "manual" });
      if (answer.ok) {
        const next = document.createElement("template");
        next.innerHTML = await answer.text();
        settle(part, next.content);
      } else if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 404) {
        location.reload();
        return;
      }
    } catch {
      // The event stream notices a lost emperor and shows it.
    }
    fetching = false;
    restUntil = Date.now() + Math.max(REST_MIN_MS, 10 * (Date.now() - began));
    if (wanted) want();
  };

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined);
  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

  // Makes the children of `now` those of `next`, moving and keeping the nodes that stay.
  const settle = (now, next) => {
    const keyed = new Map();
    for (const node of now.childNodes) if (keyOf(node) !== undefined) keyed.set(keyOf(node), node);
    let place = now.firstChild;
    for (const wish of [...next.childNodes]) {
      const known = keyOf(wish) !== undefined ? keyed.get(keyOf(wish)) : undefined;
      if (known && known !== place) now.insertBefore(known, place);
      const node = known || place;
      if (node && alike(node, wish)) {
        if (node.nodeType === Node.ELEMENT_NODE) {
          dress(node, wish);
          settle(node, wish);
        } else if (node.data !== wish.data) {
          node.data = wish.data;
        }
        place = node.nextSibling;
      } else {
        now.insertBefore(wish, place);
      }
    }
    while (place) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
  };

  const dress = (node, wish) => {
    for (const { name, value } of wish.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    for (const { name } of [...node.attributes]) {
      // What the reader opened stays open.
      if (!wish.hasAttribute(name) && !(name === "open" && node.nodeName === "DETAILS")) node.removeAttribute(name);
    }
  };

  const source = new EventSource("/api/v1/events");
  const heard = () => { lastHeard = Date.now(); show("● live", "live"); };
  source.onopen = heard;
  source.onerror = () => show("✕ disconnected", "lost");
  source.addEventListener("heartbeat", heard);
  for (const name of ["hello", "vassal", "removed", "operation", "sampled", "resync"]) {
    source.addEventListener(name, () => { heard(); want(); });
  }
  setInterval(() => {
    const quiet = Date.now() - lastHeard;
    if (source.readyState === EventSource.OPEN && quiet > QUIET_MS) show("◌ stale for " + Math.round(quiet / 1000) + " s", "lost");
    // A stream that was refused for good (signed out, emperor replaced) is not tried again by the browser.
    if (source.readyState === EventSource.CLOSED) location.reload();
  }, 3000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) want(); });
})();
