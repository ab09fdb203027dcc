//! The calls behind the files.

use std::path::Path;

use uvsim_model::Machine;
use uvsim_model::address::VirtualAddress;
use uvsim_model::config::MachineConfig;
use uvsim_model::cpu::{HostCpu, Uvc};
use uvsim_model::uvc::{Command, InstalledCalls};

use super::attributes::attributes;
use super::{HostInfo, HostInfoError, Role};
use crate::kernel::{FaultAnswers, GuestCall, Kernel, Observed, Stop};
use crate::run;
use crate::scenario::{Outcome, Scenario};

/// Where the host keeps its block: anywhere in low storage that no lowcore uses.
const BLOCK: VirtualAddress = VirtualAddress(0x1_0000);
/// The guest that is asked: any that runs will do.
const GUEST: &str = "scenario s\nguest asked memory=\"1MiB\" { load 0x2000 hex=\"00\"; }\nstep s { check invariants; }";
const ULTRAVISOR_CALL: (u16, &str) = (158, "Ultravisor calls");
const UNPACK: (u16, &str) = (161, "unpack, offered to guests");

/// Asks the Ultravisor of a machine, as its host or as a protected guest of it.
///
/// # Errors
/// A query is refused, or there is no guest to ask.
pub fn query(config: MachineConfig, role: Role) -> Result<HostInfo, HostInfoError> {
    let machine = Machine::new(config).map_err(|error| HostInfoError::Machine(error.to_string()))?;
    match role {
        Role::Host => host(&machine),
        Role::Guest => guest(&machine),
    }
}

/// The queries come first: they work before INIT_UV, and on a host that cannot have guests.
fn host(machine: &Machine) -> Result<HostInfo, HostInfoError> {
    let mut cpu = machine.cpu(0).map_err(|error| HostInfoError::Machine(error.to_string()))?;
    let (answer, keys) = ask(Role::Host, |command| issue(&mut cpu, command))?;
    drop(cpu);
    let protects = Kernel::boot(machine, Vec::new()).is_ok();
    let mut facilities = vec![ULTRAVISOR_CALL];
    if protects {
        facilities.push(UNPACK);
    }
    let attributes = attributes(Role::Host, protects, &answer, keys.as_deref());
    Ok(HostInfo { role: Role::Host, facilities, attributes })
}

fn guest(machine: &Machine) -> Result<HostInfo, HostInfoError> {
    let scenario =
        Scenario::parse(Path::new("guest"), GUEST).map_err(|errors| HostInfoError::Machine(errors.to_string()))?;
    let mut kernel = run::boot(machine, &scenario).map_err(|error| HostInfoError::NoGuest(error.message))?;
    let (answer, keys) = ask(Role::Guest, |command| {
        let block = empty(command);
        let call = GuestCall { block: &block, problem_state: false, immediate: 0, skew: 0 };
        let (got, block) = kernel
            .with_faults(0, 0, FaultAnswers::Linux, None, |kernel| kernel.guest_issue(0, 0, &call))
            .map_err(described)?;
        if got.outcome == Outcome::Ok { Ok(block) } else { Err(described(Stop::Outcome(got))) }
    })?;
    let attributes = attributes(Role::Guest, true, &answer, keys.as_deref());
    Ok(HostInfo { role: Role::Guest, facilities: vec![ULTRAVISOR_CALL], attributes })
}

/// QUI, and QUERY_KEYS where it is installed.
fn ask(
    role: Role,
    mut issue: impl FnMut(Command) -> Result<Vec<u8>, String>,
) -> Result<(Vec<u8>, Option<Vec<u8>>), HostInfoError> {
    let mut issue =
        |command: Command| issue(command).map_err(|answer| HostInfoError::Query { role, call: command.name(), answer });
    let answer = issue(Command::QueryUvInformation)?;
    let word = |at: usize| answer.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let installed = InstalledCalls([word(0x10), word(0x18), word(0x20), word(0x28)]);
    let keys = if installed.contains(Command::QueryKeys) { Some(issue(Command::QueryKeys)?) } else { None };
    Ok((answer, keys))
}

