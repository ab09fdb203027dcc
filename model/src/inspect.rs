//! A privileged look at the machine, without side effects: for tests, checks and teaching. No real
//! software can do this.

use crate::address::{AbsoluteAddress, FrameNumber, PAGE_SIZE, PageIndex};
use crate::crypto::Counter;
use crate::firmware::{Boot, Configuration, GuestRegisters, Image, PageRecord, RunState};
use crate::machine::Machine;
use crate::storage::{Asce, Domain, Donation, FrameState, ZoneEntry};
use crate::witness::{Outcome, Step};
use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the Ultravisor knows of a guest page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageView {
    /// State of the page.
    pub record: PageRecord,
    /// Counter of its latest encryption; 0 if it never was encrypted.
    pub counter: u64,
}

/// What the Ultravisor keeps of a live configuration, pages and keys apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigurationView {
    /// Guest storage origin (MSO).
    pub origin: u64,
    /// Bytes of guest storage.
    pub size: u64,
    /// Address-space-control element.
    pub asce: Asce,
    /// System control area.
    pub sca: AbsoluteAddress,
    /// Handles of its CPUs by number.
    pub cpus: BTreeMap<u16, u64>,
    /// Pages that UNPACK_IMG has loaded. `None` before SET_SEC_CONF_PARAMS and from VERIFY_IMG on.
    pub unpacked: Option<u64>,
    /// The image is verified.
    pub verified: bool,
    /// A reset is under way: no CPU can be entered (D79).
    pub reset_pending: bool,
}

/// What the Ultravisor keeps of a CPU, registers apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuView {
    /// Handle of its configuration.
    pub configuration: u64,
    /// Its number there.
    pub number: u16,
    /// Where its state description is.
    pub state_description: AbsoluteAddress,
    /// State.
    pub state: RunState,
    /// It is in SIE.
    pub in_sie: bool,
    /// The next entry takes the PSW from guest absolute 0.
    pub load_pending: bool,
    /// An instruction left with interception 104 and is not complete: its first halfword.
    pub outstanding: Option<u16>,
    /// Clock at the latest exit, if the CPU timer is held to it.
    pub last_exit: Option<u64>,
    /// A reset under way still wants a CPU reset of it.
    pub owes_reset: bool,
}

/// An invariant that does not hold: an error of the model, never of its user.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invariant {invariant}: {message}")]
pub struct Violation {
    /// Its id.
    pub invariant: &'static str,
    /// What was found.
    pub message: String,
}

impl Machine {
    /// The zone entry of a frame.
    #[must_use]
    pub fn zone_entry(&self, frame: FrameNumber) -> ZoneEntry {
        self.storage.zone(frame)
    }

    /// The state of a frame.
    #[must_use]
    pub fn frame_state(&self, frame: FrameNumber) -> FrameState {
        self.storage.zone(frame).state()
    }

    /// Reads storage past all access control. `false` outside storage.
    pub fn peek(&self, address: AbsoluteAddress, bytes: &mut [u8]) -> bool {
        self.storage.load(address, bytes).is_ok()
    }

    /// A page of the live configuration behind a handle.
    #[must_use]
    pub fn page(&self, handle: u64, page: PageIndex) -> Option<PageView> {
        let configuration = self.firmware.objects().configuration(handle)?;
        let view = configuration.rows.view(page);
        (page.0 < configuration.pages).then_some(PageView { record: view.record, counter: view.counter })
    }

    /// Change hash and tag of a page as four words; only tests have a use for them.
    #[must_use]
    pub fn page_integrity(&self, handle: u64, page: PageIndex) -> Option<[u64; 4]> {
        let view = self.firmware.objects().configuration(handle)?.rows.view(page);
        Some([view.hash[0], view.hash[1], view.tag[0], view.tag[1]])
    }

    /// The domain number of a live configuration, as it stands in zone entries.
    #[must_use]
    pub fn domain(&self, handle: u64) -> Option<Domain> {
        self.firmware.objects().configuration(handle).map(|configuration| configuration.domain)
    }

    /// Unique id of a live configuration.
    #[must_use]
    pub fn unique_id(&self, handle: u64) -> Option<[u8; 16]> {
        self.firmware.objects().configuration(handle).map(|configuration| configuration.uid)
    }

