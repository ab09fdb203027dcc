//! Statements: what each verb does, and whether it came out as expected.

use super::words::{described, detailed, meaning};
use super::{End, Failure, Runner, Status, outcome};
use crate::kernel::{Diagnosed, FaultAnswers, Observed, Stop};
use crate::scenario::{Expectation, FaultPolicy, GuestDiagnose, GuestId, Injection, Pages, PvCommand, Statement, Verb};
use uvsim_model::address::{GuestAddress, PageIndex};
use uvsim_model::uvc::Command;

/// A statement that did not do: what it came to, if it ran at all, and how the file ends.
pub(super) type Failed = (Option<Observed>, End);

impl<'s> Runner<'s, '_, '_> {
    /// Runs a statement, page by page; stops at the first that does not meet the expectation.
    pub(super) fn execute(&mut self, statement: &'s Statement) -> Result<Observed, Failed> {
        match &statement.verb {
            Verb::HostRead { pages, read } | Verb::DeviceRead { pages, read } | Verb::GuestRead { pages, read } => {
                self.read_each(statement, *pages, read)
            }
            Verb::HostWrite { pages, write }
            | Verb::DeviceWrite { pages, write }
            | Verb::GuestWrite { pages, write } => self.write_each(statement, *pages, write),
            Verb::HostRemap { pages, to, purge } => {
                self.each_pair(statement, *pages, *to, |r, from, to| r.kernel.remap(statement.cpu, from, to, *purge))
            }
            Verb::HostCopy { pages, to } => {
                self.each_pair(statement, *pages, *to, |r, from, to| r.kernel.copy(statement.cpu, from, to))
            }
            Verb::CheckPage { pages, check } => self.each_check(*pages, *check),
            Verb::CheckEqual { left, right } => self.check_equal(left.0, right.0),
            Verb::CheckDiffer { left, right } => self.check_differ(left.0, right.0),
            Verb::CheckZero { buffer } => self.check_zero(buffer.0),
            Verb::GuestDiagnose { guest, diagnose } => self.diagnose(statement, *guest, diagnose),
            Verb::CheckCpu { guest, vcpu, check } => self.check_cpu(*guest, *vcpu, check),
            Verb::CheckLeaks { guest, check } => self.check_leaks(*guest, *check),
            Verb::CheckIo { guest, check } => self.check_io(*guest, *check),
            Verb::GuestIo { guest, io } => self.guest_io(statement, *guest, io),
            Verb::HostConsole { guest, console, text } => self.host_console(statement, *guest, *console, text),
            Verb::CheckInvariants => self.check_invariants(),
            Verb::GuestVerify { guest, address, data, frames } => {
                self.verify(statement, *guest, GuestAddress(*address), data, *frames)
            }
            _ => self.execute_call(statement),
        }
    }

    /// Verbs that do one thing to each page.
    fn execute_call(&mut self, statement: &'s Statement) -> Result<Observed, Failed> {
        let cpu = statement.cpu;
        match &statement.verb {
            Verb::HostFlip { pages, bit } => self.each(statement, *pages, |r, g, p| r.kernel.flip(cpu, g, p, *bit)),
            Verb::HostExport { pages } => self.each(statement, *pages, |r, g, p| r.kernel.export(cpu, g, p)),
            Verb::HostImport { pages } => self.each(statement, *pages, |r, g, p| r.kernel.import(cpu, g, p)),
            Verb::HostDestroy { pages } => self.each(statement, *pages, |r, g, p| r.kernel.destroy(cpu, g, p)),
            Verb::HostPin { pages } => self.each(statement, *pages, |r, g, p| r.kernel.pin(cpu, g, p)),
            Verb::HostUnpin { pages } => self.each(statement, *pages, |r, g, p| r.kernel.unpin(cpu, g, p)),
            Verb::HostMakeAccessible { pages } => {
                self.each(statement, *pages, |r, g, p| r.kernel.make_accessible(cpu, g, p))
            }
            Verb::HostPageOut { pages } => self.each(statement, *pages, |r, g, p| r.kernel.page_out(cpu, g, p)),
            Verb::HostPageIn { pages } => self.each(statement, *pages, |r, g, p| r.kernel.page_in(cpu, g, p)),
            Verb::HostMove { pages, purge } => {
                self.each(statement, *pages, |r, g, p| r.kernel.move_page(cpu, g, p, *purge))
            }
            Verb::HostUnmap { pages, purge } => {
                self.each(statement, *pages, |r, g, p| r.kernel.unmap(cpu, g, p, *purge))
            }
            Verb::GuestShare { pages } => {
                self.each(statement, *pages, |r, g, p| r.kernel.share(g, cpu, r.faults, p, Command::SetSharedAccess))
            }
            Verb::GuestUnshare { pages } => {
                self.each(statement, *pages, |r, g, p| r.kernel.share(g, cpu, r.faults, p, Command::RemoveSharedAccess))
            }
            single => {
                let got = self.execute_single(cpu, single).or_else(outcome).map_err(|end| (None, end))?;
                self.judge(&statement.expectation, None, got)
            }
        }
    }

