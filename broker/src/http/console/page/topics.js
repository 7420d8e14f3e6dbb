// The list of topics, and one topic: partitions, configs, records.
const TOPICS_LIMIT = 100, PARTITIONS_LIMIT = 200;
const topicList = { search: "", problems: false, offset: 0 };
views.topics = () => {
  let list = null;
  return {
    title: "Topics", section: "topics", every: 4000,
    async load(signal) {
      [list] = await Promise.all([ask(["topics"], { ...topicList, problems: topicList.problems || "", limit: TOPICS_LIMIT }, signal), shared.cluster(signal, 10000)]);
    },
    draw() {
      if (!list) return loading();
      const change = (to) => { Object.assign(topicList, { offset: 0 }, to); reload(); };
      const none = topicList.problems ? empty("No topic has problems", "All partitions are led, and all replicas are in sync.") : topicList.search ? empty("No topic matches", "Names are searched in whatever case.") : empty("There are no topics yet", "Produce to one, or make one with any Kafka tool; it appears here by itself.");
      const trouble = (t) => (t.offline ? tag("bad", `${t.offline} offline`) : t.under_min_isr ? tag("bad", `${t.under_min_isr} below min ISR`) : t.under_replicated ? tag("warn", `${t.under_replicated} under-replicated`) : tag("ok", "in sync"));
      return h("div", {},
        head(null, "Topics",
          h("label", { class: "check" }, h("input", { type: "checkbox", onchange: (e) => change({ problems: e.target.checked }), ...(topicList.problems && { checked: true }) }), "with problems only"),
          h("input", { type: "search", placeholder: "Search topics", "aria-label": "Search topics", value: topicList.search, oninput: (e) => change({ search: e.target.value }) })),
        h("section", { class: "panel" }, list.topics.length === 0 ? none : table("Topics", [
          { name: "Topic", of: (t) => t.topic, show: (t) => [link(["topics", t.topic], t.topic), t.internal && h("span", { class: "muted" }, " internal")], cls: "name" },
          { name: "State", of: (t) => t.offline * 1e6 + t.under_min_isr * 1e3 + t.under_replicated, show: trouble },
          { name: "Partitions", of: (t) => t.partitions, show: (t) => int(t.partitions), num: true },
          { name: "Replicas", of: (t) => t.replicas, show: (t) => int(t.replicas), num: true },
          { name: "Set configs", of: (t) => t.configs.length, show: (t) => (t.configs.length ? t.configs.map((c) => h("div", { class: "mono" }, `${c.name}=${c.value}`)) : h("span", { class: "muted" }, "defaults")), cls: "wide" },
        ], list.topics, (t) => t.topic_id), pager(list.offset, list.topics.length, list.total, TOPICS_LIMIT, (offset) => { topicList.offset = offset; reload(); })));
    },
  };
};

views.topic = (name, tab) => {
  let topic = null, offset = 0;
  const browser = tab === "records" ? recordBrowser(name) : null;
  return {
    title: name, section: "topics", every: tab === "records" ? 10000 : 3000,
    async load(signal) {
      topic = await ask(["topics", name], { offset, limit: PARTITIONS_LIMIT }, signal);
      await shared.cluster(signal, 5000);
      await browser?.begin(topic);
    },
    draw() {
      if (!topic) return loading();
      const tabs = [["", "Partitions"], ["records", "Records"], ["configs", "Configs"]].map(([id, text]) =>
        link(["topics", name, ...(id ? [id] : [])], text, { "aria-current": (tab ?? "") === id && "page" }));
      const body = tab === "configs" ? topicConfigs(topic) : tab === "records" ? browser.draw() : topicPartitions(topic, (to) => { offset = to; reload(); });
      return h("div", {}, head(link(["topics"], "Topics"), name, topic.internal && tag("plain", "internal"),
        topic.offline ? tag("bad", `${topic.offline} offline`) : topic.under_min_isr ? tag("bad", `${topic.under_min_isr} below min ISR`) : topic.under_replicated ? tag("warn", `${topic.under_replicated} under-replicated`) : tag("ok", "in sync")),
        h("div", { class: "tabs", role: "navigation", "aria-label": "Parts of the topic" }, tabs), body);
    },
  };
};

