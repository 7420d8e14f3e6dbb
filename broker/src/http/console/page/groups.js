// Consumer groups.
const GROUPS_LIMIT = 50;
const groupList = { search: "", offset: 0 };
const groupState = (state) => tag({ stable: "ok", empty: "plain", dead: "plain" }[state?.toLowerCase()] ?? "warn", state || "unknown");

views.groups = () => {
  let list = null;
  return {
    title: "Groups", section: "groups", every: 5000,
    async load(signal) { [list] = await Promise.all([ask(["groups"], { ...groupList, limit: GROUPS_LIMIT }, signal), shared.cluster(signal, 10000)]); },
    draw() {
      if (!list) return loading();
      const search = (event) => { Object.assign(groupList, { offset: 0, search: event.target.value }); reload(); };
      const none = groupList.search ? empty("No group matches", "Ids are searched in whatever case.") : empty("There are no groups yet", "They appear when consumers with a group.id subscribe or commit offsets.");
      return h("div", {}, head(null, "Groups", h("input", { type: "search", placeholder: "Search groups", "aria-label": "Search groups", value: groupList.search, oninput: search })),
        h("section", { class: "panel" }, missing([...notReached(list.not_reached), ...list.problems]),
          list.groups.length === 0 ? none : table("Groups", [
            { name: "Group", of: (g) => g.group, show: (g) => link(["groups", g.group], g.group || "(empty id)"), cls: "name" },
            { name: "State", of: (g) => g.state, show: (g) => groupState(g.state) },
            { name: "Protocol", of: (g) => g.type, show: (g) => g.type || "–" },
            { name: "Members", of: (g) => g.members, show: (g) => int(g.members), num: true },
            { name: "Partitions", of: (g) => g.partitions, show: (g) => int(g.partitions), num: true },
            { name: "Lag", of: (g) => g.lag, show: (g) => [int(g.lag), g.lag_unknown_partitions > 0 && h("span", { class: "muted" }, ` + ${plural(g.lag_unknown_partitions, "partition")} unknown`)], num: true },
            { name: "Coordinator", of: (g) => g.coordinator, num: true },
          ], list.groups, (g) => g.group), pager(list.offset, list.groups.length, list.total, GROUPS_LIMIT, (offset) => { groupList.offset = offset; reload(); })));
    },
  };
};

views.group = (id) => {
  let group = null;
  return {
    title: id, section: "groups", every: 3000,
    async load(signal) { [group] = await Promise.all([ask(["groups"], { id }, signal), shared.cluster(signal, 10000)]); },
    draw() {
      if (!group) return loading();
      const lag = group.offsets.reduce((sum, o) => sum + Math.max(0, o.lag ?? 0), 0);
      const unknown = group.offsets.filter((o) => o.lag == null).length;
      const assignment = (topics) => Object.entries(topics ?? {}).map(([topic, partitions]) => h("div", {}, link(["topics", topic], topic), ": ", partitions.join(", ")));
      const worst = Math.max(1, ...group.offsets.map((o) => o.lag ?? 0));
      const lagBar = (o) => { const fillBar = h("i", {}); fillBar.style.width = `${(100 * Math.max(0, o.lag ?? 0)) / worst}%`; return [h("span", { class: "bar", "aria-hidden": "true" }, fillBar), int(o.lag)]; };
      return h("div", {}, head(link(["groups"], "Groups"), group.group || "(empty id)", groupState(group.state)),
        h("div", { class: "stack" },
          h("div", { class: "tiles" },
            tile("Lag", int(lag), unknown ? `${plural(unknown, "partition")} unknown` : "offsets to the high watermarks"),
            tile("Members", int(group.members_total), group.members_total ? "" : "nobody is in it"),
            tile("Partitions", int(group.offsets_total), "assigned or committed"),
            tile("Protocol", group.type.toLowerCase(), group.assignor || "no assignor"),
            tile("Coordinator", group.coordinator.id, `${group.coordinator.host}:${group.coordinator.port}`)),
          panel("Offsets", group.offsets_total > group.offsets.length && h("span", { class: "right muted small" }, `the first ${int(group.offsets.length)} of ${int(group.offsets_total)}`), missing(notReached(group.not_reached)),
            group.offsets.length === 0 ? empty("Nothing is assigned or committed", "Lag is known once the group has committed offsets.") : table("Offsets", [
              { name: "Topic", of: (o) => o.topic, show: (o) => link(["topics", o.topic], o.topic), cls: "name" },
              { name: "Partition", of: (o) => o.partition, num: true },
              { name: "Committed", of: (o) => o.current_offset, show: (o) => int(o.current_offset), num: true },
              { name: "Log end", of: (o) => o.log_end_offset, show: (o) => int(o.log_end_offset), num: true },
              { name: "Lag", of: (o) => o.lag, show: lagBar, num: true },
              { name: "Member", of: (o) => o.member_id, show: (o) => (o.member_id ? h("span", { class: "mono" }, o.member_id) : h("span", { class: "muted" }, "nobody")), cls: "wide" },
            ], group.offsets, (o) => `${o.topic}-${o.partition}-${o.member_id}`)),
          panel("Members", group.members_total > group.members.length && h("span", { class: "right muted small" }, `the first ${int(group.members.length)} of ${int(group.members_total)}`),
            group.members.length === 0 ? empty("Nobody is in the group", "Offsets stay until they expire.") : table("Members", [
              { name: "Member", of: (m) => m.member_id, show: (m) => [h("span", { class: "mono" }, m.member_id), m.instance_id && h("div", { class: "muted small" }, `instance ${m.instance_id}`)], cls: "wide" },
              { name: "Client", of: (m) => m.client_id },
              { name: "Host", of: (m) => m.host, show: (m) => h("span", { class: "mono" }, m.host) },
              { name: "Rack", of: (m) => m.rack, show: (m) => m.rack ?? "–" },
              { name: "Assigned", show: (m) => assignment(m.assignment), cls: "wide" },
            ], group.members, (m) => m.member_id))));
    },
  };
};