    /// Whether the configuration that a zone entry names has ended.
    #[must_use]
    pub fn is_discarded(&self, domain: Domain) -> bool {
        self.firmware.objects().domain(domain).is_none_or(|configuration| configuration.is_gone())
    }

    /// What a live configuration keeps of the header of its image, once it is accepted.
    #[must_use]
    pub fn image(&self, handle: u64) -> Option<Image> {
        self.firmware.objects().configuration(handle)?.life()?.boot.image().cloned()
    }

    /// Handle of the configuration that a zone entry names, dead or alive. `None` if there is none.
    #[must_use]
    pub fn owner(&self, domain: Domain) -> Option<u64> {
        self.firmware.objects().domain(domain).map(|configuration| configuration.handle)
    }

    /// Handles of the live configurations.
    #[must_use]
    pub fn configurations(&self) -> Vec<u64> {
        let all = self.firmware.objects().configurations();
        all.iter().filter(|configuration| !configuration.is_gone()).map(|configuration| configuration.handle).collect()
    }

    /// Handles of the CPUs of configurations.
    #[must_use]
    pub fn secure_cpus(&self) -> Vec<u64> {
        self.firmware.objects().cpus().iter().map(|cpu| cpu.handle).collect()
    }

    /// The live configuration behind a handle.
    #[must_use]
    pub fn configuration(&self, handle: u64) -> Option<ConfigurationView> {
        let configuration = self.firmware.objects().configuration(handle)?;
        let life = configuration.life()?;
        Some(ConfigurationView {
            origin: configuration.origin,
            size: configuration.size(),
            asce: configuration.asce,
            sca: configuration.sca,
            cpus: life.cpus.clone(),
            unpacked: match &life.boot {
                Boot::Loading(loading) => Some(loading.pages()),
                Boot::Created | Boot::Verified(_) => None,
            },
            verified: matches!(life.boot, Boot::Verified(_)),
            reset_pending: configuration.reset().is_pending(),
        })
    }

    /// The CPU behind a handle.
    #[must_use]
    pub fn secure_cpu(&self, handle: u64) -> Option<CpuView> {
        let cpu = self.firmware.objects().cpu(handle)?;
        let (configuration, number, state_description) = (cpu.configuration.handle, cpu.number, cpu.state_description);
        let in_sie = cpu.is_in_sie();
        Some(cpu.look(|status| CpuView {
            configuration,
            number,
            state_description,
            state: status.state,
            in_sie,
            load_pending: status.load_pending,
            outstanding: status.outstanding.map(|outstanding| outstanding.ipa),
            last_exit: status.last_exit,
            owes_reset: status.mark.is_some_and(|mark| !mark.is_satisfied()),
        }))
    }

    /// Calls `visit` with every page of a live configuration that a call has touched, rising.
    pub fn visit_pages(&self, handle: u64, mut visit: impl FnMut(PageIndex, PageView)) {
        let Some(configuration) = self.firmware.objects().configuration(handle) else { return };
        for (first, chunk) in configuration.rows.chunks() {
            for (number, row) in (first.0..).zip(chunk.views()) {
                if row.record != PageRecord::Absent || row.counter != 0 {
                    visit(PageIndex(number), PageView { record: row.record, counter: row.counter });
                }
            }
        }
    }

    /// Calls `visit` with every frame whose zone entry is not that of an ordinary host frame, rising.
    pub fn visit_zone(&self, mut visit: impl FnMut(FrameNumber, FrameState)) {
        for (first, chunk) in self.storage.chunks() {
            for (number, entry) in (first.0..).zip(chunk.zone_entries()) {
                if entry != ZoneEntry::NON_SECURE {
                    visit(FrameNumber(number), entry.state());
                }
            }
        }
    }

    /// Calls `visit` with every frame that may hold something other than zeros, and its bytes, rising.
    pub fn visit_storage(&self, mut visit: impl FnMut(FrameNumber, &[u8; PAGE_SIZE as usize])) {
        self.storage.count_host_stores();
        let mut bytes = [0; PAGE_SIZE as usize];
        for (first, chunk) in self.storage.chunks() {
            for index in chunk.stored_frames() {
                let frame = FrameNumber(first.0 + index as u64);
                self.storage.copy_frame(frame, &mut bytes);
                visit(frame, &bytes);
            }
        }
    }

