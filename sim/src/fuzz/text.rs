//! Cases as scenarios.

use super::call::usual_length;
use super::case::{Case, Deed, GuestSetup, LoadContent, Setup};
use super::notation::{At, Hex, Name, Part, Purge, Quoted, Reading, Value, Writing};
use crate::kernel::Observed;
use crate::scenario::{
    CpuReset, FaultPolicy, GuestDiagnose, GuestId, GuestState, Injection, MpState, Outcome, PvCommand, UvcCall, Verb,
};
use std::fmt::{self, Display, Write};
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation};

/// What guests are called.
pub(super) const GUESTS: [&str; super::case::MOST_GUESTS] = ["alpha", "beta", "gamma", "delta"];

impl Case {
    /// The case as a scenario. Of every statement `ok` is expected, so a run of it ends at the first that is refused:
    /// [`Case::to_scenario_with`] is for runs.
    #[must_use]
    pub fn to_scenario(&self) -> String {
        self.written("a case of the fuzzer", &[], |_| Some(" expect=ok".to_owned()))
    }

    /// The case as a scenario in which each statement expects what it came to; one without an outcome, since it could
    /// not be carried out, is a comment. `remarks` stand at the top.
    #[must_use]
    pub fn to_scenario_with(&self, title: &str, remarks: &[String], outcomes: &[Option<Observed>]) -> String {
        self.written(title, remarks, |number| outcomes.get(number).copied().flatten().map(expectation))
    }

    fn written(&self, title: &str, remarks: &[String], expected: impl Fn(usize) -> Option<String>) -> String {
        let mut text = String::new();
        for remark in remarks {
            let _ = writeln!(text, "// {}", remark.replace('\n', " "));
        }
        let _ = writeln!(text, "scenario {}", Quoted(title));
        text.push_str(&self.setup.to_string());
        text.push_str("step \"all of it\" {\n");
        for (number, deed) in self.statements.iter().enumerate() {
            let _ = match expected(number) {
                Some(expected) => {
                    let kept = Kept { deed, saves: expected.starts_with(" expect=ok") };
                    writeln!(text, "    {kept}{}", if plain(&deed.verb) { "" } else { &expected })
                }
                None => writeln!(text, "    // not carried out: {}", Kept { deed, saves: true }),
            };
        }
        text.push_str("    check invariants\n}\n");
        text
    }
}

impl Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Kept { deed: self, saves: true }.fmt(f)
    }
}

/// Verbs that take no `expect=`.
const fn plain(verb: &Verb) -> bool {
    matches!(verb, Verb::HostFaults { .. } | Verb::HostInject { .. } | Verb::CheckInvariants)
}

fn expectation(observed: Observed) -> String {
    let mut text = format!(" expect={}", observed.outcome.name());
    let mut code = |name: &str, code: Option<u16>| {
        if let Some(code) = code {
            let _ = write!(text, " {name}={code:#x}");
        }
    };
    match observed.outcome {
        Outcome::Refused => {
            code("rc", observed.rc);
            code("rrc", observed.rrc.filter(|&rrc| rrc != 0));
        }
        Outcome::Intercept => code("code", observed.code),
        _ => {}
    }
    text
}

impl Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "machine {{\n    storage \"{}MiB\"\n    cpus {}\n    seed {}", self.storage, self.cpus, self.seed)?;
        let generation = match self.generation {
            Generation::Z15 => "z15",
            Generation::Z16 => "z16",
            Generation::Z17 => "z17",
        };
        writeln!(f, "    generation {generation}")?;
        if self.cipher == CipherProfile::Xts {
            writeln!(f, "    cipher xts")?;
        }
        if self.change_detection == ChangeDetection::Always {
            writeln!(f, "    change-detection always")?;
        }
        if let Some(misc) = self.misc {
            writeln!(f, "    feature misc=#{misc}")?;
        }
        if self.strict_tweaks {
            writeln!(f, "    strict-tweaks #true")?;
        }
        self.without.iter().try_for_each(|command| writeln!(f, "    without {}", command.name()))?;
        writeln!(f, "}}")?;
        GUESTS.iter().zip(&self.guests).try_for_each(|(name, guest)| write_guest(f, name, guest))
    }
}

fn write_guest(f: &mut fmt::Formatter<'_>, name: &str, guest: &GuestSetup) -> fmt::Result {
    write!(f, "guest {name} memory=\"{}MiB\" vcpus={}", guest.memory, guest.vcpus)?;
    match guest.state {
        GuestState::Running => {}
        GuestState::Created => f.write_str(" state=created")?,
        GuestState::None => f.write_str(" state=none")?,
    }
    if guest.loads.is_empty() {
        return writeln!(f);
    }
    writeln!(f, " {{")?;
    for load in &guest.loads {
        match &load.data {
            LoadContent::Bytes(bytes) => writeln!(f, "    load {:#x} hex=\"{}\"", load.address, Hex(bytes))?,
            LoadContent::Random(length) => writeln!(f, "    load {:#x} random={length}", load.address)?,
        }
    }
    writeln!(f, "}}")
}

