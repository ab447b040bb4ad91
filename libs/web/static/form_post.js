// The answer to an app travels in a form: sent at once. Without script the button sends it.
"use strict";

document.getElementById("continue").form.requestSubmit();
