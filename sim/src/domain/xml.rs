//! XML, with the places of its parts.

use std::path::Path;
use std::sync::Arc;

use roxmltree::{Attribute, Document, Error, Node, ParsingOptions};

use super::document::{Domain, Given};
use super::error::DomainError;
use crate::scenario::{Lines, Place, shown};

/// The longest domain definition, bytes. Real ones have some ten thousand.
pub const MAX_DOMAIN_LENGTH: u64 = 1 << 20;
/// The most attributes of one element: the parser compares each with all before it.
const MAX_ATTRIBUTES: usize = 1000;
/// The most declarations of namespaces: the parser repeats those of all ancestors at each.
const MAX_NAMESPACES: usize = 1000;
const HELP: &str = "a domain definition is XML, such as `virsh dumpxml DOMAIN` prints";

/// Reads the text as XML without a document type and hands over its root element.
pub(super) fn with_root(
    path: &Path,
    text: &Arc<str>,
    take: impl FnOnce(&Reader<'_>, Node<'_, '_>) -> Result<Domain, Box<DomainError>>,
) -> Result<Domain, Box<DomainError>> {
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        return Err(DomainError::whole(path, "the file is empty".to_owned(), Some(HELP)));
    }
    let reader = Reader { path, text, lines: Lines::new(text) };
    if let Some(at) = crowded_element(text) {
        let message = format!("an element with more than {MAX_ATTRIBUTES} attributes");
        return Err(reader.error(at..at + 1, message, "here", None));
    }
    if text.matches("xmlns").nth(MAX_NAMESPACES).is_some() {
        let message = format!("more than {MAX_NAMESPACES} namespaces are declared");
        return Err(DomainError::whole(path, message, None));
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: 1 << 20, entity_resolver: None };
    match Document::parse_with_options(text, options) {
        Ok(document) => take(&reader, document.root_element()),
        Err(error) => Err(reader.malformed(&error)),
    }
}

/// Where an element begins that has too many attributes.
fn crowded_element(text: &str) -> Option<usize> {
    let mut rest = 0;
    while let Some(found) = text[rest..].find('<') {
        let start = rest + found;
        let after = &text[start..];
        let skipped = [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")];
        if let Some((_, end)) = skipped.into_iter().find(|(begin, _)| after.starts_with(begin)) {
            rest = start + after.find(end)? + end.len();
            continue;
        }
        let tag = start_tag(after);
        if tag.matches('=').count() > MAX_ATTRIBUTES && attributes(tag) > MAX_ATTRIBUTES {
            return Some(start);
        }
        rest = start + tag.len();
    }
    None
}

/// A tag that begins here, to its `>`, which may not stand in a quoted value.
fn start_tag(text: &str) -> &str {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return &text[..=at],
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    text
}

/// How many `=` stand outside of quoted values.
fn attributes(tag: &str) -> usize {
    let mut quote = None;
    let mut count = 0;
    for byte in tag.bytes() {
        match (quote, byte) {
            (None, b'=') => count += 1,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    count
}

/// Finds places, and says what is wrong there.
pub(super) struct Reader<'a> {
    path: &'a Path,
    text: &'a Arc<str>,
    lines: Lines<'a>,
}

impl Reader<'_> {
    pub(super) fn error(
        &self,
        range: std::ops::Range<usize>,
        message: String,
        label: &str,
        help: Option<&str>,
    ) -> Box<DomainError> {
        let place = self.place(range);
        DomainError::at(self.path, self.text, (place, self.lines.quotable(place)), message, label, help)
    }

    fn place(&self, range: std::ops::Range<usize>) -> Place {
        self.lines.place((range.start, range.len()).into())
    }

    /// The place of the start tag of an element, or what of it is on its first line.
    pub(super) fn tag(&self, node: Node<'_, '_>) -> Place {
        let range = node.range();
        self.place(range.start..range.start + self.tag_text(node).len())
    }

    /// The start tag as it is written.
    pub(super) fn tag_text(&self, node: Node<'_, '_>) -> &str {
        let whole = self.text.get(node.range()).unwrap_or_default();
        start_tag(whole)
    }

    /// An attribute that has no namespace.
    pub(super) fn attribute(&self, node: Node<'_, '_>, name: &str) -> Option<Given> {
        let found = node.attributes().find(|attribute| attribute.namespace().is_none() && attribute.name() == name);
        found.map(|attribute| self.given(&attribute))
    }

    fn given(&self, attribute: &Attribute<'_, '_>) -> Given {
        Given { value: attribute.value().to_owned(), place: self.place(attribute.range()) }
    }

    /// The text of an element, without blanks around it, with the place of the element's first line.
    pub(super) fn content(&self, node: Node<'_, '_>) -> Given {
        let text: String = node.children().filter(Node::is_text).filter_map(|text| text.text()).collect();
        Given { value: text.trim().to_owned(), place: self.place(node.range()) }
    }

    fn malformed(&self, error: &Error) -> Box<DomainError> {
        if matches!(error, Error::DtdDetected) {
            let at = self.text.find("<!DOCTYPE").unwrap_or(0);
            let help = "remove it: a domain definition needs none, and entities are not expanded here";
            let message = "the file has a document type".to_owned();
            return self.error(at..at + "<!DOCTYPE".len(), message, "not taken", Some(help));
        }
        let position = error.pos();
        let at = match error {
            // The parser names the start of the file for these.
            Error::UnclosedRootNode | Error::UnexpectedEndOfStream => self.text.trim_end().len(),
            _ => offset(self.text, position.row as usize, position.col as usize),
        };
        // The message ends with the position that the report shows in its own way.
        let message = error.to_string();
        let message = message.replace(&format!(" at {position}"), "");
        self.error(at..at + 1, format!("this is not XML: {}", shown(&message)), "here", Some(HELP))
    }
}

/// The byte of a line and a column, both from 1, the latter in characters.
fn offset(text: &str, row: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(row.saturating_sub(1)).map(str::len).sum();
    let line = &text[start..];
    start + line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(at, _)| at)
}

/// The first child element of this name.
pub(super) fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    children(node).find(|child| child.tag_name().name() == name)
}

/// The child elements that have no namespace: libvirt's own.
pub(super) fn children<'a, 'input>(node: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(|child| child.is_element() && child.tag_name().namespace().is_none())
}