/// A statement, with its `save=` or without.
struct Kept<'a> {
    deed: &'a Deed,
    saves: bool,
}

impl Display for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_verb(f, &self.deed.verb, self.saves)?;
        if self.deed.cpu != 0 {
            write!(f, " cpu={}", self.deed.cpu)?;
        }
        Ok(())
    }
}

fn write_verb(f: &mut fmt::Formatter<'_>, verb: &Verb, saves: bool) -> fmt::Result {
    match verb {
        Verb::HostRead { pages, read } => write!(f, "host read {}{}", At(*pages), Reading(read, saves)),
        Verb::DeviceRead { pages, read } => write!(f, "device read {}{}", At(*pages), Reading(read, saves)),
        Verb::GuestRead { pages, read } => write!(f, "guest read {}{}", At(*pages), Reading(read, saves)),
        Verb::HostWrite { pages, write } => {
            write!(f, "host write {}{}", At(*pages), Writing(write.offset, &write.data))
        }
        Verb::DeviceWrite { pages, write } => {
            write!(f, "device write {}{}", At(*pages), Writing(write.offset, &write.data))
        }
        Verb::GuestWrite { pages, write } => {
            write!(f, "guest write {}{}", At(*pages), Writing(write.offset, &write.data))
        }
        Verb::HostFlip { pages, bit } => write!(f, "host flip {} bit={bit}", At(*pages)),
        Verb::HostExport { pages } => write!(f, "host export {}", At(*pages)),
        Verb::HostImport { pages } => write!(f, "host import {}", At(*pages)),
        Verb::HostDestroy { pages } => write!(f, "host destroy {}", At(*pages)),
        Verb::HostPin { pages } => write!(f, "host pin {}", At(*pages)),
        Verb::HostUnpin { pages } => write!(f, "host unpin {}", At(*pages)),
        Verb::HostMakeAccessible { pages } => write!(f, "host make-accessible {}", At(*pages)),
        Verb::HostPageOut { pages } => write!(f, "host page-out {}", At(*pages)),
        Verb::HostPageIn { pages } => write!(f, "host page-in {}", At(*pages)),
        Verb::HostMove { pages, purge } => write!(f, "host move {}{}", At(*pages), Purge(*purge)),
        Verb::HostUnmap { pages, purge } => write!(f, "host unmap {}{}", At(*pages), Purge(*purge)),
        Verb::HostRemap { pages, to, purge } => {
            write!(f, "host remap {} to={}{}", At(*pages), At(*to), Purge(*purge))
        }
        Verb::HostCopy { pages, to } => write!(f, "host copy {} to={}", At(*pages), At(*to)),
        Verb::GuestShare { pages } => write!(f, "guest share {}", At(*pages)),
        Verb::GuestUnshare { pages } => write!(f, "guest unshare {}", At(*pages)),
        other => write_life(f, other, saves),
    }
}

