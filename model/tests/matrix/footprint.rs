//! The footprint of success: what a call changes, frame by frame, page by page, CPU by CPU, and in its block;
//! whatever is not named here is as it was.

use crate::scene::Field;
use crate::stage::{Ending, PAGE, Stage};
use crate::support::{DONE, Host, UV_BASE};
use std::collections::BTreeMap;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::storage::{Domain, Donation, FrameState};
use uvsim_model::uvc::{Command, Issuer};
use uvsim_model::{Injection, Machine, PageRecord, RunState, UV_BASE_LENGTH};

/// One thing that is no longer as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Change {
    /// State of a frame.
    Frame(u64, String),
    /// Contents of a frame: zeros now, or something else.
    Zeros(u64),
    Contents(u64),
    /// Record of a page, by handle.
    Record(u64, u64, String),
    /// Counter of a page.
    Counter(u64, u64, u64),
    /// Change hash and tag of a page.
    Integrity(u64, u64),
    /// A configuration is there, or gone.
    Came(u64),
    Went(u64),
    /// What a configuration keeps of its header.
    Header(u64),
    ResetPending(u64, bool),
    /// State of a CPU; none if it is gone.
    Cpu(u64, Option<RunState>),
    Registers(u64),
    /// The base area is donated.
    Base,
}
use Change::{
    Base, Came, Contents, Counter, Cpu, Frame, Header, Integrity, Record, Registers, ResetPending, Went, Zeros,
};

fn frame(number: FrameNumber, state: FrameState) -> Change {
    Frame(number.0, format!("{state:?}"))
}

fn record(handle: u64, page: PageIndex, record: PageRecord) -> Change {
    Record(handle, page.0, format!("{record:?}"))
}

/// Everything that an inspection shows.
struct Snapshot {
    frames: BTreeMap<u64, (FrameState, Vec<u8>)>,
    base: bool,
    configurations: BTreeMap<u64, Configuration>,
    cpus: BTreeMap<u64, (RunState, String)>,
}

struct Configuration {
    pages: Vec<(PageRecord, u64, [u64; 4])>,
    header: String,
    pending: bool,
}

impl Snapshot {
    fn of(machine: &Machine, frames: u64, handles: &[u64]) -> Self {
        let contents = |number| {
            let mut bytes = vec![0; 4096];
            assert!(machine.peek(FrameNumber(number).address(), &mut bytes));
            (machine.frame_state(FrameNumber(number)), bytes)
        };
        let first = AbsoluteAddress(UV_BASE).frame().0;
        let base: Vec<FrameState> =
            (first..first + UV_BASE_LENGTH / 4096).map(|number| machine.frame_state(FrameNumber(number))).collect();
        assert!(base.iter().all(|state| *state == base[0]), "the base area is donated whole or not at all");
        let configuration = |&handle: &u64| {
            let page = |page| {
                let view = machine.page(handle, PageIndex(page))?;
                Some((view.record, view.counter, machine.page_integrity(handle, PageIndex(page))?))
            };
            let pages: Vec<_> = (0..256).map_while(page).collect();
            let (header, pending) = (format!("{:?}", machine.image(handle)), machine.is_reset_pending(handle)?);
            Some((handle, Configuration { pages, header, pending }))
        };
        let cpu = |&handle: &u64| {
            Some((handle, (machine.cpu_state(handle)?, format!("{:?}", machine.cpu_registers(handle)?))))
        };
        Self {
            frames: (0..frames).chain([first]).map(|number| (number, contents(number))).collect(),
            base: base[0] == FrameState::Donated(Donation::Base),
            configurations: handles.iter().filter_map(configuration).collect(),
            cpus: handles.iter().filter_map(cpu).collect(),
        }
    }

