//! The compact form, `.uvtrace`, version 1: about two bytes an access. The book describes it byte by byte.

use super::content::Content;
use super::{Access, Kind, MAX_SIZE, TraceError};
use std::io::{self, Write};

const MAGIC: [u8; 8] = *b"\x89UVTRACE";
const VERSION: u8 = 1;
/// Flag: addresses are numbers of pages.
const PAGES: u8 = 1;
/// Sizes from here on stand behind the tag.
const LONG: u8 = 63;
/// Address bits within a page.
const PAGE_SHIFT: u32 = 12;

/// Whether a content begins as this form does.
pub(super) fn begins(ahead: &[u8]) -> bool {
    // A file that is cut off within the magic number is none of lackey's either: 0x89 is no text.
    ahead.first() == Some(&MAGIC[0])
}

/// Reads records.
#[derive(Debug)]
pub(super) struct Records {
    content: Content,
    shift: u32,
    bases: Bases,
    count: u64,
    over: bool,
}

impl Records {
    pub(super) fn new(mut content: Content) -> Result<Self, TraceError> {
        let mut head = [0; MAGIC.len() + 2];
        for byte in &mut head {
            let offset = content.offset();
            *byte = content.byte()?.ok_or(TraceError::Cut { offset })?;
        }
        let [magic @ .., version, flags] = head;
        if magic != MAGIC {
            let bytes: Vec<String> = magic.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(TraceError::Unknown { found: format!("the bytes {}", bytes.join(" ")) });
        }
        if version != VERSION {
            let what = format!("version {version} of the compact form is not known here, only {VERSION}");
            return Err(TraceError::Record { offset: 8, what });
        }
        if flags & !PAGES != 0 {
            return Err(TraceError::Record { offset: 9, what: format!("unknown flags {flags:#04x}") });
        }
        let shift = if flags & PAGES == 0 { 0 } else { PAGE_SHIFT };
        Ok(Self { content, shift, bases: Bases::default(), count: 0, over: false })
    }

    pub(super) fn next_access(&mut self) -> Result<Option<Access>, TraceError> {
        if self.over {
            return Ok(None);
        }
        let offset = self.content.offset();
        let wrong = |what: String| Err(TraceError::Record { offset, what });
        let tag = self.byte()?;
        if tag == 0 {
            return self.end(offset);
        }
        let kind = Kind::ALL[usize::from(tag & 3)];
        let size = match tag >> 2 {
            0 => return wrong(format!("tag {tag:#04x} says that nothing is accessed")),
            LONG => self.varint()?,
            short => u64::from(short),
        };
        let Some(size) = u16::try_from(size).ok().filter(|size| (1..=MAX_SIZE).contains(size)) else {
            return wrong(format!("an access of {size} bytes, not 1 to {MAX_SIZE}"));
        };
        let delta = unzigzag(self.varint()?);
        let base = self.bases.of(kind);
        let unit = base.wrapping_add(delta);
        if unit.leading_zeros() < self.shift {
            return wrong(format!("page number {unit:#x} is too large"));
        }
        *base = unit;
        let address = unit << self.shift;
        if address.checked_add(u64::from(size) - 1).is_none() {
            return wrong(format!("{size} bytes from {address:#x} on go beyond the last address"));
        }
        self.count += 1;
        Ok(Some(Access { address, size, kind }))
    }

    fn end(&mut self, offset: u64) -> Result<Option<Access>, TraceError> {
        let count = self.varint()?;
        if count != self.count {
            let what = format!("the end record counts {count} accesses, there are {}", self.count);
            return Err(TraceError::Record { offset, what });
        }
        let offset = self.content.offset();
        if self.content.byte()?.is_some() {
            return Err(TraceError::Record { offset, what: "something follows the end record".to_owned() });
        }
        self.over = true;
        Ok(None)
    }

    fn byte(&mut self) -> Result<u8, TraceError> {
        let offset = self.content.offset();
        self.content.byte()?.ok_or(TraceError::Cut { offset })
    }

    /// Seven bits a byte, the lowest first; all but the last have bit 0x80.
    fn varint(&mut self) -> Result<u64, TraceError> {
        let offset = self.content.offset();
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(TraceError::Record { offset, what: "a number of more than 64 bits".to_owned() })
    }
}

/// Writes records.
#[derive(Debug)]
pub(super) struct Writer<W: Write> {
    out: W,
    shift: u32,
    bases: Bases,
    count: u64,
}

impl<W: Write> Writer<W> {
    /// With `pages`, addresses are those of pages.
    pub(super) fn new(mut out: W, pages: bool) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        out.write_all(&[VERSION, if pages { PAGES } else { 0 }])?;
        Ok(Self { out, shift: if pages { PAGE_SHIFT } else { 0 }, bases: Bases::default(), count: 0 })
    }

    pub(super) fn write(&mut self, access: &Access) -> io::Result<()> {
        let mut record = Record::default();
        let kind = access.kind as u8;
        match u8::try_from(access.size).ok().filter(|&size| size < LONG) {
            Some(size) => record.push(size << 2 | kind),
            None => {
                record.push(LONG << 2 | kind);
                record.varint(access.size.into());
            }
        }
        let unit = access.address >> self.shift;
        let base = self.bases.of(access.kind);
        record.varint(zigzag(unit.wrapping_sub(*base)));
        *base = unit;
        self.count += 1;
        self.out.write_all(&record.bytes[..record.length])
    }

    /// Writes the end record.
    pub(super) fn finish(mut self) -> io::Result<W> {
        let mut record = Record::default();
        record.push(0);
        record.varint(self.count);
        self.out.write_all(&record.bytes[..record.length])?;
        Ok(self.out)
    }
}

/// The addresses that the next ones are told from: instructions and data have their own.
#[derive(Debug, Default)]
struct Bases([u64; 2]);

impl Bases {
    fn of(&mut self, kind: Kind) -> &mut u64 {
        &mut self.0[usize::from(kind != Kind::Fetch)]
    }
}

/// A tag and two numbers at most.
#[derive(Default)]
struct Record {
    bytes: [u8; 24],
    length: usize,
}

impl Record {
    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }
}

/// Small numbers for small distances in either direction.
fn zigzag(delta: u64) -> u64 {
    delta << 1 ^ ((delta as i64) >> 63) as u64
}

fn unzigzag(value: u64) -> u64 {
    value >> 1 ^ (value & 1).wrapping_neg()
}
