//! Why a file is no domain definition.

use std::fmt;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use crate::scenario::Place;

/// A file that is no domain definition.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct DomainError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What is said under the caret.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where; none if the file could not be read as text.
    pub place: Option<Place>,
    /// Whether the lines around the place are short enough to be quoted.
    quotable: bool,
    text: NamedSource<Arc<str>>,
}

impl DomainError {
    /// About the file as a whole.
    pub(super) fn whole(path: &Path, message: String, help: Option<&str>) -> Box<Self> {
        Box::new(Self {
            path: path.to_owned(),
            message,
            label: String::new(),
            help: help.map(str::to_owned),
            place: None,
            quotable: false,
            text: NamedSource::new(path.to_string_lossy(), Arc::from("")),
        })
    }

    /// About a place in its text.
    pub(super) fn at(
        path: &Path,
        text: &Arc<str>,
        (place, quotable): (Place, bool),
        message: String,
        label: &str,
        help: Option<&str>,
    ) -> Box<Self> {
        Box::new(Self {
            label: label.to_owned(),
            place: Some(place),
            quotable,
            text: NamedSource::new(path.to_string_lossy(), Arc::clone(text)),
            ..*Self::whole(path, message, help)
        })
    }

    /// The message with its line and column, for reports that draw nothing.
    #[must_use]
    pub fn on_one_line(&self) -> String {
        match self.place {
            Some(place) => format!("{} (line {}, column {})", self.message, place.line, place.column),
            None => self.message.clone(),
        }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &Arc<str> {
        self.text.inner()
    }

    /// Whether there is something to draw.
    #[must_use]
    pub fn is_drawable(&self) -> bool {
        self.quotable && self.place.is_some()
    }
}

impl Diagnostic for DomainError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.filter(|_| self.quotable)?;
        Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(Some(self.label.clone()), place.span))))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.quotable.then_some(&self.text as &dyn SourceCode)
    }
}

/// The error for a file that is not UTF-8.
pub(super) fn not_utf8(path: &Path, error: &FromUtf8Error) -> Box<DomainError> {
    let valid = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(valid).copied().unwrap_or_default();
    let message = format!("the file is not UTF-8: byte {byte:#04x} at offset {valid}");
    DomainError::whole(path, message, Some("a domain definition is XML, such as `virsh dumpxml DOMAIN` prints"))
}
