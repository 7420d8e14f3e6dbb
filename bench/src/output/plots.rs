//! Plots of a run as SVG: latency by percentile, and throughput and 99th percentile over time.
//!
//! Text is drawn by the viewer in its own sans-serif font, so no font is needed here. Both axes of the percentile plot are
//! logarithmic: each nine takes as much room as the one before, and a tail ten times as long is as far up wherever it
//! begins.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::load::outcome::{Interval, Outcome, RoleOutcome};
use crate::output::title;

/// Pixels of a plot.
const SIZE: (u32, u32) = (960, 540);
const FONT: &str = "sans-serif";
/// Colours that the colour-blind can tell apart too (Okabe and Ito); more roles begin again.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Where the percentile axis is labelled, in percent; the first and the last are its ends.
const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];
/// Points of a curve between two powers of ten of 1/(1-p).
const POINTS_PER_DECADE: u32 = 50;
const NS_PER_MS: f64 = 1e6;
/// Room above the greatest value of a linear axis.
const HEADROOM: f64 = 1.08;

pub type PlotError = DrawingAreaErrorKind<std::io::Error>;

/// Draws a run as an SVG document.
type Draw = fn(&Outcome) -> Result<String, PlotError>;

/// The plots of a run, by the names of their files.
pub const ALL: [(&str, Draw); 3] =
    [("latency-percentiles.svg", latency_percentiles), ("throughput.svg", throughput), ("p99.svg", p99)];

/// A role's curve.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

fn latency_percentiles(outcome: &Outcome) -> Result<String, PlotError> {
    let curves: Vec<_> = outcome.roles.iter().map(percentile_curve).collect();
    let (low, high) = decades(curves.iter().flat_map(|curve| &curve.points).map(|point| 10_f64.powf(point.1)));
    let [first, .., last] = PERCENTILES.map(nines);
    let x = Axis::labelled(first..last, PERCENTILES.map(nines).to_vec());
    let labels = one_two_five(low, high).iter().map(|ms| ms.log10()).collect();
    let y = Axis::labelled(low.log10()..high.log10(), labels);
    let format_x = |nines: &f64| format!("{}", round_to_digits(100.0 * (1.0 - 10_f64.powf(-nines))));
    let format_y = |log: &f64| format!("{}", round_to_digits(10_f64.powf(*log)));
    let texts = Texts {
        title: "latency by percentile",
        x: "percentile",
        y: "ms",
        format_x: &format_x,
        format_y: &format_y,
        legend: SeriesLabelPosition::UpperLeft,
    };
    draw(outcome, texts, x, y, &curves)
}

fn throughput(outcome: &Outcome) -> Result<String, PlotError> {
    over_time(outcome, "throughput over time", "MB/s", |interval| {
        let seconds = interval.length.as_secs_f64();
        (seconds > 0.0).then(|| interval.measure.bytes as f64 / 1e6 / seconds)
    })
}

fn p99(outcome: &Outcome) -> Result<String, PlotError> {
    over_time(outcome, "99th percentile of each second over time", "p99, ms", |interval| {
        let latency = &interval.measure.latency;
        (!latency.is_empty()).then(|| latency.value_at_quantile(0.99) as f64 / NS_PER_MS)
    })
}