    /// What differs in `later`, but for the contents of one frame, in which the block lies.
    fn changes(&self, later: &Self, block: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for (&number, (state, bytes)) in &self.frames {
            let (state_later, bytes_later) = &later.frames[&number];
            let base = number == AbsoluteAddress(UV_BASE).frame().0;
            if state != state_later && !base {
                changes.push(frame(FrameNumber(number), *state_later));
            }
            if bytes != bytes_later && number != block {
                let zeros = bytes_later.iter().all(|&byte| byte == 0);
                changes.push(if zeros { Zeros(number) } else { Contents(number) });
            }
        }
        if self.base != later.base {
            changes.push(Base);
        }
        for handle in self.configurations.keys().filter(|handle| !later.configurations.contains_key(handle)) {
            changes.push(Went(*handle));
        }
        for (&handle, after) in &later.configurations {
            match self.configurations.get(&handle) {
                Some(before) => before.changes(handle, after, &mut changes),
                None => changes.push(Came(handle)),
            }
        }
        for handle in self.cpus.keys().filter(|handle| !later.cpus.contains_key(handle)) {
            changes.push(Cpu(*handle, None));
        }
        for (&handle, (state, registers)) in &later.cpus {
            let before = self.cpus.get(&handle);
            if before.is_none_or(|before| before.0 != *state) {
                changes.push(Cpu(handle, Some(*state)));
            }
            if before.is_some_and(|before| before.1 != *registers) {
                changes.push(Registers(handle));
            }
        }
        in_order(changes)
    }
}

impl Configuration {
    fn changes(&self, handle: u64, later: &Self, changes: &mut Vec<Change>) {
        for (page, (before, after)) in (0..).zip(self.pages.iter().zip(&later.pages)) {
            if before.0 != after.0 {
                changes.push(record(handle, PageIndex(page), after.0));
            }
            if before.1 != after.1 {
                changes.push(Counter(handle, page, after.1));
            }
            if before.2 != after.2 {
                changes.push(Integrity(handle, page));
            }
        }
        if self.header != later.header {
            changes.push(Header(handle));
        }
        if self.pending != later.pending {
            changes.push(ResetPending(handle, later.pending));
        }
    }
}

/// Issues a call that succeeds and compares its footprint. What is expected may depend on the handle that the
/// call gives.
fn expect(stage: &mut Stage<'_>, command: Command, fields: &[Field], expected: impl Fn(u64) -> Vec<Change>) {
    (stage.command, stage.fields) = (command, fields.to_vec());
    stage.issuer = if command.row().issuer == Issuer::Guest { Issuer::Guest } else { Issuer::Host };
    let machine = stage.host.machine();
    let frames = AbsoluteAddress(stage.host.allocate(0x1000)).frame().0;
    let mut handles = vec![stage.guest.handle, stage.guest.cpu];
    handles.extend(stage.others());
    let block = match stage.issuer {
        Issuer::Guest => {
            let first = machine.page(stage.guest.handle, PageIndex(1)).and_then(|page| page.record.frame());
            first.expect("page 1 is resident").address().0 + crate::scene::GUEST_BLOCK % 0x1000
        }
        _ => stage.block,
    };
    let at = AbsoluteAddress(block);
    let before = Snapshot::of(machine, frames, &handles);
    let written = stage.block_bytes();
    let trace = stage.issue();
    if trace.ending != Ending::Interception(108) {
        let remark = Ending::Code(1, 0x810f, 0);
        assert!([Ending::Code(0, 1, 0), remark].contains(&trace.ending), "{}: {:x?}", command.name(), trace.ending);
    }
    let handle = stage_output(machine, at);
    let new = match command {
        Command::CreateSecConf | Command::CreateSecCpu => handle,
        _ => 0,
    };
    handles.push(new);
    let after = Snapshot::of(machine, frames, &handles);
    let wanted = in_order(expected(new));
    assert_eq!(before.changes(&after, at.frame().0), wanted, "{}", command.name());
    expect_block(machine, command, at, &written);
}

fn in_order(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_key(|change| format!("{change:?}"));
    changes
}

fn stage_output(machine: &Machine, block: AbsoluteAddress) -> u64 {
    let mut bytes = [0; 8];
    assert!(machine.peek(AbsoluteAddress(block.0 + 0x18), &mut bytes));
    u64::from_be_bytes(bytes)
}

