//! A run as a person reads it: steps, one line per statement, and at a failure the state that differs.

use super::execute::{described, observed};
use super::{Counts, Failure, FileEnd, Report, StatementEnd, Status, Verdict, WorkloadEnd};
use crate::explain::wrap;
use crate::kernel::Transition;
use crate::scenario::{Place, Repeat, Scenario, ScenarioErrors, Step, Workload};
use indicatif::{ProgressBar, ProgressStyle};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use owo_colors::{OwoColorize, Style};
use std::io::Write;
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation, MachineConfig};

/// Writes to `out`; colours are the stream's business to strip.
pub struct Human<W: Write> {
    out: W,
    theme: GraphicalTheme,
    width: usize,
    quiet: bool,
    /// Depth of loops, and whether this is the first pass of all of them.
    passes: Vec<u64>,
    bar: Option<ProgressBar>,
    files: u64,
}

/// A workload shorter than this needs no progress bar.
const LONG: u64 = 1 << 20;
const GOOD: Style = Style::new().green();
const BAD: Style = Style::new().red().bold();
const DIM: Style = Style::new().dimmed();
const TITLE: Style = Style::new().bold();

impl<W: Write> Human<W> {
    /// A report on `out`, which strips colours if it must. Error reports are drawn `width` columns wide, with
    /// colours if `colour` says so.
    pub fn new(out: W, colour: bool, width: usize) -> Self {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        Self { out, theme, width, quiet: false, passes: Vec::new(), bar: None, files: 0 }
    }

    /// Only failures and the verdict.
    #[must_use]
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    fn line(&mut self, text: &str) {
        // A reader that has gone away is no reason to stop: the exit status still counts.
        let _ = writeln!(self.out, "{text}");
    }

    fn repeated_pass(&self) -> bool {
        self.passes.iter().any(|&pass| pass > 0)
    }

    fn indent(&self) -> String {
        "  ".repeat(2 + self.passes.len())
    }

    fn diagnostic(&mut self, diagnostic: &dyn Diagnostic) {
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(self.theme.clone()).with_width(self.width).with_links(false);
        if handler.render_report(&mut text, diagnostic).is_ok() {
            self.line(text.trim_end());
        }
    }
}

impl<W: Write> Report for Human<W> {
    fn scenario(&mut self, scenario: &Scenario, config: &MachineConfig) {
        if self.quiet {
            return;
        }
        if self.files > 0 {
            self.line("");
        }
        self.files += 1;
        self.line(&scenario.name.style(TITLE).to_string());
        if let Some(about) = &scenario.about {
            wrap(about, self.width.saturating_sub(2)).iter().for_each(|line| self.line(&format!("  {line}")));
        }
        if let Some(source) = &scenario.source {
            let lines = wrap(&format!("source: {source}"), self.width.saturating_sub(2));
            lines.iter().for_each(|line| self.line(&format!("  {}", line.style(DIM))));
        }
        self.line(&format!("  {}", machine(config).style(DIM)));
    }

    fn step(&mut self, _scenario: &Scenario, step: &Step) {
        if !self.quiet {
            self.line("");
            self.line(&format!("  {}", step.title.style(TITLE)));
        }
    }

    fn repeat(&mut self, repeat: &Repeat, pass: u64) {
        if pass == 0 {
            if !self.quiet && !self.repeated_pass() {
                let text = format!("{}repeat {}", self.indent(), repeat.count);
                self.line(&text.style(DIM).to_string());
            }
            self.passes.push(0);
        } else if let Some(last) = self.passes.last_mut() {
            *last = pass;
        }
    }

    fn repeated(&mut self, _repeat: &Repeat) {
        self.passes.pop();
    }

    fn statement(&mut self, _scenario: &Scenario, end: &StatementEnd<'_>) {
        if end.passed && (self.quiet || self.repeated_pass()) {
            return;
        }
        let mark = if end.passed { "✓".style(GOOD).to_string() } else { "✗".style(BAD).to_string() };
        let mut notes = Vec::new();
        if end.got.outcome != crate::scenario::Outcome::Ok || !end.passed {
            notes.extend(outcome_note(end));
        }
        let told = end.transitions.iter().any(|transition| transition.rule == end.got.rule);
        if !end.got.rule.is_empty() && !told {
            notes.push(end.got.rule.to_owned());
        }
        notes.extend(moves(&end.transitions));
        let mut text = format!("{}{mark} {}", self.indent(), end.statement.text);
        if !notes.is_empty() {
            text.push_str(&format!("  {}", notes.join(" · ").style(DIM)));
        }
        self.line(&text);
    }