    /// The verbs that name no page.
    fn execute_single(&mut self, cpu: u16, verb: &'s Verb) -> Result<Observed, Stop> {
        match verb {
            Verb::HostCreate { guest } => self.kernel.create(cpu, guest.0),
            Verb::HostStart { guest } => self.kernel.start(cpu, guest.0),
            Verb::HostStop { guest } => self.kernel.stop(cpu, guest.0),
            Verb::HostUnshareAll { guest } => self.kernel.unshare_all(cpu, guest.0),
            Verb::HostTeardown { guest, fast } => self.kernel.teardown(cpu, guest.0, *fast),
            Verb::HostPv { guest, command } => self.pv(cpu, guest.0, command),
            Verb::HostCreateCpu { guest, vcpu } => self.kernel.add_vcpu(cpu, guest.0, *vcpu),
            Verb::HostCpuReset { guest, vcpu, kind } => self.kernel.reset_vcpu(cpu, guest.0, *vcpu, *kind),
            Verb::HostCpuState { guest, vcpu, state } => self.kernel.set_mp_state(cpu, guest.0, *vcpu, *state),
            Verb::HostReset { guest } => self.kernel.reset_guest(cpu, guest.0),
            Verb::HostLoadImage { guest, part, block } => {
                let loaded = self.kernel.load_image(cpu, guest.0, *part)?;
                match *block {
                    None => Ok(loaded),
                    Some((block, header)) => self.kernel.load_ipl_block(cpu, guest.0, block, header),
                }
            }
            Verb::GuestSetPrefix { guest, prefix } => self.kernel.guest_set_prefix(guest.0, cpu, self.faults, *prefix),
            Verb::HostWriteHeader { guest, offset, data } => {
                let bytes = self.bytes(data).to_vec();
                self.kernel.write_header(guest.0, (*offset).into(), &bytes)
            }
            Verb::HostFlipHeader { guest, bit } => self.kernel.flip_header(guest.0, *bit),
            Verb::HostResetMachine => self.kernel.reset_machine(cpu),
            Verb::HostFaults { policy } => {
                self.faults = match policy {
                    FaultPolicy::Linux => FaultAnswers::Linux,
                    FaultPolicy::Stop => FaultAnswers::Stop,
                };
                Ok(Observed::OK)
            }
            Verb::HostInject { command, injection } => {
                let injection = match injection {
                    Injection::Busy(count) => uvsim_model::Injection::Busy(*count),
                    Injection::Partial(count) => uvsim_model::Injection::Partial(*count),
                    Injection::LateFailure => uvsim_model::Injection::LateFailure,
                };
                self.kernel.machine().inject(*command, injection);
                Ok(Observed::OK)
            }
            Verb::HostUvc { call } => self.host_uvc(cpu, call),
            Verb::GuestUvc { guest, call } => self.guest_uvc(guest.0, cpu, call),
            _ => Err(Stop::Internal("a verb without an executor".into())),
        }
    }

    fn diagnose(
        &mut self,
        statement: &Statement,
        guest: GuestId,
        diagnose: &GuestDiagnose,
    ) -> Result<Observed, Failed> {
        let &GuestDiagnose { function, registers, register } = diagnose;
        let done = self.kernel.guest_diagnose(guest.0, statement.cpu, self.faults, function, registers);
        let done = match done {
            Ok(done) => done,
            Err(stop) => {
                let observed = outcome(stop).map_err(|end| (None, end))?;
                Diagnosed { observed, register: None }
            }
        };
        let got = self.judge(&statement.expectation, None, done.observed)?;
        if register.is_none_or(|wanted| done.register == Some(wanted)) {
            return Ok(got);
        }
        let shown = |value: Option<u64>| value.map_or("none".to_owned(), |value| format!("{value:#018x}"));
        let mut failure = self.failure(None, "", "the register is not as expected".to_owned());
        failure.state.push(("register".to_owned(), shown(register), shown(done.register)));
        Err((Some(got), End::Failed(Box::new(failure), Status::Fail)))
    }