/// In the block only rc, rrc and outputs may differ from what the caller put there (D3).
fn expect_block(machine: &Machine, command: Command, block: AbsoluteAddress, written: &[u8]) {
    let mut found = vec![0; written.len()];
    assert!(machine.peek(block, &mut found));
    let output = |offset: usize| match command {
        Command::QueryUvInformation => (0x10..0x120).contains(&offset),
        Command::QueryKeys => (0x20..0x200).contains(&offset),
        _ => command.row().fields.iter().any(|field| {
            field.output && (field.offset..field.offset + u16::from(field.size)).contains(&(offset as u16))
        }),
    };
    for (offset, (before, after)) in written.iter().zip(&found).enumerate() {
        assert!(before == after || (4..8).contains(&offset) || output(offset), "{}: {offset:#x}", command.name());
    }
}

fn on(generation: Generation, scene: impl Fn(&mut Stage<'_>)) {
    let config = MachineConfig { generation, ..crate::stage::config() };
    let machine = crate::support::machine(config);
    scene(&mut Stage::new(&machine, Command::QueryUvInformation, Issuer::Host));
}

fn area(start: u64, frames: u64, state: impl Fn(u64) -> FrameState) -> Vec<Change> {
    let first = AbsoluteAddress(start).frame().0;
    (first..first + frames).map(|number| frame(FrameNumber(number), state(number))).collect()
}

/// Puts something into a frame that a call is to clear.
fn soil(stage: &mut Stage<'_>, address: u64) -> u64 {
    stage.host.store(address + 8, b"something");
    address / 4096
}

fn domain(stage: &Stage<'_>) -> Domain {
    stage.host.machine().domain(stage.guest.handle).expect("alive")
}

#[test]
fn queries_and_init() {
    on(Generation::Z17, |stage| {
        expect(stage, Command::QueryUvInformation, &[], |_| vec![]);
        expect(stage, Command::QueryKeys, &[], |_| vec![]);
    });
    let machine = crate::support::machine(crate::support::config());
    let stage = &mut Stage::new(&machine, Command::InitUv, Issuer::Host);
    let first = soil(stage, UV_BASE);
    let fields = [(0x18, 8, UV_BASE), (0x20, 8, UV_BASE_LENGTH)];
    expect(stage, Command::InitUv, &fields, |_| vec![Base, Zeros(first)]);
}

#[test]
fn configurations_and_cpus_come_and_go() {
    for late in [false, true] {
        on(Generation::Z16, |stage| {
            let guest = stage.guest.clone();
            let soiled = [guest.base, guest.base + 0xf000, guest.variable + 0x10000].map(|at| soil(stage, at));
            if late {
                stage.around.inject.push(Injection::LateFailure);
            }
            expect(stage, Command::CreateSecConf, &Host::create_fields(&guest), |handle| {
                // The first configuration of a machine has the first domain.
                let domain = Domain(0);
                let page = |number| FrameState::Donated(Donation::ConfigurationVariable(domain, number));
                let mut changes = area(guest.base, 16, |_| FrameState::Donated(Donation::ConfigurationBase(domain)));
                changes.extend(area(guest.variable, 17, page));
                changes.extend(soiled.map(Zeros));
                changes.push(Came(handle));
                changes
            });
        });
    }
    on(Generation::Z16, |stage| {
        stage.create();
        let (guest, storage) = (stage.guest.clone(), stage.host.allocate(0x1000));
        let soiled = soil(stage, storage);
        let domain = domain(stage);
        let fields = [(0x20, 8, guest.handle), (0x28, 8, storage), (0x36, 2, 1), (0x38, 8, guest.state_description)];
        expect(stage, Command::CreateSecCpu, &fields, |handle| {
            let state = FrameState::Donated(Donation::Cpu(domain));
            vec![frame(FrameNumber(soiled), state), Zeros(soiled), Cpu(handle, Some(RunState::Stopped))]
        });
        let storage = AbsoluteAddress(guest.cpu_storage).frame();
        expect(stage, Command::DestroySecCpu, &[(0x18, 8, guest.cpu)], |_| {
            vec![frame(storage, FrameState::NonSecure), Cpu(guest.cpu, None)]
        });
    });
}

/// A guest whose pages 3 to 6 are resident, shared, exported and pinned, with its CPU stopped. Returns the
/// frames of the pages.
fn inhabited(stage: &mut Stage<'_>) -> [FrameNumber; 4] {
    stage.start();
    let guest = stage.guest.clone();
    let secure = stage.host.resident(&guest, PageIndex(3));
    stage.host.guest_store(&guest, 0x3000, b"secret").expect("resident");
    let open = stage.host.shared(&guest, PageIndex(4), b"open");
    let away = stage.host.resident(&guest, PageIndex(5));
    assert_eq!(stage.host.export(away), DONE);
    let held = stage.host.shared(&guest, PageIndex(6), b"held");
    assert_eq!(stage.host.pin(held), DONE);
    assert_eq!(stage.host.set_state(&guest, 2), DONE);
    [secure, open, away, held]
}

#[test]
fn the_end_of_a_configuration() {
    for fast in [false, true] {
        on(Generation::Z16, |stage| {
            let [secure, open, _, held] = inhabited(stage);
            let guest = stage.guest.clone();
            let prefix = [0, 1].map(|page| {
                let view = stage.host.machine().page(guest.handle, PageIndex(page)).expect("alive");
                view.record.frame().expect("resident")
            });
            // Something to clear in page 1; page 0 is zeros as it is.
            assert_eq!(stage.host.set_state(&guest, 1), DONE);
            stage.host.guest_store(&guest, 0x1000, b"more").expect("resident");
            assert_eq!(stage.host.destroy_cpu(&guest), DONE);
            let command = if fast { Command::DestroySecConfFast } else { Command::DestroySecConf };
            expect(stage, command, &[(0x18, 8, guest.handle)], |_| {
                let mut changes = area(guest.base, 16, |_| FrameState::NonSecure);
                changes.extend(area(guest.variable, 17, |_| FrameState::NonSecure));
                changes.push(Went(guest.handle));
                if !fast {
                    let back = [secure, open, held, prefix[0], prefix[1]];
                    changes.extend(back.map(|number| frame(number, FrameState::NonSecure)));
                    changes.extend([Zeros(secure.0), Zeros(prefix[1].0)]);
                }
                changes
            });
        });
    }
}

#[test]
fn imports() {
    on(Generation::Z16, |stage| {
        inhabited(stage);
        let guest = stage.guest.clone();
        let domain = domain(stage);
        let import = |page: PageIndex| [(0x18, 8, guest.handle), (0x20, 8, page.0 * 4096)];
        // T24, then T31.
        stage.frame = stage.host.frame();
        let new = soil(stage, stage.frame.address().0);
        stage.host.map(&guest, PageIndex(7), stage.frame);
        let (page, number) = (PageIndex(7), stage.frame);
        expect(stage, Command::ConvToSecStor, &import(page), |_| {
            let state = FrameState::Secure(domain, page);
            vec![frame(number, state), Zeros(new), record(guest.handle, page, PageRecord::Resident(number))]
        });
        expect(stage, Command::ConvToSecStor, &import(page), |_| vec![]);
        // T25.
        let page = PageIndex(5);
        let away = stage.host.machine().page(guest.handle, page).map(|view| view.record);
        assert_eq!(away, Some(PageRecord::Exported));
        let number = AbsoluteAddress(
            stage
                .host
                .load(guest.tables[0] + 5 * 8, 8)
                .map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().expect("an entry"))),
        )
        .frame();
        expect(stage, Command::ConvToSecStor, &import(page), |_| {
            let state = FrameState::Secure(domain, page);
            // The page was never written: it is zeros again.
            vec![frame(number, state), Zeros(number.0), record(guest.handle, page, PageRecord::Resident(number))]
        });
        // T37, in another frame.
        let page = PageIndex(4);
        let open = stage.host.machine().page(guest.handle, page).and_then(|view| view.record.frame());
        assert_eq!(stage.host.export(open.expect("shared")), DONE);
        let number = stage.host.frame();
        soil(stage, number.address().0);
        stage.host.map(&guest, page, number);
        expect(stage, Command::ConvToSecStor, &import(page), |_| {
            let state = FrameState::Shared(domain, page);
            vec![frame(number, state), record(guest.handle, page, PageRecord::Shared(Some(number)))]
        });
        // T35: another guest takes it.
        let other = stage.other();
        let taker = stage.host.machine().domain(other.handle).expect("alive");
        stage.host.map(&other, PAGE, number);
        expect(stage, Command::ConvToSecStor, &[(0x18, 8, other.handle), (0x20, 8, PAGE.0 * 4096)], |_| {
            vec![
                frame(number, FrameState::Secure(taker, PAGE)),
                Zeros(number.0),
                record(guest.handle, page, PageRecord::Shared(None)),
                record(other.handle, PAGE, PageRecord::Resident(number)),
            ]
        });
    });
}

