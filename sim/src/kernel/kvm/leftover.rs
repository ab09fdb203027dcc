//! Asynchronous teardown: a configuration is set aside, the virtual machine goes on at once, and what is left is
//! cleaned up later.

use super::super::configuration::Donation;
use super::super::space::TABLE_FRAMES;
use super::super::{Kernel, Observed, Stop};
use super::INVALID;
use crate::scenario::Outcome;
use uvsim_model::address::{FrameNumber, PAGE_SIZE};
use uvsim_model::storage::Asce;
use uvsim_model::uvc::Command;

/// Below this address, leftovers are cleaned before the virtual machine goes on: prefix areas lie there, and an
/// entry that meets a leftover in one could not be repaired (D84).
const LOW: u64 = 2 << 30;

/// Configurations of a virtual machine that have ended but not been cleaned up.
#[derive(Debug, Default)]
pub(in crate::kernel) struct Leftovers {
    /// The one that PERFORM will take.
    set_aside: Option<Leftover>,
    /// The one that PERFORM is cleaning, and the page to go on with.
    under_way: Option<(Leftover, u64)>,
    /// Those whose cleaning a signal has ended.
    unfinished: Vec<Leftover>,
}

#[derive(Debug)]
enum Leftover {
    /// Its configuration is gone; only pages are left.
    Fast,
    /// Its configuration still has to be destroyed.
    Whole { handle: u64, donation: Option<Box<Donation>>, root: Asce },
}

impl Leftovers {
    pub(in crate::kernel) fn count(&self) -> usize {
        usize::from(self.set_aside.is_some()) + usize::from(self.under_way.is_some()) + self.unfinished.len()
    }

    fn take_all(&mut self) -> Vec<Leftover> {
        let under_way = self.under_way.take().map(|(leftover, _)| leftover);
        self.set_aside.take().into_iter().chain(under_way).chain(self.unfinished.drain(..)).collect()
    }
}

