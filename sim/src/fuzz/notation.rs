//! Operands as a scenario writes them.

use super::text::GUESTS;
use crate::scenario::{FieldValue, GuestId, ImagePart, Pages, Read, Source};
use std::fmt::{self, Display};

pub(super) struct Name(pub(super) GuestId);

impl Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(GUESTS.get(self.0.0).copied().unwrap_or("nobody"))
    }
}

pub(super) struct At(pub(super) Pages);

impl Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Name(self.0.guest), self.0.first.0)
    }
}

pub(super) struct Purge(pub(super) bool);

impl Display for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "" } else { " purge=#false" })
    }
}

pub(super) struct Part(pub(super) ImagePart);

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ImagePart::All => Ok(()),
            ImagePart::Component(number) => write!(f, " component={number}"),
            ImagePart::Page(number) => write!(f, " page={number}"),
        }
    }
}

pub(super) struct Reading<'a>(pub(super) &'a Read, pub(super) bool);

impl Display for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Read { offset, length, save, .. }, saves) = self;
        if *offset != 0 {
            write!(f, " offset={offset}")?;
        }
        length.map_or(Ok(()), |length| write!(f, " len={length}"))?;
        save.filter(|_| *saves).map_or(Ok(()), |buffer| write!(f, " save=b{}", buffer.0))
    }
}

pub(super) struct Writing<'a>(pub(super) u16, pub(super) &'a Source);

impl Display for Writing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 != 0 {
            write!(f, " offset={}", self.0)?;
        }
        match self.1 {
            Source::Bytes(bytes) => write!(f, " hex=\"{}\"", Hex(bytes)),
            Source::Buffer(buffer) => write!(f, " from=b{}", buffer.0),
        }
    }
}

pub(super) struct Value(pub(super) FieldValue);

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FieldValue::Number(number) => write!(f, "{number:#x}"),
            FieldValue::Handle(guest) => write!(f, "(handle){}", Name(guest)),
            FieldValue::Cpu(guest, vcpu) => write!(f, "(cpu)\"{}:{vcpu}\"", Name(guest)),
            FieldValue::Frame(guest, page) => write!(f, "(frame)\"{}:{}\"", Name(guest), page.0),
            FieldValue::Page(guest, page) => write!(f, "(page)\"{}:{}\"", Name(guest), page.0),
            FieldValue::Header(guest) => write!(f, "(header){}", Name(guest)),
            FieldValue::HeaderLength(guest) => write!(f, "(header-length){}", Name(guest)),
            FieldValue::TweakPrefix(guest, page) => write!(f, "(tweak-prefix)\"{}:{}\"", Name(guest), page.0),
            FieldValue::TweakOffset(guest, page) => write!(f, "(tweak-offset)\"{}:{}\"", Name(guest), page.0),
        }
    }
}

pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text between quotes; what would end it, or is not for the eye, becomes a blank.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |c: char| if c == '"' || c == '\\' || c.is_control() { ' ' } else { c };
        write!(f, "\"{}\"", self.0.chars().map(shown).collect::<String>())
    }
}
