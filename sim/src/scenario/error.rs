//! What is wrong with a scenario.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use super::place::{Lines, Place};
use crate::domain::{Domain, DomainError, Finding};

/// At most this many errors of one file are reported.
pub const MAX_ERRORS: usize = 20;

/// One mistake of the file, never of the machine: what a scenario expects and does not get is a
/// failed statement and no error.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct ScenarioError {
    /// What is wrong, in one sentence.
    pub message: String,
    /// What is said under the caret.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where; none if the file could not be read as text.
    pub place: Option<Place>,
    /// A second place that belongs to it, and what is there.
    pub other: Option<(Place, String)>,
    /// Whether the lines around the place are short enough to be quoted.
    pub(super) quotable: bool,
}

impl ScenarioError {
    pub(super) fn without_place(message: String, help: Option<String>) -> Self {
        Self { message, label: String::new(), help, place: None, other: None, quotable: false }
    }
}

impl Diagnostic for ScenarioError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let place = self.place.filter(|_| !self.quotable);
        let place = place.map(|place| format!("at line {}, column {}", place.line, place.column));
        match (place, &self.help) {
            (Some(place), Some(help)) => Some(Box::new(format!("{help} ({place})"))),
            (Some(place), None) => Some(Box::new(place)),
            (None, Some(help)) => Some(Box::new(help)),
            (None, None) => None,
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.filter(|_| self.quotable)?;
        let main = LabeledSpan::new_primary_with_span(Some(self.label.clone()), place.span);
        let other = self.other.iter().map(|(place, label)| LabeledSpan::new_with_span(Some(label.clone()), place.span));
        Some(Box::new(std::iter::once(main).chain(other)))
    }
}

/// All that is wrong with one file, in the order of the text.
#[derive(Clone, Debug)]
pub struct ScenarioErrors {
    path: PathBuf,
    source: NamedSource<Arc<str>>,
    errors: Vec<ScenarioError>,
    unreported: usize,
}

impl ScenarioErrors {
    pub(super) fn new(path: &Path, text: Arc<str>, mut errors: Vec<ScenarioError>, unreported: usize) -> Self {
        errors.sort_by_key(|error| error.place.map(|place| place.span.offset()));
        Self { path: path.to_owned(), source: NamedSource::new(path.to_string_lossy(), text), errors, unreported }
    }

    pub(super) fn single(path: &Path, error: ScenarioError) -> Self {
        Self::new(path, Arc::from(""), vec![error], 0)
    }

    /// A file or folder that cannot be used as a whole.
    pub(crate) fn unusable(path: &Path, message: &str, help: Option<&str>) -> Self {
        Self::single(path, ScenarioError::without_place(message.to_owned(), help.map(str::to_owned)))
    }

    /// What is wrong with a domain definition that a guest is to be set up by.
    pub(crate) fn of_findings(domain: &Domain, findings: &[Finding]) -> Self {
        let lines = Lines::new(&domain.text);
        let error = |finding: &Finding| ScenarioError {
            message: finding.message.clone(),
            label: finding.label.to_owned(),
            help: Some("`uvsim check-domain` tells what to write".to_owned()),
            place: Some(finding.place),
            other: None,
            quotable: lines.quotable(finding.place),
        };
        let unreported = findings.len().saturating_sub(MAX_ERRORS);
        let errors = findings.iter().take(MAX_ERRORS).map(error).collect();
        Self::new(&domain.path, Arc::clone(&domain.text), errors, unreported)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The errors, at least one and at most [`MAX_ERRORS`].
    #[must_use]
    pub fn errors(&self) -> &[ScenarioError] {
        &self.errors
    }

    /// Each of them, with the text that it is about.
    pub fn located(&self) -> impl Iterator<Item = LocatedError<'_>> {
        self.errors.iter().map(|error| LocatedError { error, text: &self.source })
    }

    /// How many more were found and left out.
    #[must_use]
    pub fn unreported(&self) -> usize {
        self.unreported
    }
}

impl From<DomainError> for ScenarioErrors {
    fn from(error: DomainError) -> Self {
        let text = Arc::clone(error.text());
        let quotable = error.is_drawable();
        let DomainError { path, message, label, help, place, .. } = error;
        Self::new(&path, text, vec![ScenarioError { message, label, help, place, other: None, quotable }], 0)
    }
}

impl fmt::Display for ScenarioErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match (self.errors.len(), self.unreported) {
            (1, 0) => write!(f, "{path}: 1 error"),
            (count, 0) => write!(f, "{path}: {count} errors"),
            (count, more) => write!(f, "{path}: {} errors, of which {count} are reported", count + more),
        }
    }
}

impl std::error::Error for ScenarioErrors {}

impl Diagnostic for ScenarioErrors {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.errors.iter().map(|error| error as &dyn Diagnostic)))
    }
}

/// One mistake, with the text that it is about.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct LocatedError<'a> {
    error: &'a ScenarioError,
    text: &'a NamedSource<Arc<str>>,
}

impl Diagnostic for LocatedError<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.error.help()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.error.labels()
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.text)
    }
}
