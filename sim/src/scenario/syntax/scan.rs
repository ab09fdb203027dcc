//! The scan before the parser: one pass, no recursion, strict where the parser would have to recover.

use super::SyntaxError;
use super::lexis::{Word, classify, is_blank, is_forbidden, is_newline, is_word, shown};

/// Blocks may be nested this deeply.
const MAX_DEPTH: usize = 32;

/// The text with its comments blanked, those of `/-` among them, every byte at its place; or what is wrong with it.
pub(in crate::scenario) fn scan(text: &str, limit: usize) -> Result<String, Vec<SyntaxError>> {
    let mut scanner = Scanner {
        text,
        at: 0,
        state: State::Start,
        slashed: None,
        hidden_node: None,
        hidden_entry: None,
        spaced: true,
        blocks: Vec::new(),
        comments: Vec::new(),
        errors: Vec::new(),
    };
    if text.starts_with('\u{feff}') {
        scanner.at = '\u{feff}'.len_utf8();
    }
    while scanner.errors.len() < limit && scanner.step() {}
    scanner.end();
    if !scanner.errors.is_empty() {
        return Err(scanner.errors);
    }
    let mut cleaned = text.to_owned().into_bytes();
    for (start, end) in scanner.comments {
        cleaned[start..end].fill(b' ');
    }
    // Comments begin and end between characters, so this cannot fail.
    String::from_utf8(cleaned).map_err(|_| vec![SyntaxError::new((0, 0), "the text is not UTF-8", "here", "")])
}

/// What may come next within a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// A node, or the end of the block.
    Start,
    /// The name of a node, after its type.
    TypedName,
    /// An argument, a property or a block; `key` if the last word can be the name of a property.
    Entries { key: bool },
    /// The value of an argument, after its type.
    TypedValue,
    /// The value of a property.
    Value,
    /// The end of the node, after its block.
    Closed { slashed: bool },
    /// Anything: an error was found in this line.
    Lost,
}

struct Block {
    offset: usize,
    /// Where the `/-` of the block itself stands.
    hidden: Option<usize>,
    /// Where the `/-` of its node stands.
    hidden_node: Option<usize>,
}

pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    state: State,
    /// Where a `/-` stands whose target has not come yet.
    slashed: Option<usize>,
    /// Where the `/-` of the current node stands.
    hidden_node: Option<usize>,
    /// Where the `/-` of the last argument stands: if it proves to be the name of a property, the
    /// value is meant as well.
    hidden_entry: Option<usize>,
    /// There was a blank since the last word.
    spaced: bool,
    blocks: Vec<Block>,
    comments: Vec<(usize, usize)>,
    errors: Vec<SyntaxError>,
}