#[test]
fn exports() {
    on(Generation::Z16, |stage| {
        let [secure, open, away, held] = inhabited(stage);
        let guest = stage.guest.clone();
        let export = |number: FrameNumber| [(0x18, 8, number.address().0)];
        let exported = |page: u64| record(guest.handle, PageIndex(page), PageRecord::Exported);
        let free = |number| frame(number, FrameState::NonSecure);
        expect(stage, Command::ConvFromSecStor, &export(secure), |_| {
            vec![free(secure), Contents(secure.0), exported(3), Counter(guest.handle, 3, 1), Integrity(guest.handle, 3)]
        });
        // Not changed since: the same counter, the same bytes (I-23).
        assert_eq!(stage.host.import(&guest, PageIndex(3)), DONE);
        expect(stage, Command::ConvFromSecStor, &export(secure), |_| {
            vec![free(secure), Contents(secure.0), exported(3)]
        });
        for (number, page) in [(open, 4), (held, 6)] {
            expect(stage, Command::ConvFromSecStor, &export(number), |_| {
                vec![free(number), record(guest.handle, PageIndex(page), PageRecord::Shared(None))]
            });
        }
        expect(stage, Command::ConvFromSecStor, &export(away), |_| vec![]);
        let (orphan, left) = (stage.ended(false), stage.ended(true));
        expect(stage, Command::ConvFromSecStor, &export(orphan), |_| vec![free(orphan)]);
        expect(stage, Command::ConvFromSecStor, &export(left), |_| vec![free(left)]);
    });
}

