//! Raw calls: right but for something.

use super::Draw;
use crate::scenario::{BufferId, FieldValue, GuestId, Pages, UvcCall, Verb};
use rand::{Rng, RngExt};
use uvsim_model::address::PageIndex;
use uvsim_model::uvc::{Command, Field, Issuer};

/// Addresses and numbers on an edge.
const EDGES: [u64; 20] = [
    0,
    1,
    0xfff,
    0x1000,
    0x2000,
    0xf_ffff,
    0x10_0000,
    0x10_1000,
    0x2000_0000,
    0x7fff_f000,
    0x8000_0000,
    0x8000_1000,
    (super::super::case::USUAL_STORAGE << 20) - 0x1000,
    super::super::case::USUAL_STORAGE << 20,
    0x4000_0000_0000,
    uvsim_model::MAX_GUEST_ADDRESS,
    1 << 63,
    u64::MAX - 0xfff,
    u64::MAX - 7,
    u64::MAX,
];

impl<R: Rng> Draw<'_, R> {
    /// A call of any command, most often one that some machine installs.
    pub(super) fn raw_call(&mut self) {
        let command = self.one_of(Command::ALL);
        if !command.is_built() && !self.once_in(8) {
            return self.raw_call();
        }
        self.raw_call_of(command);
    }

    pub(super) fn raw_call_of(&mut self, command: Command) {
        let call = self.call(command);
        let by_guest = match command.row().issuer {
            Issuer::Host => self.once_in(12),
            Issuer::Guest => !self.once_in(12),
            Issuer::Both => self.once_in(3),
        };
        if by_guest {
            let guest = self.guest();
            self.by_guest(Verb::GuestUvc { guest, call });
        } else {
            self.host(Verb::HostUvc { call });
        }
    }

    pub(super) fn guest_call(&mut self) {
        let command = self.one_of(&[
            Command::SetSharedAccess,
            Command::RemoveSharedAccess,
            Command::QueryUvInformation,
            Command::QueryKeys,
            Command::RetrAttest,
        ]);
        let (guest, call) = (self.guest(), self.call(command));
        self.by_guest(Verb::GuestUvc { guest, call });
    }

    fn call(&mut self, command: Command) -> UvcCall {
        let guest = self.guest();
        let fields = command.row().fields.iter().filter(|field| !field.output);
        let mut fields: Vec<(Field, FieldValue)> =
            fields.map(|field| (*field, self.right_value(command, field, guest))).collect();
        // One thing or two are wrong, or nothing.
        for _ in 0..self.one_of(&[0, 1, 1, 1, 2]) {
            if fields.is_empty() {
                break;
            }
            let which = self.below(fields.len());
            let value = self.wrong_value(&fields[which].0);
            fields[which].1 = value;
        }
        let mut call = UvcCall {
            code: command.code(),
            command: Some(command),
            length: command.usual_length(),
            bytes: Vec::new(),
            fields,
            save: self.once_in(16).then(|| BufferId(self.below(4))),
            problem_state: false,
            immediate: 0,
            skew: 0,
        };
        match self.below(40) {
            0 => call.length = self.one_of(&[0, 7, 8, 16, 0xa7, 0xa8, 0x18, 0x30, 0x1000, u16::MAX]),
            1 => call.length = call.length.wrapping_add(self.one_of(&[8, 0xfff8])),
            2 => call.problem_state = true,
            3 => call.immediate = self.random.random(),
            4 => call.skew = self.one_of(&[1, 4, 8, 16, 0xf00, 0xfc0, 0xff0, 0xff8]),
            5 => {
                let length = self.one_of(&[1, 8, 24]);
                call.bytes = (0..length).map(|_| self.random.random()).collect();
            }
            6 => {
                call.code = self.random.random();
                call.fields.clear();
                call.command = Command::from_code(call.code);
            }
            _ => {}
        }
        call
    }

    /// What a well-meaning host would give.
    fn right_value(&mut self, command: Command, field: &Field, guest: GuestId) -> FieldValue {
        let page = PageIndex(self.page_number());
        match (command, field.name) {
            (Command::SetSharedAccess | Command::RemoveSharedAccess, "paddr") => FieldValue::Page(guest, page),
            (_, "paddr") => FieldValue::Frame(guest, page),
            (_, "gaddr") => FieldValue::Page(guest, page),
            (_, "guest-handle") => FieldValue::Handle(guest),
            (_, "cpu-handle") => FieldValue::Cpu(guest, 0),
            (
                Command::DestroySecCpu | Command::CpuReset | Command::CpuResetInitial | Command::CpuResetClear,
                "handle",
            ) => FieldValue::Cpu(guest, 0),
            (_, "handle") => FieldValue::Handle(guest),
            (_, "sec-header-origin") => FieldValue::Header(guest),
            (_, "sec-header-len") => FieldValue::HeaderLength(guest),
            (_, "tweak-prefix") => FieldValue::TweakPrefix(guest, page),
            (_, "tweak-offset") => FieldValue::TweakOffset(guest, page),
            (_, "state") => FieldValue::Number(self.one_of(&[1, 2, 5, 3])),
            (_, "num") => FieldValue::Number(self.one_of(&[0, 1, 2, 256])),
            (Command::InitUv, "stor-origin") => FieldValue::Number(0x8000_0000),
            (Command::InitUv, "stor-len") => FieldValue::Number(uvsim_model::UV_BASE_LENGTH),
            (_, "guest-stor-len") => FieldValue::Number(0x10_0000),
            (_, "stor-origin" | "conf-base-stor-origin") => {
                FieldValue::Number(self.one_of(&[0x1000_0000, 0x2000_0000, 0x3000_0000]))
            }
            (_, "state-origin" | "guest-sca") => FieldValue::Number(0x3800_0000),
            _ => FieldValue::Number(0),
        }
    }

    fn wrong_value(&mut self, field: &Field) -> FieldValue {
        if field.size < 8 {
            return FieldValue::Number(self.one_of(&EDGES));
        }
        let Pages { guest, first, .. } = self.other_page();
        match self.below(10) {
            0 => FieldValue::Handle(guest),
            1 => FieldValue::Cpu(guest, self.random.random_range(0..2)),
            2 | 3 => FieldValue::Frame(guest, first),
            4 => FieldValue::Page(guest, first),
            5 => FieldValue::Number(self.random.random()),
            _ => FieldValue::Number(self.one_of(&EDGES)),
        }
    }
}
