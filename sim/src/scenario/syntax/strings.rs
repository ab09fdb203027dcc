//! The scan of strings: in quotes, raw, over several lines.

use super::lexis::{is_blank, is_forbidden, is_newline};
use super::scan::Scanner;

impl Scanner<'_> {
    /// A string in quotes; false if it has no end (which is reported).
    pub(super) fn quoted(&mut self) -> bool {
        let start = self.at;
        if self.rest().starts_with("\"\"\"") {
            return self.multi_line(start, 0);
        }
        self.at += 1;
        loop {
            match self.rest().chars().next() {
                Some('"') => {
                    self.at += 1;
                    return true;
                }
                Some('\\') => self.escape(),
                Some(c) if is_forbidden(c) => self.forbidden(c),
                Some(c) if !is_newline(c) => self.at += c.len_utf8(),
                _ => return self.endless(start),
            }
        }
    }

    fn endless(&mut self, start: usize) -> bool {
        self.error(start, "this string has no end", "begins here", "close it with `\"` in the same line");
        false
    }

    pub(super) fn forbidden(&mut self, c: char) {
        let start = self.at;
        self.at += c.len_utf8();
        self.error(start, "a character that KDL forbids", "control character", "in a string, write it as `\\u{…}`");
    }

    fn escape(&mut self) {
        let start = self.at;
        let rest = &self.rest()[1..];
        let length = match rest.chars().next() {
            Some(c) if r#"\"bfnrts"#.contains(c) => 1,
            Some('u') => unicode_escape(rest).unwrap_or(0),
            Some(c) if is_blank(c) || is_newline(c) => {
                rest.len() - rest.trim_start_matches(|c| is_blank(c) || is_newline(c)).len()
            }
            _ => 0,
        };
        self.at += 1 + length;
        if length == 0 {
            self.error(
                start,
                "an escape that KDL does not know",
                "not an escape",
                "the escapes are \\\\ \\\" \\b \\f \\n \\r \\t \\s and \\u{…}",
            );
        }
    }

    pub(super) fn raw(&mut self, hashes: usize) -> bool {
        let start = self.at;
        if self.rest()[hashes..].starts_with("\"\"\"")
            && !self.rest()[hashes + 1..].starts_with(&format!("\"{}", "#".repeat(hashes)))
        {
            self.at += hashes;
            return self.multi_line(start, hashes);
        }
        self.at += hashes + 1;
        let body = self.at;
        let close = format!("\"{}", "#".repeat(hashes));
        loop {
            match self.rest().chars().next() {
                Some('"') if self.rest().starts_with(&close) => break,
                Some(c) if is_forbidden(c) => self.forbidden(c),
                Some(c) if !is_newline(c) => self.at += c.len_utf8(),
                _ => return self.endless(start),
            }
        }
        let only_a_quote = &self.text[body..self.at] == "\"";
        self.at += close.len();
        if only_a_quote {
            self.error(start, "a raw string must not be a single quote", "looks like three quotes", "write \"\\\"\"");
        }
        !only_a_quote
    }

    /// The rest of a string in three quotes; raw if there are hashes.
    fn multi_line(&mut self, start: usize, hashes: usize) -> bool {
        self.at += 3;
        if !self.rest().starts_with(is_newline) {
            self.error(
                start,
                "three quotes must be followed by the end of the line",
                "begins here",
                "one quote opens a string within a line",
            );
            return false;
        }
        let close = format!("\"\"\"{}", "#".repeat(hashes));
        let mut lines = Vec::new();
        loop {
            match self.rest().chars().next() {
                Some('"') if self.rest().starts_with(&close) => break,
                Some('\\') if hashes == 0 => self.escape(),
                Some(c) if is_forbidden(c) => self.forbidden(c),
                Some(c) => {
                    self.at += if self.rest().starts_with("\r\n") { 2 } else { c.len_utf8() };
                    if is_newline(c) {
                        lines.push(self.at);
                    }
                }
                None => {
                    self.fatal(
                        start,
                        3 + hashes,
                        "this string has no end",
                        "begins here",
                        "close it with three quotes on a line of their own",
                    );
                    return false;
                }
            }
        }
        let prefix = lines.last().map_or("", |&line| &self.text[line..self.at]);
        let indented = prefix.chars().all(is_blank)
            && lines.iter().all(|&line| {
                let text = &self.text[line..self.at];
                text.starts_with(prefix) || text.trim_start_matches(is_blank).starts_with(is_newline)
            });
        self.at += close.len();
        if !indented {
            self.fatal(
                start,
                3 + hashes,
                "the lines of this string are not indented like its end",
                "begins here",
                "put the closing quotes on a line of their own, and before every line the blanks that are before them",
            );
        }
        indented
    }
}

/// Length of `u{...}`, if it names a character.
fn unicode_escape(rest: &str) -> Option<usize> {
    let digits = rest.strip_prefix("u{")?;
    let length = digits.bytes().take(7).position(|byte| byte == b'}')?;
    let digits = &digits[..length];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    Some(length + 3)
}
