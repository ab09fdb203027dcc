//! The verbs of the life cycle.

use kdl::KdlEntry;

use super::super::document::{GuestId, MAX_VCPUS};
use super::super::life::{
    CpuCheck, CpuReset, CpuState, GuestDiagnose, ImagePart, LeakCheck, MpState, PV_COMMANDS, PvCommand, Unpack,
};
use super::super::reader::NodeReader;
use super::super::statement::Verb;
use super::super::syntax::{number, shown};
use super::Decoder;
use super::operand::PAGE;
use super::verb::wanted;

/// The verbs that are decoded here.
pub(super) const VERBS: [&str; 13] = [
    "create",
    "start",
    "stop",
    "unshare-all",
    "teardown",
    "pv",
    "create-cpu",
    "cpu-reset",
    "cpu-state",
    "reset",
    "load-image",
    "write-header",
    "flip-header",
];

/// Bits of the longest header that a host hands over.
const HEADER_BITS: u64 = 8 * 8192;

impl Decoder<'_, '_> {
    pub(super) fn life_cycle(&mut self, verb: &str, reader: &mut NodeReader<'_>) -> Option<Verb> {
        match verb {
            "pv" => return self.pv(reader),
            "create-cpu" | "cpu-reset" | "cpu-state" => return self.vcpu_verb(verb, reader),
            _ => {}
        }
        let guest = self.guest_argument(reader);
        Some(match verb {
            "create" => Verb::HostCreate { guest: guest? },
            "start" => Verb::HostStart { guest: guest? },
            "stop" => Verb::HostStop { guest: guest? },
            "unshare-all" => Verb::HostUnshareAll { guest: guest? },
            "reset" => Verb::HostReset { guest: guest? },
            "load-image" => {
                let part = self.image_part(reader);
                let block = reader.property("block").map(|entry| self.reports.number(entry, 0, u64::MAX));
                let header = reader.property("header").map(|entry| self.reports.number(entry, 0, u64::MAX));
                if let (None, Some(entry)) = (block, reader.property("header")) {
                    return self.reports.error(
                        entry.span(),
                        "the header goes with an IPL parameter block".to_owned(),
                        "without its block",
                        "give block=ADDRESS as well",
                    );
                }
                let (block, header) = (wanted(block)?, wanted(header)?);
                // By default, into the page behind the block.
                let block = block.map(|block| (block, header.unwrap_or(block.saturating_add(PAGE.into()))));
                Verb::HostLoadImage { guest: guest?, part: part?, block }
            }
            "write-header" => {
                let write = self.write(reader)?;
                Verb::HostWriteHeader { guest: guest?, offset: write.offset, data: write.data }
            }
            "flip-header" => {
                let bit = reader.required("bit", &mut self.reports);
                let bit = bit.and_then(|entry| self.reports.number(entry, 0, HEADER_BITS - 1));
                Verb::HostFlipHeader { guest: guest?, bit: u32::try_from(bit?).ok()? }
            }
            _ => {
                let fast = self.switch(reader, "fast", false);
                Verb::HostTeardown { guest: guest?, fast: fast? }
            }
        })
    }

    /// `host pv COMMAND GUEST ...`
    fn pv(&mut self, reader: &mut NodeReader<'_>) -> Option<Verb> {
        let entry = reader.argument("a command", &mut self.reports);
        let named =
            entry.and_then(|entry| self.reports.choice(entry, "a command of KVM", &PV_COMMANDS.map(|n| (n, n))));
        let guest = self.guest_argument(reader);
        let Some(named) = named else {
            // Which properties there are is not known.
            reader.accept_all();
            return None;
        };
        let command = match named {
            "enable" => PvCommand::Enable,
            "disable" => PvCommand::Disable,
            "set-sec-parms" => {
                let length = reader.property("len").map(|entry| self.reports.number(entry, 0, u32::MAX.into()));
                PvCommand::SetSecParms { length: wanted(length)?.map(|length| length as u32) }
            }
            "unpack" => PvCommand::Unpack(self.unpack(reader)?),
            "verify" => PvCommand::Verify,
            "prep-reset" => PvCommand::PrepReset,
            "unshare-all" => PvCommand::UnshareAll,
            "info" => PvCommand::Info { save: self.save(reader, Some(64)) },
            "dump" => PvCommand::Dump,
            "async-cleanup-prepare" => PvCommand::AsyncCleanupPrepare,
            _ => {
                let pages = reader.property("pages").map(|entry| self.reports.number(entry, 0, u64::MAX));
                let signal = self.signal(reader);
                PvCommand::AsyncCleanupPerform { pages: wanted(pages)?, signal: signal? }
            }
        };
        Some(Verb::HostPv { guest: guest?, command })
    }

