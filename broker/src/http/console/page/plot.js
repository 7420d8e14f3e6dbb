// Lines over time: axes with units, and a read-out of the moment that is pointed at.
const PLOT_HEIGHT = 168, LEFT = 62, RIGHT = 10, TOP = 10, BOTTOM = 22;

/** Round numbers that reach `max`: in steps of 1, 2, 2.5 or 5, or of powers of two for bytes. */
function ticks(max, binary) {
  if (!(max > 0)) return [0, 1];
  const rough = max / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, binary ? 2 ** Math.ceil(Math.log2(rough)) : [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) * power);
  const list = [];
  for (let at = 0; at < max + step; at += step) list.push(at);
  return list;
}

/**
 * `spec`: { title, format, binary, series: [{ name, of }] }; of two series at most. `points` have `at_ms`; what `of` has none of
 * is a gap. All plots of a page show the same moment.
 */
class Plot {
  constructor(spec) {
    this.spec = spec;
    this.points = [];
    this.legend = h("div", { class: "legend" });
    this.svg = s("svg", { role: "img", height: PLOT_HEIGHT });
    const move = (event) => { Plot.at = this.moment(event.clientX); Plot.all.forEach((plot) => plot.point()); };
    const leave = () => { Plot.at = null; Plot.all.forEach((plot) => plot.point()); };
    this.box = h("div", { class: "plot", onpointermove: move, onpointerleave: leave }, this.svg);
    this.root = h("section", { class: "panel", "data-keep": "", "data-key": `plot-${spec.title}`, "aria-label": spec.title }, h("header", {}, h("h2", {}, spec.title), this.legend), this.box);
    new ResizeObserver(() => this.draw()).observe(this.box);
  }
  show(points, from, to) { Object.assign(this, { points, from, to }); this.draw(); }
  moment(clientX) {
    const left = this.svg.getBoundingClientRect().left;
    return this.from + ((clientX - left - LEFT) / (this.width - LEFT - RIGHT)) * (this.to - this.from);
  }
  x(ms) { return LEFT + ((ms - this.from) / (this.to - this.from)) * (this.width - LEFT - RIGHT); }
  y(value) { return TOP + (1 - value / this.top) * (PLOT_HEIGHT - TOP - BOTTOM); }
  draw() {
    this.width = this.svg.clientWidth;
    if (!this.width || !this.to) return;
    const { series, format, binary } = this.spec;
    const values = series.flatMap(({ of }) => this.points.map(of)).filter((value) => value != null);
    const marks = ticks(Math.max(0, ...values), binary);
    this.top = marks.at(-1);
    const parts = marks.map((mark) => [
      s("line", { class: mark ? "grid" : "axis", x1: LEFT, x2: this.width - RIGHT, y1: this.y(mark), y2: this.y(mark) }),
      s("text", { x: LEFT - 6, y: this.y(mark) + 4, "text-anchor": "end" }, mark || !values.length ? (values.length ? format(mark) : "") : "0"),
    ]);
    const step = [15, 30, 60, 120, 300].find((seconds) => (this.to - this.from) / 1000 / seconds <= this.width / 95) * 1000;
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
      const atEdge = this.x(at) > this.width - 24;
      parts.push(s("text", { x: atEdge ? this.width - 2 : this.x(at), y: PLOT_HEIGHT - 6, "text-anchor": atEdge ? "end" : "middle" }, clock(at, step < 60000)));
    }
    series.forEach(({ of }, n) => {
      const runs = this.runs(of);
      const line = (run) => run.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
      if (n === 0) parts.push(s("path", { class: "a0", d: runs.map((run) => `${line(run)}L${run.at(-1)[0].toFixed(1)} ${this.y(0)}L${run[0][0].toFixed(1)} ${this.y(0)}Z`).join("") }));
      parts.push(s("path", { class: `s${n}`, d: runs.map((run) => line(run.length > 1 ? run : [run[0], [run[0][0] + 1, run[0][1]]])).join("") }));
    });
    if (!values.length) parts.push(s("text", { class: "none", x: (LEFT + this.width) / 2, y: PLOT_HEIGHT / 2, "text-anchor": "middle" }, this.spec.none ?? "nothing yet"));
    this.cross = s("line", { class: "cross", y1: TOP, y2: PLOT_HEIGHT - BOTTOM });
    this.svg.replaceChildren(...parts.flat(), this.cross);
    this.point();
  }
  /** Points that belong together: over a gap no line is drawn. */
  runs(of) {
    const runs = [];
    let before = null;
    for (const point of this.points) {
      const value = of(point);
      if (value == null) { before = null; continue; }
      if (before == null || point.at_ms - before > 5000) runs.push([]);
      runs.at(-1).push([this.x(point.at_ms), this.y(value)]);
      before = point.at_ms;
    }
    return runs;
  }
  /** The read-out: of the moment that is pointed at, else the newest. */
  point() {
    const at = Plot.at;
    const inside = at != null && at >= this.from && at <= this.to;
    const near = inside ? this.points.reduce((best, p) => (best && Math.abs(best.at_ms - at) <= Math.abs(p.at_ms - at) ? best : p), null) : this.points.at(-1);
    this.cross?.setAttribute("visibility", inside && near ? "visible" : "hidden");
    if (inside && near) for (const end of ["x1", "x2"]) this.cross?.setAttribute(end, this.x(near.at_ms));
    const texts = this.spec.series.map(({ name, of }) => [name, near ? this.spec.format(of(near)) : "–"]).filter(([, text], n) => n === 0 || text !== "–" || this.points.some((p) => this.spec.series[n].of(p) != null));
    this.legend.replaceChildren(
      h("span", { class: "at" }, inside && near ? clock(near.at_ms) : ""),
      ...texts.map(([name, text], n) => h("span", { class: `k${n}` }, h("i", {}), name, h("b", {}, text))));
    this.svg.setAttribute("aria-label", `${this.spec.title}: ${texts.map((pair) => pair.join(" ")).join(", ")}`);
  }
}
Plot.at = null;
Plot.all = [];
