//! A run as a person reads it: steps, one line per statement, and at a failure the state that differs.

mod io;

use super::words::{described, observed};
use super::{Counts, Failure, FileEnd, IoEnd, Report, StatementEnd, Status, Turn, Verdict, WorkloadEnd};
use crate::domain::{self, Domain, Severity};
use crate::explain::wrap;
use crate::kernel::Transition;
use crate::scenario::{Guest, Outcome, Parallel, Place, Repeat, Scenario, ScenarioErrors, Step, shown};
use indicatif::{ProgressBar, ProgressStyle};
use miette::{GraphicalReportHandler, GraphicalTheme};
use owo_colors::{OwoColorize, Style};
use std::io::Write;
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation, MachineConfig};
use uvsim_verify::Difference;

/// Writes to `out`; colours are the stream's business to strip.
pub struct Human<W: Write> {
    out: W,
    theme: GraphicalTheme,
    width: usize,
    quiet: bool,
    /// Depth of loops, and whether this is the first pass of all of them.
    passes: Vec<u64>,
    /// Whose turn it is, among lanes.
    turn: Option<Turn>,
    /// Whether long workloads show a progress bar, and that of the current one.
    bars: bool,
    bar: Option<ProgressBar>,
    /// Where errors of files go; if nowhere, they go to `out`.
    errors: Option<Box<dyn Write>>,
    files: u64,
    /// Files were checked, not run.
    checked: bool,
}

/// A workload shorter than this needs no progress bar.
const LONG: u64 = 1 << 20;
const GOOD: Style = Style::new().green();
const BAD: Style = Style::new().red().bold();
const WARNING: Style = Style::new().yellow();
const DIM: Style = Style::new().dimmed();
const TITLE: Style = Style::new().bold();

impl<W: Write> Human<W> {
    /// A report on `out`, which strips colours if it must. Error reports are drawn `width` columns wide, with
    /// colours if `colour` says so.
    pub fn new(out: W, colour: bool, width: usize) -> Self {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        Self {
            out,
            theme,
            width,
            quiet: false,
            passes: Vec::new(),
            turn: None,
            bars: false,
            bar: None,
            errors: None,
            files: 0,
            checked: false,
        }
    }

    /// Errors of files and arguments go here, what happens in the runs does not.
    #[must_use]
    pub fn errors_to(mut self, errors: impl Write + 'static) -> Self {
        self.errors = Some(Box::new(errors));
        self
    }

    /// Long workloads show a progress bar on standard error, which should be a terminal.
    #[must_use]
    pub fn progress_bars(mut self, bars: bool) -> Self {
        self.bars = bars;
        self
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
        self.passes.iter().any(|&pass| pass > 0) || self.turn.is_some_and(|turn| turn.again)
    }

    fn indent(&self) -> String {
        "  ".repeat(2 + self.passes.len() + usize::from(self.turn.is_some()))
    }

    /// Whose turn a line is about.
    fn lane(&self) -> String {
        self.turn.map(|turn| format!("{} ", format!("lane {}:", turn.lane).style(DIM))).unwrap_or_default()
    }

    /// An error of a file or of the arguments.
    fn complain(&mut self, text: &str) {
        let _ = match &mut self.errors {
            Some(errors) => {
                // What has been told so far comes first.
                let _ = self.out.flush();
                writeln!(errors, "{text}").and_then(|()| errors.flush())
            }
            None => writeln!(self.out, "{text}"),
        };
    }

    /// A blank line between two files.
    fn separate(&mut self) {
        if self.files > 0 && !self.quiet {
            self.line("");
        }
        self.files += 1;
    }
}

