// Passkeys (WebAuthn): shows the forms that need them, lets an authenticator answer, and sends the answer as an
// ordinary form. A form says in its data attributes what it asks for, where, and every word that is shown.
"use strict";
(() => {
  const RENEW_MS = 8 * 60 * 1000; // a challenge is good for ten minutes, and a page may stay open for hours
  let waiting = null; // the autofill request under way: a browser takes one request at a time

  // -- bytes travel as base64url ------------------------------------------------------------------------------
  const toBytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (sign) => sign.charCodeAt(0));
  const toText = (buffer) =>
    btoa(Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join(""))
      .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  function readOptions(kind, json) {
    const name = kind === "create" ? "parseCreationOptionsFromJSON" : "parseRequestOptionsFromJSON";
    if (PublicKeyCredential[name]) return PublicKeyCredential[name](json);
    const withBytes = (list) => (list || []).map((one) => ({ ...one, id: toBytes(one.id) }));
    const options = { ...json, challenge: toBytes(json.challenge) };
    if (kind === "create") {
      options.user = { ...json.user, id: toBytes(json.user.id) };
      options.excludeCredentials = withBytes(json.excludeCredentials);
    } else {
      options.allowCredentials = withBytes(json.allowCredentials);
    }
    return options;
  }

  function writeAnswer(credential) {
    if (credential.toJSON) return JSON.stringify(credential.toJSON());
    const { response } = credential;
    const answer = { clientDataJSON: toText(response.clientDataJSON) };
    for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (response[name]) answer[name] = toText(response[name]);
    }
    if (response.getTransports) answer.transports = response.getTransports();
    return JSON.stringify({
      id: credential.id, rawId: toText(credential.rawId), type: credential.type, response: answer,
    });
  }

  // -- one question and its answer ----------------------------------------------------------------------------
  async function ask(form, extra) {
    const asked = await fetch(form.dataset.options, {
      method: "POST",
      headers: { Accept: "application/json", "X-CSRFToken": form.elements.csrf_token.value },
    });
    const question = await asked.json().catch(() => ({}));
    if (!asked.ok || !question.publicKey) {
      const problem = new Error("refused");
      problem.words = question.detail || question.title;
      throw problem;
    }
    const kind = form.dataset.passkey;
    const credential = await navigator.credentials[kind]({ publicKey: readOptions(kind, question.publicKey), ...extra });
    form.elements.ticket.value = question.ticket;
    form.elements.passkey.value = writeAnswer(credential);
    form.submit(); // passes over the listener below
  }

  function wordsFor(form, error) {
    if (error.words) return error.words;
    if (error.name === "NotAllowedError" || error.name === "AbortError") return form.dataset.cancelled;
    if (error.name === "InvalidStateError") return form.dataset.known;
    if (error.name === "NotSupportedError" || error.name === "ConstraintError") return form.dataset.unsupported;
    return form.dataset.failed;
  }

  async function pressed(form) {
    const say = form.querySelector("[data-passkey-error]");
    const button = form.querySelector("button");
    say.textContent = "";
    button.disabled = true;
    stopWaiting();
    try {
      await ask(form, {});
    } catch (error) {
      say.textContent = wordsFor(form, error);
      button.disabled = false;
      if ("autofill" in form.dataset) offerInAutofill(form);
    }
  }

  // -- passkeys among what the browser offers to fill in --------------------------------------------------------
  function stopWaiting() {
    if (!waiting) return;
    clearTimeout(waiting.renewal);
    waiting.abort();
    waiting = null;
  }

  async function offerInAutofill(form) {
    const mayOffer = PublicKeyCredential.isConditionalMediationAvailable;
    if (!mayOffer || !(await mayOffer.call(PublicKeyCredential))) return;
    stopWaiting();
    const mine = new AbortController();
    waiting = mine;
    mine.renewal = setTimeout(() => offerInAutofill(form), RENEW_MS);
    try {
      await ask(form, { mediation: "conditional", signal: mine.signal });
    } catch (error) {
      // Nobody asked for this aloud: whoever wants to know presses the button.
      if (waiting === mine && error.name !== "AbortError") stopWaiting();
    }
  }

  // -- the page -------------------------------------------------------------------------------------------------
  if (!window.PublicKeyCredential || !navigator.credentials) return;
  for (const note of document.querySelectorAll("[data-without-passkeys]")) note.hidden = true;
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      pressed(form);
    });
    if ("autofill" in form.dataset) offerInAutofill(form);
  }
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload(); // back again: what this page asked has been answered
  });
})();
