//! Comparisons of bytes, told so that one sees the difference.

use std::fmt;

/// The first place where two byte strings differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Offset of the first byte that differs, or the shorter length.
    pub offset: usize,
    expected: Vec<u8>,
    found: Vec<u8>,
    expected_len: usize,
    found_len: usize,
}

/// Bytes shown from the first difference on.
const SHOWN: usize = 16;

impl Difference {
    /// `None` if both are equal.
    #[must_use]
    pub fn between(expected: &[u8], found: &[u8]) -> Option<Self> {
        if expected == found {
            return None;
        }
        let common = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
        let part = |bytes: &[u8]| bytes[common..(common + SHOWN).min(bytes.len())].to_vec();
        Some(Self {
            offset: common,
            expected: part(expected),
            found: part(found),
            expected_len: expected.len(),
            found_len: found.len(),
        })
    }

    /// Rows for a report: what, expected, found.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, String, String)> {
        let mut rows = Vec::new();
        if self.expected_len != self.found_len {
            rows.push(("length".into(), self.expected_len.to_string(), self.found_len.to_string()));
        }
        rows.push((format!("bytes from {} on", self.offset), shown(&self.expected), shown(&self.found)));
        rows
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the content differs from byte {} on", self.offset)
    }
}

/// Hex digits, and the text if it is printable.
fn shown(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing".into();
    }
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: String =
        bytes.iter().map(|&byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' }).collect();
    format!("{}  {text}", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(Difference::between(b"abc", b"abc"), None);
        let difference = Difference::between(b"abcd", b"abXd").unwrap();
        assert_eq!(difference.offset, 2);
        assert_eq!(difference.rows(), [("bytes from 2 on".into(), "63 64  cd".into(), "58 64  Xd".into())]);
        let shorter = Difference::between(b"abcd", b"ab").unwrap();
        assert_eq!(shorter.rows()[0], ("length".into(), "4".into(), "2".into()));
        assert_eq!(shorter.rows()[1].2, "nothing");
    }
}