/// Draws a figure of each interval at the interval's end; intervals without it are left out.
fn over_time(
    outcome: &Outcome,
    title_text: &str,
    unit: &str,
    figure: impl Fn(&Interval) -> Option<f64>,
) -> Result<String, PlotError> {
    let curve = |role: &RoleOutcome| {
        let end = |interval: &Interval| (interval.start + interval.length).as_secs_f64();
        let point = |interval: &Interval| Some((end(interval), figure(interval)?));
        Curve { name: title(&role.role), points: role.intervals.iter().filter_map(point).collect() }
    };
    let curves: Vec<_> = outcome.roles.iter().map(curve).collect();
    let greatest = |of: fn(&(f64, f64)) -> f64| curves.iter().flat_map(|c| &c.points).map(of).fold(0.0, f64::max);
    let at_least = |value: f64| if value > 0.0 { value } else { 1.0 };
    let x = Axis::linear(0.0..at_least(greatest(|point| point.0)));
    let y = Axis::linear(0.0..at_least(greatest(|point| point.1)) * HEADROOM);
    let format = |value: &f64| format!("{}", round_to_digits(*value));
    let texts = Texts {
        title: title_text,
        x: "seconds measured",
        y: unit,
        format_x: &format,
        format_y: &format,
        legend: SeriesLabelPosition::LowerLeft,
    };
    draw(outcome, texts, x, y, &curves)
}

/// An axis whose labels are given, or else chosen evenly. A logarithmic one has logarithms for values.
struct Axis {
    values: RangedCoordf64,
    labels: Option<Vec<f64>>,
}

impl Axis {
    fn linear(values: Range<f64>) -> Axis {
        Axis { values: values.into(), labels: None }
    }

    fn labelled(values: Range<f64>, labels: Vec<f64>) -> Axis {
        Axis { values: values.into(), labels: Some(labels) }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, pixels: (i32, i32)) -> i32 {
        self.values.map(value, pixels)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        self.labels.clone().unwrap_or_else(|| self.values.key_points(hint))
    }

    fn range(&self) -> Range<f64> {
        self.values.range()
    }
}

struct Texts<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    format_x: &'a dyn Fn(&f64) -> String,
    format_y: &'a dyn Fn(&f64) -> String,
    /// Where curves of this kind rarely are.
    legend: SeriesLabelPosition,
}

fn draw(outcome: &Outcome, texts: Texts, x: Axis, y: Axis, curves: &[Curve]) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{}: {}", outcome.workload, texts.title), (FONT, 20))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .axis_desc_style((FONT, 16))
            .label_style((FONT, 14))
            .x_desc(texts.x)
            .y_desc(texts.y)
            .x_label_formatter(texts.format_x)
            .y_label_formatter(texts.format_y)
            .draw()?;
        for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(curve.points.iter().copied(), style))?
                .label(curve.name.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        if !curves.is_empty() {
            chart
                .configure_series_labels()
                .position(texts.legend)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .label_font((FONT, 14))
                .draw()?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// Places on the percentile axis, and decimal logarithms of milliseconds.
fn percentile_curve(role: &RoleOutcome) -> Curve {
    let latency = &role.total.latency;
    let [first, .., last] = PERCENTILES.map(nines);
    let steps = ((last - first) * f64::from(POINTS_PER_DECADE)).ceil() as u32;
    let place = |step: u32| first + (last - first) * f64::from(step) / f64::from(steps);
    let point = |nines: f64| {
        let ns = latency.value_at_quantile(1.0 - 10_f64.powf(-nines)).max(1);
        (nines, (ns as f64 / NS_PER_MS).log10())
    };
    let points = if latency.is_empty() { Vec::new() } else { (0..=steps).map(|step| point(place(step))).collect() };
    Curve { name: title(&role.role), points }
}

/// How many nines a percentile has, in fractions too: 50 is 0.3, 90 is 1, 99.9 is 3.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

/// The ends of a logarithmic axis around `values`, each 1, 2 or 5 times a power of ten.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, greatest) =
        values.fold((f64::INFINITY, 0.0_f64), |(least, greatest), value| (least.min(value), greatest.max(value)));
    if least > greatest {
        return (0.1, 10.0);
    }
    let around = one_two_five(least / 10.0, greatest * 10.0);
    let low = around.iter().rfind(|step| **step < least).copied().unwrap_or(least / 2.0);
    let high = around.iter().find(|step| **step > greatest).copied().unwrap_or(greatest * 2.0);
    (low, high)
}

/// 1, 2 and 5 times the powers of ten from `low` to `high`.
fn one_two_five(low: f64, high: f64) -> Vec<f64> {
    let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let steps = exponents.flat_map(|exponent| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(exponent)));
    // A step that is an end itself may have been rounded to just outside.
    steps.filter(|step| (low * 0.999..=high * 1.001).contains(step)).collect()
}

