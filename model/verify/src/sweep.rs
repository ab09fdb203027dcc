//! A look at all of a machine.

use crate::project::Look;
use uvsim_model::storage::FrameState;
use uvsim_oracle::ids::{FrameNumber, Handle};
use uvsim_oracle::state::{Purpose, Record};

impl Look<'_> {
    /// Compares everything. Returns how much that was, in frames' worth of work.
    pub(crate) fn all(&mut self) -> u64 {
        self.machine();
        self.objects();
        let entries = self.zone_entries();
        let rows = self.rows();
        let frames = self.storage();
        frames + (entries + rows) / 16
    }

    /// Configurations and their CPUs: that they exist, and what they are.
    pub(crate) fn objects(&mut self) {
        let state = self.state;
        let found = self.machine.configurations();
        let unknown = |handle: &Handle| !state.configurations.contains_key(handle);
        for handle in found.into_iter().map(Handle).filter(unknown).chain(state.configurations.keys().copied()) {
            self.configuration(handle);
        }
        let unknown = |handle: &Handle| !state.cpus.contains_key(handle);
        let found = self.machine.secure_cpus();
        for handle in found.into_iter().map(Handle).filter(unknown).chain(state.cpus.keys().copied()) {
            self.cpu(handle);
        }
    }

    /// The zone entries of all frames.
    fn zone_entries(&mut self) -> u64 {
        let (machine, state) = (self.machine, self.state);
        let base = state.donated.iter().find(|(_, donated)| donated.purpose == Purpose::Base);
        let base = base.map_or(0..0, |(first, donated)| first.0..first.0 + donated.count);
        let mut count = 0;
        machine.visit_zone(|frame, found| {
            count += 1;
            // Nearly all of them.
            let same = base.contains(&frame.0) && found == FrameState::Donated(uvsim_model::storage::Donation::Base);
            if !same {
                self.zone_is(frame, found);
            }
        });
        let donated: u64 = state.donated.values().map(|donated| donated.count).sum();
        if count != donated + state.registered.len() as u64 {
            for (first, donated) in &state.donated {
                (first.0..first.0 + donated.count).for_each(|frame| self.zone(FrameNumber(frame)));
            }
            state.registered.keys().for_each(|frame| self.zone(*frame));
        }
        count
    }

    /// The pages of all live configurations.
    fn rows(&mut self) -> u64 {
        let (machine, state) = (self.machine, self.state);
        let mut all = 0;
        for (handle, configuration) in &state.configurations {
            let mut count = 0;
            machine.visit_pages(handle.0, |page, _| {
                count += 1;
                self.page(*handle, page);
            });
            let mut wanted =
                configuration.pages.iter().filter(|(_, it)| it.record != Record::Absent || it.counter != 0);
            if wanted.clone().count() as u64 != count {
                wanted.by_ref().for_each(|(page, _)| self.page(*handle, *page));
            }
            all += count;
        }
        all
    }

    /// The bytes of all frames that are not donated.
    fn storage(&mut self) -> u64 {
        let (machine, state) = (self.machine, self.state);
        let (mut visited, mut known) = (0, 0);
        machine.visit_storage(|frame, bytes| {
            visited += 1;
            known += usize::from(state.storage.contains_key(&frame));
            if !matches!(machine.frame_state(frame), FrameState::Donated(_)) {
                self.bytes(frame, bytes);
            }
        });
        if known != state.storage.len() {
            state.storage.keys().for_each(|frame| self.frame(*frame));
        }
        visited
    }

    /// The bytes of the frames with guest pages, whatever the machine says of having stored there.
    pub(crate) fn guest_pages(&mut self) {
        let state = self.state;
        state.registered.keys().for_each(|frame| self.frame(*frame));
    }
}
