//! Handles and what lies behind them.
//!
//! A handle is 64 random bits, drawn when an object is committed. No two handles that were ever issued
//! differ in one bit or by one, and none is issued twice, not even after a machine reset (D20).

use super::{Configuration, SecureCpu};
use crate::seed::{Purpose, Seed, SeedStream};
use crate::storage::{Asce, Domain};
use crate::uvc::{Refusal, Response};
use core::sync::atomic::{AtomicU64, Ordering};
use parking_lot::RwLock;
use slab::Slab;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(super) const INVALID_CONFIGURATION: Refusal = Refusal::new(Response::INVALID_CONFIGURATION_HANDLE, "D2");
pub(super) const INVALID_CPU: Refusal = Refusal::new(Response::INVALID_CPU_HANDLE, "D2");

/// All configurations and CPUs of a machine.
pub(crate) struct Objects {
    tables: RwLock<Tables>,
    /// Counts the changes of what [`Recent`] remembers. Changed only under the write lock.
    version: AtomicU64,
}

/// The configuration that a CPU has last worked on, so that it need not be looked up again. It is good as
/// long as no configuration has come or gone since.
#[derive(Debug, Default)]
pub(crate) struct Recent(Option<Found>);

#[derive(Debug)]
struct Found {
    configuration: Arc<Configuration>,
    /// Its handle was valid.
    live: bool,
    version: u64,
}

struct Tables {
    /// By domain. A dead configuration stays until no frame names it (I-06).
    configurations: Slab<Arc<Configuration>>,
    cpus: Slab<Arc<SecureCpu>>,
    handles: HashMap<u64, Behind>,
    issued: HashSet<u64>,
    handle_stream: SeedStream,
    configuration_stream: SeedStream,
    /// What has changed since the snapshot. `None` before the first one.
    changes: Option<Vec<TableChange>>,
}

/// A change of the tables, with what it takes to undo it.
enum TableChange {
    AddedConfiguration {
        key: usize,
        handle: u64,
    },
    AddedCpu {
        key: usize,
        handle: u64,
    },
    /// The handle is gone, the configuration is not.
    ForgotConfiguration {
        key: usize,
        handle: u64,
    },
    RemovedCpu(Arc<SecureCpu>),
    Retired(Arc<Configuration>),
    Issued(u64),
    Cleared(Box<Cleared>),
}

/// What a machine reset forgets.
struct Cleared {
    configurations: Slab<Arc<Configuration>>,
    cpus: Slab<Arc<SecureCpu>>,
    handles: HashMap<u64, Behind>,
}

/// How far the random streams are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn {
    handles: u128,
    configurations: u128,
}

#[derive(Clone, Copy)]
enum Behind {
    Configuration(usize),
    Cpu(usize),
}

/// Random material of a new configuration.
pub(super) struct ConfigurationSecrets {
    pub(super) seed: zeroize::Zeroizing<[u8; 32]>,
    pub(super) uid: [u8; 16],
}

