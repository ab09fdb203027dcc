//! Whatever steps are taken: the oracle answers, its tables agree, and what is refused changes nothing.

mod guest_machine;

use guest_machine::{ALPHA, BETA, BETA_VCPU, CPU, DESCRIPTION, FIRST, Machine, PAGES, SEGMENTS, SIZE, VCPU};
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::Arc;
use uvsim_oracle::ids::{AbsoluteAddress, CpuNumber, FrameNumber, GuestAddress, Handle, PageIndex, VirtualAddress};
use uvsim_oracle::state::{
    Boot, Bytes, Configuration, HostCpu, ImageKey, Opened, Purpose, Record, Registered, State, Zone,
};
use uvsim_oracle::step::{Access, GuestStep, HostStep, Injection, MachineReset, Outcome, Step, Table, Uvc};
use uvsim_oracle::world::{Looseness, World};

const BLOCK: u64 = 0x6_0000;
const BETA_SEGMENTS: u64 = 0x7_0000;
const BETA_DESCRIPTION: u64 = 0x7_8000;

/// A world that makes up all that it is asked for.
#[derive(Default)]
struct Any {
    count: u64,
}

impl World for Any {
    fn choose(&mut self, _: Looseness, count: usize) -> usize {
        self.count += 1;
        self.count as usize % count
    }
    fn handle(&mut self) -> Handle {
        self.count += 1;
        Handle(self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
    fn ciphertext(&mut self, frame: FrameNumber) -> Bytes {
        self.count += 1;
        let mut bytes = [0xc1; 4096];
        bytes[..8].copy_from_slice(&self.count.to_be_bytes());
        bytes[8..16].copy_from_slice(&frame.0.to_be_bytes());
        Arc::new(bytes)
    }
    fn query_output(&mut self, _: usize, length: usize) -> Vec<u8> {
        vec![0x77; length]
    }
    fn open_header(&mut self, _: &[u8]) -> Opened {
        Opened::NotAuthentic
    }
    fn decrypt(&mut self, _: ImageKey, tweak: (u64, u64), page: &Bytes) -> Bytes {
        let mut bytes = **page;
        bytes[0] ^= tweak.0 as u8;
        Arc::new(bytes)
    }
    fn digest(&mut self, _: &mut dyn Iterator<Item = Vec<u8>>) -> [u8; 64] {
        [0; 64]
    }
}

/// Two guests; the second has its parameters and no image yet, and is mapped to frames of the first, too.
fn start() -> State {
    let mut machine = Machine::new();
    machine.configuration(BETA, BETA_VCPU, BETA_SEGMENTS | 0x100, BETA_DESCRIPTION);
    machine.poke(BETA_SEGMENTS, &(PAGES + 0x1000).to_be_bytes());
    for page in 0..256_u64 {
        let entry = if page < 12 { (FIRST + page + 4) << 12 } else { 0x400 };
        machine.poke(PAGES + 0x1000 + 8 * page, &entry.to_be_bytes());
    }
    let beta = machine.state.configurations.get_mut(&BETA).expect("beta is there");
    if let Boot::Verified(image) = beta.boot.clone() {
        beta.boot = Boot::Loading(image, Arc::default());
    }
    for handle in [ALPHA, BETA, VCPU, BETA_VCPU] {
        machine.state.issued.insert(handle);
    }
    machine.state
}

/// Values that mean something in one field or another.
fn value() -> impl Strategy<Value = u64> {
    let frames = (FIRST - 1..FIRST + 20).prop_map(|frame| frame << 12);
    let pages = (0..20_u64).prop_map(|page| page << 12);
    let known = select(vec![
        ALPHA.0,
        BETA.0,
        VCPU.0,
        BETA_VCPU.0,
        SIZE,
        0,
        1,
        2,
        3,
        5,
        0x1000,
        16 << 20,
        (16 << 20) - 0x1000,
        u64::MAX,
        0x20_0000,
        0x40_0000,
        0x60_0000,
        SEGMENTS,
        SEGMENTS | 0x100,
        BETA_SEGMENTS | 0x100,
        0x9_0000 | 0x100,
        DESCRIPTION,
        DESCRIPTION + 0x400,
        BETA_DESCRIPTION,
        0x1_0000_0000_0000,
        0x100_0000_0000_0000,
        98 << 20,
    ]);
    prop_oneof![3 => frames, 3 => pages, 4 => known, 1 => any::<u64>()]
}

/// A block of some command, mostly of the right length.
fn block() -> impl Strategy<Value = Vec<u8>> {
    let commands = vec![
        (0x0001, 0x120),
        (0x0002, 0x200),
        (0x000f, 0x48),
        (0x0100, 0x80),
        (0x0101, 0x40),
        (0x0102, 0x48),
        (0x0120, 0x60),
        (0x0121, 0x40),
        (0x0200, 0x28),
        (0x0200, 0x28),
        (0x0200, 0x28),
        (0x0201, 0x20),
        (0x0201, 0x20),
        (0x0202, 0x20),
        (0x0300, 0x50),
        (0x0301, 0x50),
        (0x0301, 0x50),
        (0x0302, 0x40),
        (0x0310, 0x40),
        (0x0311, 0x40),
        (0x0320, 0x40),
        (0x0321, 0x40),
        (0x0330, 0x50),
        (0x0330, 0x50),
        (0x0340, 0x40),
        (0x0341, 0x20),
        (0x0342, 0x28),
        (0x1000, 0x30),
        (0x1001, 0x30),
        (0x0400, 0x40),
    ];
    (select(commands), 0..20_u16, proptest::collection::vec(value(), 64)).prop_map(|((code, right), wrong, values)| {
        let length: u16 = if wrong == 0 { right - 8 } else { right };
        let mut bytes: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).take(right.into()).collect();
        bytes[..2].copy_from_slice(&length.to_be_bytes());
        let code: u16 = code;
        bytes[2..4].copy_from_slice(&code.to_be_bytes());
        if code < 0x1000 && code != 0x0201 && code != 0x0202 && code != 0x0341 && code != 0x0120 {
            // Mostly a handle that fits.
            let handle = match code {
                0x0121 | 0x0310..=0x0311 | 0x0321..=0x0330 => [VCPU, BETA_VCPU],
                _ => [ALPHA, BETA],
            };
            bytes[0x18..0x20].copy_from_slice(&handle[usize::from(wrong % 2)].0.to_be_bytes());
        }
        bytes
    })
}

/// One thing after another, as single steps.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cpu = select(vec![CpuNumber(0), CpuNumber(0), CpuNumber(0), CpuNumber(1)]);
    let uvc = |r2| Uvc { r1: 0, r2, m3: 0, m4: 0 };
    let host_call = (block(), cpu.clone()).prop_map(move |(bytes, cpu)| {
        let address = AbsoluteAddress(BLOCK);
        let call = Step::Host(cpu, HostStep::Uvc(uvc(BLOCK)));
        vec![Step::Guest(cpu, GuestStep::Leave), Step::ChannelWrite { address, bytes }, call]
    });
    let stray_call =
        (value(), cpu.clone()).prop_map(move |(at, cpu)| vec![Step::Host(cpu, HostStep::Uvc(uvc(at & !7)))]);
    let guest_call = block().prop_map(move |bytes| {
        let address = GuestAddress(0x1e00);
        let length = bytes.len().min(0x200);
        let store = GuestStep::Store { address, bytes: bytes[..length].to_vec() };
        vec![enter(), Step::Guest(CPU, store), Step::Guest(CPU, GuestStep::Uvc(uvc(0x1e00)))]
    });
    let one = |step: BoxedStrategy<Step>| step.prop_map(|step| vec![step]);
    prop_oneof![
        12 => host_call,
        1 => stray_call,
        3 => guest_call,
        6 => one((cpu, host()).prop_map(|(cpu, step)| Step::Host(cpu, step)).boxed()),
        6 => guest().prop_map(|step| vec![enter(), Step::Guest(CPU, step)]),
        3 => one(other().boxed()),
    ]
}

