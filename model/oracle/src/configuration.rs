//! Configurations and their CPUs come and go.

use crate::Objection;
use crate::access::{self, Requestor, Verdict};
use crate::call::{Block, Call, Done, Refusal, Ruling, Stop, refuse};
use crate::ids::{AbsoluteAddress, CpuNumber, FrameNumber, Handle, VirtualAddress};
use crate::state::{
    Boot, Configuration, CpuReset, Donated, Purpose, Record, Registers, Reset, Run, SecureCpu, Space, State, Zone,
};
use crate::storage::FRAME;
use crate::translation::{Fault, PRIVATE, REAL_SPACE, prefixed, translate};
use crate::world::World;
use imbl::OrdMap;

/// Bytes of absolute storage per configuration (Q1).
pub(crate) const BASE_LENGTH: u64 = 0x1_0000;
/// Fixed bytes of virtual storage per configuration (Q1).
pub(crate) const VIRTUAL_LENGTH: u64 = 0x1_0000;
/// Bytes of virtual storage for each MiB of guest storage (Q1).
pub(crate) const VARIABLE_LENGTH: u64 = 0x1000;
/// Bytes per CPU.
pub(crate) const CPU_LENGTH: u64 = 0x1000;
/// Configurations at a time.
pub(crate) const CONFIGURATIONS: u32 = 0x7f_ffff;
/// Highest guest address.
pub(crate) const HIGHEST_ADDRESS: u64 = 0x8000_0000_0000;
/// Highest CPU number.
pub(crate) const HIGHEST_CPU: u16 = 256;

const MEBIBYTE: u64 = 1 << 20;

/// CREATE_SEC_CONF 0x0100 (D11, T76, T77).
pub(crate) fn create_sec_conf(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let mut next = state.clone();
    let block = &call.block;
    let (origin, size, asce) = (block.u64(0x38), block.u64(0x40), block.u64(0x50));
    let (base, sca) = (AbsoluteAddress(block.u64(0x20)), AbsoluteAddress(block.u64(0x48) & !0x3f));
    check_space(state, origin, size, asce)?;
    check_base(state, call, base)?;
    let variable = check_variable(&mut next, call, base, world)?;
    check_sca(state, sca, base, &variable)?;
    if state.configurations.len() >= CONFIGURATIONS as usize {
        return refuse(0x10f, 0, "D11");
    }
    let handle = draw(&mut next, world)?;
    let purpose = Purpose::ConfigurationBase(handle);
    next.donate(FrameNumber(base.0 / FRAME), Donated { count: BASE_LENGTH / FRAME, purpose });
    for frame in variable {
        next.donate(frame, Donated { count: 1, purpose: Purpose::Variable(handle) });
    }
    let created = Configuration {
        origin,
        size,
        asce,
        sca,
        cpus: OrdMap::new(),
        pages: OrdMap::new(),
        boot: Boot::Created,
        reset: Reset::default(),
    };
    next.configurations.insert(handle, created);
    let late = next.injected.get_mut(&0x100).is_some_and(|injected| core::mem::take(&mut injected.2));
    let done = Done { state: next, rule: "T76", outputs: vec![block.field(0x18, handle.0)] };
    if late { Err(Stop::Delivered(Box::new(done), Refusal { rc: 0x810f, rrc: 0, rule: "D17" })) } else { Ok(done) }
}

/// Guest storage and ASCE (D11, Q35, Q36).
fn check_space(state: &State, origin: u64, size: u64, asce: u64) -> Result<(), Stop> {
    if origin > HIGHEST_ADDRESS {
        return refuse(0x101, 0, "D11");
    }
    if origin.checked_add(size).is_none_or(|end| end > HIGHEST_ADDRESS) {
        return refuse(0x102, 0, "D11");
    }
    if !origin.is_multiple_of(MEBIBYTE) || !size.is_multiple_of(MEBIBYTE) || size == 0 {
        return refuse(0x103, 0, "D11");
    }
    if asce & PRIVATE == 0 || asce & REAL_SPACE != 0 {
        return refuse(0x105, 0, "D11");
    }
    if state.configurations.values().any(|other| (other.asce ^ asce) >> 12 == 0) {
        return refuse(0x104, 0, "Q35");
    }
    Ok(())
}

/// The base area (D11, D5, D37, T77).
fn check_base(state: &State, call: &Call, base: AbsoluteAddress) -> Result<(), Stop> {
    if !state.has_storage(base, BASE_LENGTH) {
        return refuse(0x108, 0, "D11");
    }
    let (first, count) = frames_of(base, BASE_LENGTH);
    if call.frames.iter().any(|frame| frame.0.wrapping_sub(first.0) < count) {
        return refuse(0x108, 0, "D5");
    }
    if !state.all_non_secure(first, count) {
        return refuse(0x108, 0, "T77");
    }
    if !base.0.is_multiple_of(FRAME) {
        return refuse(0x106, 0, "D11");
    }
    if (0..count).any(|at| is_lowcore(state, call.cpu, FrameNumber(first.0 + at))) {
        return refuse(0x109, 0, "D11");
    }
    Ok(())
}

