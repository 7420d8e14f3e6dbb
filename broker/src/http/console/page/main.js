// Routes, the refresh, and the theme.
const SECTIONS = [["overview", "", "Overview"], ["brokers", "brokers", "Brokers"], ["topics", "topics", "Topics"], ["groups", "groups", "Groups"], ["live", "live", "Live"]];

/** What several views need: asked for again when it is older than `ageMs`. */
const shared = {
  last: null, at: 0,
  async cluster(signal, ageMs) {
    if (this.last && Date.now() - this.at < ageMs) return;
    this.last = await ask(["cluster"], {}, signal);
    this.at = Date.now();
  },
};

let view = null, turn = null, timer = null, paused = false;

function route() {
  const path = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  const [section, name, tab] = path;
  if (!section) return views.overview();
  if (section === "topics" && name !== undefined) return views.topic(name, tab);
  if (section === "groups" && (name !== undefined || location.hash.endsWith("/"))) return views.group(name ?? "");
  return (Object.hasOwn(views, section) && section !== "topic" && section !== "group" ? views[section] : views.overview)();
}
function open() {
  if (location.hash === "#main") return;
  turn?.abort();
  Plot.all = [];
  view = route();
  document.title = `${view.title} · Ringlog`;
  document.getElementById("view").replaceChildren(loading());
  navigation();
  if (!document.body.classList.contains("stale")) banner(null);
  scrollTo(0, 0);
  reload();
}
/** Asks, draws, and does so again after a while. */
async function reload() {
  turn?.abort();
  clearTimeout(timer);
  const mine = (turn = new AbortController()), of = view;
  try {
    await of.load(mine.signal);
    if (mine.signal.aborted) return;
    of.problem = null;
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error instanceof ApiError && error.status === 0) contact.failed(error);
    else if (error instanceof ApiError) { of.problem = error; contact.answered(); }
    else { of.problem = new ApiError(-1, String(error), "reload the page"); console.error(error); }
  }
  redraw();
  schedule();
}
function schedule() {
  clearTimeout(timer);
  if (!paused && !document.hidden) timer = setTimeout(reload, view.every);
}
function redraw() {
  const root = document.getElementById("view");
  const { problem } = view;
  if (problem && problem.status === 404) {
    return void root.replaceChildren(h("section", { class: "panel" }, empty(sentence(problem.message), sentence(problem.whatToDo))));
  }
  if (!document.body.classList.contains("stale")) banner(problem && `${sentence(problem.message)} ${sentence(problem.whatToDo)}`, "note");
  const fresh = h("div", { id: "view" }, view.draw());
  morphChildren(root, fresh);
  for (const select of root.querySelectorAll("select")) {
    const chosen = select.querySelector("option[selected]");
    if (chosen && document.activeElement !== select) select.value = chosen.value;
  }
  navigation();
}
const loading = () => h("div", {}, head(null, view.title || "…"), h("p", { class: "muted" }, view.problem || document.body.classList.contains("stale") ? "Nothing is known yet." : "Loading…"));
function navigation() {
  const cluster = shared.last;
  const counts = { brokers: cluster?.brokers.length, topics: cluster?.totals.topics };
  const links = SECTIONS.map(([id, path, text]) => h("a", { href: `#/${path}`, "data-key": id, "aria-current": view.section === id && "page" }, text, counts[id] != null && h("span", { class: "count" }, int(counts[id]))));
  morphChildren(document.getElementById("nav"), h("nav", {}, links));
  morphChildren(document.getElementById("whoami"), h("div", {}, cluster && [
    h("span", {}, "Broker ", h("b", {}, cluster.broker), ` · ${cluster.version}`), h("span", { class: "id", title: "cluster id" }, cluster.cluster_id),
    h("span", {}, contact.last ? `${paused ? "paused" : "as of"} ${clock(contact.last)}` : "")]));
}

const THEMES = ["auto", "light", "dark"];
function theme(next) {
  let chosen = "auto";
  try { chosen = next ?? localStorage.getItem("ringlog-theme") ?? "auto"; localStorage.setItem("ringlog-theme", chosen); } catch { chosen = next ?? "auto"; }
  if (!THEMES.includes(chosen)) chosen = "auto";
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  const button = document.getElementById("theme");
  button.textContent = { auto: "◐ Auto", light: "○ Light", dark: "● Dark" }[chosen];
  button.setAttribute("aria-label", `Theme: ${chosen}`);
  button.onclick = () => theme(THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length]);
}
function pause(to) {
  paused = to;
  const button = document.getElementById("pause");
  button.textContent = paused ? "Resume" : "Pause";
  button.setAttribute("aria-pressed", paused);
  button.onclick = () => { pause(!paused); if (paused) { schedule(); navigation(); } else reload(); };
}

theme();
pause(false);
addEventListener("hashchange", open);
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : reload()));
open();