    fn failure(&mut self, scenario: &Scenario, place: Place, failure: &Failure) {
        self.passes.clear();
        let rule = if failure.rule.is_empty() { String::new() } else { format!(" ({})", failure.rule) };
        let page = failure.page.as_ref().map(|page| format!("{page}: ")).unwrap_or_default();
        self.line(&format!(
            "      {} {}{}{rule}",
            format!("{}:{}:", scenario.path.display(), place.line).style(TITLE),
            page,
            failure.message.style(BAD)
        ));
        for (what, expected, found) in &failure.state {
            if expected.is_empty() {
                self.line(&format!("        {what}: {found}"));
            } else {
                self.line(&format!("        {what}:"));
                self.line(&format!("          expected {}", expected.style(GOOD)));
                self.line(&format!("          found    {}", found.style(BAD)));
            }
        }
        if let Some(rule) = Some(failure.rule).filter(|rule| !rule.is_empty()) {
            self.line(&format!("        {}", format!("`uvsim explain {rule}` tells more").style(DIM)));
        }
    }

    fn progress(&mut self, workload: &Workload, accesses: u64) {
        if workload.accesses < LONG {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(workload.accesses);
            if let Ok(style) = ProgressStyle::with_template("    {bar:40} {human_pos}/{human_len} accesses {per_sec}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position(accesses);
    }

    fn workload(&mut self, _scenario: &Scenario, end: &WorkloadEnd<'_>) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.quiet || self.repeated_pass() {
            return;
        }
        let c = &end.counters;
        let good = c.mismatches == 0 && c.accesses == end.workload.accesses;
        let mark = if good { "✓".style(GOOD).to_string() } else { "✗".style(BAD).to_string() };
        let text = format!("{}{mark} {}", self.indent(), end.workload.text);
        self.line(&text);
        let text = format!(
            "{}  {} accesses: {} reads, {} writes · {} faults · {} pages in, {} out · {} mismatches",
            self.indent(),
            c.accesses,
            c.reads,
            c.writes,
            c.faults,
            c.page_ins,
            c.page_outs,
            c.mismatches
        );
        self.line(&text.style(DIM).to_string());
    }

    fn error(&mut self, scenario: &Scenario, place: Place, message: &str, help: Option<&str>) {
        self.passes.clear();
        let at = format!("{}:{}:{}:", scenario.path.display(), place.line, place.column);
        self.line(&format!("  {} {}", at.style(TITLE), message.style(BAD)));
        if let Some(help) = help {
            self.line(&format!("    help: {help}"));
        }
    }

    fn unusable(&mut self, errors: &ScenarioErrors) {
        if self.files > 0 && !self.quiet {
            self.line("");
        }
        self.files += 1;
        self.diagnostic(errors);
    }

    fn checked(&mut self, scenario: &Scenario) {
        self.files += 1;
        if !self.quiet {
            self.line(&format!("{} {}: {}", "✓".style(GOOD), scenario.path.display(), scenario.name));
        }
    }

    fn end(&mut self, end: &FileEnd<'_>) {
        self.passes.clear();
        if self.quiet && end.status != Status::Pass {
            self.line(&format!("{} {}", "✗".style(BAD), end.scenario.path.display()));
        }
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let Counts { statements, checks, failed } = verdict.counts;
        let word = verdict.status.result();
        let word =
            if verdict.status == Status::Pass { word.style(GOOD).to_string() } else { word.style(BAD).to_string() };
        let seed = verdict.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
        self.line("");
        self.line(&format!(
            "{word}: {}, {}, {}, {failed} failed{seed}",
            counted(verdict.scenarios, "scenario"),
            counted(statements, "statement"),
            counted(checks, "check"),
        ));
    }
}

/// What a statement came to, unless its own text says it.
fn outcome_note(end: &StatementEnd<'_>) -> Option<String> {
    let text = observed(&end.got);
    if !end.passed || text != described(&end.statement.expectation) {
        return Some(text);
    }
    end.got.interruption.map(|interruption| format!("{:#04x}", interruption.code as u16))
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn machine(config: &MachineConfig) -> String {
    let generation = match config.generation {
        Generation::Z15 => "z15",
        Generation::Z16 => "z16",
        Generation::Z17 => "z17",
    };
    let cipher = match config.cipher {
        CipherProfile::Gcm => "gcm",
        CipherProfile::Xts => "xts",
    };
    let detection = match config.change_detection {
        ChangeDetection::Digest => "digest",
        ChangeDetection::Always => "always",
    };
    format!(
        "{generation}, {} of storage, {}, cipher {cipher}, change detection {detection}, seed {}",
        size(config.storage),
        counted(config.cpus.into(), "CPU"),
        config.seed
    )
}

fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20)];
    let unit = units.into_iter().find(|(_, shift)| bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| format!("{bytes} B"), |(name, shift)| format!("{} {name}", bytes >> shift))
}

/// State changes in the letters of the transition table.
fn moves(transitions: &[Transition]) -> impl Iterator<Item = String> + '_ {
    transitions.iter().map(|&Transition { from, to, rule, count }| match count {
        1 => format!("{from}→{to} {rule}"),
        _ => format!("{count} × {from}→{to} {rule}"),
    })
}

impl<W: Write> std::fmt::Debug for Human<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Human").field("width", &self.width).finish_non_exhaustive()
    }
}
