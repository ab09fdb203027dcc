//! Words, numbers and characters of KDL 2.

/// Whether this ends a line.
pub(super) fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{b}' | '\u{c}' | '\u{2028}' | '\u{2029}')
}

/// Whether this is a blank within a line.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

/// Whether KDL forbids the character everywhere.
pub(super) fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Whether a bare word may hold the character.
pub(super) fn is_word(c: char) -> bool {
    !is_newline(c) && !is_blank(c) && !is_forbidden(c) && !r##"\/(){}[];"#="##.contains(c)
}

/// What a run of word characters is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Word {
    /// A string.
    Bare,
    /// A number.
    Number,
    /// Begins like a number and is none.
    BadNumber,
    /// One of the words that must be quoted, or written with `#`.
    Reserved,
}

/// Classifies a run of word characters.
pub(super) fn classify(word: &str) -> Word {
    if matches!(word, "true" | "false" | "null" | "inf" | "-inf" | "nan") {
        return Word::Reserved;
    }
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let digits = unsigned.strip_prefix('.').unwrap_or(unsigned);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return Word::Bare;
    }
    if is_number(unsigned) { Word::Number } else { Word::BadNumber }
}

fn is_number(unsigned: &str) -> bool {
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = unsigned.strip_prefix(prefix) {
            return is_digits(digits, radix) && i128::from_str_radix(&digits.replace('_', ""), radix).is_ok();
        }
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    if exponent.is_some_and(|exponent| !is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent), 10)) {
        return false;
    }
    match mantissa.split_once('.') {
        Some((whole, fraction)) => is_digits(whole, 10) && is_digits(fraction, 10),
        None if exponent.is_some() => is_digits(mantissa, 10),
        None => is_digits(mantissa, 10) && mantissa.replace('_', "").parse::<i128>().is_ok(),
    }
}

fn is_digits(text: &str, radix: u32) -> bool {
    text.starts_with(|c: char| c.is_digit(radix)) && text.chars().all(|c| c == '_' || c.is_digit(radix))
}

/// A number written in a word, as in `alpha:0x10`: decimal (leading zeros do not matter), `0x`,
/// `0o` or `0b`. `None` if it is none, `Some(None)` if 64 bits do not hold it.
pub(in crate::scenario) fn number(word: &str) -> Option<Option<u64>> {
    let (digits, radix) = match word.get(..2) {
        Some("0x") => (&word[2..], 16),
        Some("0o") => (&word[2..], 8),
        Some("0b") => (&word[2..], 2),
        _ => (word, 10),
    };
    is_digits(digits, radix).then(|| u64::from_str_radix(&digits.replace('_', ""), radix).ok())
}

/// Text of the file for a message: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut result: String =
        text.chars().take(LONGEST).map(|c| if is_forbidden(c) || is_newline(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        result.push('…');
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers() {
        for word in ["a", "alpha:0..15", "-", "+x", "-.x", "é", "...", "a0", ",", "a.b"] {
            assert_eq!(classify(word), Word::Bare, "{word}");
        }
        for word in ["0", "0012", "0x1F", "0o17", "0b1_0", "1.5", "1e3", "1_000.0_1E-3", "-1", "+0x1"] {
            assert_eq!(classify(word), Word::Number, "{word}");
        }
        for word in ["4GiB", "0x", "0x1G", "1.", ".5", "1.e3", "0b2", "1a", "-.5", "0X1", "1e", "12:3"] {
            assert_eq!(classify(word), Word::BadNumber, "{word}");
        }
        assert_eq!(classify(&"9".repeat(50)), Word::BadNumber, "more than 128 bits");
        assert_eq!(classify("true"), Word::Reserved);
    }

    #[test]
    fn numbers_in_words() {
        assert_eq!(number("0012"), Some(Some(12)));
        assert_eq!(number("0x1f"), Some(Some(31)));
        assert_eq!(number("1_0"), Some(Some(10)));
        assert_eq!(number("18446744073709551616"), Some(None));
        assert_eq!(number(""), None);
        assert_eq!(number("-1"), None);
        assert_eq!(number("0x"), None);
    }

    #[test]
    fn quoted_text_is_short_and_clean() {
        assert_eq!(shown("a\u{1b}[31m\n"), "a\u{fffd}[31m\u{fffd}");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), 61);
    }
}