impl Kernel<'_> {
    /// ASYNC_CLEANUP_PREPARE: the CPUs, then DESTROY_SEC_CONF_FAST; without it the configuration is set aside and
    /// the address-space-control element replaced. Refused for a second one and for guests of at most 2 GiB, and
    /// as in Linux the CPUs are gone even so.
    pub(super) fn prepare_cleanup(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        self.release_vcpus(cpu, guest)?;
        if self.guests[guest].leftovers.set_aside.is_some() || self.guests[guest].space.is_segment_type() {
            return Err(Observed { rule: "D83", ..INVALID }.into());
        }
        let handle = self.guests[guest].handle;
        let leftover = if self.installed(cpu)?.contains(Command::DestroySecConfFast) {
            self.must(cpu, Command::DestroySecConfFast, &[("handle", handle)])?;
            if let Some(donation) = self.guests[guest].forget_configuration() {
                self.scatter(&donation)?;
            }
            Leftover::Fast
        } else {
            let donation = self.guests[guest].forget_configuration().map(Box::new);
            let root = self.replace_asce(cpu, guest)?;
            Leftover::Whole { handle, donation, root }
        };
        for page in self.pages_from(guest, 0, LOW / PAGE_SIZE) {
            self.destroy_quietly(cpu, guest, page)?;
        }
        self.guests[guest].leftovers.set_aside = Some(leftover);
        Ok(PRETENDED)
    }

    /// ASYNC_CLEANUP_PERFORM: each page that has a frame, ascending, then DESTROY_SEC_CONF if that has not been
    /// done. With `pages` only so many pages this time; `signal` ends it there for good.
    pub(super) fn perform_cleanup(
        &mut self,
        cpu: u16,
        guest: usize,
        pages: Option<u64>,
        signal: bool,
    ) -> Result<Observed, Stop> {
        let leftovers = &mut self.guests[guest].leftovers;
        let Some((leftover, first)) = leftovers.under_way.take().or_else(|| Some((leftovers.set_aside.take()?, 0)))
        else {
            return Err(Observed { rule: "D83", ..INVALID }.into());
        };
        let mut budget = pages.unwrap_or(u64::MAX);
        for page in self.pages_from(guest, first, u64::MAX) {
            if budget == 0 {
                let leftovers = &mut self.guests[guest].leftovers;
                if signal {
                    // It did not finish, and Linux pretends that it did: the rest waits for DISABLE.
                    leftovers.unfinished.push(leftover);
                    return Ok(PRETENDED);
                }
                leftovers.under_way = Some((leftover, page));
                return Err(Observed::plain(Outcome::Partial, "D83").into());
            }
            budget -= 1;
            self.destroy_quietly(cpu, guest, page)?;
        }
        let answer = self.dispose_leftover(cpu, guest, leftover)?;
        if answer.outcome == Outcome::Ok { Ok(answer) } else { Err(answer.into()) }
    }

    /// Destroys all configurations that are left, and returns the first refusal.
    pub(in crate::kernel) fn dispose_leftovers(&mut self, cpu: u16, guest: usize) -> Result<Option<Observed>, Stop> {
        let mut first = None;
        for leftover in self.guests[guest].leftovers.take_all() {
            let answer = self.dispose_leftover(cpu, guest, leftover)?;
            if answer.outcome != Outcome::Ok {
                first.get_or_insert(answer);
            }
        }
        Ok(first)
    }

    fn dispose_leftover(&mut self, cpu: u16, guest: usize, leftover: Leftover) -> Result<Observed, Stop> {
        let Leftover::Whole { handle, donation, root } = leftover else { return Ok(Observed::OK) };
        let answer = self.call(cpu, Command::DestroySecConf, &[("handle", handle)])?;
        match donation {
            Some(donation) if answer.outcome == Outcome::Ok => {
                self.scatter(&donation)?;
                self.cpu(cpu).idte_space(root)?;
                self.free_frames(root.origin(), TABLE_FRAMES);
            }
            Some(donation) => self.leak(guest, &donation, root),
            None => {}
        }
        Ok(answer)
    }

    /// A machine reset ends all configurations.
    pub(in crate::kernel) fn recover_leftovers(&mut self, guest: usize) -> Result<(), Stop> {
        for leftover in self.guests[guest].leftovers.take_all() {
            if let Leftover::Whole { donation, root, .. } = leftover {
                donation.map_or(Ok(()), |donation| self.scatter(&donation))?;
                self.free_frames(root.origin(), TABLE_FRAMES);
            }
        }
        Ok(())
    }

    /// Each page with a frame is destroyed, else exported. Returns the first refusal of an export.
    pub(in crate::kernel) fn clean_all_pages(&mut self, cpu: u16, guest: usize) -> Result<Option<Observed>, Stop> {
        let frames: Vec<FrameNumber> = self.guests[guest].mapped.values().copied().collect();
        let mut first = None;
        for frame in frames {
            self.in_time()?;
            let destroyed = self.call(cpu, Command::DestrSecStor, &[("paddr", frame.address().0)])?;
            // The old machine calls a frame that is clean already by a code of its own (D66).
            let clean = destroyed.rc == Some(0x107) && destroyed.rrc == Some(0xd);
            if destroyed.outcome == Outcome::Ok || clean {
                continue;
            }
            let exported = self.call(cpu, Command::ConvFromSecStor, &[("paddr", frame.address().0)])?;
            if exported.outcome != Outcome::Ok {
                first.get_or_insert(exported);
            }
        }
        Ok(first)
    }

    fn pages_from(&self, guest: usize, first: u64, end: u64) -> Vec<u64> {
        self.guests[guest].mapped.within(first..end).collect()
    }

    /// DESTR_SEC_STOR, whatever is answered: a page of a configuration that runs is refused and stays (D26).
    fn destroy_quietly(&mut self, cpu: u16, guest: usize, page: u64) -> Result<(), Stop> {
        self.in_time()?;
        match self.mapped(guest, page) {
            Some(frame) => self.call(cpu, Command::DestrSecStor, &[("paddr", frame.address().0)]).map(drop),
            None => Ok(()),
        }
    }
}

/// Codes that KVM invents where there was no call, or one that it does not tell of (D83).
const PRETENDED: Observed = Observed { rc: Some(1), rrc: Some(42), ..Observed::plain(Outcome::Ok, "D83") };
