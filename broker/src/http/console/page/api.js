// Asking this broker, and what is done while it does not answer.
const ASK_TIME_MAX_MS = 14000;

class ApiError extends Error {
  constructor(status, message, whatToDo) { super(message); this.status = status; this.whatToDo = whatToDo; }
}

/** JSON of a path under /api/v1; `signal` gives up. */
async function ask(path, parameters, signal) {
  const query = new URLSearchParams(Object.entries(parameters ?? {}).filter(([, value]) => value !== "" && value != null));
  const url = `/api/v1/${path.map(encodeURIComponent).join("/")}${query.size ? `?${query}` : ""}`;
  let response, body;
  try {
    const late = AbortSignal.timeout(ASK_TIME_MAX_MS);
    response = await fetch(url, { signal: signal ? AbortSignal.any([signal, late]) : late, credentials: "omit" });
    body = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "this broker does not answer", "look whether it runs, or open the console of another broker");
  }
  if (!response.ok) throw new ApiError(response.status, body.error ?? `HTTP status ${response.status}`, body.what_to_do ?? "");
  contact.answered();
  return body;
}

/** Whether the broker answers, and since when it does not. */
const contact = {
  last: null,
  answered() {
    this.last = Date.now();
    if (document.body.classList.contains("stale")) { document.body.classList.remove("stale"); banner(null); }
  },
  failed(error) {
    document.body.classList.add("stale");
    const since = this.last ? ` What is shown is of ${clock(this.last)}.` : "";
    banner(`${sentence(error.message)} ${sentence(error.whatToDo)}${since}`);
  },
};
const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "");
function banner(text, kind = "") {
  document.getElementById("banner").replaceChildren(...(text ? [h("div", { class: kind }, text)] : []));
}
/** What a part of an answer is missing, as a line above a table. */
const missing = (problems) => problems.length > 0 && h("div", { class: "pad small" }, problems.map((p) => h("div", {}, tag("warn", "incomplete"), " ", p)));
const notReached = (list) => list.map((n) => `Broker ${n.broker} does not answer: ${n.reason}`);