/// The variable area, translated once and for all (D11, D16, D57). Its frames, in order.
fn check_variable(
    state: &mut State,
    call: &Call,
    base: AbsoluteAddress,
    world: &mut dyn World,
) -> Result<Vec<FrameNumber>, Stop> {
    let (VirtualAddress(start), length) = variable_area(&call.block);
    let Some(last) = start.checked_add(length - 1) else { return refuse(0x31, 0, "D11") };
    let (home, translation) = (state.host[&call.cpu].home, state.host[&call.cpu].translation);
    if translation && home & REAL_SPACE != 0 {
        return refuse(0x30, 0, "D11");
    }
    let mut frames = Vec::new();
    for page in start / FRAME..=last / FRAME {
        // As any access (D57): a real address while translation is off.
        let found = if translation {
            match translate(state, call.cpu, Space::of_host(home), VirtualAddress(page * FRAME), world) {
                Ok(found) if !found.protected => found.frame,
                Ok(_) | Err(Fault::Exception(_) | Fault::SecureTable(_)) => return refuse(0x31, 0, "D11"),
            }
        } else {
            prefixed(state.host[&call.cpu].prefix, FrameNumber(page))
        };
        if found.0 >= state.setup.storage / FRAME {
            return refuse(0x32, 0, "D11");
        }
        frames.push(found);
    }
    if !start.is_multiple_of(FRAME) {
        return refuse(0x10a, 0, "D11");
    }
    if frames.iter().any(|&frame| is_lowcore(state, call.cpu, frame)) {
        return refuse(0x10e, 0, "Q25");
    }
    let mut distinct: Vec<u64> = frames.iter().map(|frame| frame.0).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let base = base.0 / FRAME..(base.0 + BASE_LENGTH) / FRAME;
    if distinct.len() < frames.len() || distinct.iter().any(|frame| base.contains(frame)) {
        return refuse(0x10b, 0, "D11");
    }
    if call.frames.iter().any(|frame| distinct.binary_search(&frame.0).is_ok()) {
        return refuse(0x10b, 0, "D5");
    }
    if frames.iter().any(|&frame| state.zone(frame) != Zone::NonSecure) {
        return refuse(0x10b, 0, "T77");
    }
    Ok(frames)
}

/// Where the variable area begins, and how long it is.
fn variable_area(block: &Block) -> (VirtualAddress, u64) {
    (VirtualAddress(block.u64(0x28)), VIRTUAL_LENGTH + block.u64(0x40) / MEBIBYTE * VARIABLE_LENGTH)
}

/// The variable area, if a refusal with this code came after its translation had begun.
pub(crate) fn translated(block: &Block, rc: u16) -> Option<(VirtualAddress, u64)> {
    matches!(rc, 0x31 | 0x32 | 0x10a..=0x10f).then(|| variable_area(block))
}

/// The system control area (D11): beyond storage, secure, or in an area that is being donated.
fn check_sca(state: &State, sca: AbsoluteAddress, base: AbsoluteAddress, variable: &[FrameNumber]) -> Result<(), Stop> {
    let frame = FrameNumber(sca.0 / FRAME);
    if sca.0 == 0 {
        return refuse(0x10c, 0, "D11");
    }
    let donated = frame.0.wrapping_sub(base.0 / FRAME) < BASE_LENGTH / FRAME || variable.contains(&frame);
    if !state.has_storage(sca, 1) || state.is_fenced(frame) || donated {
        return refuse(0x10d, 0, "D11");
    }
    Ok(())
}

/// CREATE_SEC_CPU 0x0120 (D12, T76, T77).
pub(crate) fn create_sec_cpu(state: &State, call: &Call, world: &mut dyn World) -> Ruling {
    let (owner, number) = (Handle(call.block.u64(0x20)), call.block.u16(0x36));
    let (storage, description) = (AbsoluteAddress(call.block.u64(0x28)), AbsoluteAddress(call.block.u64(0x38)));
    let (first, count) = frames_of(storage, CPU_LENGTH);
    if number > HIGHEST_CPU {
        return refuse(0x103, 0, "D12");
    }
    if state.configurations.get(&owner).is_some_and(|owner| owner.cpus.contains_key(&number)) {
        return refuse(0x104, 0, "D12");
    }
    if (0..count).any(|at| is_lowcore(state, call.cpu, FrameNumber(first.0.wrapping_add(at)))) {
        return refuse(0x106, 0, "D12");
    }
    if !state.has_storage(storage, CPU_LENGTH) || !storage.0.is_multiple_of(FRAME) {
        return refuse(0x105, 0, "D12");
    }
    if call.frames.contains(&first) {
        return refuse(0x105, 0, "D5");
    }
    if !state.all_non_secure(first, count) {
        return refuse(0x105, 0, "T77");
    }
    let at = FrameNumber(description.0 / FRAME);
    if !state.has_storage(description, 512) || state.is_fenced(at) || at == first || !description.0.is_multiple_of(512)
    {
        return refuse(0x107, 0, "D12");
    }
    let mut next = state.clone();
    let handle = draw(&mut next, world)?;
    next.donate(first, Donated { count, purpose: Purpose::Cpu(handle) });
    next.cpus.insert(handle, new_cpu(owner, number, description));
    if let Some(owner) = next.configurations.get_mut(&owner) {
        owner.cpus.insert(number, handle);
    }
    Ok(Done { state: next, rule: "T76", outputs: vec![call.block.field(0x18, handle.0)] })
}

