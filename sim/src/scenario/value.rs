//! From KDL values to what the language calls a number, a size, a text.

use kdl::{KdlEntry, KdlValue};

use super::reader::Reports;
use super::syntax::shown;

impl Reports<'_> {
    /// Says that the entry is of the wrong kind; no annotation may stand before it either.
    fn wrong_kind<T>(&mut self, entry: &KdlEntry, wanted: &str) -> Option<T> {
        let found = match entry.value() {
            KdlValue::String(_) => "a text",
            KdlValue::Integer(_) => "a number",
            KdlValue::Float(_) => "a fraction",
            KdlValue::Bool(_) => "a truth value",
            KdlValue::Null => "#null",
        };
        let written = self.quote(entry.span());
        let written = written.split_once('=').map_or(written, |(_, value)| value).trim();
        let help = match entry.value() {
            KdlValue::Integer(_) | KdlValue::Float(_) if wanted != "a number" && wanted != "#true or #false" => {
                format!("quote it: \"{}\"", shown(written))
            }
            KdlValue::String(text) if wanted == "#true or #false" && matches!(text.as_str(), "true" | "false") => {
                format!("write #{text}")
            }
            KdlValue::String(text) if wanted == "a number" && super::syntax::number(text).is_some() => {
                format!("without quotes: {}", shown(text))
            }
            _ => String::new(),
        };
        self.error(
            entry.span(),
            format!("{found} where {wanted} belongs"),
            &format!("{wanted} expected"),
            help.as_str(),
        )
    }

    /// Reports an annotation where none belongs.
    pub(super) fn unannotated(&mut self, entry: &KdlEntry) {
        if let Some(annotation) = entry.ty() {
            let message = format!("the annotation `({})` does not belong here", shown(annotation.value()));
            self.report(entry.span(), message, "annotated", "only the fields of `uvc` take annotations");
        }
    }

    /// An integer from `least` to `most`.
    pub(super) fn number(&mut self, entry: &KdlEntry, least: u64, most: u64) -> Option<u64> {
        self.unannotated(entry);
        let KdlValue::Integer(number) = *entry.value() else { return self.wrong_kind(entry, "a number") };
        match u64::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let message = format!("{number} is too {}", if number < i128::from(least) { "small" } else { "large" });
                let help = if most == u64::MAX {
                    format!("at least {least}, at most 64 bits")
                } else {
                    format!("from {least} to {most} ({most:#x})")
                };
                self.error(entry.span(), message, "out of range", help)
            }
        }
    }

    /// An integer of 16 bits.
    pub(super) fn number16(&mut self, entry: &KdlEntry, least: u16, most: u16) -> Option<u16> {
        self.number(entry, least.into(), most.into()).and_then(|number| u16::try_from(number).ok())
    }

    /// A number from 0 to 1.
    pub(super) fn fraction(&mut self, entry: &KdlEntry) -> Option<f64> {
        self.unannotated(entry);
        let value = match *entry.value() {
            KdlValue::Float(value) => value,
            KdlValue::Integer(0) => 0.0,
            KdlValue::Integer(1) => 1.0,
            KdlValue::Integer(_) => f64::NAN,
            _ => return self.wrong_kind(entry, "a number"),
        };
        if (0.0..=1.0).contains(&value) {
            return Some(value);
        }
        self.error(
            entry.span(),
            "this share is not between 0 and 1".to_owned(),
            "out of range",
            "from 0 to 1, such as 0.3",
        )
    }

    /// A truth value.
    pub(super) fn truth(&mut self, entry: &KdlEntry) -> Option<bool> {
        self.unannotated(entry);
        match *entry.value() {
            KdlValue::Bool(value) => Some(value),
            _ => self.wrong_kind(entry, "#true or #false"),
        }
    }

    /// A text of any content; `wanted` names it, with its article.
    pub(super) fn string<'k>(&mut self, entry: &'k KdlEntry, wanted: &str) -> Option<&'k str> {
        self.unannotated(entry);
        self.annotated_string(entry, wanted)
    }

    /// A text that may have an annotation.
    pub(super) fn annotated_string<'k>(&mut self, entry: &'k KdlEntry, wanted: &str) -> Option<&'k str> {
        match entry.value() {
            KdlValue::String(text) => Some(text),
            _ => self.wrong_kind(entry, wanted),
        }
    }

    /// A text with at least one character.
    pub(super) fn text<'k>(&mut self, entry: &'k KdlEntry, wanted: &str) -> Option<&'k str> {
        let text = self.string(entry, wanted)?;
        if text.is_empty() {
            return self.error(entry.span(), format!("{wanted} is empty"), "empty", "");
        }
        Some(text)
    }

    /// One of these names.
    pub(super) fn choice<T: Copy>(&mut self, entry: &KdlEntry, wanted: &str, choices: &[(&str, T)]) -> Option<T> {
        let word = self.string(entry, wanted)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word) {
            return Some(*value);
        }
        let help = self.suggestion(word, choices.iter().map(|(name, _)| *name));
        self.error(entry.span(), format!("`{}` is not {wanted}", shown(word)), "unknown", help)
    }

    /// Bytes as hexadecimal digits, blanks ignored; at least one byte.
    pub(super) fn hex(&mut self, entry: &KdlEntry) -> Option<Vec<u8>> {
        let text = self.string(entry, "a text of hex digits")?;
        if let Some(wrong) = text.chars().find(|c| !c.is_ascii_hexdigit() && !c.is_whitespace()) {
            let message = format!("`{}` is not a hex digit", shown(&wrong.to_string()));
            return self.error(
                entry.span(),
                message,
                "not hexadecimal",
                "digits 0-9 a-f without 0x, blanks are ignored",
            );
        }
        let digits: Vec<u8> =
            text.chars().filter_map(|c| c.to_digit(16)).filter_map(|digit| u8::try_from(digit).ok()).collect();
        if digits.is_empty() {
            return self.error(entry.span(), "no hex digits".to_owned(), "empty", "");
        }
        if digits.len() % 2 == 1 {
            return self.error(
                entry.span(),
                format!("an odd number of hex digits: {}", digits.len()),
                "half a byte is missing",
                "two digits make a byte",
            );
        }
        Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
    }

    /// A size such as `"4GiB"`.
    pub(super) fn size(&mut self, entry: &KdlEntry) -> Option<u64> {
        const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
        let text = self.string(entry, "a size")?;
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let unit = UNITS.iter().find(|(unit, _)| *unit == &text[digits..]);
        let (Some((_, shift)), true) = (unit, digits > 0) else {
            let message = format!("`{}` is not a size", shown(text));
            return self.error(
                entry.span(),
                message,
                "not a size",
                "an integer and B, KiB, MiB, GiB or TiB, such as \"4GiB\"",
            );
        };
        let size = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
        match size {
            Some(size) => Some(size),
            None => self.error(entry.span(), format!("`{}` is more than 64 bits hold", shown(text)), "too large", ""),
        }
    }
}
