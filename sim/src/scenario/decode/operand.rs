//! Operands: guests, pages, buffers, the properties of reads and writes.

use kdl::KdlEntry;
use uvsim_model::address::PageIndex;
use uvsim_model::uvc::Command;

use super::super::document::{BufferId, GuestId};
use super::super::outcome::{Expectation, Outcome};
use super::super::reader::NodeReader;
use super::super::statement::{Pages, Read, Source, Write};
use super::super::syntax::{number, shown};
use super::{Buffer, Crossing, Decoder};

/// Bytes in a page.
pub(super) const PAGE: u32 = 4096;
/// Pages that 64-bit addresses reach.
const ALL_PAGES: u64 = 1 << 52;

/// Whether a page may lie outside of its guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outside {
    /// Never.
    Never,
    /// The statement says what it expects then.
    Allowed,
    /// It might, if the statement said what it expects.
    Unexpected,
}

impl Decoder<'_, '_> {
    /// The guest that an argument names.
    pub(super) fn guest_argument(&mut self, reader: &mut NodeReader<'_>) -> Option<GuestId> {
        let entry = reader.argument("a guest", &mut self.reports)?;
        self.guest_of(entry)
    }

    /// The guest that an entry names.
    pub(super) fn guest_of(&mut self, entry: &KdlEntry) -> Option<GuestId> {
        let name = self.reports.string(entry, "a guest")?;
        if let Some((guest, _)) = name.split_once(':')
            && self.guest_names.contains_key(guest)
        {
            return self.reports.error(
                entry.span(),
                format!("`{}` is a page where a guest belongs", shown(name)),
                "guest expected",
                format!("write `{guest}`"),
            );
        }
        self.guest_named(entry, name)
    }

    /// The guest of this name.
    pub(super) fn guest_named(&mut self, entry: &KdlEntry, name: &str) -> Option<GuestId> {
        if let Some(guest) = self.guest_names.get(name) {
            return Some(*guest);
        }
        let help = match self.guest_names.is_empty() {
            true => "declare it before the first step: guest NAME memory=\"1MiB\"".into(),
            false => self.reports.suggestion(name, self.guest_names.keys().map(String::as_str)),
        };
        self.reports.error(entry.span(), format!("there is no guest `{}`", shown(name)), "unknown guest", help)
    }

    /// The pages that an argument names.
    pub(super) fn pages_argument(&mut self, reader: &mut NodeReader<'_>, outside: Outside) -> Option<Pages> {
        let entry = reader.argument("a page", &mut self.reports)?;
        let text = self.reports.string(entry, "a page")?;
        self.pages_of(entry, text, outside)
    }

    /// The pages that a text such as `alpha:0..15` names.
    pub(super) fn pages_of(&mut self, entry: &KdlEntry, text: &str, outside: Outside) -> Option<Pages> {
        let Some((name, range)) = text.split_once(':') else {
            let help = if self.guest_names.contains_key(text) {
                format!("write `{text}:3` for page 3")
            } else {
                "a page is GUEST:NUMBER".to_owned()
            };
            return self.reports.error(entry.span(), format!("`{}` is not a page", shown(text)), "page expected", help);
        };
        let guest = self.guest_named(entry, name);
        let (first, last) = range.split_once("..").unwrap_or((range, range));
        let mut page = |text: &str| match number(text) {
            Some(Some(page)) if page < ALL_PAGES => Some(page),
            Some(_) => self.reports.error(
                entry.span(),
                format!("page {} is beyond 64-bit addresses", shown(text)),
                "too large",
                "",
            ),
            None => self.reports.error(
                entry.span(),
                format!("`{}` is not the number of a page", shown(text)),
                "not a page",
                "a page is GUEST:NUMBER, a range GUEST:FIRST..LAST",
            ),
        };
        let (first, last) = (page(first)?, page(last)?);
        if first > last {
            return self.reports.error(
                entry.span(),
                format!("the range from {first} to {last} is empty"),
                "empty",
                format!("write `{name}:{last}..{first}`"),
            );
        }
        let guest = guest?;
        let pages = self.guests[guest.0].pages();
        if last >= pages && outside != Outside::Allowed {
            let help = match outside {
                Outside::Unexpected => {
                    format!("its pages are 0 to {}; to go beyond, say what is expected with `expect=`", pages - 1)
                }
                _ => format!("its pages are 0 to {}", pages - 1),
            };
            let outsider = first.max(pages);
            return self.reports.error(
                entry.span(),
                format!("page {outsider} is outside of guest `{}`", shown(name)),
                "outside",
                help,
            );
        }
        Some(Pages { guest, first: PageIndex(first), last: PageIndex(last) })
    }