function topicPartitions(topic, go) {
  const list = topic.partition_list;
  const known = list.filter((p) => p.log);
  const sum = (of) => known.reduce((total, p) => total + of(p.log), 0);
  const whole = known.length === list.length && list.length === topic.partitions;
  const about = whole ? "" : known.length === topic.partitions ? "" : `of ${int(known.length)} partitions`;
  const behind = (p) => Math.max(0, ...(p.log?.followers ?? []).map((f) => f.lag ?? 0));
  return h("div", { class: "stack" },
    h("div", { class: "tiles" },
      tile("Partitions", int(topic.partitions), plural(topic.replicas, "replica") + " each"),
      tile("Offsets in the logs", short(sum((l) => l.high_watermark - l.start)), about || "start to high watermark"),
      tile("Size", bytes(sum((l) => l.size_bytes)), about || "of the leaders' logs"),
      tile("Min in-sync replicas", int(topic.min_insync_replicas), "for acks=all")),
    h("section", { class: "panel", "aria-label": "Partitions" }, missing(notReached(topic.not_reached)),
      table("Partitions", [
        { name: "Partition", of: (p) => p.partition, show: (p) => h("b", {}, p.partition) },
        { name: "State", of: (p) => p.trouble ?? "", show: (p) => [troubleTag(p.trouble), p.adding.length + p.removing.length > 0 && [" ", tag("plain", "being moved")]] },
        { name: "Leader", of: (p) => p.leader, show: (p) => p.leader ?? "none" },
        { name: "Replicas", show: (p) => replicas(p) },
        { name: "Epoch", of: (p) => p.leader_epoch, show: (p) => int(p.leader_epoch), num: true },
        { name: "Start", of: (p) => p.log?.start, show: (p) => int(p.log?.start), num: true },
        { name: "High watermark", of: (p) => p.log?.high_watermark, show: (p) => int(p.log?.high_watermark), num: true },
        { name: "Log end", of: (p) => p.log?.end, show: (p) => int(p.log?.end), num: true },
        { name: "Follower lag", of: behind, show: (p) => followers(p), num: true },
        { name: "Size", of: (p) => p.log?.size_bytes, show: (p) => bytes(p.log?.size_bytes), num: true },
      ], list, (p) => p.partition),
      pager(topic.offset, list.length, topic.partitions, PARTITIONS_LIMIT, go)));
}
function followers(p) {
  if (!p.log) return "–";
  const behind = p.log.followers.filter((f) => f.lag !== 0);
  if (!behind.length) return "0";
  return behind.map((f) => h("div", { title: `${bytes(f.behind_bytes)} behind` }, f.lag == null ? `broker ${f.broker}: not connected` : `broker ${f.broker}: ${int(f.lag)}${f.behind_ms > 1000 ? ` for ${duration(f.behind_ms)}` : ""}`));
}
function topicConfigs(topic) {
  const sources = { topic: "set on the topic", broker: "set on this broker", cluster: "set on all brokers", static: "broker's start", default: "default" };
  return h("section", { class: "panel", "aria-label": "Configs" }, table("Configs", [
    { name: "Config", of: (c) => c.name, show: (c) => h("span", { class: "mono" }, c.name), cls: "name" },
    { name: "Value", of: (c) => c.value, show: (c) => h("span", { class: "mono" }, c.value ?? "null"), cls: "wide" },
    { name: "Where from", of: (c) => c.source, show: (c) => (c.source === "default" ? h("span", { class: "muted" }, "default") : tag("plain", sources[c.source])) },
  ], topic.all_configs, (c) => c.name));
}