impl<W: Write> Report for Human<W> {
    fn scenario(&mut self, scenario: &Scenario, config: &MachineConfig) {
        if self.quiet {
            return;
        }
        self.separate();
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

    fn domain(&mut self, _scenario: &Scenario, guest: &Guest, domain: &Domain) {
        if self.quiet {
            return;
        }
        let vcpus = counted(guest.vcpus.into(), "vCPU");
        let title = domain.title().map(|name| format!(" ({})", shown(name))).unwrap_or_default();
        let path = domain.path.display();
        self.line(&format!("  guest {}: {}, {vcpus}, as {path}{title} says", guest.name, size(guest.memory)));
        for device in domain.disks().chain(domain.interfaces()) {
            self.line(&format!("    {}", device.summary().style(DIM)));
        }
        let errors = domain::check(domain).into_iter().filter(|finding| finding.severity == Severity::Error);
        let wrong = errors.count() as u64;
        if wrong > 0 {
            let told = format!("{} in it: `uvsim check-domain` tells", counted(wrong, "error"));
            self.line(&format!("    {}: some devices would not work, {told}", "warning".style(WARNING)));
        }
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

    fn parallel(&mut self, _scenario: &Scenario, parallel: &Parallel, threads: bool) {
        if !self.quiet && !self.repeated_pass() {
            let lanes = counted(parallel.lanes.len() as u64, "lane");
            let how = if threads { " on threads: in any order, outcomes are not compared" } else { "" };
            let text = format!("{}parallel, {lanes}{how}", self.indent());
            self.line(&text.style(DIM).to_string());
        }
    }

    fn turn(&mut self, turn: Turn) {
        self.turn = Some(turn);
    }

    fn contents(&mut self, _scenario: &Scenario, _parallel: &Parallel, pages: u64) {
        self.turn = None;
        if !self.quiet && !self.repeated_pass() {
            let mark = "✓".style(GOOD).to_string();
            let pages = counted(pages, "page");
            let text = format!("{}  {mark} at the end: invariants, {pages} read back (I-14)", self.indent());
            self.line(&text);
        }
    }

    fn joined(&mut self) {
        self.turn = None;
    }

    fn statement(&mut self, _scenario: &Scenario, end: &StatementEnd<'_>) {
        if end.passed && (self.quiet || self.repeated_pass()) {
            return;
        }
        let mark = match (end.compared, end.passed) {
            (false, _) => "·".style(DIM).to_string(),
            (true, true) => "✓".style(GOOD).to_string(),
            (true, false) => "✗".style(BAD).to_string(),
        };
        let mut notes = Vec::new();
        // A read or check that ends `ok` and fails all the same is told of by its failure.
        let ok = |outcome| outcome == Outcome::Ok;
        if !ok(end.got.outcome) || !ok(end.statement.expectation.outcome) {
            notes.extend(outcome_note(end));
        }
        let told = end.transitions.iter().any(|transition| transition.rule == end.got.rule);
        if !end.got.rule.is_empty() && !told {
            notes.push(end.got.rule.to_owned());
        }
        notes.extend(moves(&end.transitions));
        let mut text = format!("{}{mark} {}{}", self.indent(), self.lane(), end.statement.text);
        if !notes.is_empty() {
            text.push_str(&format!("  {}", notes.join(" · ").style(DIM)));
        }
        self.line(&text);
        // A failure tells itself.
        if let Some(note) = end.note.as_ref().filter(|_| end.passed) {
            let indent = format!("{}  ", self.indent());
            for line in wrap(&note.message, self.width.saturating_sub(indent.len())) {
                self.line(&format!("{indent}{}", line.style(DIM)));
            }
        }
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

    fn difference(&mut self, scenario: &Scenario, place: Place, difference: &Difference) {
        self.passes.clear();
        let at = format!("{}:{}:", scenario.path.display(), place.line);
        let title = "the model and its oracle differ".style(BAD);
        self.complain(&format!("{} {title}\n{difference}", at.style(TITLE)));
    }

    fn progress(&mut self, goal: u64, accesses: u64) {
        // Of workloads that take turns none has the bar.
        if !self.bars || goal < LONG || self.turn.is_some() {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(goal);
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
        let good = c.mismatches == 0 && c.accesses == end.goal;
        let mark = if good { "✓".style(GOOD).to_string() } else { "✗".style(BAD).to_string() };
        let text = format!("{}{mark} {}{}", self.indent(), self.lane(), end.text);
        self.line(&text);
        let misses = c.miss_ratio() * 100.0;
        let set = end.working_set.map(|size| format!(" · working set {:.1} pages, at most {}", size.mean, size.max));
        let text = format!(
            "{}  {} accesses: {} reads, {} writes · {} faults · {} pages in, {} out · {misses:.2} % missed{} · {} \
             mismatches",
            self.indent(),
            c.accesses,
            c.reads,
            c.writes,
            c.faults,
            c.page_ins,
            c.page_outs,
            set.unwrap_or_default(),
            c.mismatches
        );
        self.line(&text.style(DIM).to_string());
    }

    fn io(&mut self, _scenario: &Scenario, end: &IoEnd<'_>) {
        if self.quiet {
            return;
        }
        self.line("");
        self.line(&format!("  {}", format!("devices of {}", end.guest.name).style(TITLE)));
        for io::Line { label, text } in io::lines(&end.counters, self.width) {
            // Nothing but the label is dim, and nothing follows a label that stands alone.
            self.line(&format!("{}{text}", label.style(DIM)));
        }
    }

    fn error(&mut self, scenario: &Scenario, place: Place, message: &str, help: Option<&str>) {
        self.passes.clear();
        let at = format!("{}:{}:{}", scenario.path.display(), place.line, place.column);
        self.complain(&one_error(&format!("{at}: {message}"), help));
    }

    fn argument(&mut self, message: &str, help: Option<&str>) {
        self.complain(&one_error(message, help));
    }

    fn unusable(&mut self, errors: &ScenarioErrors) {
        if self.errors.is_none() {
            self.separate();
        }
        // What has no place in a text needs no drawing.
        if errors.errors().iter().all(|error| error.place.is_none()) {
            for error in errors.errors() {
                let message = format!("{}: {}", errors.path().display(), error.message);
                self.complain(&one_error(&message, error.help.as_deref()));
            }
            return;
        }
        let handler = GraphicalReportHandler::new_themed(self.theme.clone()).with_width(self.width).with_links(false);
        for error in errors.located() {
            let mut text = String::new();
            if handler.render_report(&mut text, &error).is_ok() {
                self.complain(text.trim_end());
            }
        }
        if errors.unreported() > 0 {
            self.complain(&one_error(&errors.to_string(), None));
        }
    }

    fn checked(&mut self, scenario: &Scenario) {
        self.files += 1;
        self.checked = true;
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
        let style = if verdict.status == Status::Pass { GOOD } else { BAD };
        let mut told = Vec::new();
        match verdict.unusable {
            0 => {}
            1 => told.push("1 file cannot be used".to_owned()),
            more => told.push(format!("{more} files cannot be used")),
        }
        if self.checked {
            told.push(format!("{} in order", counted(verdict.scenarios, "scenario")));
        } else if verdict.scenarios > 0 {
            let Counts { statements, checks, failed } = verdict.counts;
            told.push(counted(verdict.scenarios, "scenario"));
            told.push(counted(statements, "statement"));
            told.push(counted(checks, "check"));
            told.push(format!("{failed} failed"));
            told.extend(verdict.seed.map(|seed| format!("seed {seed}")));
        }
        if told.is_empty() {
            return;
        }
        if !self.quiet {
            self.line("");
        }
        self.line(&format!("{}: {}", verdict.status.result().style(style), told.join(", ")));
        match verdict.threads {
            None => {}
            Some(true) => self.line(
                "  Lanes ran on threads. Their order was not decided by the seed, and what they expect of outcomes was not \
                 compared.",
            ),
            Some(false) => self.line("  There are no lanes: --threads has changed nothing."),
        }
    }
}

/// An error that is told in a line, and what helps.
fn one_error(message: &str, help: Option<&str>) -> String {
    let help = help.map(|help| format!("\n  help: {help}")).unwrap_or_default();
    format!("{}: {message}{help}", "error".style(BAD))
}

/// What a statement came to, unless its own text says it.
fn outcome_note(end: &StatementEnd<'_>) -> Option<String> {
    let text = observed(&end.got);
    if !end.passed || text != described(&end.statement.expectation) {
        return Some(text);
    }
    end.got.interruption.map(|interruption| format!("{:#04x}", interruption.code.number()))
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