/// A CPU begins stopped, with the registers of a clear reset.
fn new_cpu(configuration: Handle, number: u16, state_description: AbsoluteAddress) -> SecureCpu {
    SecureCpu {
        configuration,
        number,
        state_description,
        run: Run::Stopped,
        registers: Registers::cleared(),
        load_pending: false,
        outstanding: None,
        last_exit: None,
        owed: None::<(CpuReset, bool)>,
        in_sie: None,
    }
}

/// DESTROY_SEC_CONF 0x0101 (T40, T42, D27, Q12).
pub(crate) fn destroy_sec_conf(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    let handle = Handle(call.block.u64(0x18));
    let mut next = without(state, handle)?;
    let pages = state.configurations.get(&handle).map(|gone| gone.pages.clone()).unwrap_or_default();
    for page in pages.values() {
        match page.record {
            Record::Resident(frame) => {
                next.registered.remove(&frame);
                next.storage.remove(&frame);
            }
            Record::Shared(Some(frame)) | Record::Pinned(frame) => drop(next.registered.remove(&frame)),
            Record::Absent | Record::Exported | Record::Shared(None) | Record::Destroyed => {}
        }
    }
    next.done("T40")
}

/// DESTROY_SEC_CONF_FAST 0x0102 (T41, T42, D28): no guest frame is touched.
pub(crate) fn destroy_sec_conf_fast(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    without(state, Handle(call.block.u64(0x18)))?.done("T41")
}

/// What both forms of DESTROY_SEC_CONF do (Q12, D82, T42).
fn without(state: &State, handle: Handle) -> Result<State, Stop> {
    if state.configurations.get(&handle).is_some_and(|configuration| !configuration.cpus.is_empty()) {
        return refuse(0x105, 0, "Q12");
    }
    let mut next = state.clone();
    next.configurations.remove(&handle);
    next.give_back(&[Purpose::ConfigurationBase(handle), Purpose::Variable(handle)]);
    Ok(next)
}

/// DESTROY_SEC_CPU 0x0121 (T42, D13).
pub(crate) fn destroy_sec_cpu(state: &State, call: &Call, _world: &mut dyn World) -> Ruling {
    let handle = Handle(call.block.u64(0x18));
    let Some(cpu) = state.cpus.get(&handle) else { return refuse(0x21, 0, "D15") };
    if cpu.in_sie.is_some() {
        return refuse(0x103, 0, "D13");
    }
    let mut next = state.clone();
    next.cpus.remove(&handle);
    if let Some(owner) = next.configurations.get_mut(&cpu.configuration) {
        owner.cpus.remove(&cpu.number);
    }
    next.give_back(&[Purpose::Cpu(handle)]);
    next.done("T42")
}

impl State {
    /// Whether host CPUs are denied a frame: its secure bit.
    fn is_fenced(&self, frame: FrameNumber) -> bool {
        let zone = self.zone(frame);
        matches!(access::check(self, Requestor::NonSecure, zone), Verdict::Deny(..))
    }
}

/// The frames that a stretch touches: the first, and how many.
fn frames_of(address: AbsoluteAddress, length: u64) -> (FrameNumber, u64) {
    let first = address.0 / FRAME;
    (FrameNumber(first), address.0.saturating_add(length - 1) / FRAME - first + 1)
}

/// Absolute 0 to 0x1fff, and the issuer's prefix area.
fn is_lowcore(state: &State, cpu: CpuNumber, frame: FrameNumber) -> bool {
    let prefix = state.host[&cpu].prefix / FRAME;
    frame.0 < 2 || frame.0.wrapping_sub(prefix) < 2
}

/// A new handle (D20, Q27): not 0, never issued, and neither one bit nor 1 away from one that was.
fn draw(state: &mut State, world: &mut dyn World) -> Result<Handle, Stop> {
    let handle = world.handle();
    let near = (0..64).map(|bit| handle.0 ^ 1 << bit);
    let near = near.chain([handle.0, handle.0.wrapping_add(1), handle.0.wrapping_sub(1)]);
    if let Some(taken) = near.map(Handle).find(|other| state.issued.contains(other)) {
        let message = format!("handle {:#018x} is too near to {:#018x}, which was issued", handle.0, taken.0);
        return Err(Stop::Objection(Objection { rule: "D20", message }));
    }
    if handle.0 == 0 {
        return Err(Stop::Objection(Objection { rule: "D20", message: "a handle is 0".into() }));
    }
    state.issued.insert(handle);
    Ok(handle)
}
