// Brokers, the metadata quorum, and shards.
views.brokers = () => {
  let shards = null;
  return {
    title: "Brokers", section: "brokers", every: 2000,
    async load(signal) { [shards] = await Promise.all([ask(["shards"], {}, signal), shared.cluster(signal, 0)]); },
    draw() {
      const cluster = shared.last;
      if (!cluster || !shards) return loading();
      const of = new Map(shards.brokers.map((broker) => [broker.broker, broker]));
      const sum = (id, field) => of.get(id)?.shards.reduce((total, shard) => total + shard[field], 0);
      const mixed = new Set(shards.brokers.map((broker) => broker.version)).size > 1;
      const brokers = panel("Brokers", null, table("Brokers", [
        { name: "Broker", of: (b) => b.id, show: (b) => [h("b", {}, b.id), b.id === cluster.broker && h("span", { class: "muted" }, " (this one)")] },
        { name: "State", of: (b) => b.state, show: (b) => (b.state === "fenced" ? tag("bad", "fenced") : tag("ok", "serves")) },
        { name: "Rack", of: (b) => b.rack, show: (b) => b.rack ?? "–" },
        { name: "Kafka address", of: (b) => b.host, show: (b) => h("span", { class: "mono" }, `${b.host}:${b.port}`) },
        { name: "Leads", of: (b) => b.leaders, show: (b) => int(b.leaders), num: true },
        { name: "Replicas", of: (b) => b.replicas, show: (b) => int(b.replicas), num: true },
        { name: "Not in sync", of: (b) => b.out_of_sync, show: (b) => (b.out_of_sync ? tag("warn", int(b.out_of_sync)) : "0"), num: true },
        { name: "In", of: (b) => sum(b.id, "produced_bytes"), show: (b) => perSecond(bytes)(sum(b.id, "produced_bytes")), num: true },
        { name: "Out", of: (b) => sum(b.id, "fetched_bytes"), show: (b) => perSecond(bytes)(sum(b.id, "fetched_bytes")), num: true },
        { name: "Connections", of: (b) => sum(b.id, "connections"), show: (b) => int(sum(b.id, "connections")), num: true },
        { name: "Up", of: (b) => of.get(b.id)?.uptime_ms, show: (b) => duration(of.get(b.id)?.uptime_ms), num: true },
        mixed && { name: "Version", of: (b) => of.get(b.id)?.version, show: (b) => of.get(b.id)?.version ?? "–" },
      ].filter(Boolean), cluster.brokers, (b) => b.id), missing(notReached(shards.not_reached)));
      const end = Math.max(0, ...cluster.quorum.members.map((member) => member.log_end ?? 0));
      const quorum = panel("Metadata quorum", h("span", { class: "right muted small" }, `term ${int(cluster.quorum.term)}, ${plural(cluster.metadata_offset, "record")} applied here`), table("Metadata quorum", [
        { name: "Broker", of: (m) => m.broker, show: (m) => h("b", {}, m.broker) },
        { name: "Role", of: (m) => (m.broker === cluster.quorum.leader ? 0 : m.voter ? 1 : 2), show: (m) => (m.broker === cluster.quorum.leader ? tag("ok", "controller") : tag("plain", m.voter ? "voter" : "observer")) },
        { name: "Internal address", of: (m) => m.address, show: (m) => h("span", { class: "mono" }, m.address) },
        { name: "Log end", of: (m) => m.log_end, show: (m) => int(m.log_end), num: true },
        { name: "Behind", of: (m) => (m.log_end == null ? null : end - m.log_end), show: (m) => (m.log_end == null ? "–" : int(end - m.log_end)), num: true },
      ], cluster.quorum.members, (m) => m.broker));
      const rows = shards.brokers.flatMap((broker) => broker.shards.map((shard, n) => ({ ...shard, broker: broker.broker, shard: n })));
      const busiest = Math.max(1, ...rows.map((row) => row.produced_bytes + row.fetched_bytes));
      const load = (row) => row.busy_percent ?? Math.round((100 * (row.produced_bytes + row.fetched_bytes)) / busiest);
      const bar = (row) => { const fillBar = h("i", {}); fillBar.style.width = `${load(row)}%`; return [h("span", { class: "bar", "aria-hidden": "true" }, fillBar), row.busy_percent == null ? "" : `${row.busy_percent} %`]; };
      const busy = rows.some((row) => row.busy_percent != null);
      const shardTable = panel("Shards", h("span", { class: "right muted small" }, "one per core; partitions and connections are spread over them"), table("Shards", [
        { name: "Shard", of: (r) => r.broker * 4096 + r.shard, show: (r) => [h("b", {}, r.shard), h("span", { class: "muted" }, ` of broker ${r.broker}`)] },
        { name: busy ? "Busy" : "Share of traffic", of: load, show: bar },
        { name: "Connections", of: (r) => r.connections, show: (r) => int(r.connections), num: true },
        { name: "Requests", of: (r) => r.requests, show: (r) => perSecond(short)(r.requests), num: true },
        { name: "In", of: (r) => r.produced_bytes, show: (r) => perSecond(bytes)(r.produced_bytes), num: true },
        { name: "Out", of: (r) => r.fetched_bytes, show: (r) => perSecond(bytes)(r.fetched_bytes), num: true },
        { name: "In since start", of: (r) => r.produced_bytes_total, show: (r) => bytes(r.produced_bytes_total), num: true },
        { name: "Out since start", of: (r) => r.fetched_bytes_total, show: (r) => bytes(r.fetched_bytes_total), num: true },
      ], rows, (r) => `${r.broker}/${r.shard}`));
      return h("div", {}, head(null, "Brokers", health(cluster)), h("div", { class: "stack" }, brokers, quorum, shardTable));
    },
  };
};
