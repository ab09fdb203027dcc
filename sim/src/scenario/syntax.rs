//! From text to a KDL document.
//!
//! The KDL parser (6.7.1) recurses into blocks, comments and its own error recovery, parses a block
//! behind `/-` several times over and stumbles over `/-node;`. So [`mod@scan`] goes first: in linear time and constant stack it makes
//! sure that the text is well formed and not nested deeply, and blanks the comments. The parser sees
//! only what passed.

use kdl::KdlDocument;
use miette::SourceSpan;

mod lexis;
mod scan;
mod strings;

pub(super) use lexis::number;
pub(crate) use lexis::shown;
pub(super) use scan::scan;

/// A mistake against KDL 2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SyntaxError {
    pub(super) span: SourceSpan,
    pub(super) message: String,
    pub(super) label: String,
    pub(super) help: Option<String>,
}

impl SyntaxError {
    fn new(span: impl Into<SourceSpan>, message: &str, label: &str, help: &str) -> Self {
        let help = (!help.is_empty()).then(|| help.to_owned());
        Self { span: span.into(), message: message.to_owned(), label: label.to_owned(), help }
    }
}

/// Reads the text as KDL 2. The spans of the document are those of `text`. There is at least one
/// error, and at most `limit`, if there is no document.
pub(super) fn document(text: &str, limit: usize) -> Result<KdlDocument, Vec<SyntaxError>> {
    let cleaned = scan(text, limit)?;
    KdlDocument::parse_v2(&cleaned).map_err(|error| {
        let mut errors: Vec<_> = error.diagnostics.into_iter().take(limit).map(|d| translated(d, text)).collect();
        if errors.is_empty() {
            errors.push(SyntaxError::new((0, 0), "this is not a KDL 2 document", "here", ""));
        }
        errors
    })
}

/// kdl 6.7.1 labels a bad property value from the start of the document on: only the last line of
/// such a span is true.
fn translated(diagnostic: kdl::KdlDiagnostic, text: &str) -> SyntaxError {
    let (start, end) = (diagnostic.span.offset(), diagnostic.span.offset() + diagnostic.span.len());
    let covered = text.get(start..end).unwrap_or_default();
    let skipped = covered.rfind('\n').map_or(0, |newline| {
        let last = &covered[newline + 1..];
        newline + 1 + (last.len() - last.trim_start().len())
    });
    SyntaxError {
        span: (start + skipped, end - start - skipped).into(),
        message: diagnostic.message.unwrap_or_else(|| "this is not KDL 2".to_owned()),
        label: diagnostic.label.unwrap_or_else(|| "here".to_owned()),
        help: diagnostic.help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_span_from_the_start_of_the_document_shrinks_to_its_last_line() {
        let text = "guest alpha\n  page x=1.\n";
        let diagnostic = kdl::KdlDiagnostic {
            input: Arc::new(text.to_owned()),
            span: (0, 23).into(),
            message: None,
            label: None,
            help: None,
            severity: miette::Severity::Error,
        };
        assert_eq!(translated(diagnostic, text).span, (14, 9).into());
    }
}