    /// State of the CPU behind a handle.
    #[must_use]
    pub fn cpu_state(&self, handle: u64) -> Option<RunState> {
        self.firmware.objects().cpu(handle).map(|cpu| cpu.look(|status| status.state))
    }

    /// Registers of the CPU behind a handle, which no real host can see.
    #[must_use]
    pub fn cpu_registers(&self, handle: u64) -> Option<GuestRegisters> {
        self.firmware.objects().cpu(handle).map(|cpu| cpu.look(|status| status.registers.clone()))
    }

    /// Whether a reset of the live configuration behind a handle is under way: no CPU can be entered (D79).
    #[must_use]
    pub fn is_reset_pending(&self, handle: u64) -> Option<bool> {
        self.firmware.objects().configuration(handle).map(|configuration| configuration.reset().is_pending())
    }

    /// Whether INIT_UV has succeeded since the last machine reset.
    #[must_use]
    pub fn is_initialised(&self) -> bool {
        self.firmware.is_initialised()
    }

    /// Test hook (D42): makes a resident page look as if its latest export had been under `counter`.
    /// `false` if the page is not resident.
    pub fn preset_counter(&self, handle: u64, page: PageIndex, counter: Counter) -> bool {
        let done = self.firmware.preset_counter(&self.storage, handle, page, counter);
        self.tell(Step::PresetCounter(handle, page, counter), Outcome::Done);
        done
    }

