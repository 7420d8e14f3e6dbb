// The first look: is anything wrong, and what passes through.
views.overview = () => {
  const plots = livePlots(4, 300000);
  return {
    title: "Overview", section: "overview", every: 1000,
    load: (signal) => Promise.all([shared.cluster(signal, 3000), flow.ask(signal)]),
    draw() {
      const cluster = shared.last;
      if (!cluster) return loading();
      plots.show(null);
      return h("div", {}, head(null, "Overview", health(cluster)),
        h("div", { class: "stack" }, tiles(cluster), attention(cluster), h("div", { class: "plots" }, plots.nodes), brokerLines(cluster)));
    },
  };
};
const fencedOf = (cluster) => cluster.brokers.filter((broker) => broker.state === "fenced");
function health(cluster) {
  const { offline, under_min_isr, under_replicated } = cluster.totals;
  if (cluster.quorum.leader == null) return tag("bad", "no controller");
  if (offline + under_min_isr > 0) return tag("bad", "partitions unavailable");
  if (under_replicated > 0 || fencedOf(cluster).length > 0) return tag("warn", "degraded");
  return tag("ok", "healthy");
}
function tiles(cluster) {
  const { totals, brokers, quorum } = cluster;
  const fenced = fencedOf(cluster).length;
  const count = (label, n, under, kind) => tile(label, int(n), n ? under : "none", n ? kind : "", "#/topics");
  const voters = quorum.members.filter((member) => member.voter).length;
  return h("div", { class: "tiles" },
    tile("Brokers", [int(brokers.length - fenced), h("small", {}, ` of ${int(brokers.length)}`)], fenced ? `${int(fenced)} fenced` : "all serve", fenced ? "warn" : "", "#/brokers"),
    tile("Controller", quorum.leader == null ? "none" : `${quorum.leader}`, quorum.leader == null ? "no leader is elected" : plural(voters, "voter"), quorum.leader == null ? "bad" : "", "#/brokers"),
    tile("Topics", int(totals.topics), plural(totals.partitions, "partition"), "", "#/topics"),
    count("Offline", totals.offline, "nobody leads these", "bad"),
    count("Below min ISR", totals.under_min_isr, "acks=all is refused", "bad"),
    count("Under-replicated", totals.under_replicated, "replicas lag", "warn"),
    tile("Being moved", int(totals.reassigning), totals.reassigning ? "reassignments run" : "none"));
}
function brokerLines(cluster) {
  const now = (id) => flow.brokers.get(id)?.at(-1);
  const rate = (field, format) => ({ of: (b) => now(b.id)?.[field], show: (b) => perSecond(format)(now(b.id)?.[field]), num: true });
  return panel("Brokers", null, table("Brokers now", [
    { name: "Broker", of: (b) => b.id, show: (b) => [h("b", {}, b.id), h("span", { class: "muted" }, ` ${b.host}:${b.port}`)] },
    { name: "State", of: (b) => b.state, show: (b) => [b.state === "fenced" ? tag("bad", "fenced") : tag("ok", "serves"), b.id === cluster.quorum.leader && [" ", tag("plain", "controller")]] },
    { name: "Leads", of: (b) => b.leaders, show: (b) => int(b.leaders), num: true },
    { name: "Not in sync", of: (b) => b.out_of_sync, show: (b) => int(b.out_of_sync), num: true },
    { name: "Requests", ...rate("requests", short) },
    { name: "In", ...rate("produced_bytes", bytes) },
    { name: "Out", ...rate("fetched_bytes", bytes) },
  ], cluster.brokers, (b) => b.id));
}
function attention(cluster) {
  const fenced = fencedOf(cluster);
  if (!fenced.length && !cluster.problems.length) return null;
  const all = cluster.totals.under_replicated;
  const rows = cluster.problems.slice(0, 8);
  return panel("Needs attention", h("span", { class: "right muted small" }, cluster.problems.length > rows.length && `the worst ${rows.length} partitions of ${int(Math.max(all, cluster.problems.length))}`),
    fenced.length > 0 && h("div", { class: "pad" }, fenced.map((broker) => h("div", {}, tag("bad", "fenced"), " ", link(["brokers"], `Broker ${broker.id}`), ` at ${broker.host}:${broker.port}: the controller does not hear of it. Look whether it runs.`))),
    rows.length > 0 && table("Partitions with problems", [
      { name: "Partition", of: (p) => `${p.topic}-${p.partition}`, show: (p) => link(["topics", p.topic], `${p.topic}-${p.partition}`), cls: "name" },
      { name: "State", of: (p) => p.what, show: (p) => troubleTag(p.what) },
      { name: "Leader", of: (p) => p.leader, show: (p) => p.leader ?? "none", num: true },
      { name: "Replicas", show: (p) => replicas(p) },
    ], rows, (p) => `${p.topic}-${p.partition}`));
}
