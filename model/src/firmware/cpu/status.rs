//! What the Ultravisor keeps of a CPU: state, registers, and what its next entry into SIE has to finish.

use super::protocol::ResetMark;
use super::registers::{CpuReset, GuestRegisters};
use crate::address::GuestAddress;

/// State of a CPU of a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum RunState {
    /// As after creation.
    #[default]
    Stopped,
    /// May be entered.
    Operating,
    /// Check-stop.
    CheckStop,
}

/// All that the Ultravisor keeps of a CPU and that can change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuStatus {
    pub(crate) state: RunState,
    pub(crate) registers: GuestRegisters,
    /// The machine's clock, nanoseconds, at the latest exit from SIE. `None` while the CPU timer that the
    /// host gives is taken as it is: before the first entry, and after a reset that clears the timer.
    pub(crate) last_exit: Option<u64>,
    /// The next entry takes the PSW from guest absolute 0.
    pub(crate) load_pending: bool,
    /// An instruction that the host had to help with and that is not complete.
    pub(crate) outstanding: Option<Outstanding>,
    /// What PREPARE_RESET has asked of this CPU.
    pub(crate) mark: Option<ResetMark>,
}

/// An instruction that left SIE with interception 104: the next entry completes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outstanding {
    /// First halfword, as the host has seen it.
    pub(crate) ipa: u16,
    /// The host may inject a specification exception instead of completing it.
    pub(crate) takes_specification: bool,
    /// The host may inject an operand exception instead.
    pub(crate) takes_operand: bool,
    /// Result: register of the save area, and the guest's register that gets it.
    pub(crate) result: Option<(u8, u8)>,
    /// Guest storage that gets this many bytes of the data area: real address and length.
    pub(crate) write_back: Option<(GuestAddress, u16)>,
    /// Its completion is notified with interception 108.
    pub(crate) notifies: bool,
}

impl Outstanding {
    /// One that takes no result and admits no exception.
    pub(crate) const fn of(ipa: u16) -> Self {
        Self { ipa, takes_specification: false, takes_operand: false, result: None, write_back: None, notifies: false }
    }
}

impl CpuStatus {
    /// What every kind of CPU reset does, registers included. The CPU stays stopped.
    pub(crate) fn reset(&mut self, kind: CpuReset) {
        self.registers.reset(kind);
        self.outstanding = None;
        if kind >= CpuReset::Initial {
            self.last_exit = None;
            // A normal reset leaves the PSW as a load has set it, read already or not.
            self.load_pending = false;
        }
        if let Some(mark) = &mut self.mark {
            mark.count(kind);
        }
    }

    /// Everything but what the clock moves, as numbers, for comparisons of state.
    pub(crate) fn words(&self) -> Vec<u64> {
        let registers = &self.registers;
        let mut words = vec![
            self.state as u64,
            registers.psw.mask,
            registers.psw.address,
            registers.prefix,
            registers.clock_comparator,
            u64::from(registers.floating_point_control),
            u64::from(registers.tod_programmable),
            u64::from(self.load_pending),
            self.mark.map_or(0, ResetMark::code),
        ];
        words.extend(registers.general);
        words.extend(registers.control);
        words.extend(registers.access.map(u64::from));
        if let Some(outstanding) = self.outstanding {
            let (at, length) = outstanding.write_back.map_or((u64::MAX, 0), |(at, length)| (at.0, length));
            let flags = u64::from(outstanding.takes_specification)
                | u64::from(outstanding.takes_operand) << 1
                | u64::from(outstanding.notifies) << 2;
            let (from, to) = outstanding.result.map_or((0xff, 0xff), |(from, to)| (from, to));
            words.extend([u64::from(outstanding.ipa), flags, u64::from(from), u64::from(to), at, u64::from(length)]);
        }
        words
    }
}