    /// `signal=#true`, which needs `pages=`: where the signal comes.
    fn signal(&mut self, reader: &mut NodeReader<'_>) -> Option<bool> {
        let Some(entry) = reader.property("signal") else { return Some(false) };
        let signal = self.reports.truth(entry)?;
        if signal && reader.property("pages").is_none() {
            return self.reports.error(
                entry.span(),
                "it is not said when the signal comes".to_owned(),
                "incomplete",
                "give pages=N: after so many pages",
            );
        }
        Some(signal)
    }

    fn image_part(&mut self, reader: &mut NodeReader<'_>) -> Option<ImagePart> {
        match self.one_of(reader, &["component", "page"], false) {
            None => Some(ImagePart::All),
            Some((name, entry)) => {
                let number = self.reports.number(entry, 0, u64::MAX)?;
                Some(if name == "page" { ImagePart::Page(number) } else { ImagePart::Component(number) })
            }
        }
    }

    fn unpack(&mut self, reader: &mut NodeReader<'_>) -> Option<Unpack> {
        let part = self.image_part(reader);
        let given: [Option<&KdlEntry>; 3] = ["addr", "size", "tweak"].map(|name| reader.property(name));
        if let (Some(entry), Some(part)) = (given.into_iter().flatten().next(), part)
            && !matches!(part, ImagePart::Component(_))
        {
            return self.reports.error(
                entry.span(),
                "this is said of one component".to_owned(),
                "without its component",
                "give component=N as well",
            );
        }
        let [address, size, tweak] = given.map(|entry| entry.map(|entry| self.reports.number(entry, 0, u64::MAX)));
        Some(Unpack { part: part?, address: wanted(address)?, size: wanted(size)?, tweak: wanted(tweak)? })
    }

    fn vcpu_verb(&mut self, verb: &str, reader: &mut NodeReader<'_>) -> Option<Verb> {
        let kinds = [("normal", CpuReset::Normal), ("initial", CpuReset::Initial), ("clear", CpuReset::Clear)];
        let states = [
            ("operating", MpState::Operating),
            ("stopped", MpState::Stopped),
            ("load", MpState::Load),
            ("check-stop", MpState::CheckStop),
        ];
        let entry = reader.argument("a vCPU", &mut self.reports);
        let vcpu = entry.and_then(|entry| self.vcpu_of(entry));
        match verb {
            "create-cpu" => {
                let (guest, vcpu) = vcpu?;
                // From this line on it has a name.
                self.added_vcpus.insert((guest, vcpu));
                Some(Verb::HostCreateCpu { guest, vcpu })
            }
            "cpu-reset" => {
                let kind = reader.required("kind", &mut self.reports);
                let kind = kind.and_then(|entry| self.reports.choice(entry, "a kind of reset", &kinds));
                let (guest, vcpu) = vcpu?;
                Some(Verb::HostCpuReset { guest, vcpu, kind: kind? })
            }
            _ => {
                let state = reader.required("state", &mut self.reports);
                let state = state.and_then(|entry| self.reports.choice(entry, "a state of a vCPU", &states));
                let (guest, vcpu) = vcpu?;
                Some(Verb::HostCpuState { guest, vcpu, state: state? })
            }
        }
    }

    /// `alpha:1`, or `alpha` for vCPU 0. It need not exist.
    fn vcpu_of(&mut self, entry: &KdlEntry) -> Option<(GuestId, u16)> {
        let text = self.reports.string(entry, "a vCPU")?;
        let (name, vcpu) = text.split_once(':').unwrap_or((text, "0"));
        let guest = self.guest_named(entry, name)?;
        let vcpu = number(vcpu).flatten().and_then(|vcpu| u16::try_from(vcpu).ok()).filter(|&vcpu| vcpu < MAX_VCPUS);
        match vcpu {
            Some(vcpu) => Some((guest, vcpu)),
            None => self.reports.error(
                entry.span(),
                format!("`{}` is not a vCPU", shown(text)),
                "vCPU expected",
                format!("write `{name}:1` for vCPU 1; the last that there may be is {}", MAX_VCPUS - 1),
            ),
        }
    }

