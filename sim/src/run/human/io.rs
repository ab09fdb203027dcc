//! What the devices of a guest have done, in rows that a narrow terminal takes as well.

use super::super::IoCounters;
use super::counted;
use crate::explain::wrap;

/// Where labels stand beside their values, values begin here.
const COLUMN: usize = 19;
/// In a narrower terminal labels stand above their values.
const NARROW: usize = 56;
/// The most bars of a chart.
const BARS: usize = 48;

/// A line of a row: its label, where it has one, and its text, indented.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) text: String,
}

/// The lines for a terminal of this width.
pub(super) fn lines(counters: &IoCounters, width: usize) -> Vec<Line> {
    let beside = width >= NARROW;
    let indent = if beside { COLUMN } else { 6 };
    let room = width.saturating_sub(indent);
    let mut lines = Vec::new();
    for (label, value) in rows(counters, room) {
        if !beside {
            lines.push(Line { label: format!("    {label}"), text: String::new() });
        }
        for (number, text) in wrap(&value, room).into_iter().enumerate() {
            lines.push(match beside && number == 0 {
                true => Line { label: format!("    {label:<0$}", COLUMN - 4), text },
                false => Line { label: " ".repeat(indent), text },
            });
        }
    }
    lines
}

fn rows(c: &IoCounters, room: usize) -> Vec<(&'static str, String)> {
    let full = if c.no_slot > 0 { format!(", {} found none", counted(c.no_slot, "request")) } else { String::new() };
    let copies =
        format!("{}, {}", counted_irregular(c.bounce_copies, "copy", "copies"), counted(c.bounce_bytes, "byte"));
    let calls = [
        counted(c.shares, "share"),
        counted(c.unshares, "unshare"),
        counted(c.pins, "pin"),
        counted(c.unpins, "unpin"),
    ];
    let cost = [
        counted_irregular(c.bounce_copies, "copy", "copies"),
        counted(c.notifications, "notification"),
        counted_irregular(c.calls(), "Ultravisor call", "Ultravisor calls"),
    ];
    let mut rows = vec![
        ("requests", format!("{} in {}", c.requests, counted(c.notifications, "notification"))),
        ("bytes", format!("{} read, {} written", c.bytes_read, c.bytes_written)),
        ("bounce buffer", copies),
        ("slots", format!("{} of 2 KiB, {} in use at most{full}", c.slots, c.slots_peak)),
    ];
    rows.extend(chart(&c.slots_over_time, room).map(|chart| ("in use", chart)));
    rows.extend([("calls", calls.join(", ")), ("cost", cost.join(", ")), ("refusals", c.refusals.to_string())]);
    rows
}

/// Slots in use from request to request, in bars of eight heights, the highest of which is the peak. Where there are
/// more requests than bars, a bar is the most of several.
fn chart(series: &[(u64, u64)], room: usize) -> Option<String> {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (&(first, _), &(last, _)) = (series.first()?, series.get(1..)?.last()?);
    let most = series.iter().map(|&(_, used)| used).max().filter(|&most| most > 0)?;
    let least = series.iter().map(|&(_, used)| used).min()?;
    let group = series.len().div_ceil(BARS.min(room).max(1));
    let bar = |part: &[(u64, u64)]| {
        let used = part.iter().map(|&(_, used)| used).max().unwrap_or(0);
        HEIGHTS[((used * 8).div_ceil(most).max(1) - 1).min(7) as usize]
    };
    let bars: String = series.chunks(group).map(bar).collect();
    let range = if least == most { format!("always {most}") } else { format!("{least} to {most}") };
    Some(format!("{bars} {range}, requests {first} to {last}"))
}

fn counted_irregular(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(points: u64) -> IoCounters {
        IoCounters {
            requests: points,
            bounce_copies: 1,
            slots: 64,
            slots_peak: 34,
            slots_over_time: (1..=points).map(|request| (request, [34, 5, 17][request as usize % 3])).collect(),
            ..IoCounters::default()
        }
    }

    #[test]
    fn bars_are_as_high_as_slots_are_in_use() {
        assert_eq!(chart(&[(1, 34), (2, 5), (3, 17)], 40).unwrap(), "█▂▄ 5 to 34, requests 1 to 3");
        assert_eq!(chart(&[(1, 0), (2, 1)], 40).unwrap(), "▁█ 0 to 1, requests 1 to 2");
        assert_eq!(chart(&[(1, 3), (2, 3)], 40).unwrap(), "██ always 3, requests 1 to 2");
        assert_eq!(chart(&[(1, 3)], 40), None, "no course");
        assert_eq!(chart(&[(1, 0), (2, 0)], 40), None);
        assert_eq!(chart(&[], 40), None);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [30, 40, 55, 56, 80, 200] {
            for line in lines(&counters(64), width) {
                let length = line.label.trim_end().chars().count().max(if line.text.is_empty() {
                    0
                } else {
                    line.label.chars().count() + line.text.chars().count()
                });
                assert!(length <= width, "{width}: {}{}", line.label, line.text);
            }
        }
    }

    #[test]
    fn a_request_without_a_slot_is_told_of() {
        let text = |no_slot| {
            let lines = lines(&IoCounters { no_slot, ..counters(2) }, 100);
            lines.iter().map(|line| format!("{}{}\n", line.label, line.text)).collect::<String>()
        };
        assert!(text(0).contains("    slots          64 of 2 KiB, 34 in use at most\n"), "{}", text(0));
        assert!(text(2).contains("in use at most, 2 requests found none\n"));
        assert!(text(0).contains("    cost           1 copy, 0 notifications, 0 Ultravisor calls\n"), "{}", text(0));
    }
}
