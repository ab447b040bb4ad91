// Keys for reviewers. Pages work the same without them. A key goes to what carries it (data-key): it is pressed where
// the page says so (data-press), else it gets the focus, so that no single stray key ever decides anything.
"use strict";
(() => {
  const keys = document.getElementById("keys");
  if (!keys) return;
  keys.hidden = false;
  const rows = [...document.querySelectorAll("[data-row]")];
  const linkOf = (row) => row.querySelector("a");
  const current = () => rows.findIndex((row) => row.contains(document.activeElement));

  function move(step) {
    if (!rows.length) return;
    const at = current();
    const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step;
    const row = rows[Math.min(Math.max(next, 0), rows.length - 1)];
    linkOf(row).focus();
    row.scrollIntoView({ block: "nearest" });
  }

  function mark() {
    const row = rows[current()];
    const box = row && row.querySelector("input[type=checkbox]");
    if (box) box.click();
  }

  const meanings = {
    j: () => move(1),
    k: () => move(-1),
    x: mark,
    "?": () => { keys.open = !keys.open; if (keys.open) keys.scrollIntoView({ block: "nearest" }); },
  };

  // Whoever types means letters; a box takes none of them.
  const isTyping = (target) =>
    target.isContentEditable ||
    target.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=submit], [type=button])");

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.repeat && !"jk".includes(event.key)) return;
    if (!(event.target instanceof Element) || isTyping(event.target)) return;
    const carrier = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    const act = rows.length || event.key === "?" ? meanings[event.key] : null;
    if (carrier) "press" in carrier.dataset ? carrier.click() : carrier.focus();
    else if (act) act();
    else return;
    event.preventDefault();
  });
})();