#[test]
fn destroyed_pages() {
    on(Generation::Z16, |stage| {
        let [secure, open, away, held] = inhabited(stage);
        let guest = stage.guest.clone();
        assert_eq!(stage.host.destroy_cpu(&guest), DONE);
        for (number, page) in [(secure, 3), (open, 4), (held, 6)] {
            expect(stage, Command::DestrSecStor, &[(0x18, 8, number.address().0)], |_| {
                let destroyed = record(guest.handle, PageIndex(page), PageRecord::Destroyed);
                vec![frame(number, FrameState::NonSecure), Zeros(number.0), destroyed]
            });
        }
        expect(stage, Command::DestrSecStor, &[(0x18, 8, away.address().0)], |_| vec![]);
        let left = stage.ended(true);
        expect(stage, Command::DestrSecStor, &[(0x18, 8, left.address().0)], |_| {
            vec![frame(left, FrameState::NonSecure), Zeros(left.0)]
        });
    });
}

#[test]
fn sharing() {
    on(Generation::Z16, |stage| {
        let [secure, open, _, held] = inhabited(stage);
        let guest = stage.guest.clone();
        let domain = domain(stage);
        let page = |number: u64| [(0x18, 8, guest.handle), (0x20, 8, number * 4096)];
        let changed =
            |number, page: u64, state: fn(Domain, PageIndex) -> FrameState, to: fn(FrameNumber) -> PageRecord| {
                vec![frame(number, state(domain, PageIndex(page))), record(guest.handle, PageIndex(page), to(number))]
            };
        expect(stage, Command::PinPageShared, &[(0x18, 8, open.address().0)], |_| {
            changed(open, 4, FrameState::Pinned, PageRecord::Pinned)
        });
        expect(stage, Command::PinPageShared, &[(0x18, 8, open.address().0)], |_| vec![]);
        expect(stage, Command::UnpinPageShared, &page(4), |_| {
            changed(open, 4, FrameState::Shared, |number| PageRecord::Shared(Some(number)))
        });
        expect(stage, Command::UnpinPageShared, &page(4), |_| vec![]);
        assert_eq!(stage.host.set_state(&guest, 1), DONE);
        expect(stage, Command::SetSharedAccess, &[(0x20, 8, 0x3000)], |_| {
            changed(secure, 3, FrameState::Shared, |number| PageRecord::Shared(Some(number)))
        });
        expect(stage, Command::SetSharedAccess, &[(0x20, 8, 0x3000)], |_| vec![]);
        expect(stage, Command::RemoveSharedAccess, &[(0x20, 8, 0x3000)], |_| {
            changed(secure, 3, FrameState::Secure, PageRecord::Resident)
        });
        expect(stage, Command::RemoveSharedAccess, &[(0x20, 8, 0x3000)], |_| vec![]);
        // The host is told where and what (T60).
        expect(stage, Command::RemoveSharedAccess, &[(0x20, 8, 0x6000)], |_| {
            vec![Contents(guest.state_description / 4096), Contents(guest.sida / 4096)]
        });
        assert_eq!(stage.host.export(open), DONE);
        assert_eq!(stage.host.set_state(&guest, 2), DONE);
        expect(stage, Command::SetUnsharedAll, &[(0x18, 8, guest.handle)], |_| {
            let mut changes = changed(held, 6, FrameState::Secure, PageRecord::Resident);
            changes.push(record(guest.handle, PageIndex(4), PageRecord::Absent));
            changes
        });
    });
}

