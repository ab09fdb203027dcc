//! Reads and writes of all actors, page by page.

use super::execute::Failed;
use super::words::detailed;
use super::{Difference, End, Runner, Status, outcome};
use crate::kernel::{Observed, Stop};
use crate::scenario::{GuestId, Outcome, Pages, Read, Source, Statement, Verb, Write};
use std::collections::VecDeque;
use uvsim_model::address::{GuestAddress, PAGE_SIZE, PageIndex};
use uvsim_model::storage::FrameState;

impl Runner<'_, '_, '_> {
    /// `host read`, `device read`, `guest read`.
    pub(super) fn read_each(&mut self, statement: &Statement, pages: Pages, read: &Read) -> Result<Observed, Failed> {
        let wanted = read.compare.as_ref().map(|source| self.bytes(source).to_vec());
        let len = read.length.map_or_else(|| wanted.as_ref().map_or(0, Vec::len), usize::from);
        self.fits(read.offset, len)?;
        let mut bytes = vec![0; len];
        let mut last = Observed::OK;
        for page in pages.iter() {
            self.in_time()?;
            let got = self.load(statement, pages.guest, page, read.offset, &mut bytes);
            let got = got.or_else(outcome).map_err(|end| (None, end))?;
            last = self.judge(&statement.expectation, Some((pages.guest, page)), got)?;
            if last.outcome != Outcome::Ok {
                continue;
            }
            if let Some(wanted) = &wanted
                && let Some(difference) = Difference::between(wanted, &bytes)
            {
                let rule = self.read_rule(statement, pages.guest, page);
                let mut failure = self.failure(Some((pages.guest, page)), rule, difference.to_string());
                failure.state.splice(0..0, difference.rows());
                return Err((Some(last), End::Failed(Box::new(failure), Status::Fail)));
            }
            if let Some(buffer) = read.save {
                self.buffers[buffer.0].clone_from(&bytes);
            }
        }
        Ok(last)
    }

    /// What says that a read succeeds, and what it gives.
    fn read_rule(&self, statement: &Statement, guest: GuestId, page: PageIndex) -> &'static str {
        let state = self.kernel.mapped(guest.0, page.0).map(|frame| self.kernel.machine().frame_state(frame));
        match (&statement.verb, state) {
            (Verb::GuestRead { .. }, _) => "I-14",
            (Verb::DeviceRead { .. }, _) => "T10",
            (_, Some(FrameState::Shared(..))) => "T5",
            (_, Some(FrameState::Pinned(..))) => "T6",
            _ => "T1",
        }
    }

    fn load(
        &mut self,
        statement: &Statement,
        guest: GuestId,
        page: PageIndex,
        offset: u16,
        bytes: &mut [u8],
    ) -> Result<Observed, Stop> {
        let (cpu, guest, page, offset) = (statement.cpu, guest.0, page.0, u64::from(offset));
        match statement.verb {
            Verb::HostRead { .. } => self.kernel.read(cpu, guest, page, offset, bytes),
            Verb::DeviceRead { .. } => self.kernel.device_read(guest, page, offset, bytes),
            _ => self.guest_load(guest, cpu, page, offset, bytes),
        }
    }

    /// `host write`, `device write`, `guest write`.
    pub(super) fn write_each(
        &mut self,
        statement: &Statement,
        pages: Pages,
        write: &Write,
    ) -> Result<Observed, Failed> {
        let bytes = self.bytes(&write.data).to_vec();
        self.fits(write.offset, bytes.len())?;
        let (cpu, offset) = (statement.cpu, u64::from(write.offset));
        self.each(statement, pages, |runner, guest, page| match statement.verb {
            Verb::HostWrite { .. } => runner.kernel.write(cpu, guest, page, offset, &bytes),
            Verb::DeviceWrite { .. } => runner.kernel.device_write(guest, page, offset, &bytes),
            _ => runner.guest_store(guest, cpu, page, offset, &bytes),
        })
    }

    /// Buffers get their length at run time; an access crosses no page all the same.
    pub(super) fn fits(&self, offset: u16, len: usize) -> Result<(), Failed> {
        if usize::from(offset) + len <= PAGE_SIZE as usize {
            return Ok(());
        }
        let message = format!("{len} bytes from offset {offset} on go beyond the page (D71)");
        Err((None, End::Unusable(message)))
    }

    pub(super) fn bytes<'a>(&'a self, source: &'a Source) -> &'a [u8] {
        match source {
            Source::Bytes(bytes) => bytes,
            Source::Buffer(buffer) => &self.buffers[buffer.0],
        }
    }

    fn guest_load(
        &mut self,
        guest: usize,
        vcpu: u16,
        page: u64,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<Observed, Stop> {
        let at = GuestAddress(page.wrapping_mul(PAGE_SIZE).wrapping_add(offset));
        let faults = self.faults;
        self.kernel
            .with_faults(guest, vcpu, faults, None, |kernel| kernel.act(guest, vcpu, |cpu| cpu.load(at, bytes)))?;
        Ok(Observed::OK)
    }

    pub(super) fn guest_store(
        &mut self,
        guest: usize,
        vcpu: u16,
        page: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Observed, Stop> {
        let at = GuestAddress(page.wrapping_mul(PAGE_SIZE).wrapping_add(offset));
        let faults = self.faults;
        self.kernel
            .with_faults(guest, vcpu, faults, None, |kernel| kernel.act(guest, vcpu, |cpu| cpu.store(at, bytes)))?;
        Ok(Observed::OK)
    }

    /// The guest reads a stretch back page by page. With a limit, the host keeps at most `frames` pages of the
    /// stretch resident, and pages out first what came first.
    pub(super) fn verify(
        &mut self,
        statement: &Statement,
        guest: GuestId,
        address: GuestAddress,
        data: &[u8],
        frames: Option<u64>,
    ) -> Result<Observed, Failed> {
        let last = GuestAddress(address.0 + data.len() as u64 - 1).page();
        let mut resident: VecDeque<u64> =
            (address.page().0..=last.0).filter(|&page| self.kernel.mapped(guest.0, page).is_some()).collect();
        if let Some(frames) = frames {
            self.keep(guest.0, &mut resident, frames).map_err(|end| (None, end))?;
        }
        let mut at = address;
        let mut rest = data;
        while !rest.is_empty() {
            self.in_time()?;
            let (page, offset) = (at.page(), at.0 % PAGE_SIZE);
            if let Some(frames) = frames
                && !resident.contains(&page.0)
            {
                self.keep(guest.0, &mut resident, frames - 1).map_err(|end| (None, end))?;
                resident.push_back(page.0);
            }
            let (wanted, tail) = rest.split_at(rest.len().min((PAGE_SIZE - offset) as usize));
            let mut bytes = vec![0; wanted.len()];
            let got = self.guest_load(guest.0, statement.cpu, page.0, offset, &mut bytes);
            let got = got.or_else(outcome).map_err(|end| (None, end))?;
            self.judge(&statement.expectation, Some((guest, page)), got)?;
            if let Some(difference) = Difference::between(wanted, &bytes).filter(|_| got.outcome == Outcome::Ok) {
                let mut failure = self.failure(Some((guest, page)), "I-14", difference.to_string());
                failure.state.splice(0..0, difference.rows());
                return Err((Some(got), End::Failed(Box::new(failure), Status::Fail)));
            }
            at = GuestAddress(at.0 + wanted.len() as u64);
            rest = tail;
        }
        Ok(Observed::OK)
    }

    /// Pages out the oldest until no more than `limit` are left.
    fn keep(&mut self, guest: usize, resident: &mut VecDeque<u64>, limit: u64) -> Result<(), End> {
        while resident.len() as u64 > limit {
            let Some(page) = resident.pop_front() else { break };
            let cpu = self.kernel.serving_cpu(0);
            let got = self.kernel.page_out(cpu, guest, page).or_else(outcome)?;
            if got.outcome != Outcome::Ok {
                let message = format!("page {page} cannot be paged out: {}", detailed(&got));
                return Err(End::Failed(Box::new(self.failure(None, got.rule, message)), Status::Fail));
            }
        }
        Ok(())
    }
}
