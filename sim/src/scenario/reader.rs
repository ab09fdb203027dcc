//! Reads the parts of a KDL node one by one and keeps account of what was used: what is left over at
//! the end is an error. All complaints go through here.

use std::collections::BTreeMap;

use kdl::{KdlDocument, KdlEntry, KdlNode};
use miette::SourceSpan;

use super::error::{MAX_ERRORS, ScenarioError};
use super::place::{Lines, Place};
use super::syntax::shown;

/// The errors found so far, and the text that they are about.
#[derive(Debug)]
pub(super) struct Reports<'a> {
    pub(super) text: &'a str,
    pub(super) lines: Lines<'a>,
    pub(super) errors: Vec<ScenarioError>,
    pub(super) unreported: usize,
}

impl<'a> Reports<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, lines: Lines::new(text), errors: Vec::new(), unreported: 0 }
    }

    pub(super) fn place(&self, span: SourceSpan) -> Place {
        self.lines.place(span)
    }

    /// Reports an error. Returns `None`, for use as the value that could not be had.
    pub(super) fn error<T>(
        &mut self,
        span: SourceSpan,
        message: String,
        label: &str,
        help: impl Into<Help>,
    ) -> Option<T> {
        self.report_with(span, message, label, help, None);
        None
    }

    /// Reports an error.
    pub(super) fn report(&mut self, span: SourceSpan, message: String, label: &str, help: impl Into<Help>) {
        self.report_with(span, message, label, help, None);
    }

    /// Reports an error about two places.
    pub(super) fn report_with(
        &mut self,
        span: SourceSpan,
        message: String,
        label: &str,
        help: impl Into<Help>,
        other: Option<(Place, &str)>,
    ) {
        if self.errors.len() >= MAX_ERRORS {
            self.unreported += 1;
            return;
        }
        let place = self.place(span);
        let quotable = self.lines.quotable(place) && other.is_none_or(|(place, _)| self.lines.quotable(place));
        let other = other.map(|(place, label)| (place, label.to_owned()));
        self.errors.push(ScenarioError {
            message,
            label: label.to_owned(),
            help: help.into().0,
            place: Some(place),
            other,
            quotable,
        });
    }

    /// "did you mean", if one of the names is near; else the list of all, if it is short.
    pub(super) fn suggestion<'n>(&self, word: &str, names: impl IntoIterator<Item = &'n str>) -> Help {
        const FEW: usize = 24;
        if self.errors.len() >= MAX_ERRORS || word.chars().nth(64).is_some() {
            return Help(None);
        }
        let lower = word.to_lowercase().replace('_', "-");
        let names: Vec<&str> = names.into_iter().take(10_000).collect();
        let near = names.iter().map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name)).min();
        match near {
            Some((distance, name)) if distance <= 1.max(word.chars().count() / 3) => {
                Help(Some(format!("did you mean `{name}`?")))
            }
            _ if names.is_empty() || names.len() > FEW => Help(None),
            _ => Help(Some(format!("known here: {}", names.join(" ")))),
        }
    }

    /// The text of a span.
    pub(super) fn quote(&self, span: SourceSpan) -> &'a str {
        self.text.get(span.offset()..span.offset() + span.len()).unwrap_or_default()
    }
}

/// Advice, if there is any.
#[derive(Debug, Default)]
pub(super) struct Help(pub(super) Option<String>);

impl From<&str> for Help {
    fn from(text: &str) -> Self {
        Self((!text.is_empty()).then(|| text.to_owned()))
    }
}

impl From<String> for Help {
    fn from(text: String) -> Self {
        Self(Some(text))
    }
}

/// A node that is being read.
pub(super) struct NodeReader<'k> {
    node: &'k KdlNode,
    /// What the node is called in messages, such as `host read`.
    pub(super) title: String,
    arguments: Vec<&'k KdlEntry>,
    taken: usize,
    properties: BTreeMap<&'k str, (&'k KdlEntry, bool)>,
    asked: Vec<&'static str>,
    children_taken: bool,
}

