// "Check its strength" in place: the same button, the same answer, and what was typed stays in the field.
// Without script the button sends the form, and the page comes back with the hint.
"use strict";

const check = document.getElementById("check-strength");
const place = document.getElementById("strength");

async function show(event) {
  event.preventDefault();
  const typed = new FormData(check.form);
  typed.delete("old_password"); // nobody needs it for this
  typed.set(check.name, check.value);
  check.disabled = true;
  try {
    const answer = await fetch(check.form.action, {
      method: "POST",
      body: new URLSearchParams(typed),
      headers: { Accept: "text/html" },
      redirect: "error",
    });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const hint = page.getElementById("strength");
    // Where the answer is another page (too many tries, a form that is old), its own words are the hint.
    place.replaceChildren(...(hint ? hint.childNodes : page.querySelectorAll("main h1 ~ p:not(.actions)")));
  } catch {
    place.textContent = place.dataset.failed;
  } finally {
    check.disabled = false;
  }
}

if (check && place) check.addEventListener("click", show);
