// Tables that can be sorted, and paging.
const sorting = new Map();

/**
 * `columns`: { name, of: row => value to sort by, show: row => node or text, num, cls }; a column without `of` does not sort.
 * How a table is sorted is remembered by its `id`.
 */
function table(id, columns, rows, key) {
  const sort = sorting.get(id);
  const by = sort && columns.find((column) => column.name === sort.name);
  const sorted = by ? [...rows].sort((a, b) => compare(by.of(a), by.of(b)) * sort.direction) : rows;
  const th = (column) => {
    const active = by === column;
    const flip = () => { sorting.set(id, { name: column.name, direction: active ? -sort.direction : column.num ? -1 : 1 }); redraw(); };
    const label = column.of ? h("button", { type: "button", onclick: flip }, column.name, active && h("span", { class: "dir", "aria-hidden": "true" }, sort.direction > 0 ? "▲" : "▼")) : column.name;
    return h("th", { scope: "col", class: column.num && "num", "aria-sort": active && (sort.direction > 0 ? "ascending" : "descending") }, label);
  };
  const td = (column, row) => h("td", { class: [column.num && "num", column.cls].filter(Boolean).join(" ") || null }, (column.show ?? column.of)(row));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": id },
    h("table", {}, h("thead", {}, h("tr", {}, columns.map(th))),
      h("tbody", {}, sorted.map((row) => h("tr", { "data-key": key(row) }, columns.map((column) => td(column, row)))))));
}
function compare(a, b) {
  if (a == null || b == null) return (a == null) - (b == null);
  return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
}
function pager(offset, shown, total, limit, go) {
  if (total <= limit && offset === 0) return null;
  return h("div", { class: "pager" }, `${int(offset + (shown && 1))}–${int(offset + shown)} of ${int(total)}`,
    h("span", { class: "right" },
      h("button", { type: "button", disabled: offset === 0, onclick: () => go(Math.max(0, offset - limit)) }, "Previous"),
      h("button", { type: "button", disabled: offset + shown >= total, onclick: () => go(offset + limit) }, "Next")));
}