/// Four significant digits, so that 0.1 + 0.2 is labelled 0.3.
fn round_to_digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::{Measure, Role};
    use crate::output::tests::sample;

    /// Every element that is opened is closed, in order; returns how many there were.
    fn check_well_formed(svg: &str) -> usize {
        let mut open = Vec::new();
        let mut elements = 0;
        for tag in svg.split('<').skip(1).map(|rest| rest.split_once('>').expect("a '<' has its '>'").0) {
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "closed out of order");
            } else if !tag.starts_with(['?', '!']) {
                elements += 1;
                assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
                if !tag.ends_with('/') {
                    open.push(tag.split_whitespace().next().unwrap());
                }
            }
        }
        assert!(open.is_empty(), "never closed: {open:?}");
        elements
    }

    #[test]
    fn plots_are_well_formed_labelled_and_have_a_line_for_each_role() {
        let mut outcome = sample();
        outcome.workload = "a < b & \"c\"".to_owned();
        for (name, draw) in ALL {
            let svg = draw(&outcome).unwrap();
            assert!(check_well_formed(&svg) > 20, "{name}: {svg}");
            assert!(svg.contains("a &lt; b &amp; "), "{name} has its title, escaped");
            for colour in ["#0072B2", "#D55E00"] {
                let lines = svg.matches(&format!("<polyline fill=\"none\" opacity=\"1\" stroke=\"{colour}\"")).count();
                assert!(lines >= 2, "{name}: a curve and a legend in {colour}, found {lines}:\n{svg}");
            }
            assert!(svg.contains("end to end, g/1"), "{name} has a legend");
        }
        let svg = latency_percentiles(&outcome).unwrap();
        for label in ["50", "90", "99", "99.9", "99.99"] {
            assert!(svg.contains(&format!(">\n{label}\n</text>")), "{label} is missing:\n{svg}");
        }
    }

    #[test]
    fn a_run_without_samples_or_roles_has_plots_too() {
        let mut outcome = sample();
        outcome.roles[0].total = Measure::new();
        outcome.roles[0].intervals.clear();
        outcome.roles.truncate(1);
        for (_, draw) in ALL {
            check_well_formed(&draw(&outcome).unwrap());
        }
        outcome.roles.clear();
        for (_, draw) in ALL {
            check_well_formed(&draw(&outcome).unwrap());
        }
    }

    #[test]
    fn the_percentile_curve_rises_from_the_median_to_the_tail() {
        let outcome = sample();
        let curve = percentile_curve(&outcome.roles[0]);
        let ms = |point: &(f64, f64)| 10_f64.powf(point.1);
        let (first, last) = (curve.points.first().unwrap(), curve.points.last().unwrap());
        assert!((ms(first) - 100.0).abs() < 1.0 && (ms(last) - 200.0).abs() < 1.0, "{first:?} {last:?}");
        assert!(curve.points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        assert_eq!(outcome.roles[1].role, Role::EndToEnd { group: "g/1".to_owned() });
    }

    #[test]
    fn logarithmic_axes_end_at_round_numbers_around_the_values() {
        assert_eq!(decades([1.5, 30.0].into_iter()), (1.0, 50.0));
        assert_eq!(decades([1.0, 5.0].into_iter()), (0.5, 10.0));
        assert_eq!(decades(std::iter::empty()), (0.1, 10.0));
        assert_eq!(one_two_five(0.5, 10.0), [0.5, 1.0, 2.0, 5.0, 10.0]);
        assert_eq!([nines(90.0).round(), nines(99.9).round()], [1.0, 3.0]);
        assert_eq!(round_to_digits(0.1 + 0.2), 0.3);
    }
}