    /// The pages of `to=`, as many as those of the argument.
    pub(super) fn destination(&mut self, reader: &mut NodeReader<'_>, pages: Option<Pages>) -> Option<Pages> {
        let entry = reader.required("to", &mut self.reports)?;
        let text = self.reports.string(entry, "a page")?;
        let to = self.pages_of(entry, text, Outside::Never)?;
        if let Some(pages) = pages.filter(|pages| pages.len() != to.len()) {
            return self.reports.error(
                entry.span(),
                format!("{} pages go to {}", pages.len(), to.len()),
                "another length",
                "both ranges must have the same length",
            );
        }
        Some(to)
    }

    /// A buffer that an earlier line saves.
    pub(super) fn buffer(&mut self, entry: &KdlEntry) -> Option<BufferId> {
        let name = self.reports.text(entry, "a name")?;
        if let Some(&buffer) = self.buffer_names.get(name) {
            self.note_use(buffer, entry, false);
            return Some(buffer);
        }
        let help = match self.buffer_names.is_empty() {
            true => format!("save it in an earlier line: save={}", shown(name)).into(),
            false => self.reports.suggestion(name, self.buffer_names.keys().map(String::as_str)),
        };
        self.reports.error(
            entry.span(),
            format!("nothing before this line saves `{}`", shown(name)),
            "not saved yet",
            help,
        )
    }

    /// The buffer that `save=` names. `length` is `None` where it shows only at run time.
    pub(super) fn save(&mut self, reader: &mut NodeReader<'_>, length: Option<u16>) -> Option<BufferId> {
        let entry = reader.property("save")?;
        let name = self.reports.text(entry, "a name")?;
        if let Some(&buffer) = self.buffer_names.get(name) {
            let known = &mut self.buffers[buffer.0].length;
            *known = known.filter(|&known| Some(known) == length);
            self.note_use(buffer, entry, true);
            return Some(buffer);
        }
        let buffer = BufferId(self.buffers.len());
        self.buffers.push(Buffer { name: name.to_owned(), length });
        self.buffer_names.insert(name.to_owned(), buffer);
        self.note_use(buffer, entry, true);
        Some(buffer)
    }

    /// The one property of a group that is given.
    pub(super) fn one_of<'k>(
        &mut self,
        reader: &mut NodeReader<'k>,
        names: &[&'static str],
        required: bool,
    ) -> Option<(&'static str, &'k KdlEntry)> {
        let mut given = names.iter().filter_map(|&name| Some((name, reader.property(name)?)));
        let first = given.next();
        let second = given.next();
        let group = names.iter().map(|name| format!("{name}=")).collect::<Vec<_>>().join(" ");
        match (first, second) {
            (Some((one, first)), Some((two, second))) => {
                let place = self.reports.place(first.span());
                self.reports.report_with(
                    second.span(),
                    format!("`{one}=` and `{two}=` exclude each other"),
                    "one too many",
                    format!("give one of: {group}"),
                    Some((place, "given here")),
                );
                Some((one, first))
            }
            (None, _) if required => {
                let message = format!("`{}` lacks one of: {group}", reader.title);
                self.reports.error(reader.span(), message, "incomplete", "")
            }
            (first, _) => first,
        }
    }

    /// Bytes given as `text=` or `hex=`, or a buffer.
    fn source(&mut self, (kind, entry): (&str, &KdlEntry)) -> Option<Source> {
        match kind {
            "text" => self.reports.text(entry, "a text").map(|text| Source::Bytes(text.as_bytes().to_vec())),
            "hex" => self.reports.hex(entry).map(Source::Bytes),
            _ => self.buffer(entry).map(Source::Buffer),
        }
    }

    fn offset(&mut self, reader: &mut NodeReader<'_>) -> u16 {
        reader.property("offset").and_then(|entry| self.reports.number16(entry, 0, 4095)).unwrap_or(0)
    }

