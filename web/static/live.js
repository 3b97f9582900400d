// Makes a page live: when something changed it asks for the page again and puts in the marked parts that differ.
// Without this file everything works; one reloads by hand.
"use strict";

(() => {
  const SLOW_MS = 10000;   // what leaves no event (leases, reasons) is seen at the latest after this
  const FOLLOW_MS = 2000;  // what an agent says leaves no event: a part that goes on is asked for by itself
  const POLL_MS = 5000;    // when the stream cannot be had
  const CALM_MS = 300;     // several changes at once are one refresh
  if (!document.getElementById("main") || location.pathname === "/login") return;
  const told = document.getElementById("liveness");
  let due = 0, busy = false, streaming = false;

  const isTyping = (part) => part.contains(document.activeElement) && document.activeElement !== document.body
    && document.activeElement.matches("input, textarea");

  const openParts = (part) => [...part.querySelectorAll("details")].map((one) => one.open);

  function replace(part, fresh) {
    if (part.outerHTML === fresh.outerHTML || isTyping(part)) return;
    const open = openParts(part);
    [...fresh.querySelectorAll("details")].forEach((one, place) => { one.open = open[place] || false; });
    const scrolled = part.querySelector("pre.output");
    const atEnd = !scrolled || scrolled.scrollTop + scrolled.clientHeight >= scrolled.scrollHeight - 4;
    const stood = scrolled ? scrolled.scrollTop : 0;
    part.replaceWith(document.adoptNode(fresh));
    const said = fresh.querySelector("pre.output");
    if (said) said.scrollTop = atEnd ? said.scrollHeight : stood;
  }

  async function follow() {
    const part = document.querySelector("main [data-from]");
    if (!part || busy || document.hidden) return;
    try {
      const answer = await fetch(part.dataset.from, { headers: { Accept: "text/html" }, redirect: "error" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
      if (fresh && part.isConnected) replace(part, fresh);
    } catch (error) {
      return;  // the whole page's refresh tells of it
    }
  }

  async function refresh() {
    if (busy || document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("main [data-live][id]")) {
        const fresh = page.getElementById(part.id);
        if (fresh) replace(part, fresh);
      }
      told.textContent = streaming ? "live" : "refreshed every few seconds";
    } catch (error) {
      told.textContent = "no answer; trying again";
    } finally {
      busy = false;
    }
  }

  function soon() {
    clearTimeout(due);
    due = setTimeout(refresh, CALM_MS);
  }

  function listen() {
    const stream = new EventSource("/live");
    stream.addEventListener("open", () => { streaming = true; told.textContent = "live"; });
    stream.addEventListener("change", soon);
    stream.addEventListener("error", () => {
      streaming = false;
      // A refused stream is over for good: ask again later, and look at the page meanwhile.
      if (stream.readyState === EventSource.CLOSED) { soon(); setTimeout(listen, POLL_MS); }
    });
  }

  listen();
  setInterval(() => soon(), SLOW_MS);
  setInterval(follow, FOLLOW_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
})();