#[test]
fn images_and_cpu_states() {
    on(Generation::Z16, |stage| {
        stage.create();
        let guest = stage.guest.clone();
        let domain = domain(stage);
        stage.plan.recipients = vec![stage.host.machine().host_public_key().clone()];
        stage.plan.pages = vec![(PAGE.0 * 4096, [1, 0], [0x5a; 4096])];
        let image = stage.plan.make();
        let fields = stage.host.parameters(&guest, &image.header);
        expect(stage, Command::SetSecConfParams, &fields, |_| vec![Header(guest.handle)]);
        let number = stage.frame;
        stage.host.store(number.address().0, &image.pages[0].2);
        stage.host.map(&guest, PAGE, number);
        let fields = [(0x18, 8, guest.handle), (0x20, 8, PAGE.0 * 4096), (0x28, 8, 1)];
        expect(stage, Command::UnpackImg, &fields, |_| {
            vec![
                frame(number, FrameState::Secure(domain, PAGE)),
                Contents(number.0),
                record(guest.handle, PAGE, PageRecord::Resident(number)),
            ]
        });
        expect(stage, Command::VerifyImg, &[(0x18, 8, guest.handle)], |_| vec![]);
        let set = |state| [(0x18, 8, guest.cpu), (0x27, 1, state)];
        let is = |state| Cpu(guest.cpu, Some(state));
        expect(stage, Command::CpuSetState, &set(5), |_| vec![is(RunState::Operating), Registers(guest.cpu)]);
        expect(stage, Command::CpuSetState, &set(3), |_| vec![is(RunState::CheckStop)]);
        expect(stage, Command::CpuSetState, &set(1), |_| vec![is(RunState::Operating)]);
        expect(stage, Command::CpuSetState, &set(2), |_| vec![is(RunState::Stopped)]);
        expect(stage, Command::SetUnsharedAll, &[(0x18, 8, guest.handle)], |_| vec![]);
        expect(stage, Command::PrepareReset, &[(0x18, 8, guest.handle)], |_| vec![ResetPending(guest.handle, true)]);
        expect(stage, Command::CpuReset, &[(0x18, 8, guest.cpu)], |_| vec![]);
        expect(stage, Command::CpuResetInitial, &[(0x18, 8, guest.cpu)], |_| vec![Registers(guest.cpu)]);
        expect(stage, Command::CpuResetClear, &[(0x18, 8, guest.cpu)], |_| vec![]);
        expect(stage, Command::CpuSetState, &set(5), |_| {
            vec![is(RunState::Operating), ResetPending(guest.handle, false)]
        });
    });
}