    /// `guest diagnose GUEST FUNCTION [subcode=N | r2=N] [addr=N | r0=N] [r1=N] [r3=N] [r4=N] [register=N]`
    pub(super) fn diagnose(&mut self, reader: &mut NodeReader<'_>) -> Option<Verb> {
        let guest = self.guest_argument(reader);
        let function = reader.argument("a function code", &mut self.reports);
        let function = function.and_then(|entry| self.reports.number16(entry, 0, u16::MAX));
        let mut registers = [Some(0); 5];
        let names: [&[&'static str]; 5] = [&["addr", "r0"], &["r1"], &["subcode", "r2"], &["r3"], &["r4"]];
        for (register, names) in registers.iter_mut().zip(names) {
            if let Some((_, entry)) = self.one_of(reader, names, false) {
                *register = self.reports.number(entry, 0, u64::MAX);
            }
        }
        let register = reader.property("register").map(|entry| self.reports.number(entry, 0, u64::MAX));
        let [r0, r1, r2, r3, r4] = registers;
        let diagnose =
            GuestDiagnose { function: function?, registers: [r0?, r1?, r2?, r3?, r4?], register: wanted(register)? };
        Some(Verb::GuestDiagnose { guest: guest?, diagnose })
    }

    /// `guest set-prefix GUEST ADDRESS`
    pub(super) fn set_prefix(&mut self, reader: &mut NodeReader<'_>) -> Option<Verb> {
        let guest = self.guest_argument(reader);
        let entry = reader.argument("an address", &mut self.reports);
        let prefix = entry.and_then(|entry| self.reports.number(entry, 0, u64::MAX));
        Some(Verb::GuestSetPrefix { guest: guest?, prefix: prefix? })
    }

    /// `check cpu GUEST[:N] [state=] [reset-pending=] [prefix=] [psw-mask=] [psw-address=] [r0= ... r15=]`
    pub(super) fn check_cpu(&mut self, reader: &mut NodeReader<'_>) -> Option<Verb> {
        const GENERAL: [&str; 16] =
            ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
        let states = [
            ("none", CpuState::None),
            ("operating", CpuState::Operating),
            ("stopped", CpuState::Stopped),
            ("check-stop", CpuState::CheckStop),
        ];
        let entry = reader.argument("a vCPU", &mut self.reports);
        let vcpu = entry.and_then(|entry| self.vcpu_of(entry));
        let state = reader.property("state").map(|entry| self.reports.choice(entry, "a state of a CPU", &states));
        let pending = reader.property("reset-pending").map(|entry| self.reports.truth(entry));
        let mut number = |name| reader.property(name).map(|entry| self.reports.number(entry, 0, u64::MAX));
        let (prefix, mask, address) = (number("prefix"), number("psw-mask"), number("psw-address"));
        let given = GENERAL.map(number);
        let mut general = [None; 16];
        for (slot, given) in general.iter_mut().zip(given) {
            *slot = wanted(given)?;
        }
        let check = CpuCheck {
            state: wanted(state)?,
            reset_pending: wanted(pending)?,
            prefix: wanted(prefix)?,
            psw: [wanted(mask)?, wanted(address)?],
            general,
        };
        if check == CpuCheck::default() {
            return self.reports.error(
                reader.span(),
                "`check cpu` checks nothing".to_owned(),
                "incomplete",
                "give at least one of: state= reset-pending= prefix= psw-mask= psw-address= r0= to r15=",
            );
        }
        let (guest, vcpu) = vcpu?;
        Some(Verb::CheckCpu { guest, vcpu, check: Box::new(check) })
    }

    /// `check leaks GUEST [configurations=N] [cpus=N] [frames=N]`
    pub(super) fn check_leaks(&mut self, reader: &mut NodeReader<'_>) -> Option<Verb> {
        let guest = self.guest_argument(reader);
        let given = ["configurations", "cpus", "frames"].map(|name| reader.property(name));
        if given == [None; 3] {
            return self.reports.error(
                reader.span(),
                "`check leaks` checks nothing".to_owned(),
                "incomplete",
                "give at least one of: configurations= cpus= frames=",
            );
        }
        let [configurations, cpus, frames] =
            given.map(|entry| entry.map(|entry| self.reports.number(entry, 0, u64::MAX)));
        let check = LeakCheck { configurations: wanted(configurations)?, cpus: wanted(cpus)?, frames: wanted(frames)? };
        Some(Verb::CheckLeaks { guest: guest?, check })
    }
}
