//! Charts in SVG. Text stays text, so no fonts are needed here, and equal results give equal bytes.

use super::CellResult;
use crate::paging::PolicyKind;
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

/// The results of one policy, by rising frames.
pub(super) struct Line<'a> {
    pub(super) kind: PolicyKind,
    pub(super) points: Vec<(u64, &'a CellResult)>,
}

/// Draws a chart.
pub(super) type Draw = fn(&str, &[Line<'_>]) -> Result<String, String>;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 540;
/// Told apart by most people, in print as well.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0x56, 0x56),
];

/// Misses against frames, a line for each policy.
pub(super) fn miss_ratio(title: &str, lines: &[Line<'_>]) -> Result<String, String> {
    let plot = Plot {
        title: &format!("Miss ratio: {title}"),
        unit: "misses per access (logarithmic)",
        value: |result| result.per_access(result.faults, 1.0),
    };
    drawn(HEIGHT, |area| plot.draw_by_magnitude(&area, lines))
}

/// Exports and imports against frames, one above the other.
pub(super) fn cost(title: &str, lines: &[Line<'_>]) -> Result<String, String> {
    let exports = Plot {
        title: &format!("Exports: {title}"),
        unit: "pages exported per 1000 accesses",
        value: |result| result.per_access(result.page_outs, 1000.0),
    };
    let imports = Plot {
        title: &format!("Imports: {title}"),
        unit: "pages imported per 1000 accesses",
        value: |result| result.per_access(result.page_ins, 1000.0),
    };
    drawn(2 * HEIGHT, |area| {
        let (upper, lower) = area.split_vertically(HEIGHT);
        exports.draw(&upper, lines)?;
        imports.draw(&lower, lines)
    })
}

fn drawn(height: u32, draw: impl FnOnce(Area<'_>) -> Result<(), String>) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).map_err(|error| error.to_string())?;
        draw(area.clone())?;
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

struct Plot<'a> {
    title: &'a str,
    unit: &'a str,
    value: fn(&CellResult) -> f64,
}

type Frames = LogCoord<f64>;

impl Plot<'_> {
    /// With a vertical axis from zero.
    fn draw(&self, area: &Area<'_>, lines: &[Line<'_>]) -> Result<(), String> {
        let top = self.values(lines).fold(0.0, f64::max);
        let top = if top > 0.0 { top * 1.05 } else { 1.0 };
        let chart = self.begun(area).build_cartesian_2d(frames(lines), 0.0..top);
        self.fill(chart.map_err(|error| error.to_string())?, lines, short, SeriesLabelPosition::UpperRight)
    }

    /// With a logarithmic vertical axis, for what is never zero: a page misses once at least.
    fn draw_by_magnitude(&self, area: &Area<'_>, lines: &[Line<'_>]) -> Result<(), String> {
        let values = || self.values(lines).filter(|&value| value > 0.0);
        let (low, high) = (values().fold(1.0, f64::min), values().fold(1e-9, f64::max));
        let range = (low.min(high) * 0.8..high * 1.25).log_scale().base(2.0);
        let chart = self.begun(area).build_cartesian_2d(frames(lines), range);
        self.fill(chart.map_err(|error| error.to_string())?, lines, one_in, SeriesLabelPosition::LowerLeft)
    }

    fn values(&self, lines: &[Line<'_>]) -> impl Iterator<Item = f64> {
        lines.iter().flat_map(|line| &line.points).map(|(_, result)| (self.value)(result))
    }

    fn begun<'b, 'd>(&self, area: &'b Area<'d>) -> ChartBuilder<'b, 'b, SVGBackend<'d>> {
        let mut builder = ChartBuilder::on(area);
        builder.caption(self.title, ("sans-serif", 22)).margin(16).x_label_area_size(56).y_label_area_size(84);
        builder
    }

    /// Curves fall: a legend has room above them on the right, or below them on the left.
    fn fill<'a, 'd: 'a, Y: Ranged<ValueType = f64> + ValueFormatter<f64>>(
        &self,
        mut chart: ChartContext<'a, SVGBackend<'d>, Cartesian2d<Frames, Y>>,
        lines: &[Line<'_>],
        label: fn(f64) -> String,
        legend: SeriesLabelPosition,
    ) -> Result<(), String> {
        chart
            .configure_mesh()
            .x_desc("resident set limit (frames of 4 KiB, logarithmic)")
            .y_desc(self.unit)
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 14))
            .x_label_formatter(&|frames| format!("{frames:.0}"))
            .y_label_formatter(&|value| label(*value))
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(0xdd, 0xdd, 0xdd))
            .draw()
            .map_err(|error| error.to_string())?;
        // The legend in order; the lines the other way round, the last of them wide: what lies on it leaves it seen.
        for line in lines {
            let (colour, half) = (colour_of(line.kind), width_of(line.kind) as i32 / 2 + 1);
            chart
                .draw_series(LineSeries::new([], colour))
                .map_err(|error| error.to_string())?
                .label(line.kind.name())
                .legend(move |(x, y)| Rectangle::new([(x, y - half), (x + 18, y + half)], colour.filled()));
        }
        for line in lines.iter().rev() {
            let style = colour_of(line.kind).stroke_width(width_of(line.kind));
            let points = line.points.iter().map(|(frames, result)| (*frames as f64, (self.value)(result)));
            chart.draw_series(LineSeries::new(points, style).point_size(3)).map_err(|error| error.to_string())?;
        }
        chart
            .configure_series_labels()
            .position(legend)
            .label_font(("sans-serif", 14))
            .background_style(WHITE)
            .border_style(RGBColor(0xaa, 0xaa, 0xaa))
            .draw()
            .map_err(|error| error.to_string())
    }
}

