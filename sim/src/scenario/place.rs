//! Where something stands in a scenario.

use miette::SourceSpan;

/// A stretch of the scenario's text, and the line and column where it begins (both from 1; a column
/// counts characters).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The bytes of the text.
    pub span: SourceSpan,
}

/// Bytes between two counts of characters.
const STRIDE: usize = 256;
/// A report does not quote lines longer than this, bytes.
const QUOTABLE: usize = 1000;

/// Finds lines and columns in logarithmic time, however long a line is.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// Characters that begin before byte `STRIDE * n`.
    characters: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut starts = vec![0];
        let mut characters = Vec::with_capacity(text.len() / STRIDE + 1);
        let mut count = 0;
        for (offset, byte) in text.bytes().enumerate() {
            if offset % STRIDE == 0 {
                characters.push(count);
            }
            count += usize::from(begins_character(byte));
            if byte == b'\n' {
                starts.push(offset + 1);
            }
        }
        characters.push(count);
        Self { text, starts, characters }
    }

    /// The place of a span, cut to its first line.
    pub(crate) fn place(&self, span: SourceSpan) -> Place {
        let offset = span.offset().min(self.text.len());
        let line = self.line(offset);
        let end = offset.saturating_add(span.len()).min(self.end(line));
        let column = self.characters_before(offset) - self.characters_before(self.starts[line]) + 1;
        Place { line: line + 1, column, span: (offset, end.saturating_sub(offset)).into() }
    }

    /// Whether a report may quote the text around this place: a line of megabytes helps nobody.
    pub(crate) fn quotable(&self, place: Place) -> bool {
        let line = place.line - 1;
        let last = (line + 1).min(self.starts.len() - 1);
        (line.saturating_sub(1)..=last).all(|line| self.end(line) - self.starts[line] <= QUOTABLE)
    }

    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|&start| start <= offset) - 1
    }

    /// Where the line ends, without its line feed.
    fn end(&self, line: usize) -> usize {
        self.starts.get(line + 1).map_or(self.text.len(), |next| next - 1)
    }

    fn characters_before(&self, offset: usize) -> usize {
        let stride = (offset / STRIDE).min(self.characters.len() - 1);
        let rest = &self.text.as_bytes()[(stride * STRIDE).min(offset)..offset];
        self.characters[stride] + rest.iter().filter(|&&byte| begins_character(byte)).count()
    }
}

fn begins_character(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_on_long_lines_too() {
        let text = format!("a\n{}x\n\nend", "é".repeat(1000));
        let lines = Lines::new(&text);
        let x = lines.place((2 + 2000, 1).into());
        assert_eq!((x.line, x.column), (2, 1001));
        assert!(!lines.quotable(x));
        let end = lines.place((text.len(), 0).into());
        assert_eq!((end.line, end.column), (4, 4));
        assert!(lines.quotable(end));
        let past = lines.place((text.len() + 9, 9).into());
        assert_eq!(past, end);
    }

    #[test]
    fn a_span_ends_with_its_line() {
        let lines = Lines::new("one two\nthree");
        assert_eq!(lines.place((4, 9).into()).span, (4, 3).into());
        assert_eq!(Lines::new("").place((0, 0).into()).line, 1);
    }
}
