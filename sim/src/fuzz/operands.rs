//! Operands of statements as bytes.

use super::bytes::{Input, Output};
use super::case::BUFFERS;
use crate::scenario::{
    BufferId, GuestId, ImagePart, Injection, MAX_VCPUS, Pages, PvCommand, Read, Source, Unpack, Write,
};
use uvsim_model::address::PageIndex;

pub(super) fn guest(input: &mut Input<'_>) -> GuestId {
    GuestId(input.byte().into())
}

pub(super) fn page(input: &mut Input<'_>) -> Pages {
    let (guest, page) = (guest(input), PageIndex(input.number()));
    Pages { guest, first: page, last: page }
}

pub(super) fn put_page(pages: Pages, out: &mut Output) {
    out.index(pages.guest.0);
    out.number(pages.first.0);
}

pub(super) fn put_vcpu(guest: GuestId, vcpu: u16, out: &mut Output) {
    out.index(guest.0);
    out.number(vcpu.into());
}

pub(super) fn vcpu(input: &mut Input<'_>) -> u16 {
    (input.number() % u64::from(MAX_VCPUS)) as u16
}

pub(super) fn buffer(input: &mut Input<'_>) -> BufferId {
    BufferId(input.below(BUFFERS))
}

pub(super) fn read(input: &mut Input<'_>) -> Read {
    let offset = (input.number() % 0x1000) as u16;
    let length = (input.number() % 0x1001) as u16;
    let save = input.flag().then(|| buffer(input));
    Read { offset, length: Some(length), save, compare: None }
}

pub(super) fn put_read(read: &Read, out: &mut Output) {
    out.number(read.offset.into());
    out.number(read.length.unwrap_or(0).into());
    out.flag(read.save.is_some());
    if let Some(buffer) = read.save {
        out.index(buffer.0);
    }
}

pub(super) fn write_operands(input: &mut Input<'_>) -> Write {
    let offset = (input.number() % 0x1000) as u16;
    let data = match input.flag() {
        true => Source::Buffer(buffer(input)),
        false => Source::Bytes(input.bytes(0x1000)),
    };
    Write { offset, data }
}

pub(super) fn put_write(offset: u16, data: &Source, out: &mut Output) {
    out.number(offset.into());
    out.flag(matches!(data, Source::Buffer(_)));
    match data {
        Source::Buffer(buffer) => out.index(buffer.0),
        Source::Bytes(bytes) => out.bytes(bytes),
    }
}

pub(super) fn part(input: &mut Input<'_>) -> ImagePart {
    match input.below(3) {
        0 => ImagePart::All,
        1 => ImagePart::Component(input.number()),
        _ => ImagePart::Page(input.number()),
    }
}

pub(super) fn put_part(part: ImagePart, out: &mut Output) {
    let (kind, number) = match part {
        ImagePart::All => (0, None),
        ImagePart::Component(number) => (1, Some(number)),
        ImagePart::Page(number) => (2, Some(number)),
    };
    out.index(kind);
    if let Some(number) = number {
        out.number(number);
    }
}

pub(super) fn injection(input: &mut Input<'_>) -> Injection {
    match input.below(3) {
        0 => Injection::Busy(input.number()),
        1 => Injection::Partial(input.number()),
        _ => Injection::LateFailure,
    }
}

pub(super) fn put_injection(injection: Injection, out: &mut Output) {
    match injection {
        Injection::Busy(count) => {
            out.index(0);
            out.number(count);
        }
        Injection::Partial(count) => {
            out.index(1);
            out.number(count);
        }
        Injection::LateFailure => out.index(2),
    }
}

pub(super) fn pv(input: &mut Input<'_>) -> PvCommand {
    match input.below(11) {
        0 => PvCommand::Enable,
        1 => PvCommand::Disable,
        2 => PvCommand::SetSecParms { length: input.optional().map(|length| length as u32) },
        3 => PvCommand::Unpack(Unpack {
            part: part(input),
            address: input.optional(),
            size: input.optional(),
            tweak: input.optional(),
        }),
        4 => PvCommand::Verify,
        5 => PvCommand::PrepReset,
        6 => PvCommand::UnshareAll,
        7 => PvCommand::Info { save: input.flag().then(|| buffer(input)) },
        8 => PvCommand::Dump,
        9 => PvCommand::AsyncCleanupPrepare,
        _ => PvCommand::AsyncCleanupPerform { pages: input.optional(), signal: input.flag() },
    }
}

pub(super) fn put_pv(command: &PvCommand, out: &mut Output) {
    match command {
        PvCommand::Enable => out.index(0),
        PvCommand::Disable => out.index(1),
        PvCommand::SetSecParms { length } => {
            out.index(2);
            out.optional(length.map(u64::from));
        }
        PvCommand::Unpack(unpack) => {
            out.index(3);
            put_part(unpack.part, out);
            [unpack.address, unpack.size, unpack.tweak].into_iter().for_each(|value| out.optional(value));
        }
        PvCommand::Verify => out.index(4),
        PvCommand::PrepReset => out.index(5),
        PvCommand::UnshareAll => out.index(6),
        PvCommand::Info { save } => {
            out.index(7);
            out.flag(save.is_some());
            if let Some(buffer) = save {
                out.index(buffer.0);
            }
        }
        PvCommand::Dump => out.index(8),
        PvCommand::AsyncCleanupPrepare => out.index(9),
        PvCommand::AsyncCleanupPerform { pages, signal } => {
            out.index(10);
            out.optional(*pages);
            out.flag(*signal);
        }
    }
}
