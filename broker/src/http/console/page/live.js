// What passes through: kept here for ten minutes, asked for every second while it is looked at.
const KEPT_MS = 600000;
const PLOTS = [
  { title: "Throughput", format: perSecond(bytes), binary: true, series: [{ name: "in", of: (p) => p.produced_bytes }, { name: "out", of: (p) => p.fetched_bytes }] },
  { title: "Requests", format: perSecond(short), series: [{ name: "produce", of: (p) => p.produce_requests }, { name: "fetch", of: (p) => p.fetch_requests }] },
  { title: "Produce latency", format: micros, optional: true, none: "no produce was timed", series: [{ name: "p50", of: (p) => p.produce_p50_us }, { name: "p99", of: (p) => p.produce_p99_us }] },
  { title: "Fetch latency", format: micros, optional: true, none: "no fetch was timed", series: [{ name: "p50", of: (p) => p.fetch_p50_us }, { name: "p99", of: (p) => p.fetch_p99_us }] },
  { title: "Records", format: perSecond(short), series: [{ name: "in", of: (p) => p.produced_records }, { name: "out", of: (p) => p.fetched_records }] },
  { title: "Connections", format: short, series: [{ name: "open", of: (p) => p.connections }] },
];
const flow = {
  brokers: new Map(), // id -> samples as objects, oldest first
  notReached: [],
  async ask(signal) {
    const lasts = [...this.brokers.values()].map((samples) => samples.at(-1)?.at_ms ?? 0);
    const answer = await ask(["live"], { since_ms: lasts.length ? Math.min(...lasts) : 0 }, signal);
    this.notReached = answer.not_reached;
    for (const { broker, samples } of answer.brokers) {
      const kept = this.brokers.get(broker) ?? [];
      const last = kept.at(-1)?.at_ms ?? 0;
      for (const row of samples) if (row[0] > last) kept.push(Object.fromEntries(answer.fields.map((field, i) => [field, row[i]])));
      const from = (kept.at(-1)?.at_ms ?? 0) - KEPT_MS;
      this.brokers.set(broker, kept.filter((sample) => sample.at_ms >= from));
    }
    for (const { broker } of answer.not_reached) {
      if (Date.now() - (this.brokers.get(broker)?.at(-1)?.at_ms ?? 0) > 30000) this.brokers.delete(broker);
    }
  },
  /** Points by second, of one broker or summed over all; of latencies the worst broker's counts. */
  points(broker) {
    const chosen = broker == null ? [...this.brokers.values()] : [this.brokers.get(broker) ?? []];
    const seconds = new Map();
    for (const samples of chosen) {
      let before = null;
      for (const sample of samples) {
        const second = Math.round(sample.at_ms / 1000);
        // A second that the broker's timer has jumped over is as the one after it.
        const first = before != null && second - before === 2 ? second - 1 : second;
        for (let at = first; at <= second; at += 1) if (at !== before) merge(seconds, at, sample);
        before = second;
      }
    }
    const newest = Math.min(...chosen.filter((samples) => samples.length).map((samples) => Math.round(samples.at(-1).at_ms / 1000)));
    return [...seconds.values()].filter((point) => point.at_ms <= newest * 1000).sort((a, b) => a.at_ms - b.at_ms);
  },
};
function merge(seconds, second, sample) {
  const point = seconds.get(second);
  if (!point) { seconds.set(second, { ...sample, at_ms: second * 1000 }); return; }
  for (const [field, value] of Object.entries(sample)) {
    if (field === "at_ms" || value == null) continue;
    point[field] = field.endsWith("_us") ? Math.max(point[field] ?? 0, value) : (point[field] ?? 0) + value;
  }
}
/** Plots that are filled every second as long as the view is there. */
function livePlots(count, windowMs) {
  Plot.all = PLOTS.slice(0, count).map((spec) => new Plot(spec));
  return {
    nodes: Plot.all.map((plot) => plot.root),
    show(broker, window = windowMs) {
      const points = flow.points(broker);
      // What this version does not measure has no plot.
      for (const { root, spec } of Plot.all) root.hidden = spec.optional && !points.some((point) => spec.series.some(({ of }) => of(point) != null));
      const to = points.at(-1)?.at_ms ?? Date.now();
      Plot.all.forEach((plot) => plot.show(points.filter((p) => p.at_ms >= to - window), to - window, to));
    },
  };
}

let liveWindow = 300000, liveBroker = null;
views.live = () => {
  const plots = livePlots(PLOTS.length, liveWindow);
  return {
    title: "Live", section: "live", every: 1000,
    load: (signal) => Promise.all([flow.ask(signal), shared.cluster(signal, 5000)]),
    draw() {
      plots.show(liveBroker, liveWindow);
      const choose = (event) => { liveBroker = event.target.value === "" ? null : Number(event.target.value); redraw(); };
      const ids = (shared.last?.brokers ?? []).map((broker) => broker.id);
      return h("div", {},
        head(null, "Live",
          h("select", { "aria-label": "Broker", onchange: choose, value: liveBroker ?? "" }, h("option", { value: "" }, "All brokers"), ids.map((id) => h("option", { value: id, selected: id === liveBroker }, `Broker ${id}`))),
          h("select", { "aria-label": "Window", onchange: (event) => { liveWindow = Number(event.target.value); redraw(); } },
            [[120000, "2 minutes"], [300000, "5 minutes"], [600000, "10 minutes"]].map(([ms, text]) => h("option", { value: ms, selected: ms === liveWindow }, text)))),
        h("div", { class: "stack" }, flow.notReached.length > 0 && h("section", { class: "panel" }, missing(notReached(flow.notReached))), h("div", { class: "plots" }, plots.nodes)));
    },
  };
};
