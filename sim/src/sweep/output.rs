//! The files that people and programs read. Nothing in them depends on when, where or in which order cells ran.

use super::grid::{file_name, name_of_generation};
use super::journal::Results;
use super::{Cell, Grid, Shard, SweepError, chart, file_of};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A grid and what came out.
pub(super) struct Outcome<'a> {
    pub(super) grid: &'a Grid,
    pub(super) results: &'a Results,
}

impl Outcome<'_> {
    /// Writes the tables, and the charts if the grid is whole. What each file holds appears in it at once.
    pub(super) fn write(&self, out: &Path, shard: Shard) -> Result<Vec<PathBuf>, SweepError> {
        let mut files = vec![("results.csv".to_owned(), self.csv()), ("results.json".to_owned(), self.json())];
        if shard == Shard::WHOLE {
            files.extend(self.charts()?);
        }
        files.into_iter().map(|(name, text)| write_whole(&file_of(out, shard, &name), &text)).collect()
    }

    fn csv(&self) -> String {
        let mut text = "trace,generation,policy,frames,accesses,pages,faults,page_ins,page_outs,encrypted,unchanged,\
                        miss_ratio,working_set\n"
            .to_owned();
        for (cell, result) in self.results {
            let trace = &self.grid.traces[cell.trace];
            let (generation, policy) = (name_of_generation(cell.generation), cell.kind().name());
            let _ = write!(text, "{},{generation},{policy},{}", quoted(&trace.name), cell.frames);
            for (_, number) in result.fields() {
                let _ = write!(text, ",{number}");
            }
            let _ = writeln!(text, ",{:.6},{}", result.per_access(result.faults, 1.0), trace.working_set);
        }
        text
    }

    fn json(&self) -> String {
        let cells: Vec<Value> = self
            .results
            .iter()
            .map(|(cell, result)| {
                let trace = &self.grid.traces[cell.trace];
                let mut value = json!({
                    "trace": trace.name,
                    "generation": name_of_generation(cell.generation),
                    "policy": cell.kind().name(),
                    "frames": cell.frames,
                });
                for (name, number) in result.fields() {
                    value[name] = number.into();
                }
                value["working_set"] = trace.working_set.into();
                value
            })
            .collect();
        format!("{:#}\n", json!({ "grid": self.grid.to_json(), "cells": cells }))
    }

    fn charts(&self) -> Result<Vec<(String, String)>, SweepError> {
        let mut charts = Vec::new();
        for (number, trace) in self.grid.traces.iter().enumerate() {
            for &generation in &self.grid.generations {
                let name =
                    |kind: &str| format!("{kind}-{}-{}.svg", file_name(&trace.name), name_of_generation(generation));
                let lines: Vec<chart::Line<'_>> = self
                    .grid
                    .policies
                    .iter()
                    .map(|&kind| {
                        let own =
                            |cell: &&Cell| (cell.trace, cell.generation, cell.kind()) == (number, generation, kind);
                        let cells = self.results.keys().filter(own);
                        let points = cells.filter_map(|cell| Some((cell.frames, self.results.get(cell)?)));
                        chart::Line { kind, points: points.collect() }
                    })
                    .collect();
                let title = format!("{} on {}", trace.name, name_of_generation(generation));
                for (kind, draw) in [("miss-ratio", chart::miss_ratio as chart::Draw), ("cost", chart::cost)] {
                    let svg =
                        draw(&title, &lines).map_err(|message| SweepError::Chart { name: name(kind), message })?;
                    charts.push((name(kind), svg));
                }
            }
        }
        Ok(charts)
    }
}

/// Writes how long each cell took that has run now.
pub(super) fn write_times(
    grid: &Grid,
    times: &[(&Cell, Duration)],
    out: &Path,
    shard: Shard,
) -> Result<PathBuf, SweepError> {
    let mut text = "cell,seconds\n".to_owned();
    for (cell, time) in times {
        let _ = writeln!(text, "{},{:.6}", quoted(&grid.name_of(cell)), time.as_secs_f64());
    }
    write_whole(&file_of(out, shard, "times.csv"), &text)
}

/// Nobody ever sees half a file.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<PathBuf, SweepError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    fs::write(&unfinished, text).map_err(SweepError::io(&unfinished))?;
    fs::rename(&unfinished, path).map_err(SweepError::io(path))?;
    Ok(path.into())
}

/// A field as RFC 4180 wants it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::CellResult;
    use super::super::grid::tests::grid;
    use super::*;

    #[test]
    fn tables_list_cells_in_order() {
        let grid = grid();
        let result = CellResult { accesses: 1000, pages: 10, faults: 125, page_ins: 125, ..CellResult::default() };
        let results: Results = grid.cells().into_iter().rev().map(|cell| (cell, result.clone())).collect();
        let outcome = Outcome { grid: &grid, results: &results };
        let csv = outcome.csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 25);
        assert_eq!(lines[1], "a b,z15,lru,4,1000,10,125,125,0,0,0,0.125000,7");
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
        let json: Value = serde_json::from_str(&outcome.json()).unwrap();
        assert_eq!(json["cells"].as_array().map(Vec::len), Some(24));
        assert_eq!((&json["cells"][23]["frames"], &json["grid"]["window"]), (&100.into(), &100.into()));
        let charts = outcome.charts().unwrap();
        let names: Vec<&str> = charts.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names[..3], ["miss-ratio-a_b-z15.svg", "cost-a_b-z15.svg", "miss-ratio-a_b-z17.svg"]);
    }

    #[test]
    fn fields_with_commas_are_quoted() {
        assert_eq!((quoted("a b"), quoted("a,\"b\"")), ("a b".into(), "\"a,\"\"b\"\"\"".into()));
    }
}