/// The first guest runs, if it can and does not yet.
fn enter() -> Step {
    Step::Host(CPU, HostStep::Enter(VirtualAddress(DESCRIPTION)))
}

fn host() -> impl Strategy<Value = HostStep> {
    let kind = select(vec![Access::Fetch, Access::Instruction]);
    let description = select(vec![DESCRIPTION, DESCRIPTION, DESCRIPTION, BETA_DESCRIPTION, 0x5000, FIRST << 12]);
    let table = select(vec![PAGES, PAGES + 0x1000, SEGMENTS, FIRST << 12, u64::MAX]);
    prop_oneof![
        4 => description.prop_map(|at| HostStep::Enter(VirtualAddress(at))),
        2 => (value(), 0..9000_u64, kind)
            .prop_map(|(at, length, kind)| HostStep::Load { address: VirtualAddress(at), length, kind }),
        2 => (value(), 0..5000_usize)
            .prop_map(|(at, length)| HostStep::Store { address: VirtualAddress(at), bytes: vec![0xb7; length] }),
        1 => value().prop_map(|at| HostStep::Translate(VirtualAddress(at))),
        1 => (table.clone(), value())
            .prop_map(|(table, at)| HostStep::Ipte { table: AbsoluteAddress(table), address: VirtualAddress(at) }),
        1 => (table, value(), select(vec![Table::Segment, Table::RegionThird])).prop_map(|(table, at, level)| {
            HostStep::Idte { level, table: AbsoluteAddress(table), address: VirtualAddress(at) }
        }),
        1 => value().prop_map(HostStep::IdteSpace),
        1 => Just(HostStep::Ptlb),
        1 => value().prop_map(HostStep::SetPrefix),
        2 => (0..20_u8, any::<bool>(), value(), value()).prop_map(|(problem, translation, primary, home)| {
            let primary = if problem < 15 { guest_machine::ASCE } else { primary };
            HostStep::Registers { problem_state: problem == 0, translation: translation && problem < 3, primary, home }
        }),
    ]
}