impl<'a> Scanner<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn error(&mut self, start: usize, message: &str, label: &str, help: &str) {
        if self.state != State::Lost {
            let end = self.at.max(start);
            self.errors.push(SyntaxError::new((start, end - start), message, label, help));
        }
        self.state = State::Lost;
        self.slashed = None;
    }

    /// An error that makes the rest of the text meaningless.
    pub(super) fn fatal(&mut self, start: usize, length: usize, message: &str, label: &str, help: &str) {
        self.errors.push(SyntaxError::new((start, length), message, label, help));
        self.blocks.clear();
        self.state = State::Lost;
        self.at = self.text.len();
    }

    /// Takes one token; false at the end.
    fn step(&mut self) -> bool {
        let Some(c) = self.rest().chars().next() else { return false };
        let start = self.at;
        match c {
            _ if is_blank(c) => {
                self.at += c.len_utf8();
                self.spaced = true;
            }
            _ if is_newline(c) => {
                self.at += c.len_utf8();
                // A `/-` reaches over the end of the line.
                if self.slashed.is_none() {
                    self.terminate(start);
                }
            }
            ';' => {
                self.at += 1;
                if self.state == State::Start || self.slashed.is_some() {
                    self.error(start, "`;` without a node before it", "ends nothing", "remove it");
                } else {
                    // The end of a node that is commented out would end nothing.
                    let end = if self.hidden_node.is_some() { self.at } else { start };
                    self.terminate(end);
                }
            }
            '/' => self.slash(),
            '\\' => self.continued_line(),
            '{' => self.open(),
            '}' => self.close(),
            '(' => self.annotation(),
            '=' => {
                self.at += 1;
                if self.state == (State::Entries { key: true }) {
                    self.state = State::Value;
                } else {
                    self.error(start, "`=` without a property name before it", "no name", "a property is NAME=VALUE");
                }
            }
            '"' => {
                let ok = self.quoted();
                self.value(start, ok, true);
            }
            '#' => self.hash(),
            _ if is_word(c) => self.word(),
            _ if is_forbidden(c) => self.forbidden(c),
            _ => {
                self.at += c.len_utf8();
                let message = format!("`{}` does not belong here", shown(&c.to_string()));
                self.error(start, &message, "not in a bare word", "quote a text that holds such a character");
            }
        }
        true
    }

    fn terminate(&mut self, at: usize) {
        if matches!(self.state, State::Value | State::TypedName | State::TypedValue) {
            self.error(at, "a value is missing at the end of the line", "value expected", "a property is NAME=VALUE");
        }
        self.hide_node(at);
        self.state = State::Start;
        self.spaced = true;
    }

    /// Blanks the node if it is commented out.
    fn hide_node(&mut self, end: usize) {
        if let Some(start) = self.hidden_node.take() {
            self.comments.push((start, end));
        }
    }

    fn slash(&mut self) {
        let start = self.at;
        if self.rest().starts_with("//") {
            self.at += self.rest().find(is_newline).unwrap_or(self.rest().len());
            self.comments.push((start, self.at));
        } else if self.rest().starts_with("/*") {
            self.block_comment();
        } else if self.rest().starts_with("/-") {
            self.at += 2;
            let fits = matches!(self.state, State::Start | State::Entries { .. } | State::Closed { .. } | State::Lost);
            if !fits || !self.spaced || self.slashed.is_some() {
                self.error(
                    start,
                    "`/-` does not belong here",
                    "comments nothing out",
                    "put it, with a blank before it, in front of a node, an argument, a property or a block",
                );
            } else if self.state != State::Lost {
                self.slashed = Some(start);
            }
        } else {
            self.at += 1;
            self.error(start, "`/` does not belong here", "not in a bare word", "quote a path");
        }
    }

    fn block_comment(&mut self) {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut depth = 0_usize;
        while let Some(pair) = bytes.get(self.at..self.at + 2) {
            match pair {
                b"/*" => depth += 1,
                b"*/" => depth -= 1,
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            self.at += 2;
            if depth == 0 {
                self.comments.push((start, self.at));
                self.spaced = true;
                return;
            }
        }
        self.fatal(start, 2, "this comment has no end", "begins here", "close it with `*/`; comments nest");
    }

    fn continued_line(&mut self) {
        let start = self.at;
        self.at += 1;
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(is_blank).len();
            if !self.rest().starts_with("/*") && !self.rest().starts_with("//") {
                break;
            }
            self.slash();
        }
        match self.rest().chars().next() {
            Some(newline) if is_newline(newline) => {
                self.at += if self.rest().starts_with("\r\n") { 2 } else { newline.len_utf8() };
                self.spaced = true;
            }
            None => {}
            Some(_) => self.error(
                start,
                "`\\` does not belong here",
                "not in a bare word",
                "it continues a line at its very end; quote a text that holds it",
            ),
        }
    }

    fn open(&mut self) {
        let start = self.at;
        self.at += 1;
        let hidden = self.slashed.take();
        let fits = match self.state {
            State::Entries { .. } | State::Lost => true,
            State::Closed { slashed } => slashed || hidden.is_some(),
            _ => false,
        };
        if !fits {
            self.error(
                start,
                "a block without a node",
                "no node before it",
                "a block follows the name of its node in the same line",
            );
        }
        self.blocks.push(Block { offset: start, hidden, hidden_node: self.hidden_node.take() });
        if self.blocks.len() > MAX_DEPTH {
            let help = format!("there may be {MAX_DEPTH} levels");
            self.fatal(start, 1, "blocks are nested too deeply", "one too many", &help);
            return;
        }
        self.state = State::Start;
        self.spaced = true;
    }

    fn close(&mut self) {
        let start = self.at;
        self.at += 1;
        if self.slashed.is_some() {
            self.error(start, "`/-` comments nothing out", "the block ends here", "remove it");
        } else if matches!(self.state, State::Value | State::TypedName | State::TypedValue) {
            self.error(start, "a value is missing before `}`", "value expected", "a property is NAME=VALUE");
        }
        self.hide_node(start);
        match self.blocks.pop() {
            Some(block) => {
                self.state = State::Closed { slashed: block.hidden.is_some() };
                self.comments.extend(block.hidden.map(|start| (start, self.at)));
                self.hidden_node = block.hidden_node;
            }
            None => {
                self.state = State::Closed { slashed: false };
                self.error(start, "`}` closes no block", "one too many", "remove it, or look for a missing `{` above");
            }
        }
        self.spaced = true;
    }

    fn annotation(&mut self) {
        let start = self.at;
        let inner = self.rest()[1..].trim_start_matches(is_blank);
        let word = inner.len() - inner.trim_start_matches(is_word).len();
        let after = inner[word..].trim_start_matches(is_blank);
        let good = after.starts_with(')') && classify(&inner[..word]) == Word::Bare && word > 0;
        self.at = if good { self.text.len() - after.len() + 1 } else { self.at + 1 };
        let next = match self.state {
            State::Start => Some(State::TypedName),
            State::Entries { .. } if self.spaced => {
                self.hidden_entry = None;
                Some(State::TypedValue)
            }
            State::Value => Some(State::TypedValue),
            _ => None,
        };
        match next.filter(|_| good) {
            Some(state) => self.state = state,
            None => self.error(
                start,
                "`(` does not belong here",
                "not in a bare word",
                "write `(handle)alpha` for the handle of a guest; quote a text that holds a parenthesis",
            ),
        }
    }

    fn hash(&mut self) {
        let start = self.at;
        let hashes = self.rest().len() - self.rest().trim_start_matches('#').len();
        if self.rest()[hashes..].starts_with('"') {
            let ok = self.raw(hashes);
            return self.value(start, ok, true);
        }
        self.at += hashes;
        let word = self.rest().len() - self.rest().trim_start_matches(is_word).len();
        let keyword = &self.rest()[..word];
        let known = hashes == 1 && matches!(keyword, "true" | "false" | "null" | "nan" | "inf" | "-inf");
        self.at += word;
        if known {
            self.value(start, true, false);
        } else {
            self.error(
                start,
                "`#` does not belong here",
                "no keyword",
                "the keywords are #true and #false; quote a text that holds `#`",
            );
        }
    }

    fn word(&mut self) {
        let start = self.at;
        let length = self.rest().len() - self.rest().trim_start_matches(is_word).len();
        let word = &self.rest()[..length];
        self.at += length;
        match classify(word) {
            Word::Bare => self.value(start, true, true),
            Word::Number => self.value(start, true, false),
            Word::BadNumber => {
                let message = format!("`{}` begins like a number, but is none that can be read", shown(word));
                let help = if word.len() > 40 {
                    "numbers end at 64 bits; quote what is a text".to_owned()
                } else {
                    format!("if it is a text (a size, hex digits), quote it: \"{}\"", shown(word))
                };
                self.error(start, &message, "not a number", &help);
            }
            Word::Reserved => {
                let message = format!("`{word}` cannot be a bare word");
                let help = format!("write `#{word}` for the value, `\"{word}\"` for the text");
                self.error(start, &message, "reserved in KDL", &help);
            }
        }
    }

    /// A word, string, number or keyword has been read: is this the place for it?
    fn value(&mut self, start: usize, good: bool, string: bool) {
        if !good || self.state == State::Lost {
            return;
        }
        let next = self.rest().chars().next();
        let ended = next.is_none_or(|c| is_blank(c) || is_newline(c) || ";={}\\".contains(c))
            || self.rest().starts_with("//")
            || self.rest().starts_with("/*");
        match self.state {
            _ if !ended => {
                return self.error(
                    start,
                    "something clings to the end of this word",
                    "not separated",
                    "put a blank between them, or quote the whole",
                );
            }
            State::Start | State::TypedName if !string => {
                return self.error(
                    start,
                    "a number or keyword where a node begins",
                    "not a name",
                    "a line begins with a word",
                );
            }
            State::Start | State::TypedName => {
                self.hidden_node = self.slashed.take();
                self.state = State::Entries { key: false };
            }
            State::Entries { .. } if !self.spaced => {
                return self.error(start, "there is no blank before this word", "not separated", "");
            }
            State::Entries { .. } | State::TypedValue | State::Value => {
                let key = string && matches!(self.state, State::Entries { .. });
                // A value goes with its name, or with its annotation.
                let continued = self.hidden_entry.filter(|_| !matches!(self.state, State::Entries { .. }));
                self.hidden_entry = self.slashed.or(continued);
                self.comments.extend(self.hidden_entry.map(|start| (start, self.at)));
                self.state = State::Entries { key };
            }
            State::Closed { .. } => {
                return self.error(
                    start,
                    "the node ended with its block",
                    "one too many",
                    "begin a new line, or separate the nodes with `;`",
                );
            }
            State::Lost => {}
        }
        self.slashed = None;
        self.spaced = false;
    }

    /// The end of the text.
    fn end(&mut self) {
        if self.at < self.text.len() {
            return;
        }
        if let Some(start) = self.slashed.take() {
            self.error(start, "`/-` comments nothing out", "the text ends", "remove it");
        }
        self.terminate(self.text.len());
        if let Some(block) = self.blocks.first() {
            let innermost = self.blocks.last().unwrap_or(block).offset;
            self.errors.push(SyntaxError::new(
                (innermost, 1),
                "this block has no end",
                "opened here",
                "close it with `}`",
            ));
        }
    }
}
