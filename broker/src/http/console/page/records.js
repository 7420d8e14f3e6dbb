// Reading records of a topic: newest or oldest first, from an offset or a moment on.
const WAYS = { latest: "Newest first", earliest: "From the start", offset: "From an offset", timestamp: "From a time" };
const SHAPES = { auto: "Text, JSON laid out", text: "Text as it is", hex: "Hex" };
const readers = new Map(); // what was chosen, by topic, for as long as the page is open

function recordBrowser(name) {
  const chosen = readers.get(name) ?? { partition: 0, way: "latest", offset: 0, time: "", limit: 50, shape: "auto" };
  readers.set(name, chosen);
  let topic = null, page = null, problem = null, reading = false, begun = false;

  async function read(from) {
    reading = true;
    redraw();
    try {
      page = await ask(["topics", name, "records"], { partition: chosen.partition, from, limit: chosen.limit });
      page.newestFirst = from === "latest" || from.backwards === true;
      problem = null;
    } catch (error) {
      problem = error;
    }
    reading = false;
    redraw();
  }
  const begin = () => {
    const at = { latest: "latest", earliest: "earliest", offset: `offset:${chosen.offset || 0}`, timestamp: `timestamp:${Date.parse(chosen.time) || 0}` };
    return read(at[chosen.way]);
  };
  /** What lies before the first one that is shown. */
  async function older() {
    const first = Math.min(...page.records.map((record) => record.offset));
    const keep = page.newestFirst;
    await read(`offset:${Math.max(0, first - chosen.limit)}`);
    if (page && !problem) { page.records = page.records.filter((record) => record.offset < first); page.next_offset = first; page.newestFirst = keep; redraw(); }
  }
  const newer = async () => { const keep = page.newestFirst; await read(`offset:${page.next_offset}`); if (page) { page.newestFirst = keep; redraw(); } };

  function form() {
    const set = (field, value) => { chosen[field] = value; redraw(); };
    const choice = (field, options) => h("select", { name: field, onchange: (e) => set(field, e.target.value) }, Object.entries(options).map(([value, text]) => h("option", { value, selected: chosen[field] === value }, text)));
    const submit = (event) => { event.preventDefault(); begin(); };
    return h("form", { class: "form", onsubmit: submit },
      h("label", {}, `Partition (of ${int(topic.partitions)})`, h("input", { name: "partition", type: "number", min: 0, max: topic.partitions - 1, required: true, value: chosen.partition, oninput: (e) => { chosen.partition = Number(e.target.value); } })),
      h("label", {}, "Where", choice("way", WAYS)),
      chosen.way === "offset" && h("label", { "data-key": "offset" }, "Offset", h("input", { name: "offset", type: "number", min: 0, value: chosen.offset, oninput: (e) => { chosen.offset = e.target.value; } })),
      chosen.way === "timestamp" && h("label", { "data-key": "time" }, "Local time", h("input", { name: "time", type: "datetime-local", step: 1, value: chosen.time, oninput: (e) => { chosen.time = e.target.value; } })),
      h("label", {}, "How many", h("select", { name: "limit", onchange: (e) => set("limit", Number(e.target.value)) }, [10, 50, 100, 500].map((n) => h("option", { value: n, selected: chosen.limit === n }, n)))),
      h("label", {}, "Show values as", choice("shape", SHAPES)),
      h("button", { class: "primary", type: "submit", disabled: reading }, reading ? "Reading…" : "Read"));
  }
  function found() {
    if (problem) return h("div", { class: "pad" }, tag("bad", "not read"), ` ${sentence(problem.message)} ${sentence(problem.whatToDo)}`);
    if (!page) return empty("Nothing was read yet", "Choose where to begin.");
    if (!page.records.length) {
      return page.log_start === page.high_watermark ? empty("The partition is empty", `Its log starts and ends at offset ${int(page.log_start)}.`) : empty("No records there", `There are offsets from ${int(page.log_start)} to ${int(page.high_watermark - 1)}${page.stuck ? "; a batch here is too large to be shown" : ""}.`);
    }
    const rows = page.newestFirst ? [...page.records].reverse() : page.records;
    const first = page.records[0].offset, last = page.records.at(-1).offset;
    return [
      h("div", { class: "rechead", "aria-hidden": "true" }, ["Offset", "Time", "Key", "Value", "Size"].map((text, n) => h("span", { class: n === 4 && "num" }, text))),
      rows.map((record) => recordLine(record, chosen.shape)),
      h("div", { class: "pager" }, `Offsets ${int(first)}–${int(last)} of ${int(page.log_start)}–${int(page.high_watermark - 1)}`, page.stuck && tag("warn", "a batch here is too large to be shown"),
        h("span", { class: "right" },
          h("button", { type: "button", disabled: reading || first <= page.log_start, onclick: older }, "Older"),
          h("button", { type: "button", disabled: reading || page.next_offset >= page.high_watermark, onclick: newer }, "Newer"))),
    ];
  }
  return {
    async begin(of) { topic = of; if (!begun && canRead()) { begun = true; await begin(); } },
    draw() {
      if (!topic) return null;
      if (!canRead()) return h("section", { class: "panel" }, empty("This broker does not show records", "Start it with --console records to show records to whoever reaches its HTTP address."));
      return h("section", { class: "panel", "aria-label": "Records" }, form(), found());
    },
  };
}
const canRead = () => shared.last?.console === "records";