    /// Operands of a read.
    pub(super) fn read(
        &mut self,
        reader: &mut NodeReader<'_>,
        pages: Option<Pages>,
        expectation: &Expectation,
    ) -> Option<Read> {
        let offset = self.offset(reader);
        let length_entry = reader.property("len");
        let given = length_entry.and_then(|entry| self.reports.number16(entry, 1, 4096));
        let compared = self.one_of(reader, &["text", "hex", "equals"], false);
        let compare = compared.and_then(|compared| self.source(compared));
        let length = match (given, &compare) {
            (Some(length), _) => Some(u32::from(length)),
            (None, Some(Source::Bytes(bytes))) => Some(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            (None, Some(Source::Buffer(_))) => None,
            (None, None) => Some(PAGE - u32::from(offset)),
        };
        if let Some(entry) = length_entry.or(compared.map(|(_, entry)| entry)) {
            self.fits(entry, offset, length, compare.as_ref());
        }
        let length = length.and_then(|length| u16::try_from(length.min(PAGE)).ok());
        let save = self.save(reader, length);
        self.only_with_ok(reader, compared, expectation);
        if let (Some(pages), Some(entry)) = (pages.filter(|pages| pages.len() > 1), reader.property("save")) {
            let message = format!("{} pages cannot be saved under one name", pages.len());
            self.reports.report(entry.span(), message, "not with a range", "read one page, or do not save");
        }
        let broken = compared.is_some() && compare.is_none();
        (!broken).then_some(Read { offset, length, save, compare })
    }

    fn only_with_ok(
        &mut self,
        reader: &mut NodeReader<'_>,
        compared: Option<(&str, &KdlEntry)>,
        expectation: &Expectation,
    ) {
        if expectation.outcome == Outcome::Ok {
            return;
        }
        let save = reader.property("save").map(|entry| ("save", entry));
        for (name, entry) in save.into_iter().chain(compared) {
            let message = format!("`{name}=` needs bytes, but `{}` is expected", expectation.outcome);
            self.reports.report(entry.span(), message, "goes only with ok", "a read that fails gives no bytes");
        }
    }

    /// Operands of a write.
    pub(super) fn write(&mut self, reader: &mut NodeReader<'_>) -> Option<Write> {
        let offset = self.offset(reader);
        let given = self.one_of(reader, &["text", "hex", "from"], true)?;
        let data = self.source(given)?;
        let length = match &data {
            Source::Bytes(bytes) => Some(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            Source::Buffer(_) => None,
        };
        self.fits(given.1, offset, length, Some(&data));
        Some(Write { offset, data })
    }

    /// No access crosses the end of the page.
    fn fits(&mut self, entry: &KdlEntry, offset: u16, length: Option<u32>, source: Option<&Source>) {
        match (length, source) {
            (Some(length), _) if u32::from(offset).saturating_add(length) > PAGE => {
                let message = format!("{length} bytes from offset {offset} on cross the end of the page");
                self.reports.report(entry.span(), message, "crosses the page", "a page has 4096 bytes");
            }
            (None, Some(&Source::Buffer(buffer))) => {
                self.crossings.push(Crossing { buffer, offset, span: entry.span() })
            }
            _ => {}
        }
    }

    /// A command by its short name or its number; it must be a known one.
    pub(super) fn command(&mut self, entry: &KdlEntry) -> Option<Command> {
        let (code, command) = self.command_code(entry)?;
        if command.is_none() {
            return self.reports.error(entry.span(), format!("there is no command {code:#06x}"), "unknown command", "");
        }
        command
    }

    /// A command by its short name or its number, known or not.
    pub(super) fn command_code(&mut self, entry: &KdlEntry) -> Option<(u16, Option<Command>)> {
        if entry.value().is_integer() {
            let code = self.reports.number16(entry, 0, u16::MAX)?;
            return Some((code, Command::from_code(code)));
        }
        let name = self.reports.string(entry, "a command")?;
        if let Some(command) = Command::from_name(name) {
            return Some((command.code(), Some(command)));
        }
        let help = self.reports.suggestion(name, Command::ALL.iter().map(|command| command.name()));
        self.reports.error(entry.span(), format!("there is no command `{}`", shown(name)), "unknown command", help)
    }
}
