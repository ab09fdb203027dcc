//! Scenarios as cases.

use super::case::{
    BUFFERS, Case, Deed, GuestSetup, LoadContent, LoadSetup, MOST_CPUS, MOST_GUESTS, MOST_MEMORY, MOST_STATEMENTS,
    MOST_STORAGE, MOST_VCPUS, Setup,
};
use crate::scenario::{Guest, GuestIo, Load, LoadData, Node, Pages, Place, Read, Repeat, Scenario, Statement, Verb};
use std::path::PathBuf;
use uvsim_model::address::{MEBIBYTE, PAGE_SIZE};

/// A scenario that no case stands for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}:{line}: {what}, which no case holds", path.display())]
pub struct NoCase {
    /// The scenario.
    pub path: PathBuf,
    /// Where it says so.
    pub line: usize,
    /// What it says.
    pub what: String,
}

impl Case {
    /// The case that does what a scenario does. Ranges and loops are written out. What only looks is left out:
    /// expectations, comparisons, and `check` but for `check invariants`.
    ///
    /// # Errors
    /// The scenario does something that cases do not know.
    pub fn from_scenario(scenario: &Scenario) -> Result<Self, NoCase> {
        let conversion = Conversion(scenario);
        let setup = conversion.setup()?;
        let mut statements = Vec::new();
        for step in &scenario.steps {
            conversion.nodes(&step.nodes, &mut statements)?;
        }
        let case = Self::new(setup, statements.iter().map(|(_, deed)| deed.clone()).collect());
        conversion.unchanged(&case, &statements)?;
        Ok(case)
    }
}

struct Conversion<'s>(&'s Scenario);

