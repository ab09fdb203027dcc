//! `check`: a privileged look at pages, buffers and invariants.

use super::execute::Failed;
use super::{Difference, End, Failure, Runner, Status};
use crate::kernel::Observed;
use crate::scenario::{CpuCheck, CpuState, FrameSecurity, GuestId, LeakCheck, PageCheck, Pages, RecordState};
use uvsim_model::{PageRecord, RunState};

impl Runner<'_, '_, '_> {
    pub(super) fn each_check(&mut self, pages: Pages, check: PageCheck) -> Result<Observed, Failed> {
        for page in pages.iter() {
            self.in_time()?;
            let view = self.kernel.machine().page(self.kernel.handle(pages.guest.0), page);
            let record = view.map_or(PageRecord::Absent, |view| view.record);
            let counter = view.map_or(0, |view| view.counter);
            let mut rows = Vec::new();
            if let Some(state) = check.state
                && state != named(record)
            {
                rows.push(("page".to_owned(), state_name(state).to_owned(), record.to_string()));
            }
            if let Some(wanted) = check.counter
                && wanted != counter
            {
                rows.push(("counter".to_owned(), wanted.to_string(), counter.to_string()));
            }
            let frame = match self.kernel.mapped(pages.guest.0, page.0) {
                None => FrameSecurity::None,
                Some(frame) if self.kernel.machine().frame_state(frame).is_secure() => FrameSecurity::Secure,
                Some(_) => FrameSecurity::NonSecure,
            };
            if let Some(wanted) = check.frame
                && wanted != frame
            {
                rows.push(("frame".to_owned(), security_name(wanted).to_owned(), security_name(frame).to_owned()));
            }
            if !rows.is_empty() {
                let mut failure = self.failure(Some((pages.guest, page)), "I-03", "the page is not as expected".into());
                failure.state = rows;
                return Err((Some(Observed::OK), End::Failed(Box::new(failure), Status::Fail)));
            }
        }
        Ok(Observed::OK)
    }

    pub(super) fn check_cpu(&mut self, guest: GuestId, vcpu: u16, check: &CpuCheck) -> Result<Observed, Failed> {
        let handle = self.kernel.vcpu_handle(guest.0, vcpu);
        let machine = self.kernel.machine();
        let state = match machine.cpu_state(handle) {
            None => CpuState::None,
            Some(RunState::Operating) => CpuState::Operating,
            Some(RunState::Stopped) => CpuState::Stopped,
            Some(RunState::CheckStop) => CpuState::CheckStop,
        };
        let pending = machine.is_reset_pending(self.kernel.handle(guest.0)).unwrap_or(false);
        let registers = machine.cpu_registers(handle).unwrap_or_default();
        let mut rows = Vec::new();
        let mut compare = |name: &str, wanted: Option<String>, found: String| {
            rows.extend(wanted.filter(|wanted| *wanted != found).map(|wanted| (name.to_owned(), wanted, found)));
        };
        compare("state", check.state.map(cpu_state_name), cpu_state_name(state));
        compare("reset pending", check.reset_pending.map(|wanted| wanted.to_string()), pending.to_string());
        let hex = |value: u64| format!("{value:#x}");
        let psw = [registers.psw.mask, registers.psw.address];
        compare("prefix", check.prefix.map(hex), hex(registers.prefix));
        compare("PSW mask", check.psw[0].map(hex), hex(psw[0]));
        compare("PSW address", check.psw[1].map(hex), hex(psw[1]));
        for (number, (wanted, found)) in check.general.iter().zip(registers.general).enumerate() {
            compare(&format!("general register {number}"), wanted.map(hex), hex(found));
        }
        if rows.is_empty() { Ok(Observed::OK) } else { Err(failed_check("the CPU is not as expected".into(), rows)) }
    }

    pub(super) fn check_leaks(&mut self, guest: GuestId, check: LeakCheck) -> Result<Observed, Failed> {
        let leaks = self.kernel.leaks(guest.0);
        let wanted = [
            ("leaked configurations", check.configurations, leaks.configurations),
            ("leaked CPUs", check.cpus, leaks.cpus),
            ("leaked frames", check.frames, leaks.frames()),
        ];
        let differs = |&(name, wanted, found): &(&str, Option<u64>, u64)| {
            let wanted = wanted.filter(|&wanted| wanted != found)?;
            Some((name.to_owned(), wanted.to_string(), found.to_string()))
        };
        let rows: Vec<_> = wanted.iter().filter_map(differs).collect();
        if rows.is_empty() { Ok(Observed::OK) } else { Err(failed_check("not what has leaked".into(), rows)) }
    }

    pub(super) fn check_equal(&mut self, left: usize, right: usize) -> Result<Observed, Failed> {
        match Difference::between(&self.buffers[left], &self.buffers[right]) {
            None => Ok(Observed::OK),
            Some(difference) => Err(failed_check(difference.to_string(), difference.rows())),
        }
    }

    pub(super) fn check_differ(&mut self, left: usize, right: usize) -> Result<Observed, Failed> {
        let (left, right) = (&self.buffers[left], &self.buffers[right]);
        let shorter = left.len().min(right.len());
        if left[..shorter] != right[..shorter] {
            return Ok(Observed::OK);
        }
        Err(failed_check(format!("the first {shorter} bytes are equal"), Vec::new()))
    }

    pub(super) fn check_zero(&mut self, buffer: usize) -> Result<Observed, Failed> {
        let bytes = &self.buffers[buffer];
        match bytes.iter().position(|&byte| byte != 0) {
            None => Ok(Observed::OK),
            Some(at) => {
                let message = format!("byte {at} of {} is {:#04x}, not zero", bytes.len(), bytes[at]);
                Err(failed_check(message, Vec::new()))
            }
        }
    }

    pub(super) fn check_invariants(&mut self) -> Result<Observed, Failed> {
        match self.kernel.machine().check_invariants() {
            Ok(()) => Ok(Observed::OK),
            Err(violation) => {
                let failure = Failure {
                    page: None,
                    rule: violation.invariant,
                    message: violation.to_string(),
                    state: Vec::new(),
                };
                Err((Some(Observed::OK), End::Failed(Box::new(failure), Status::Broken)))
            }
        }
    }
}

fn failed_check(message: String, state: Vec<(String, String, String)>) -> Failed {
    (Some(Observed::OK), End::Failed(Box::new(Failure { page: None, rule: "", message, state }), Status::Fail))
}

const fn named(record: PageRecord) -> RecordState {
    match record {
        PageRecord::Absent => RecordState::Absent,
        PageRecord::Resident(_) => RecordState::Resident,
        PageRecord::Exported => RecordState::Exported,
        PageRecord::Shared(_) => RecordState::Shared,
        PageRecord::Pinned(_) => RecordState::Pinned,
        PageRecord::Destroyed => RecordState::Destroyed,
    }
}

const fn state_name(state: RecordState) -> &'static str {
    match state {
        RecordState::Absent => "absent",
        RecordState::Resident => "resident",
        RecordState::Exported => "exported",
        RecordState::Shared => "shared",
        RecordState::Pinned => "pinned",
        RecordState::Destroyed => "destroyed",
    }
}

fn cpu_state_name(state: CpuState) -> String {
    let name = match state {
        CpuState::None => "none",
        CpuState::Operating => "operating",
        CpuState::Stopped => "stopped",
        CpuState::CheckStop => "check-stop",
    };
    name.to_owned()
}

const fn security_name(security: FrameSecurity) -> &'static str {
    match security {
        FrameSecurity::Secure => "secure",
        FrameSecurity::NonSecure => "non-secure",
        FrameSecurity::None => "none",
    }
}