    fn pv(&mut self, cpu: u16, guest: usize, command: &PvCommand) -> Result<Observed, Stop> {
        let got = self.kernel.pv(cpu, guest, command)?;
        if let PvCommand::Info { save: Some(buffer) } = command {
            self.buffers[buffer.0] = self.kernel.pv_info(cpu)?;
        }
        Ok(got)
    }

    pub(super) fn each(
        &mut self,
        statement: &Statement,
        pages: Pages,
        mut act: impl FnMut(&mut Self, usize, u64) -> Result<Observed, Stop>,
    ) -> Result<Observed, Failed> {
        let mut last = Observed::OK;
        for page in pages.iter() {
            self.in_time()?;
            let got = act(self, pages.guest.0, page.0).or_else(outcome).map_err(|end| (None, end))?;
            last = self.judge(&statement.expectation, Some((pages.guest, page)), got)?;
        }
        Ok(last)
    }

    fn each_pair(
        &mut self,
        statement: &Statement,
        pages: Pages,
        to: Pages,
        mut act: impl FnMut(&mut Self, (usize, u64), (usize, u64)) -> Result<Observed, Stop>,
    ) -> Result<Observed, Failed> {
        let mut last = Observed::OK;
        for (from, target) in pages.iter().zip(to.iter()) {
            self.in_time()?;
            let (left, right) = ((pages.guest.0, from.0), (to.guest.0, target.0));
            let got = act(self, left, right).or_else(outcome).map_err(|end| (None, end))?;
            last = self.judge(&statement.expectation, Some((pages.guest, from)), got)?;
        }
        Ok(last)
    }

    /// Compares what came out with what was expected.
    pub(super) fn judge(
        &self,
        expected: &Expectation,
        page: Option<(GuestId, PageIndex)>,
        got: Observed,
    ) -> Result<Observed, Failed> {
        let code_fits = |wanted: Option<u16>, found: Option<u16>| wanted.is_none_or(|wanted| found == Some(wanted));
        let fits = got.outcome == expected.outcome
            && code_fits(expected.rc, got.rc)
            && code_fits(expected.rrc, got.rrc)
            && code_fits(expected.code, got.code);
        if fits || self.unordered {
            return Ok(got);
        }
        let message = format!("expected {}, got {}", described(expected), detailed(&got));
        let mut failure = self.failure(page, got.rule, message);
        failure.state.splice(0..0, meaning(&got));
        Err((Some(got), End::Failed(Box::new(failure), Status::Fail)))
    }

    /// The time limit holds inside a statement as well: a range may be long.
    pub(super) fn in_time(&self) -> Result<(), Failed> {
        self.kernel.in_time().or_else(|stop| outcome(stop).map(drop)).map_err(|end| (None, end))
    }

    /// A failure with what the machine knows of the page.
    pub(super) fn failure(&self, page: Option<(GuestId, PageIndex)>, rule: &'static str, message: String) -> Failure {
        let state = page.map_or_else(Vec::new, |(guest, page)| self.page_state(guest, page));
        Failure { page: page.map(|(guest, page)| self.page_name(guest, page)), rule, message, state }
    }

    fn page_name(&self, guest: GuestId, page: PageIndex) -> String {
        format!("{}:{}", self.scenario.guest(guest).name, page.0)
    }

    fn page_state(&self, guest: GuestId, page: PageIndex) -> Vec<(String, String, String)> {
        let machine = self.kernel.machine();
        let found = |what: &str, value: String| (what.to_owned(), String::new(), value);
        let mut rows = Vec::new();
        match machine.page(self.kernel.handle(guest.0), page) {
            Some(view) => {
                rows.push(found("page", view.record.to_string()));
                rows.push(found("counter", view.counter.to_string()));
            }
            None => rows.push(found("page", "of no configuration".into())),
        }
        rows.push(match self.kernel.mapped(guest.0, page.0) {
            Some(frame) => found("mapped frame", format!("{frame}, {:?}", machine.zone_entry(frame))),
            None => found("mapped frame", "none".into()),
        });
        rows
    }
}