impl Objects {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            tables: RwLock::new(Tables {
                configurations: Slab::new(),
                cpus: Slab::new(),
                handles: HashMap::new(),
                issued: HashSet::new(),
                handle_stream: seed.stream(Purpose::Handles),
                configuration_stream: seed.stream(Purpose::Configurations),
                changes: None,
            }),
            version: AtomicU64::new(0),
        }
    }

    /// The live configuration behind a handle, by way of what the CPU remembers.
    pub(super) fn recent_configuration<'a>(&self, recent: &'a mut Recent, handle: u64) -> Option<&'a Configuration> {
        let wanted = |found: &Found| found.live && found.configuration.handle == handle;
        self.recall(recent, wanted, |tables| tables.configuration(handle))
    }

    /// The configuration that a zone entry names, dead or alive, by way of what the CPU remembers.
    pub(super) fn recent_domain<'a>(&self, recent: &'a mut Recent, domain: Domain) -> Option<&'a Configuration> {
        let wanted = |found: &Found| found.configuration.domain == domain;
        self.recall(recent, wanted, |tables| tables.configurations.get(domain.0 as usize))
    }

    fn recall<'a>(
        &self,
        recent: &'a mut Recent,
        wanted: impl Fn(&Found) -> bool,
        look_up: impl FnOnce(&Tables) -> Option<&Arc<Configuration>>,
    ) -> Option<&'a Configuration> {
        let version = self.version.load(Ordering::Acquire);
        if !recent.0.as_ref().is_some_and(|found| found.version == version && wanted(found)) {
            let tables = self.tables.read();
            recent.0 = look_up(&tables).cloned().map(|configuration| Found {
                live: tables.handles.contains_key(&configuration.handle),
                configuration,
                version: self.version.load(Ordering::Acquire),
            });
        }
        recent.0.as_ref().map(|found| &*found.configuration)
    }

    /// The live configuration behind a handle.
    pub(crate) fn configuration(&self, handle: u64) -> Option<Arc<Configuration>> {
        self.tables.read().configuration(handle).cloned()
    }

    /// The CPU behind a handle.
    pub(crate) fn cpu(&self, handle: u64) -> Option<Arc<SecureCpu>> {
        let tables = self.tables.read();
        match tables.handles.get(&handle)? {
            Behind::Cpu(key) => tables.cpus.get(*key).cloned(),
            Behind::Configuration(_) => None,
        }
    }

    /// The configuration that a zone entry names, dead or alive.
    pub(crate) fn domain(&self, domain: Domain) -> Option<Arc<Configuration>> {
        self.tables.read().configurations.get(domain.0 as usize).cloned()
    }

    /// Whether a live configuration has this table origin.
    pub(super) fn asce_in_use(&self, asce: Asce) -> bool {
        self.tables.read().asce_in_use(asce)
    }

    /// Whether no further configuration fits (0x10f).
    pub(super) fn is_full(&self) -> bool {
        self.tables.read().configurations.len() as u64 >= u64::from(Domain::MAX)
    }

    /// Draws keys, domain and handle for a configuration and registers what `make` builds of them.
    /// `None` if another call has taken the ASCE or the last domain in the meantime.
    pub(super) fn add_configuration(
        &self,
        asce: Asce,
        fixed: Option<([u8; 32], [u8; 16])>,
        make: impl FnOnce(u64, Domain, &ConfigurationSecrets) -> Configuration,
    ) -> Option<Arc<Configuration>> {
        let mut tables = self.tables.write();
        if tables.asce_in_use(asce) {
            return None;
        }
        let key = tables.configurations.vacant_key();
        let domain = Domain(u32::try_from(key).ok().filter(|&key| key < Domain::MAX)?);
        let secrets = tables.draw_secrets(fixed);
        let handle = tables.draw_handle();
        let configuration = Arc::new(make(handle, domain, &secrets));
        tables.configurations.insert(configuration.clone());
        tables.handles.insert(handle, Behind::Configuration(key));
        tables.log(|| TableChange::AddedConfiguration { key, handle });
        self.changed();
        Some(configuration)
    }

    /// Draws a handle for a CPU and registers what `make` builds of it.
    pub(super) fn add_cpu(&self, make: impl FnOnce(u64) -> SecureCpu) -> Arc<SecureCpu> {
        let mut tables = self.tables.write();
        let handle = tables.draw_handle();
        let cpu = Arc::new(make(handle));
        let key = tables.cpus.insert(cpu.clone());
        tables.handles.insert(handle, Behind::Cpu(key));
        tables.log(|| TableChange::AddedCpu { key, handle });
        cpu
    }

    /// Forgets a handle; a configuration keeps its domain while frames name it.
    pub(super) fn remove(&self, handle: u64) {
        let mut tables = self.tables.write();
        match tables.handles.remove(&handle) {
            Some(Behind::Cpu(key)) => {
                if let Some(cpu) = tables.cpus.try_remove(key) {
                    tables.log(|| TableChange::RemovedCpu(cpu));
                }
            }
            Some(Behind::Configuration(key)) => tables.log(|| TableChange::ForgotConfiguration { key, handle }),
            None => {}
        }
        self.changed();
    }

    /// Gives the domain of a dead configuration free once no frame names it.
    pub(super) fn retire(&self, configuration: &Configuration) {
        if configuration.is_gone() && configuration.frames() == 0 {
            let mut tables = self.tables.write();
            let key = configuration.domain.0 as usize;
            let same = tables.configurations.get(key).is_some_and(|found| found.handle == configuration.handle);
            if same {
                let retired = tables.configurations.remove(key);
                tables.log(|| TableChange::Retired(retired));
                self.changed();
            }
        }
    }

    /// Forgets everything but which handles were issued.
    pub(super) fn clear(&self) {
        let mut tables = self.tables.write();
        let cleared = Cleared {
            configurations: core::mem::take(&mut tables.configurations),
            cpus: core::mem::take(&mut tables.cpus),
            handles: core::mem::take(&mut tables.handles),
        };
        tables.log(|| TableChange::Cleared(Box::new(cleared)));
        self.changed();
    }

    /// Notes all changes from now on, for [`Objects::restore`].
    pub(super) fn snapshot(&self) -> Drawn {
        let mut tables = self.tables.write();
        tables.changes = Some(Vec::new());
        tables.drawn()
    }

    /// Undoes all changes since the snapshot.
    pub(super) fn restore(&self, drawn: Drawn) {
        let mut tables = self.tables.write();
        // From the last to the first, so that the tables hand out the same keys again.
        for change in core::mem::take(&mut tables.changes).into_iter().flatten().rev() {
            tables.undo(change);
        }
        tables.changes = Some(Vec::new());
        tables.handle_stream.go_to(drawn.handles);
        tables.configuration_stream.go_to(drawn.configurations);
        self.changed();
    }

    /// Voids what CPUs remember. Called while the write lock is held.
    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// All configurations by domain, the dead ones included.
    pub(crate) fn configurations(&self) -> Vec<Arc<Configuration>> {
        self.tables.read().configurations.iter().map(|(_, configuration)| configuration.clone()).collect()
    }

    /// All CPUs.
    pub(crate) fn cpus(&self) -> Vec<Arc<SecureCpu>> {
        self.tables.read().cpus.iter().map(|(_, cpu)| cpu.clone()).collect()
    }
}