fn guest() -> impl Strategy<Value = GuestStep> {
    let address = || value().prop_map(GuestAddress);
    prop_oneof![
        3 => Just(GuestStep::Leave),
        3 => (address(), 0..9000_u64).prop_map(|(address, length)| GuestStep::Load { address, length }),
        3 => (address(), 0..5000_usize)
            .prop_map(|(address, length)| GuestStep::Store { address, bytes: vec![0xa1; length] }),
        1 => address().prop_map(GuestStep::Prefetch),
        1 => (select(vec![0x44, 0x9c, 0x288, 0x308, 0x500, 0x1]), any::<u8>(), any::<u8>())
            .prop_map(|(function, r1, r3)| GuestStep::Diagnose { function, r1, r3 }),
        1 => value().prop_map(GuestStep::SetPrefix),
        1 => (any::<u32>(), address()).prop_map(|(command, block)| GuestStep::ServiceCall { command, block }),
        1 => (any::<u8>(), any::<u16>(), value())
            .prop_map(|(order, cpu, parameter)| GuestStep::Sigp { order, cpu, parameter }),
        1 => (any::<u64>(), value()).prop_map(|(mask, address)| GuestStep::LoadPsw { mask, address }),
        1 => (any::<u8>(), any::<u64>()).prop_map(|(number, value)| GuestStep::LoadControl { number, value }),
        1 => (any::<u8>(), value()).prop_map(|(number, value)| GuestStep::General(number, value)),
        1 => any::<bool>().prop_map(GuestStep::ProblemState),
    ]
}