const isNull = (blob, text = "null") => (blob == null ? h("span", { class: "null" }, text) : null);
const preview = (blob) => (blob == null ? isNull(blob) : blob.bytes === 0 ? h("span", { class: "null" }, "empty") : blob.encoding === "utf-8" ? h("span", { class: "mono" }, printable(blob.data.slice(0, 300))) : h("span", { class: "null" }, `binary, ${bytes(blob.bytes)}`));
/** Control characters are shown, and none of the line is turned round. */
const printable = (text) => text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (c) => (c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : "\ufffd"));
const lines = (text) => text.split("\n").map(printable).join("\n");

function recordLine(record, shape) {
  const time = h("span", { title: record.timestamp_ms >= 0 ? new Date(record.timestamp_ms).toISOString?.() : "" }, datetime(record.timestamp_ms));
  const key = `r${record.offset}`;
  if (record.kind === "unreadable") {
    return h("details", { class: "rec", "data-key": key }, h("summary", {}, h("b", {}, int(record.offset)), h("span", {}), tag("bad", "unreadable"), h("span", {}, record.problem), h("span", { class: "num" }, bytes(record.bytes))),
      h("div", { class: "body" }, `The batch up to offset ${int(record.last_offset)} cannot be decoded: ${record.problem}.`));
  }
  if (record.kind === "control") {
    return h("details", { class: "rec", "data-key": key }, h("summary", {}, h("b", {}, int(record.offset)), time, tag("plain", "control"), h("span", {}, `transaction: ${record.marker}`), h("span", {})),
      h("div", { class: "body" }, `Written by the broker at the end of a transaction of producer ${record.producer_id}.`));
  }
  const size = (record.key?.bytes ?? 0) + (record.value?.bytes ?? 0);
  const details = h("details", { class: "rec", "data-key": key }, h("summary", {}, h("b", {}, int(record.offset)), time, h("span", {}, preview(record.key)), h("span", {}, preview(record.value)), h("span", { class: "num muted" }, bytes(size))));
  const about = [["Timestamp", `${datetime(record.timestamp_ms)} (${record.timestamp_type === "create_time" ? "of the producer" : "of the broker"})`], ["Leader epoch", int(record.leader_epoch)], ["Compression", record.compression], ["Producer", record.producer_id == null ? "not idempotent" : `${record.producer_id}${record.transactional ? ", transactional" : ""}`]];
  details.append(h("div", { class: "body" }, facts(about),
    record.headers.length > 0 && h("div", {}, h("b", {}, `Headers (${int(record.headers.length + record.headers_omitted)})`),
      h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, record.headers.map((header) => h("tr", {}, h("td", { class: "mono" }, printable(header.name.data)), h("td", { class: "wide" }, header.value == null ? isNull(null) : header.value.encoding === "utf-8" ? h("span", { class: "mono" }, printable(header.value.data)) : h("span", { class: "mono" }, hexOf(header.value, 64)))))))),
      record.headers_omitted > 0 && h("div", { class: "muted small" }, `and ${int(record.headers_omitted)} more`)),
    blobPart("Key", record.key, shape), blobPart("Value", record.value, shape)));
  return details;
}
function blobPart(title, blob, shape) {
  const size = blob && `${bytes(blob.bytes)}${blob.truncated ? ", the first part of it" : ""}`;
  return h("div", {}, h("b", {}, title), " ", h("span", { class: "muted small" }, size), blob == null ? h("pre", {}, isNull(blob)) : shape === "hex" || blob.encoding === "base64" ? h("pre", { class: "hex" }, hexDump(blob)) : h("pre", {}, lines(shape === "auto" ? laidOut(blob.data) : blob.data)));
}
const rawBytes = (blob) => (blob.encoding === "base64" ? Uint8Array.from(atob(blob.data), (c) => c.charCodeAt(0)) : new TextEncoder().encode(blob.data));
const hexOf = (blob, max) => [...rawBytes(blob).slice(0, max)].map((byte) => two(byte.toString(16))).join(" ") + (blob.bytes > max ? " …" : "");
function hexDump(blob) {
  const raw = rawBytes(blob), rows = [];
  for (let at = 0; at < raw.length; at += 16) {
    const row = [...raw.slice(at, at + 16)];
    const hex = row.map((byte, n) => two(byte.toString(16)) + (n === 7 ? " " : "")).join(" ");
    rows.push(`${two(at.toString(16), 6)}  ${hex.padEnd(48)}  ${row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("")}`);
  }
  return rows.join("\n");
}
/** JSON with line breaks; its numbers and strings stay as they were written. What is no JSON stays as it is. */
function laidOut(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  try { JSON.parse(text); } catch { return text; }
  let out = "", depth = 0;
  const line = () => "\n" + "  ".repeat(depth);
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    if (token === "{" || token === "[") { depth += 1; out += token + line(); }
    else if (token === "}" || token === "]") { depth -= 1; out = /[{[]\s*$/.test(out) ? out.trimEnd() + token : out + line() + token; }
    else out += token === "," ? "," + line() : token === ":" ? ": " : token;
  }
  return out;
}