impl Conversion<'_> {
    fn no<T>(&self, place: Place, what: impl Into<String>) -> Result<T, NoCase> {
        Err(NoCase { path: self.0.path.clone(), line: place.line, what: what.into() })
    }

    /// Nothing may have been settled away: the case would do something else.
    fn unchanged(&self, case: &Case, statements: &[(&Statement, Deed)]) -> Result<(), NoCase> {
        for (number, (statement, deed)) in statements.iter().enumerate() {
            let at_the_end = number >= case.statements.len() && deed.verb == Verb::CheckInvariants;
            if case.statements.get(number) != Some(deed) && !at_the_end {
                return self.no(statement.place, format!("`{}`", statement.text));
            }
        }
        Ok(())
    }

    fn setup(&self) -> Result<Setup, NoCase> {
        let machine = &self.0.machine;
        let no = |what: &str| self.no(self.0.place, what);
        if machine.host_key.is_some() || machine.backup_host_key.is_some() {
            return no("a host key of its own");
        }
        if machine.cpus > MOST_CPUS {
            return no("more CPUs than cases have");
        }
        if self.0.guests.len() > MOST_GUESTS || self.0.guests.is_empty() {
            return no("no guest, or more than cases have");
        }
        if self.0.buffers.len() > BUFFERS {
            return no("more buffers than cases have");
        }
        let setup = Setup {
            seed: machine.seed,
            // What is not used costs nothing, but addresses behind the end are to stay there.
            storage: machine.storage / MEBIBYTE,
            cpus: machine.cpus,
            generation: machine.generation,
            cipher: machine.cipher,
            change_detection: machine.change_detection,
            misc: machine.feature_misc,
            strict_tweaks: machine.strict_tweaks,
            without: machine.without.clone(),
            guests: self.0.guests.iter().map(|guest| self.guest(guest)).collect::<Result<_, _>>()?,
        };
        if setup.storage > MOST_STORAGE || Case::new(setup.clone(), Vec::new()).setup != setup {
            return no("a machine or a guest that is too large, or lacks calls that it is brought up by");
        }
        Ok(setup)
    }

    fn guest(&self, guest: &Guest) -> Result<GuestSetup, NoCase> {
        if guest.image.is_some() || guest.domain.is_some() || guest.devices.is_some() {
            return self.no(guest.place, format!("guest `{}` with an image file, domain or device", guest.name));
        }
        if guest.vcpus > MOST_VCPUS || guest.memory > MOST_MEMORY * MEBIBYTE {
            return self.no(guest.place, format!("guest `{}` that is too large", guest.name));
        }
        let load = |load: &Load| LoadSetup {
            address: load.address,
            data: match &load.data {
                LoadData::Bytes(bytes) => LoadContent::Bytes(bytes.clone()),
                LoadData::Random(length) => LoadContent::Random(*length),
            },
        };
        let loads = guest.loads.iter().map(load).collect();
        Ok(GuestSetup { memory: guest.memory / MEBIBYTE, vcpus: guest.vcpus, state: guest.state, loads })
    }

    fn nodes<'s>(&self, nodes: &'s [Node], into: &mut Vec<(&'s Statement, Deed)>) -> Result<(), NoCase> {
        nodes.iter().try_for_each(|node| match node {
            Node::Statement(statement) => self.statement(statement, into),
            Node::Repeat(Repeat { place, count, nodes }) => {
                for _ in 0..*count {
                    let before = into.len();
                    self.nodes(nodes, into)?;
                    if into.len() == before {
                        break;
                    }
                    if into.len() > MOST_STATEMENTS {
                        return self.no(*place, "more statements than cases have");
                    }
                }
                Ok(())
            }
            Node::Workload(workload) => self.no(workload.place, "a workload"),
            Node::Replay(replay) => self.no(replay.place, "a replay"),
            Node::Parallel(parallel) => self.no(parallel.place, "lanes"),
        })
    }

    fn statement<'s>(&self, statement: &'s Statement, into: &mut Vec<(&'s Statement, Deed)>) -> Result<(), NoCase> {
        let mut push = |verb: Verb| into.push((statement, Deed { cpu: statement.cpu, verb }));
        let room = |read: &Read| Read {
            length: Some(read.length.unwrap_or(PAGE_SIZE as u16 - read.offset)),
            compare: None,
            ..read.clone()
        };
        let each = |pages: Pages| pages.iter().map(move |page| Pages { first: page, last: page, ..pages });
        match &statement.verb {
            Verb::CheckPage { .. }
            | Verb::CheckEqual { .. }
            | Verb::CheckDiffer { .. }
            | Verb::CheckZero { .. }
            | Verb::CheckCpu { .. }
            | Verb::CheckLeaks { .. }
            | Verb::CheckIo { .. } => {}
            Verb::GuestIo { io: GuestIo::RemoveDevices, .. } | Verb::GuestIo { .. } | Verb::HostConsole { .. } => {
                return self.no(statement.place, format!("`{}`", statement.text));
            }
            Verb::HostRead { pages, read } => {
                each(*pages).for_each(|pages| push(Verb::HostRead { pages, read: room(read) }));
            }
            Verb::DeviceRead { pages, read } => {
                each(*pages).for_each(|pages| push(Verb::DeviceRead { pages, read: room(read) }));
            }
            Verb::GuestRead { pages, read } => {
                each(*pages).for_each(|pages| push(Verb::GuestRead { pages, read: room(read) }));
            }
            Verb::HostRemap { pages, to, purge } => {
                let purge = *purge;
                each(*pages).zip(each(*to)).for_each(|(pages, to)| push(Verb::HostRemap { pages, to, purge }));
            }
            Verb::HostCopy { pages, to } => {
                each(*pages).zip(each(*to)).for_each(|(pages, to)| push(Verb::HostCopy { pages, to }));
            }
            Verb::GuestDiagnose { guest, diagnose } => {
                let mut diagnose = *diagnose;
                diagnose.register = None;
                push(Verb::GuestDiagnose { guest: *guest, diagnose });
            }
            Verb::HostUvc { call } => {
                let mut call = call.clone();
                call.fields.sort_by_key(|(field, _)| field.offset);
                push(Verb::HostUvc { call });
            }
            Verb::GuestUvc { guest, call } => {
                let mut call = call.clone();
                call.fields.sort_by_key(|(field, _)| field.offset);
                push(Verb::GuestUvc { guest: *guest, call });
            }
            verb => match pages(verb) {
                Some(pages) => each(*pages).for_each(|one| {
                    let mut verb = verb.clone();
                    if let Some(pages) = pages_mut(&mut verb) {
                        *pages = one;
                    }
                    push(verb);
                }),
                None => push(verb.clone()),
            },
        }
        Ok(())
    }
}

macro_rules! pages_of {
    ($verb:expr) => {
        match $verb {
            Verb::HostRead { pages, .. }
            | Verb::HostWrite { pages, .. }
            | Verb::HostFlip { pages, .. }
            | Verb::HostExport { pages }
            | Verb::HostImport { pages }
            | Verb::HostDestroy { pages }
            | Verb::HostPin { pages }
            | Verb::HostUnpin { pages }
            | Verb::HostMakeAccessible { pages }
            | Verb::HostPageOut { pages }
            | Verb::HostPageIn { pages }
            | Verb::HostMove { pages, .. }
            | Verb::HostRemap { pages, .. }
            | Verb::HostCopy { pages, .. }
            | Verb::HostUnmap { pages, .. }
            | Verb::DeviceRead { pages, .. }
            | Verb::DeviceWrite { pages, .. }
            | Verb::GuestRead { pages, .. }
            | Verb::GuestWrite { pages, .. }
            | Verb::GuestShare { pages }
            | Verb::GuestUnshare { pages } => Some(pages),
            _ => None,
        }
    };
}

/// The pages of a verb that does something to some.
pub(super) fn pages(verb: &Verb) -> Option<&Pages> {
    pages_of!(verb)
}

/// The same, to be changed.
pub(super) fn pages_mut(verb: &mut Verb) -> Option<&mut Pages> {
    pages_of!(verb)
}
