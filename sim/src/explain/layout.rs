//! Explanations as plain text.

use super::{Block, Entry, Section};

/// The narrowest page that is laid out; below it words would stand alone.
const MIN_WIDTH: usize = 20;
/// Indentation of the text under a heading.
const INDENT: usize = 2;
/// Blanks between the label and the text of a list item.
const GAP: usize = 2;

/// The whole entry, wrapped at `width` columns (at least 20): title and kind, then each section under
/// its heading. Only a word longer than the line crosses it.
#[must_use]
pub fn render(entry: &Entry, width: usize) -> String {
    let mut page = wrap(&format!("{} ({})", entry.title, entry.kind.name()), width.max(MIN_WIDTH)).join("\n");
    page.push('\n');
    for section in &entry.sections {
        page.push('\n');
        page.push_str(section.heading.name());
        page.push('\n');
        for line in lines(section, width) {
            page.push_str(&line);
            page.push('\n');
        }
    }
    page
}

/// The text of a section without its heading, indented and wrapped at `width` columns (at least 20), for
/// a program that prints the headings in its own way.
#[must_use]
pub fn lines(section: &Section, width: usize) -> Vec<String> {
    let width = width.max(MIN_WIDTH);
    let mut page = Vec::new();
    for block in &section.blocks {
        match block {
            Block::Paragraph(text) => {
                page.extend(wrap(text, width - INDENT).into_iter().map(|line| format!("{:INDENT$}{line}", "")));
            }
            Block::List(items) => list(items, width, &mut page),
        }
    }
    page
}

/// Labels in a column of their own if that leaves enough room, else above their text.
fn list(items: &[(String, String)], width: usize, page: &mut Vec<String>) {
    let column = items.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0) + GAP;
    let beside = INDENT + column <= width / 2;
    let indent = if beside { INDENT + column } else { 2 * INDENT };
    for (label, text) in items {
        let mut text = wrap(text, width - indent).into_iter();
        if beside {
            let first = text.next().unwrap_or_default();
            page.push(format!("{:INDENT$}{label:column$}{first}", "").trim_end().to_owned());
        } else {
            page.extend(wrap(label, width - INDENT).into_iter().map(|line| format!("{:INDENT$}{line}", "")));
        }
        page.extend(text.map(|line| format!("{:indent$}{line}", "")));
    }
}

/// Words in lines of at most `width` columns; a longer word stands alone.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut page: Vec<String> = Vec::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        match page.last_mut() {
            Some(line) if used + 1 + length <= width => {
                line.push(' ');
                line.push_str(word);
                used += 1 + length;
            }
            _ => {
                page.push(word.to_owned());
                used = length;
            }
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_wraps_at_the_width_and_long_words_stand_alone() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a secure-storage-violation b", 10), ["a", "secure-storage-violation", "b"]);
        assert!(wrap("  ", 7).is_empty());
    }

    #[test]
    fn labels_move_above_their_text_on_a_narrow_page() {
        let items = vec![("label".to_owned(), "some words of text".to_owned())];
        let mut wide = Vec::new();
        list(&items, 24, &mut wide);
        assert_eq!(wide, ["  label  some words of", "         text"]);
        let items = vec![("a-longer-label".to_owned(), "text".to_owned())];
        let mut narrow = Vec::new();
        list(&items, 24, &mut narrow);
        assert_eq!(narrow, ["  a-longer-label", "    text"]);
    }
}