fn other() -> impl Strategy<Value = Step> {
    let entry = (0..12_u64, 0..0x110_u64, select(vec![0, 0x200, 0x400, 0x800]));
    let injections = select(vec![Injection::Busy(1), Injection::Partial(1), Injection::LateFailure]);
    prop_oneof![
        4 => entry.prop_map(|(page, frame, bits)| Step::ChannelWrite {
            address: AbsoluteAddress(PAGES + 8 * page),
            bytes: (frame << 12 | bits).to_be_bytes().to_vec(),
        }),
        2 => (value(), 0..9000_u64)
            .prop_map(|(address, length)| Step::ChannelRead { address: AbsoluteAddress(address), length }),
        1 => (0..3_u16).prop_map(|cpu| Step::Start(CpuNumber(cpu))),
        1 => (0..3_u16).prop_map(|cpu| Step::Stop(CpuNumber(cpu))),
        1 => any::<u64>().prop_map(|nanoseconds| Step::Clock { nanoseconds }),
        1 => (select(vec![0x100, 0x200, 0x201, 0x301, 0x1000]), injections)
            .prop_map(|(command, injection)| Step::Inject { command, injection }),
        1 => (0..12_u64, select(vec![0, 5, (1 << 56) - 1]))
            .prop_map(|(page, counter)| Step::PresetCounter { configuration: ALPHA.0, page: PageIndex(page), counter }),
        1 => select(vec![MachineReset::Normal, MachineReset::Clear, MachineReset::PowerOn])
            .prop_map(|kind| Step::Host(CpuNumber(0), HostStep::ResetMachine(kind))),
    ]
}

/// I-01, I-02, I-03: rows and frames name each other.
fn rows_agree(state: &State) -> Result<(), TestCaseError> {
    let with_frame = |configuration: &Configuration| -> Vec<(PageIndex, FrameNumber, Registered)> {
        let rows = configuration.pages.iter();
        let found = rows.filter_map(|(&page, row)| match row.record {
            Record::Resident(frame) => Some((page, frame, Registered::Secure)),
            Record::Shared(Some(frame)) => Some((page, frame, Registered::Shared)),
            Record::Pinned(frame) => Some((page, frame, Registered::Pinned)),
            _ => None,
        });
        found.collect()
    };
    let mut rows = 0;
    for (&handle, configuration) in &state.configurations {
        for (page, frame, kind) in with_frame(configuration) {
            rows += 1;
            let registration = state.registered.get(&frame);
            let fits = registration.is_some_and(|of| (of.configuration, of.page, of.kind) == (handle, page, kind));
            prop_assert!(fits, "{page:?} of {handle:?} in {frame:?}: {registration:?}");
        }
    }
    let live = state.registered.values().filter(|of| state.configurations.contains_key(&of.configuration)).count();
    prop_assert_eq!(rows, live);
    Ok(())
}

/// I-06, I-07, D16: donated stretches lie apart, serve something alive, and hold nothing.
fn donations_agree(state: &State) -> Result<(), TestCaseError> {
    let mut end = 0;
    for (first, donated) in &state.donated {
        prop_assert!(first.0 >= end && donated.count > 0);
        end = first.0 + donated.count;
        let alive = match donated.purpose {
            Purpose::Base => state.initialised,
            Purpose::ConfigurationBase(handle) | Purpose::Variable(handle) => {
                state.configurations.contains_key(&handle)
            }
            Purpose::Cpu(handle) => state.cpus.contains_key(&handle),
        };
        prop_assert!(alive, "{donated:?}");
        let within = *first..FrameNumber(end);
        prop_assert!(state.registered.range(within.clone()).next().is_none());
        prop_assert!(state.storage.range(within).next().is_none());
    }
    prop_assert!(end <= state.setup.storage / 4096);
    Ok(())
}

/// CPUs and configurations name each other; a CPU is in SIE where it says.
fn cpus_agree(state: &State) -> Result<(), TestCaseError> {
    let numbered: usize = state.configurations.values().map(|configuration| configuration.cpus.len()).sum();
    prop_assert_eq!(numbered, state.cpus.len());
    for (handle, cpu) in &state.cpus {
        let owner = state.configurations.get(&cpu.configuration);
        prop_assert_eq!(owner.and_then(|owner| owner.cpus.get(&cpu.number)), Some(handle));
        if let Some(host) = cpu.in_sie {
            let stay = state.host.get(&host).and_then(|host| host.guest.as_ref());
            prop_assert_eq!(stay.map(|stay| stay.cpu), Some(*handle));
        }
    }
    Ok(())
}