impl Tables {
    fn log(&mut self, change: impl FnOnce() -> TableChange) {
        if let Some(changes) = &mut self.changes {
            changes.push(change());
        }
    }

    fn undo(&mut self, change: TableChange) {
        match change {
            TableChange::AddedConfiguration { key, handle } => {
                self.configurations.try_remove(key);
                self.handles.remove(&handle);
            }
            TableChange::AddedCpu { key, handle } => {
                self.cpus.try_remove(key);
                self.handles.remove(&handle);
            }
            TableChange::ForgotConfiguration { key, handle } => {
                self.handles.insert(handle, Behind::Configuration(key));
            }
            TableChange::RemovedCpu(cpu) => {
                let handle = cpu.handle;
                let key = self.cpus.insert(cpu);
                self.handles.insert(handle, Behind::Cpu(key));
            }
            TableChange::Retired(configuration) => {
                let domain = configuration.domain;
                let key = self.configurations.insert(configuration);
                debug_assert_eq!(key, domain.0 as usize, "keys come back in the order in which they went");
            }
            TableChange::Issued(handle) => {
                self.issued.remove(&handle);
            }
            TableChange::Cleared(cleared) => {
                let Cleared { configurations, cpus, handles } = *cleared;
                (self.configurations, self.cpus, self.handles) = (configurations, cpus, handles);
            }
        }
    }

    fn drawn(&self) -> Drawn {
        Drawn { handles: self.handle_stream.position(), configurations: self.configuration_stream.position() }
    }

    fn configuration(&self, handle: u64) -> Option<&Arc<Configuration>> {
        match self.handles.get(&handle)? {
            Behind::Configuration(key) => self.configurations.get(*key),
            Behind::Cpu(_) => None,
        }
    }

    fn asce_in_use(&self, asce: Asce) -> bool {
        self.configurations.iter().any(|(_, other)| !other.is_gone() && other.asce.origin() == asce.origin())
    }

    fn draw_secrets(&mut self, fixed: Option<([u8; 32], [u8; 16])>) -> ConfigurationSecrets {
        let mut secrets = ConfigurationSecrets { seed: zeroize::Zeroizing::new([0; 32]), uid: [0; 16] };
        if let Some((seed, uid)) = fixed {
            *secrets.seed = seed;
            secrets.uid = uid;
            return secrets;
        }
        self.configuration_stream.fill(secrets.seed.as_mut_slice());
        while secrets.uid == [0; 16] {
            self.configuration_stream.fill(&mut secrets.uid);
        }
        secrets
    }

    fn draw_handle(&mut self) -> u64 {
        loop {
            let handle = self.handle_stream.next_u64();
            let near = |other: &u64| self.issued.contains(other);
            let taken = handle == 0
                || near(&handle)
                || near(&handle.wrapping_add(1))
                || near(&handle.wrapping_sub(1))
                || (0..64).any(|bit| near(&(handle ^ 1 << bit)));
            if !taken {
                self.issued.insert(handle);
                self.log(|| TableChange::Issued(handle));
                return handle;
            }
        }
    }
}

impl core::fmt::Debug for Objects {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let tables = self.tables.read();
        write!(f, "Objects({} configurations, {} CPUs)", tables.configurations.len(), tables.cpus.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d20_a_draw_that_is_near_to_an_issued_handle_is_thrown_away() {
        let mut stream = Seed(1).stream(Purpose::Handles);
        let (first, second) = (stream.next_u64(), stream.next_u64());
        let draw = |issued: Option<u64>| {
            let objects = Objects::new(Seed(1));
            let mut tables = objects.tables.write();
            tables.issued.extend(issued);
            tables.draw_handle()
        };
        assert_eq!(draw(None), first);
        assert_eq!(draw(Some(first ^ (1 << 20 | 1 << 40))), first, "two bits are far enough");
        for near in [first, first.wrapping_add(1), first.wrapping_sub(1), first ^ 1, first ^ 1 << 40, first ^ 1 << 63] {
            assert_eq!(draw(Some(near)), second, "{near:#x} is too near to {first:#x}");
        }
    }

    #[test]
    fn i32_a_reset_does_not_forget_what_was_issued() {
        let objects = Objects::new(Seed(1));
        let first = objects.tables.write().draw_handle();
        objects.clear();
        assert!(objects.tables.read().issued.contains(&first));
    }
}
