//! What `valgrind --tool=lackey --trace-mem=yes` writes: a line an access, a kind, an address, a size.

use super::content::Content;
use super::{Access, Kind, MAX_SIZE, TraceError};

/// Longer lines are no lines of lackey; what it says of the command may be long.
const MAX_LINE: usize = 1 << 14;
/// What valgrind may say, or a decompression bomb hold, between two accesses.
const MAX_SILENCE: u64 = 1 << 24;
/// As much of a line as an error shows.
const SHOWN: usize = 60;

/// Tells garbage from text by how it begins.
pub(super) fn check(ahead: &[u8]) -> Result<(), TraceError> {
    let head = &ahead[..ahead.len().min(64)];
    // The last character may be cut.
    let text = std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true)
        && head.iter().all(|&byte| (byte >= b' ' && byte != 0x7f) || matches!(byte, b'\t' | b'\n' | b'\r'));
    let begins = matches!(head.first(), None | Some(b'=' | b'-' | b'I' | b' ' | b'\n' | b'\r'));
    if text && begins {
        return Ok(());
    }
    let found = match text {
        true => format!("`{}`", shown(head.split(|&byte| byte == b'\n').next().unwrap_or_default())),
        false => {
            let bytes: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("the bytes {}", bytes.join(" "))
        }
    };
    Err(TraceError::Unknown { found })
}

/// Lines of text.
#[derive(Debug)]
pub(super) struct Lines {
    content: Content,
    line: u64,
    /// A line that is not as a whole in the buffer.
    pieces: Vec<u8>,
}

impl Lines {
    pub(super) fn new(content: Content) -> Self {
        Self { content, line: 0, pieces: Vec::new() }
    }

    pub(super) fn next_access(&mut self) -> Result<Option<Access>, TraceError> {
        let begin = self.content.offset();
        loop {
            self.line += 1;
            let line = self.line;
            let ahead = self.content.ahead()?;
            if ahead.is_empty() {
                return Ok(None);
            }
            let (access, length) = match ahead.iter().position(|&byte| byte == b'\n') {
                Some(length) if length <= MAX_LINE => (parse(&ahead[..length], line)?, length + 1),
                _ => {
                    self.gather()?;
                    (parse(&self.pieces, line)?, 0)
                }
            };
            self.content.consume(length);
            if access.is_some() {
                return Ok(access);
            }
            if self.content.offset() - begin > MAX_SILENCE {
                return Err(TraceError::Silent { line, limit: MAX_SILENCE });
            }
        }
    }

    /// A line from more than one buffer, without its end.
    fn gather(&mut self) -> Result<(), TraceError> {
        self.pieces.clear();
        loop {
            let ahead = self.content.ahead()?;
            let end = ahead.iter().position(|&byte| byte == b'\n');
            self.pieces.extend_from_slice(&ahead[..end.unwrap_or(ahead.len())]);
            let (count, empty) = (end.map_or(ahead.len(), |end| end + 1), ahead.is_empty());
            self.content.consume(count);
            if self.pieces.len() > MAX_LINE {
                let what = "this line is longer than any that lackey writes";
                return Err(TraceError::Line { line: self.line, what, found: shown(&self.pieces) });
            }
            if end.is_some() {
                return Ok(());
            }
            if empty {
                return Err(TraceError::CutLine { line: self.line, found: shown(&self.pieces) });
            }
        }
    }
}

/// An access, or nothing for what valgrind says besides.
fn parse(text: &[u8], line: u64) -> Result<Option<Access>, TraceError> {
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let wrong = |what| Err(TraceError::Line { line, what, found: shown(text) });
    let (kind, rest) = match text {
        [b'I', b' ', b' ', rest @ ..] => (Kind::Fetch, rest),
        [b' ', b'L', b' ', rest @ ..] => (Kind::Load, rest),
        [b' ', b'S', b' ', rest @ ..] => (Kind::Store, rest),
        [b' ', b'M', b' ', rest @ ..] => (Kind::Modify, rest),
        [b'=', b'=', ..] | [b'-', b'-', ..] => return Ok(None),
        _ if text.iter().all(u8::is_ascii_whitespace) => return Ok(None),
        _ => return wrong("not a line of lackey, such as ` L 1ffeffe7e,8`"),
    };
    let mut address = 0_u64;
    let mut digits = 0;
    for &byte in rest {
        let Some(digit) = (byte as char).to_digit(16) else { break };
        address = address << 4 | u64::from(digit);
        digits += 1;
    }
    if digits == 0 || digits > 16 {
        return wrong("no address of at most 16 hexadecimal digits");
    }
    let Some(number) = rest[digits..].strip_prefix(b",") else { return wrong("no comma after the address") };
    if number.is_empty() || number.len() > 5 || !number.iter().all(u8::is_ascii_digit) {
        return wrong("no decimal size after the comma");
    }
    let size = number.iter().fold(0_u32, |size, digit| size * 10 + u32::from(digit - b'0'));
    match u16::try_from(size) {
        Ok(size) if (1..=MAX_SIZE).contains(&size) => match address.checked_add(u64::from(size) - 1) {
            Some(_) => Ok(Some(Access { address, size, kind })),
            None => wrong("the access goes beyond the last address"),
        },
        _ => wrong("the size is not 1 to 4096"),
    }
}

fn shown(text: &[u8]) -> String {
    let cut = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).escape_debug().to_string();
    if text.len() > SHOWN { format!("{cut}…") } else { cut }
}
