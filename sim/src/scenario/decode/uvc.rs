//! `uvc COMMAND FIELD=VALUE ...`

use kdl::{KdlEntry, KdlValue};
use uvsim_model::uvc::{Field, HEADER_LENGTH};

use super::super::reader::NodeReader;
use super::super::statement::{FieldValue, UvcCall};
use super::super::syntax::{number, shown};
use super::Decoder;
use super::operand::Outside;

/// Properties of every call. No field of a command may have one of these names.
#[cfg(test)]
pub(in crate::scenario) const RESERVED: [&str; 11] =
    ["len", "bytes", "save", "problem-state", "immediate", "skew", "cpu", "expect", "rc", "rrc", "code"];

/// The most that the address of a block is moved by.
const MAX_SKEW: u16 = 4095;

impl Decoder<'_, '_> {
    /// The call; `room` is the space for its block, bytes.
    pub(super) fn uvc(&mut self, reader: &mut NodeReader<'_>, room: usize) -> Option<UvcCall> {
        let command = reader.argument("a command", &mut self.reports);
        let command = command.and_then(|entry| self.command_code(entry));
        let length = reader.property("len").map(|entry| self.reports.number16(entry, 0, u16::MAX));
        let bytes = reader.property("bytes").map(|entry| self.block(entry, room));
        let problem_state = self.switch(reader, "problem-state", false);
        let immediate = reader.property("immediate").map_or(Some(0), |entry| self.reports.number16(entry, 0, 255));
        let skew = reader.property("skew").map_or(Some(0), |entry| self.reports.number16(entry, 0, MAX_SKEW));
        let fields = command.and_then(|(_, command)| command).map_or(&[][..], |command| command.row().fields);
        let fields = self.fields(reader, fields);
        let save = self.save(reader, None);
        let Some((code, command)) = command else {
            // Which fields there are is not known: their names are no errors.
            reader.accept_all();
            return None;
        };
        let usual = command.map_or(HEADER_LENGTH as u16, |command| command.usual_length());
        Some(UvcCall {
            code,
            command,
            length: length.unwrap_or(Some(usual))?,
            bytes: bytes.unwrap_or(Some(Vec::new()))?,
            fields: fields?,
            save,
            problem_state: problem_state?,
            immediate: u8::try_from(immediate?).ok()?,
            skew: skew?,
        })
    }

    fn block(&mut self, entry: &KdlEntry, room: usize) -> Option<Vec<u8>> {
        let bytes = self.reports.hex(entry)?;
        let most = room - HEADER_LENGTH;
        if bytes.len() > most {
            return self.reports.error(
                entry.span(),
                format!("{} bytes do not fit behind the header of the block", bytes.len()),
                "too long",
                format!("there is room for {most}"),
            );
        }
        Some(bytes)
    }

    fn fields(&mut self, reader: &mut NodeReader<'_>, fields: &[Field]) -> Option<Vec<(Field, FieldValue)>> {
        let mut values = Vec::new();
        let mut good = true;
        for &field in fields {
            let Some(entry) = reader.property(field.name) else { continue };
            match self.field(field, entry) {
                Some(value) => values.push((entry.span().offset(), field, value)),
                None => good = false,
            }
        }
        values.sort_by_key(|(offset, ..)| *offset);
        good.then(|| values.into_iter().map(|(_, field, value)| (field, value)).collect())
    }

    fn field(&mut self, field: Field, entry: &KdlEntry) -> Option<FieldValue> {
        let Some(annotation) = entry.ty() else {
            let most = u64::MAX >> (64 - 8 * u32::from(field.size));
            if let KdlValue::String(text) = entry.value()
                && self.guest_names.contains_key(text.split(':').next().unwrap_or_default())
            {
                let example = if text.contains(':') { "(frame)" } else { "(handle)" };
                return self.reports.error(
                    entry.span(),
                    format!("`{}` is not a number", shown(text)),
                    "number expected",
                    format!("annotate it, as in {}={example}{}", field.name, shown(text)),
                );
            }
            return self.reports.number(entry, 0, most).map(FieldValue::Number);
        };
        let kinds = ["handle", "cpu", "frame", "page", "header", "header-length", "tweak-prefix", "tweak-offset"];
        if !kinds.contains(&annotation.value()) {
            let help = self.reports.suggestion(annotation.value(), kinds);
            return self.reports.error(
                entry.span(),
                format!("unknown annotation `({})`", shown(annotation.value())),
                "unknown annotation",
                help,
            );
        }
        let text = self.reports.annotated_string(entry, "a guest or page")?;
        if annotation.value() == "header-length" && field.size >= 4 {
            return self.guest_named(entry, text).map(FieldValue::HeaderLength);
        }
        if field.size < 8 {
            return self.reports.error(
                entry.span(),
                format!("field `{}` has {} bytes, too few for this value", field.name, field.size),
                "too large",
                "handles and addresses have 8 bytes",
            );
        }
        match annotation.value() {
            "handle" => self.guest_named(entry, text).map(FieldValue::Handle),
            "cpu" => self.vcpu(entry, text),
            "header" => self.guest_named(entry, text).map(FieldValue::Header),
            kind => {
                let pages = self.pages_of(entry, text, Outside::Never)?;
                if pages.len() > 1 {
                    return self.reports.error(
                        entry.span(),
                        "a range where one page belongs".to_owned(),
                        "one page expected",
                        "",
                    );
                }
                Some(match kind {
                    "frame" => FieldValue::Frame(pages.guest, pages.first),
                    "tweak-prefix" => FieldValue::TweakPrefix(pages.guest, pages.first),
                    "tweak-offset" => FieldValue::TweakOffset(pages.guest, pages.first),
                    _ => FieldValue::Page(pages.guest, pages.first),
                })
            }
        }
    }

    fn vcpu(&mut self, entry: &KdlEntry, text: &str) -> Option<FieldValue> {
        let (name, vcpu) = text.split_once(':').unwrap_or((text, ""));
        let guest = self.guest_named(entry, name)?;
        let vcpus = self.guests[guest.0].vcpus;
        let vcpu = number(vcpu)
            .flatten()
            .and_then(|vcpu| u16::try_from(vcpu).ok())
            .filter(|&vcpu| vcpu < vcpus || self.added_vcpus.contains(&(guest, vcpu)));
        match vcpu {
            Some(vcpu) => Some(FieldValue::Cpu(guest, vcpu)),
            None => self.reports.error(
                entry.span(),
                format!("`{}` is not a vCPU", shown(text)),
                "vCPU expected",
                format!("the vCPUs of `{name}` are {name}:0 to {name}:{}", vcpus - 1),
            ),
        }
    }
}
