// Elements and texts. What comes from the cluster only ever becomes text: nothing here parses markup.
const views = {}; // by name: made anew whenever one is opened
const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "oninput", "onchange", "onsubmit", "onkeydown", "ontoggle", "onpointermove", "onpointerleave"];

/** An element: attributes, on… handlers as functions, children as nodes or texts. */
function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}
function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element[name] = value;
    else if (name === "value" && "value" in element) element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child != null && child !== false) element.append(child);
  }
  return element;
}

/** Makes `old` look like `fresh` and keeps the nodes that are there: focus, scroll positions and open details survive. */
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.dataset?.key !== fresh.dataset?.key) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.dataset.keep !== undefined && fresh.dataset.keep !== undefined) return;
  // Not as an attribute, which the page's policy does not allow.
  if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
  for (const { name } of [...old.attributes]) {
    if (name === "style") continue;
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const handler of HANDLERS) old[handler] = fresh[handler];
  if ("value" in old && old.nodeName !== "LI" && document.activeElement !== old && old.value !== fresh.value) old.value = fresh.value;
  morphChildren(old, fresh);
}
function morphChildren(old, fresh) {
  const keyed = new Map([...old.children].filter((c) => c.dataset?.key).map((c) => [c.dataset.key, c]));
  let at = old.firstChild;
  for (const want of [...fresh.childNodes]) {
    const same = want.dataset?.key && keyed.get(want.dataset.key);
    if (same && same !== at) old.insertBefore(same, at);
    else if (at) { const here = at; at = at.nextSibling; morph(here, want); continue; }
    else { old.append(want); continue; }
    morph(same, want);
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
}

const group = new Intl.NumberFormat("en-US");
const int = (n) => (n == null ? "–" : group.format(n));
function scaled(n, units, base) {
  let unit = 0;
  while (Math.abs(n) >= base && unit < units.length - 1) { n /= base; unit += 1; }
  return [n, units[unit]];
}
const digits = (n) => (n === 0 || Math.abs(n) >= 100 || Number.isInteger(n) ? n.toFixed(0) : Math.abs(n) >= 10 ? n.toFixed(1) : n.toFixed(2));
function bytes(n) {
  if (n == null) return "–";
  const [value, unit] = scaled(n, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 1024);
  return `${digits(value)} ${unit}`;
}
function short(n) {
  if (n == null) return "–";
  const [value, unit] = scaled(n, ["", "k", "M", "G", "T"], 1000);
  return digits(value) + unit;
}
const perSecond = (format) => (n) => (n == null ? "–" : `${format(n)}/s`);
function micros(n) {
  if (n == null) return "–";
  const [value, unit] = scaled(n, ["µs", "ms", "s"], 1000);
  return `${digits(value)} ${unit}`;
}
function duration(ms) {
  if (ms == null) return "–";
  const seconds = Math.floor(ms / 1000);
  if (ms < 1000) return `${ms} ms`;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}
const two = (n, width = 2) => String(n).padStart(width, "0");
/** Local time; `datetime` adds the day and milliseconds. */
const clock = (ms, seconds = true) => { const t = new Date(ms); return `${two(t.getHours())}:${two(t.getMinutes())}${seconds ? ":" + two(t.getSeconds()) : ""}`; };
function datetime(ms) {
  const t = new Date(ms);
  if (ms < 0 || Number.isNaN(t.getTime())) return ms === -1 ? "no timestamp" : String(ms);
  return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${clock(ms)}.${two(t.getMilliseconds(), 3)}`;
}
const plural = (n, one, many = one + "s") => `${int(n)} ${n === 1 ? one : many}`;

const tag = (kind, text) => h("span", { class: `tag ${kind}` }, text);
const link = (path, text, attributes) => h("a", { href: "#/" + path.map(encodeURIComponent).join("/"), ...attributes }, text);
const panel = (title, right, ...children) =>
  h("section", { class: "panel", "aria-label": title }, h("header", {}, h("h2", {}, title), right), ...children);
const empty = (title, text) => h("div", { class: "empty" }, h("b", {}, title), text);
const facts = (pairs) => h("dl", { class: "facts" }, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
const tile = (label, value, under, kind, href) =>
  h(href ? "a" : "div", { class: `tile ${kind ?? ""}`, href }, h("span", { class: "label" }, label), h("span", { class: "value" }, value), h("span", { class: "under" }, under));
const head = (crumb, title, ...right) =>
  h("div", { class: "head" }, crumb && h("div", { class: "crumb" }, crumb), h("h1", {}, title), right.length > 0 && h("div", { class: "right" }, right));

const TROUBLES = { offline: ["bad", "offline"], under_min_isr: ["bad", "below min ISR"], under_replicated: ["warn", "under-replicated"] };
const troubleTag = (what) => (what ? tag(...TROUBLES[what]) : tag("ok", "in sync"));
/** Replicas: the leader stands out, and those that are not in sync are struck out. */
function replicas(partition) {
  return partition.replicas.map((id) => {
    const leads = id === partition.leader, out = !partition.isr.includes(id);
    const what = leads ? "leader" : out ? "not in sync" : "in sync";
    return h("span", { class: `chip ${leads ? "lead" : out ? "out" : ""}`, title: `broker ${id}: ${what}`, "aria-label": `broker ${id}, ${what}` }, id);
  });
}