/// A call by a host CPU, with its block in real storage.
fn issue(cpu: &mut HostCpu<'_>, command: Command) -> Result<Vec<u8>, String> {
    let interrupted = |interruption| described(Stop::Outcome(Observed::interruption(interruption)));
    let mut block = empty(command);
    cpu.store(BLOCK, &block).map_err(interrupted)?;
    cpu.uvc(Uvc::at(BLOCK)).map_err(interrupted)?;
    cpu.load(BLOCK, &mut block).map_err(interrupted)?;
    match block[4..8] {
        [0, 1, ..] | [1, 0, ..] => Ok(block),
        [high, low, more, less] => {
            let (rc, rrc) = (u16::from_be_bytes([high, low]), u16::from_be_bytes([more, less]));
            Err(format!("rc={rc:#x} rrc={rrc:#x}"))
        }
        _ => Err("an answer that is too short".into()),
    }
}

/// A block with its header only.
fn empty(command: Command) -> Vec<u8> {
    let length = command.usual_length();
    let mut block = vec![0; usize::from(length)];
    block[..2].copy_from_slice(&length.to_be_bytes());
    block[2..4].copy_from_slice(&command.code().to_be_bytes());
    block
}

fn described(stop: Stop) -> String {
    match stop {
        Stop::Outcome(observed) => {
            let name = observed.command.map(|command| format!("{}: ", command.name())).unwrap_or_default();
            let codes = observed.rc.map(|rc| format!(" rc={rc:#x} rrc={:#x}", observed.rrc.unwrap_or(0)));
            format!("{name}{}{}", observed.outcome, codes.unwrap_or_default())
        }
        Stop::OutOfStorage { what, needed, .. } => format!("storage is too small for {what}, {needed} bytes"),
        Stop::TimeOut => "no time is left".into(),
        Stop::Internal(message) => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvsim_model::config::Generation;

    fn text(info: &HostInfo, path: &str) -> String {
        info.attribute(path).map(|attribute| attribute.text.clone()).unwrap_or_default()
    }

    #[test]
    fn hosts_of_each_generation() {
        for generation in [Generation::Z15, Generation::Z16, Generation::Z17] {
            let info = query(MachineConfig { generation, ..MachineConfig::default() }, Role::Host).unwrap();
            assert_eq!(info.facilities.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [158, 161]);
            assert_eq!(text(&info, "prot_virt_host"), "1\n");
            assert_eq!(text(&info, "query/max_cpus"), "257\n");
            let keys = info.attributes.iter().filter(|attribute| attribute.path.starts_with("keys/")).count();
            assert_eq!(keys, if generation == Generation::Z17 { 3 } else { 0 }, "keys come with bit 34");
        }
    }

    #[test]
    fn a_guest_sees_its_own() {
        let config = MachineConfig { generation: Generation::Z17, ..MachineConfig::default() };
        let info = query(config.clone(), Role::Guest).unwrap();
        assert_eq!((text(&info, "prot_virt_guest"), text(&info, "prot_virt_host")), ("1\n".into(), "0\n".into()));
        assert_eq!(text(&info, "query/max_guests"), "0\n", "what concerns hosts only is zero");
        let bits = u64::from_str_radix(text(&info, "query/facilities").lines().next().unwrap(), 16).unwrap();
        assert_eq!(bits >> 54 & 3, 3, "bits 8 and 9 tell Linux that it is a guest");
        let host = query(config, Role::Host).unwrap();
        assert_eq!(text(&info, "keys/all"), text(&host, "keys/all"), "the keys are those of the machine");
    }

    #[test]
    fn a_machine_without_some_calls() {
        let without = |command| MachineConfig { without: vec![command], ..MachineConfig::default() };
        let info = query(without(Command::InitUv), Role::Host).unwrap();
        assert_eq!(text(&info, "prot_virt_host"), "0\n");
        assert_eq!(info.facilities, [ULTRAVISOR_CALL]);
        let told = query(without(Command::InitUv), Role::Guest).unwrap_err().to_string();
        assert!(told.contains("no guest can be started") && told.contains("rc=0x2"), "{told}");
        let told = query(without(Command::QueryUvInformation), Role::Host).unwrap_err().to_string();
        assert!(told.contains("qui ends with rc=0x2"), "{told}");
        assert!(query(without(Command::QueryUvInformation), Role::Guest).is_err());
    }
}