/// Frames by powers of two, with some air: a single number would have no range.
fn frames(lines: &[Line<'_>]) -> Frames {
    let frames = || lines.iter().flat_map(|line| &line.points).map(|(frames, _)| *frames);
    let first = frames().min().unwrap_or(1).max(1) as f64;
    let last = frames().max().unwrap_or(1).max(1) as f64;
    (first * 0.9..last * 1.1).log_scale().base(2.0).into()
}

/// A number at an axis, without zeros behind.
fn short(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A power of two up to 1 at an axis: 1/64.
fn one_in(value: f64) -> String {
    if value < 1.0 { format!("1/{:.0}", 1.0 / value) } else { short(value) }
}

fn colour_of(kind: PolicyKind) -> RGBColor {
    let number = PolicyKind::ALL.iter().position(|known| *known == kind).unwrap_or_default();
    COLOURS[number % COLOURS.len()]
}

/// The working set often does as lru does.
fn width_of(kind: PolicyKind) -> u32 {
    if kind == PolicyKind::WorkingSet { 6 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(draw: Draw, frames: &[u64]) -> String {
        let result = CellResult { accesses: 100, faults: 20, page_outs: 8, page_ins: 20, ..CellResult::default() };
        let lines =
            PolicyKind::ALL.map(|kind| Line { kind, points: frames.iter().map(|&frames| (frames, &result)).collect() });
        draw("<a> & b on z16", &lines).unwrap()
    }

    #[test]
    fn each_policy_has_a_line_and_a_name() {
        for (draw, panels) in [(miss_ratio as Draw, 1), (cost, 2)] {
            let svg = chart(draw, &[1, 16, 256]);
            for (kind, colour) in PolicyKind::ALL.iter().zip(COLOURS) {
                let stroke = format!("stroke=\"#{:02X}{:02X}{:02X}\"", colour.0, colour.1, colour.2);
                let own = svg.lines().filter(|line| line.starts_with("<polyline") && line.contains(&stroke));
                assert_eq!(own.count(), panels, "{kind:?}");
                assert_eq!(svg.lines().filter(|line| line.trim() == kind.name()).count(), panels, "{kind:?}");
            }
            assert!(svg.contains("&lt;a&gt; &amp; b on z16") && svg.contains("frames of 4 KiB"));
            assert!(svg.contains("per access") || svg.contains("per 1000 accesses"));
            assert_eq!(svg, chart(draw, &[1, 16, 256]));
        }
    }

    #[test]
    fn numbers_at_axes_are_short() {
        for (value, text) in [(0.0, "0"), (120.0, "120"), (0.5, "0.5"), (0.0002, "0.0002"), (1e-6, "0.000001")] {
            assert_eq!(short(value), text);
        }
        assert_eq!((one_in(1.0), one_in(0.5), one_in(1.0 / 4096.0)), ("1".into(), "1/2".into(), "1/4096".into()));
    }

    #[test]
    fn one_number_of_frames_can_be_drawn() {
        for frames in [1, 7, u64::MAX] {
            assert!(chart(miss_ratio, &[frames]).contains("<circle"));
        }
    }
}
