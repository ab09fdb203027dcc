//! Findings as a person reads them: the line with a caret, why, and what to write.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use owo_colors::{OwoColorize, Style};

use super::document::Domain;
use super::error::DomainError;
use super::finding::{Finding, Fix, Severity};
use super::units;
use crate::explain::wrap;
use crate::scenario::{Lines, shown};

const GOOD: Style = Style::new().green();
const BAD: Style = Style::new().red().bold();
const TITLE: Style = Style::new().bold();
/// At most this many findings are drawn.
const MAX_FINDINGS: usize = 100;
const INDENT: &str = "  ";

/// Writes what has been found in a domain, at most `width` columns wide where the XML lets it.
pub fn findings(out: &mut dyn Write, domain: &Domain, findings: &[Finding], colour: bool, width: usize) {
    let handler = handler(colour, width);
    let text = NamedSource::new(domain.path.to_string_lossy(), Arc::clone(&domain.text));
    let lines = Lines::new(&domain.text);
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for finding in findings.iter().take(MAX_FINDINGS) {
        let located = Located { finding, text: &text, quotable: lines.quotable(finding.place) };
        let mut drawing = String::new();
        if handler.render_report(&mut drawing, &located).is_ok() {
            line(out, drawing.trim_end());
        }
        if !located.quotable {
            line(out, &format!("{INDENT}at line {}, column {}", finding.place.line, finding.place.column));
        }
        // Ten devices may have the same reason.
        if told.insert(&finding.reason) {
            let reason = wrap(&finding.reason, width.saturating_sub(INDENT.len()));
            reason.iter().for_each(|text| line(out, &format!("{INDENT}{text}")));
        }
        let (what, xml) = match &finding.fix {
            Some(Fix::Replace(xml)) => ("write:", Some(xml)),
            Some(Fix::Add(xml)) => ("add:", Some(xml)),
            Some(Fix::Remove) => ("remove it", None),
            None => ("", None),
        };
        if !what.is_empty() {
            let xml = xml.map(|xml| format!(" {}", xml.style(TITLE))).unwrap_or_default();
            line(out, &format!("{INDENT}{what}{xml}"));
        }
        line(out, "");
    }
    if findings.len() > MAX_FINDINGS {
        line(out, &format!("{INDENT}… and {} more\n", findings.len() - MAX_FINDINGS));
    }
    summary(out, domain, findings);
}

/// Writes why a file is no domain.
pub fn unusable(out: &mut dyn Write, error: &DomainError, colour: bool, width: usize) {
    if error.is_drawable() {
        let mut drawing = String::new();
        if handler(colour, width).render_report(&mut drawing, error).is_ok() {
            line(out, drawing.trim_end());
        }
        return;
    }
    let (path, message) = (error.path.display(), error.on_one_line());
    line(out, &format!("{}: {path}: {message}", "error".style(BAD)));
    if let Some(help) = &error.help {
        line(out, &format!("{INDENT}help: {help}"));
    }
}

fn handler(colour: bool, width: usize) -> GraphicalReportHandler {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false)
}

fn summary(out: &mut dyn Write, domain: &Domain, findings: &[Finding]) {
    let errors = count(findings, Severity::Error);
    let mark = if errors == 0 { "✓".style(GOOD).to_string() } else { "✗".style(BAD).to_string() };
    let memory = domain.memory_bytes().map_or_else(|| "no memory".to_owned(), units::size);
    let cpus = domain.vcpu_count().map_or_else(|| "no vCPUs".to_owned(), |count| counted(count, "vCPU"));
    let title = domain.title().map_or_else(|| "a domain without a name".to_owned(), shown);
    line(out, &format!("{mark} {}: {title}, {memory}, {cpus}: {}", shown_path(&domain.path), told(findings)));
}

/// How many findings there are of each kind, in words.
fn told(findings: &[Finding]) -> String {
    let kinds = [Severity::Error, Severity::Warning, Severity::Note];
    let counts = kinds.map(|severity| (count(findings, severity), severity.name()));
    let told: Vec<String> =
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, name)| counted(count, name)).collect();
    if told.is_empty() { "nothing to remark".to_owned() } else { told.join(", ") }
}

pub(super) fn count(findings: &[Finding], severity: Severity) -> u64 {
    findings.iter().filter(|finding| finding.severity == severity).count() as u64
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn shown_path(path: &Path) -> String {
    path.display().to_string()
}

fn line(out: &mut dyn Write, text: &str) {
    // A reader that has gone away is no reason to stop: the exit status still counts.
    let _ = writeln!(out, "{text}");
}

/// A finding with the text that it is about.
#[derive(Debug)]
struct Located<'a> {
    finding: &'a Finding,
    text: &'a NamedSource<Arc<str>>,
    quotable: bool,
}

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.finding.severity.name(), self.finding.message, self.finding.rule.name())
    }
}

impl std::error::Error for Located<'_> {}

impl Diagnostic for Located<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Note => miette::Severity::Advice,
        })
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_primary_with_span(Some(self.finding.label.to_owned()), self.finding.place.span);
        self.quotable.then(|| Box::new(std::iter::once(label)) as Box<dyn Iterator<Item = LabeledSpan>>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.quotable.then_some(self.text as &dyn SourceCode)
    }
}
