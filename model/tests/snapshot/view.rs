//! Everything that can be looked at in a machine.

use std::collections::BTreeMap;
use uvsim_model::address::{FrameNumber, PageIndex};
use uvsim_model::cpu::{HostCpu, Registers};
use uvsim_model::storage::{Domain, FrameState};
use uvsim_model::{ConfigurationView, CpuView, GuestRegisters, Image, Machine, PageView, StateDigest};

/// A look at a machine.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct View {
    digest: StateDigest,
    machine: (u64, bool),
    hosts: Vec<Registers>,
    configurations: BTreeMap<u64, Of>,
    cpus: BTreeMap<u64, (CpuView, GuestRegisters)>,
    zone: BTreeMap<FrameNumber, (FrameState, Option<u64>)>,
    storage: BTreeMap<FrameNumber, Box<[u8; 4096]>>,
}

/// A configuration.
#[derive(PartialEq, Eq, Debug)]
struct Of {
    view: ConfigurationView,
    domain: Option<Domain>,
    uid: Option<[u8; 16]>,
    image: Option<Image>,
    pages: Vec<(PageIndex, PageView, Option<[u64; 4]>)>,
}

impl View {
    /// Looks at the machine of a CPU that operates alone.
    pub(crate) fn of(cpu: &HostCpu<'_>) -> Self {
        let machine = cpu.machine();
        let others = (0..machine.config().cpus).filter(|&number| number != cpu.number());
        let registers = |number| machine.cpu(number).expect("it is stopped").registers();
        let mut view = Self {
            digest: machine.state_digest(None),
            machine: (machine.clock(), machine.is_initialised()),
            hosts: std::iter::once(cpu.registers()).chain(others.map(registers)).collect(),
            configurations: machine.configurations().into_iter().map(|handle| (handle, of(machine, handle))).collect(),
            cpus: BTreeMap::new(),
            zone: BTreeMap::new(),
            storage: BTreeMap::new(),
        };
        for handle in machine.secure_cpus() {
            let found = machine.secure_cpu(handle).zip(machine.cpu_registers(handle)).expect("it was listed");
            view.cpus.insert(handle, found);
        }
        machine.visit_zone(|frame, state| {
            let owner = state.registration().and_then(|(domain, _)| machine.owner(domain));
            view.zone.insert(frame, (state, owner));
        });
        // Which of the others may hold something the machine remembers, but it decides nothing.
        machine.visit_storage(|frame, bytes| {
            if *bytes != [0; 4096] {
                view.storage.insert(frame, Box::new(*bytes));
            }
        });
        view
    }

    /// The first part that differs.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let first = |part: &str, one: String, other: String| Some(format!("{part}: {one}, and {other}"));
        macro_rules! compare {
            ($($part:ident),*) => {$(
                if self.$part != other.$part {
                    return first(stringify!($part), format!("{:x?}", self.$part), format!("{:x?}", other.$part));
                }
            )*};
        }
        compare!(machine, hosts, configurations, cpus);
        for frame in self.zone.keys().chain(other.zone.keys()) {
            let [one, two] = [self, other].map(|view| view.zone.get(frame));
            if one != two {
                return first("zone", format!("{frame:?} {one:?}"), format!("{two:?}"));
            }
        }
        for frame in self.storage.keys().chain(other.storage.keys()) {
            let [one, two] = [self, other].map(|view| view.storage.get(frame).map(|bytes| &bytes[..]));
            if one != two {
                return first("storage", format!("{frame:?} {one:x?}"), format!("{two:x?}"));
            }
        }
        compare!(digest);
        None
    }
}

fn of(machine: &Machine, handle: u64) -> Of {
    let mut pages = Vec::new();
    machine.visit_pages(handle, |page, view| pages.push((page, view, machine.page_integrity(handle, page))));
    Of {
        view: machine.configuration(handle).expect("it was listed"),
        domain: machine.domain(handle),
        uid: machine.unique_id(handle),
        image: machine.image(handle),
        pages,
    }
}
