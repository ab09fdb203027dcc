//! What a guest shares with the host, and takes back.

use super::{FaultAnswers, GuestCall, Kernel, Observed, Stop};
use crate::scenario::Outcome;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::uvc::Command;

/// A call that stays busy this often is given up.
const PATIENCE: u32 = 1 << 20;

impl Kernel<'_> {
    /// SET_SHARED_ACCESS or REMOVE_SHARED_ACCESS of a guest, repeated while busy. A pinned page that is taken back
    /// leads to interception 108 first, which the host answers by unpinning it (T60, T66).
    ///
    /// # Errors
    /// A fault that is not answered, or the refusal of an answer.
    pub fn share(
        &mut self,
        guest: usize,
        vcpu: u16,
        answers: FaultAnswers,
        page: u64,
        command: Command,
    ) -> Result<Observed, Stop> {
        let mut block = vec![0; usize::from(command.usual_length())];
        block[..2].copy_from_slice(&command.usual_length().to_be_bytes());
        block[2..4].copy_from_slice(&command.code().to_be_bytes());
        block[0x20..0x28].copy_from_slice(&page.wrapping_mul(PAGE_SIZE).to_be_bytes());
        let call = GuestCall { block: &block, problem_state: false, immediate: 0, skew: 0 };
        let mut last = Observed::OK;
        for _ in 0..PATIENCE {
            let issue =
                self.with_faults(guest, vcpu, answers, Some(page), |kernel| kernel.guest_issue(guest, vcpu, &call));
            last = issue?.0;
            if !matches!(last.outcome, Outcome::Busy | Outcome::Partial) {
                break;
            }
            self.in_time()?;
        }
        Ok(last)
    }
}