    /// Checks the invariants that a state on its own can break. The machine must be at rest.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        let configurations: BTreeMap<Domain, Arc<Configuration>> =
            self.firmware.objects().configurations().into_iter().map(|found| (found.domain, found)).collect();
        let donated = self.check_frames(&configurations)?;
        self.check_donations(&configurations, donated)?;
        for configuration in configurations.values().filter(|configuration| !configuration.is_gone()) {
            self.check_rows(configuration)?;
        }
        let live = || configurations.values().filter(|configuration| !configuration.is_gone());
        let origins: BTreeSet<u64> = live().map(|configuration| configuration.asce.origin().0).collect();
        if origins.len() != live().count() {
            return violation("I-32", "two live configurations have one ASCE".into());
        }
        Ok(())
    }

    /// I-02, I-03, I-05, I-06 frame by frame; returns how many are donated.
    fn check_frames(&self, configurations: &BTreeMap<Domain, Arc<Configuration>>) -> Result<u64, Violation> {
        let mut donated = 0;
        let base = self.firmware.base_area();
        let mut registered: BTreeMap<Domain, u64> = BTreeMap::new();
        for (first, chunk) in self.storage.chunks() {
            for (number, entry) in (first.0..).zip(chunk.zone_entries()) {
                let frame = FrameNumber(number);
                // Nearly all frames are one of these two.
                if entry == ZoneEntry::NON_SECURE {
                    continue;
                }
                if entry == BASE && base.contains(frame) {
                    donated += 1;
                    continue;
                }
                if entry.is_locked() {
                    return violation("I-45", format!("{frame:?} is locked though no call runs"));
                }
                match entry.state() {
                    FrameState::NonSecure => {
                        return violation("I-05", format!("{frame:?} is not registered, but its entry is {entry:?}"));
                    }
                    FrameState::Donated(Donation::Base) => {
                        return violation("I-07", format!("{frame:?} is {entry:?}, but not of the base area"));
                    }
                    FrameState::Donated(_) => donated += 1,
                    state @ (FrameState::Secure(domain, page)
                    | FrameState::Shared(domain, page)
                    | FrameState::Pinned(domain, page)) => {
                        *registered.entry(domain).or_default() += 1;
                        let Some(owner) = configurations.get(&domain) else {
                            return violation("I-06", format!("{frame:?} is {state:?}, of no known configuration"));
                        };
                        let record = owner.rows.view(page).record;
                        if !owner.is_gone() && !agree(state, record, frame) {
                            return violation("I-03", format!("{frame:?} is {state:?}, its row says {record:?}"));
                        }
                    }
                }
            }
        }
        for configuration in configurations.values() {
            let found = registered.get(&configuration.domain).copied().unwrap_or(0);
            if found != configuration.frames() {
                let count = configuration.frames();
                return violation("I-06", format!("{:?} counts {count} frames, {found} name it", configuration.domain));
            }
        }
        Ok(donated)
    }

    /// I-07: donated frames are exactly the areas of live entities, and these are disjoint. Since every
    /// frame of an area must be in that area's state, equal numbers say the rest.
    fn check_donations(
        &self,
        configurations: &BTreeMap<Domain, Arc<Configuration>>,
        donated: u64,
    ) -> Result<(), Violation> {
        // What is base storage lies in the base area, so the number tells.
        let mut wanted: u64 = self.firmware.base_area().stretches().map(|(_, frames, _)| frames).sum();
        let mut expect = |frame, donation| {
            wanted += 1;
            let found = self.storage.zone(frame);
            if found == ZoneEntry::new(FrameState::Donated(donation)) {
                return Ok(());
            }
            violation("I-07", format!("{frame:?} serves {donation:?}, its entry is {found:?}"))
        };
        for configuration in configurations.values() {
            let Some(life) = configuration.life() else { continue };
            for (frame, _) in life.base.frames() {
                expect(frame, Donation::ConfigurationBase(configuration.domain))?;
            }
            for (frame, page) in life.variable.frames() {
                expect(frame, Donation::ConfigurationVariable(configuration.domain, page))?;
            }
        }
        for cpu in self.firmware.objects().cpus() {
            for (frame, _) in cpu.area.frames() {
                expect(frame, Donation::Cpu(cpu.configuration.domain))?;
            }
        }
        if wanted == donated {
            return Ok(());
        }
        violation("I-07", format!("{wanted} frames serve the Ultravisor, {donated} are donated"))
    }

    /// I-01 and I-03 from the side of the rows, and what a counter may be.
    fn check_rows(&self, configuration: &Configuration) -> Result<(), Violation> {
        let mut seen = BTreeSet::new();
        for (first, chunk) in configuration.rows.chunks() {
            for (number, row) in (first.0..).zip(chunk.views()) {
                let page = PageIndex(number);
                if row.locked {
                    return violation("I-45", format!("{page:?} is locked though no call runs"));
                }
                if row.counter > Counter::MAX.value() {
                    return violation("I-24", format!("{page:?} has counter {:#x}", row.counter));
                }
                if row.record == PageRecord::Exported && row.counter == 0 {
                    return violation("I-24", format!("{page:?} is exported, but was never encrypted"));
                }
                let Some(frame) = row.record.frame() else { continue };
                if !seen.insert(frame) {
                    return violation("I-02", format!("{frame:?} holds two pages of {:?}", configuration.domain));
                }
                let state = self.storage.zone(frame).state();
                let fits =
                    state.registration() == Some((configuration.domain, page)) && agree(state, row.record, frame);
                if !fits {
                    return violation("I-03", format!("{page:?} is {:?}, but {frame:?} is {state:?}", row.record));
                }
            }
        }
        Ok(())
    }
}

const BASE: ZoneEntry = ZoneEntry::new(FrameState::Donated(Donation::Base));

fn agree(state: FrameState, record: PageRecord, frame: FrameNumber) -> bool {
    match (state, record) {
        (FrameState::Secure(..), PageRecord::Resident(found))
        | (FrameState::Shared(..), PageRecord::Shared(Some(found)))
        | (FrameState::Pinned(..), PageRecord::Pinned(found)) => found == frame,
        _ => false,
    }
}

fn violation<T>(invariant: &'static str, message: String) -> Result<T, Violation> {
    Err(Violation { invariant, message })
}

impl fmt::Display for PageRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Resident(frame) => write!(f, "resident in frame {frame}"),
            Self::Exported => f.write_str("exported"),
            Self::Shared(Some(frame)) => write!(f, "shared in frame {frame}"),
            Self::Shared(None) => f.write_str("shared, without a frame"),
            Self::Pinned(frame) => write!(f, "shared and pinned in frame {frame}"),
            Self::Destroyed => f.write_str("destroyed"),
        }
    }
}