/// All but translation buffers, counts of injections, and what is in the block.
fn visible(state: &State) -> State {
    let mut visible = state.clone();
    let forget = |host: &HostCpu| HostCpu { buffer: Default::default(), operands: Vec::new(), ..host.clone() };
    visible.host = state.host.iter().map(|(&number, host)| (number, forget(host))).collect();
    visible.injected.clear();
    visible.purges = Default::default();
    visible
}

/// I-18, D3: what is refused, busy or interrupted changes nothing but codes.
fn refusals_change_nothing(before: &State, step: &Step, after: &State, outcome: &Outcome) -> Result<(), TestCaseError> {
    let (mut old, new) = (visible(before), visible(after));
    match (step, outcome) {
        (Step::Host(_, HostStep::Uvc(uvc)), Outcome::Condition(1))
            if uvc.r2 == BLOCK && !before.host.values().any(|host| host.translation) =>
        {
            let frame = FrameNumber(BLOCK / 4096);
            let (mut bytes, answered) = (*before.frame(frame), after.frame(frame));
            let rc = u16::from_be_bytes([answered[4], answered[5]]);
            prop_assert_eq!(rc == 1, false);
            if rc == 0x100 || rc & 0x8000 != 0 {
                return Ok(());
            }
            bytes[4..8].copy_from_slice(&answered[4..8]);
            old.storage.insert(frame, Arc::new(bytes));
        }
        (Step::Host(_, HostStep::Uvc(_)), Outcome::Condition(2 | 3)) => {}
        (Step::Host(_, step), Outcome::Program(_)) if !matches!(step, HostStep::Enter(_)) => {}
        (_, Outcome::Impossible | Outcome::ChannelSecure(_) | Outcome::ChannelOutside(_)) => {}
        _ => return Ok(()),
    }
    prop_assert!(old == new, "{step:?} ends with {outcome:?} and has changed something");
    Ok(())
}

/// I-08: only calls and resets change what frames are.
fn only_calls_change_frames(before: &State, step: &Step, after: &State) -> Result<(), TestCaseError> {
    let entitled =
        matches!(step, Step::Host(_, HostStep::Uvc(_) | HostStep::ResetMachine(_)) | Step::Guest(_, GuestStep::Uvc(_)));
    if !entitled {
        prop_assert_eq!(&before.registered, &after.registered);
        prop_assert_eq!(&before.donated, &after.donated);
    }
    Ok(())
}

/// I-09: no access of a host or a device to a secure frame completes; its bytes stay.
fn secure_bytes_stay(before: &State, step: &Step, after: &State) -> Result<(), TestCaseError> {
    if let Step::Host(_, HostStep::Store { .. }) | Step::ChannelWrite { .. } = step {
        for (&frame, of) in before.registered.iter().filter(|(_, of)| of.kind == Registered::Secure) {
            prop_assert_eq!(before.zone(frame), Zone::Registered(*of));
            prop_assert_eq!(before.frame(frame), after.frame(frame));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i1_i3_i7_i8_i9_i18_hold_whatever_is_done(script in proptest::collection::vec(steps(), 1..60)) {
        let (mut state, mut world) = (start(), Any::default());
        for step in script.into_iter().flatten() {
            // The world makes ciphertexts up, so it is objected to now and then.
            let Ok(after) = uvsim_oracle::step(&state, &step, &mut world) else { continue };
            rows_agree(&after.state)?;
            donations_agree(&after.state)?;
            cpus_agree(&after.state)?;
            refusals_change_nothing(&state, &step, &after.state, &after.outcome)?;
            only_calls_change_frames(&state, &step, &after.state)?;
            secure_bytes_stay(&state, &step, &after.state)?;
            state = after.state;
        }
    }
}