fn write_life(f: &mut fmt::Formatter<'_>, verb: &Verb, saves: bool) -> fmt::Result {
    match verb {
        Verb::HostCreate { guest } => write!(f, "host create {}", Name(*guest)),
        Verb::HostStart { guest } => write!(f, "host start {}", Name(*guest)),
        Verb::HostStop { guest } => write!(f, "host stop {}", Name(*guest)),
        Verb::HostUnshareAll { guest } => write!(f, "host unshare-all {}", Name(*guest)),
        Verb::HostReset { guest } => write!(f, "host reset {}", Name(*guest)),
        Verb::HostTeardown { guest, fast } => {
            write!(f, "host teardown {}{}", Name(*guest), if *fast { " fast=#true" } else { "" })
        }
        Verb::HostResetMachine => f.write_str("host reset-machine"),
        Verb::HostPv { guest, command } => write_pv(f, *guest, command, saves),
        Verb::HostCreateCpu { guest, vcpu } => write!(f, "host create-cpu {}:{vcpu}", Name(*guest)),
        Verb::HostCpuReset { guest, vcpu, kind } => {
            let kind = match kind {
                CpuReset::Normal => "normal",
                CpuReset::Initial => "initial",
                CpuReset::Clear => "clear",
            };
            write!(f, "host cpu-reset {}:{vcpu} kind={kind}", Name(*guest))
        }
        Verb::HostCpuState { guest, vcpu, state } => {
            let state = match state {
                MpState::Operating => "operating",
                MpState::Stopped => "stopped",
                MpState::Load => "load",
                MpState::CheckStop => "check-stop",
            };
            write!(f, "host cpu-state {}:{vcpu} state={state}", Name(*guest))
        }
        Verb::HostLoadImage { guest, part, block } => {
            write!(f, "host load-image {}{}", Name(*guest), Part(*part))?;
            block.map_or(Ok(()), |(block, header)| write!(f, " block={block:#x} header={header:#x}"))
        }
        Verb::HostWriteHeader { guest, offset, data } => {
            write!(f, "host write-header {}{}", Name(*guest), Writing(*offset, data))
        }
        Verb::HostFlipHeader { guest, bit } => write!(f, "host flip-header {} bit={bit}", Name(*guest)),
        Verb::HostFaults { policy: FaultPolicy::Linux } => f.write_str("host faults linux"),
        Verb::HostFaults { policy: FaultPolicy::Stop } => f.write_str("host faults stop"),
        Verb::HostInject { command, injection } => {
            write!(f, "host inject {} ", command.name())?;
            match injection {
                Injection::Busy(count) => write!(f, "busy={count}"),
                Injection::Partial(count) => write!(f, "partial={count}"),
                Injection::LateFailure => f.write_str("late-failure=#true"),
            }
        }
        Verb::HostUvc { call } => {
            f.write_str("host uvc ")?;
            write_call(f, call)
        }
        Verb::GuestUvc { guest, call } => {
            write!(f, "guest uvc {} ", Name(*guest))?;
            write_call(f, call)
        }
        Verb::GuestDiagnose { guest, diagnose: GuestDiagnose { function, registers, .. } } => {
            write!(f, "guest diagnose {} {function:#x}", Name(*guest))?;
            let given = registers.iter().enumerate().filter(|(_, value)| **value != 0);
            given.into_iter().try_for_each(|(number, value)| write!(f, " r{number}={value:#x}"))
        }
        Verb::GuestSetPrefix { guest, prefix } => write!(f, "guest set-prefix {} {prefix:#x}", Name(*guest)),
        Verb::GuestVerify { guest, address, data, frames } => {
            write!(f, "guest verify {} {address:#x} hex=\"{}\"", Name(*guest), Hex(data))?;
            frames.map_or(Ok(()), |frames| write!(f, " frames={frames}"))
        }
        _ => f.write_str("check invariants"),
    }
}

fn write_pv(f: &mut fmt::Formatter<'_>, guest: GuestId, command: &PvCommand, saves: bool) -> fmt::Result {
    let guest = Name(guest);
    match command {
        PvCommand::Enable => write!(f, "host pv enable {guest}"),
        PvCommand::Disable => write!(f, "host pv disable {guest}"),
        PvCommand::SetSecParms { length } => {
            write!(f, "host pv set-sec-parms {guest}")?;
            length.map_or(Ok(()), |length| write!(f, " len={length}"))
        }
        PvCommand::Unpack(unpack) => {
            write!(f, "host pv unpack {guest}{}", Part(unpack.part))?;
            for (name, value) in [("addr", unpack.address), ("size", unpack.size), ("tweak", unpack.tweak)] {
                value.map_or(Ok(()), |value| write!(f, " {name}={value:#x}"))?;
            }
            Ok(())
        }
        PvCommand::Verify => write!(f, "host pv verify {guest}"),
        PvCommand::PrepReset => write!(f, "host pv prep-reset {guest}"),
        PvCommand::UnshareAll => write!(f, "host pv unshare-all {guest}"),
        PvCommand::Info { save } => {
            write!(f, "host pv info {guest}")?;
            save.filter(|_| saves).map_or(Ok(()), |buffer| write!(f, " save=b{}", buffer.0))
        }
        PvCommand::Dump => write!(f, "host pv dump {guest}"),
        PvCommand::AsyncCleanupPrepare => write!(f, "host pv async-cleanup-prepare {guest}"),
        PvCommand::AsyncCleanupPerform { pages, signal } => {
            write!(f, "host pv async-cleanup-perform {guest}")?;
            pages.map_or(Ok(()), |pages| write!(f, " pages={pages}"))?;
            f.write_str(if *signal { " signal=#true" } else { "" })
        }
    }
}

/// Calls save their block whatever they come to.
fn write_call(f: &mut fmt::Formatter<'_>, call: &UvcCall) -> fmt::Result {
    match call.command {
        Some(command) => f.write_str(command.name())?,
        None => write!(f, "{:#x}", call.code)?,
    }
    for (field, value) in &call.fields {
        write!(f, " {}={}", field.name, Value(*value))?;
    }
    if call.length != usual_length(call.command) {
        write!(f, " len={:#x}", call.length)?;
    }
    if !call.bytes.is_empty() {
        write!(f, " bytes=\"{}\"", Hex(&call.bytes))?;
    }
    if call.problem_state {
        f.write_str(" problem-state=#true")?;
    }
    if call.immediate != 0 {
        write!(f, " immediate={}", call.immediate)?;
    }
    if call.skew != 0 {
        write!(f, " skew={}", call.skew)?;
    }
    call.save.map_or(Ok(()), |buffer| write!(f, " save=b{}", buffer.0))
}