impl<'k> NodeReader<'k> {
    /// Begins a node; properties given twice are reported here.
    pub(super) fn new(node: &'k KdlNode, reports: &mut Reports<'_>) -> Self {
        let mut properties: BTreeMap<&str, (&KdlEntry, bool)> = BTreeMap::new();
        let mut arguments = Vec::new();
        if let Some(annotation) = node.ty() {
            reports.report(annotation.span(), "an annotation on a statement".to_owned(), "not known here", "remove it");
        }
        for entry in node.entries() {
            let Some(name) = entry.name() else {
                arguments.push(entry);
                continue;
            };
            if let Some((first, _)) = properties.get(name.value()) {
                let message = format!("property `{}` is given twice", shown(name.value()));
                let first = reports.place(first.span());
                reports.report_with(
                    entry.span(),
                    message,
                    "again here",
                    "remove one of them",
                    Some((first, "first here")),
                );
            } else {
                properties.insert(name.value(), (entry, false));
            }
        }
        Self {
            node,
            title: shown(node.name().value()),
            arguments,
            taken: 0,
            properties,
            asked: Vec::new(),
            children_taken: false,
        }
    }

    /// Name to last entry, without the block.
    pub(super) fn span(&self) -> SourceSpan {
        let start = self.node.name().span().offset();
        let end = self
            .node
            .entries()
            .last()
            .map_or(start + self.node.name().span().len(), |entry| entry.span().offset() + entry.span().len());
        (start, end.saturating_sub(start)).into()
    }

    /// The next argument, if there is one.
    pub(super) fn optional_argument(&mut self) -> Option<&'k KdlEntry> {
        let entry = self.arguments.get(self.taken).copied()?;
        self.taken += 1;
        Some(entry)
    }

    /// The next argument; `what` is said if it is missing.
    pub(super) fn argument(&mut self, what: &str, reports: &mut Reports<'_>) -> Option<&'k KdlEntry> {
        if let Some(entry) = self.optional_argument() {
            return Some(entry);
        }
        let end = self.span().offset() + self.span().len();
        reports.error((end, 0).into(), format!("`{}` lacks {what}", self.title), &format!("{what} expected"), "")
    }

    /// The property of this name, if it is there.
    pub(super) fn property(&mut self, name: &'static str) -> Option<&'k KdlEntry> {
        if !self.asked.contains(&name) {
            self.asked.push(name);
        }
        let (entry, used) = self.properties.get_mut(name)?;
        *used = true;
        Some(entry)
    }

    /// The property of this name; an error if it is missing.
    pub(super) fn required(&mut self, name: &'static str, reports: &mut Reports<'_>) -> Option<&'k KdlEntry> {
        let found = self.property(name);
        if found.is_none() {
            let message = format!("`{}` lacks the property `{name}=`", self.title);
            return reports.error(self.span(), message, &format!("`{name}=` expected"), "");
        }
        found
    }

    /// The block, if there is one.
    pub(super) fn children(&mut self) -> Option<&'k KdlDocument> {
        self.children_taken = true;
        self.node.children()
    }

    /// Takes all properties that are left, after an error that leaves their meaning open.
    pub(super) fn accept_all(&mut self) {
        self.properties.values_mut().for_each(|(_, used)| *used = true);
    }

    /// Reports what was not read.
    pub(super) fn finish(self, reports: &mut Reports<'_>) {
        for entry in &self.arguments[self.taken.min(self.arguments.len())..] {
            let written = shown(reports.quote(entry.span()));
            reports.report(
                entry.span(),
                format!("`{}` does not take the argument `{written}`", self.title),
                "one too many",
                "",
            );
        }
        for (name, (entry, used)) in &self.properties {
            if !used {
                let help = match self.asked.is_empty() {
                    true => Help::from(format!("`{}` has no properties", self.title)),
                    false => reports.suggestion(name, self.asked.iter().copied()),
                };
                let message = format!("`{}` has no property `{}`", self.title, shown(name));
                reports.report(entry.span(), message, "unknown property", help);
            }
        }
        if self.node.children().is_some() && !self.children_taken {
            reports.report(
                self.span(),
                format!("`{}` takes no block", self.title),
                "one too many",
                "begin a new line, or remove the braces",
            );
        }
    }
}

impl std::fmt::Debug for NodeReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeReader").field("title", &self.title).finish_non_exhaustive()
    }
}
