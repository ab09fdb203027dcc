//! Statements: what each verb does, and whether it came out as expected.

use super::{Difference, End, Failure, Runner, Status, outcome};
use crate::kernel::{FaultAnswers, GuestCall, Observed, Stop};
use crate::scenario::{
    Expectation, FaultPolicy, FieldValue, FrameSecurity, GuestId, Injection, Outcome, PageCheck, Pages, Read,
    RecordState, Source, Statement, UvcCall, Verb, Write,
};
use std::collections::VecDeque;
use uvsim_model::PageRecord;
use uvsim_model::address::{GuestAddress, PAGE_SIZE, PageIndex, VirtualAddress};
use uvsim_model::cpu::Uvc;
use uvsim_model::uvc::Command;

/// A statement that did not do: what it came to, if it ran at all, and how the file ends.
type Failed = (Option<Observed>, End);

/// A call that stays busy this often is given up.
const PATIENCE: u32 = 1 << 20;

impl<'s> Runner<'s, '_, '_> {
    /// Runs a statement, page by page; stops at the first that does not meet the expectation.
    pub(super) fn execute(&mut self, statement: &'s Statement) -> Result<Observed, Failed> {
        let cpu = statement.cpu;
        match &statement.verb {
            Verb::HostRead { pages, read } => {
                self.read_each(statement, *pages, read, |runner, guest, page, offset, bytes| {
                    runner.kernel.read(cpu, guest, page, offset, bytes)
                })
            }
            Verb::DeviceRead { pages, read } => {
                self.read_each(statement, *pages, read, |runner, guest, page, offset, bytes| {
                    runner.kernel.device_read(guest, page, offset, bytes)
                })
            }
            Verb::GuestRead { pages, read } => {
                self.read_each(statement, *pages, read, |runner, guest, page, offset, bytes| {
                    runner.guest_load(guest, cpu, page, offset, bytes)
                })
            }
            Verb::HostWrite { pages, write } => {
                self.write_each(statement, *pages, write, |runner, guest, page, offset, bytes| {
                    runner.kernel.write(cpu, guest, page, offset, bytes)
                })
            }
            Verb::DeviceWrite { pages, write } => {
                self.write_each(statement, *pages, write, |runner, guest, page, offset, bytes| {
                    runner.kernel.device_write(guest, page, offset, bytes)
                })
            }
            Verb::GuestWrite { pages, write } => {
                self.write_each(statement, *pages, write, |runner, guest, page, offset, bytes| {
                    runner.guest_store(guest, cpu, page, offset, bytes)
                })
            }
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
            Verb::HostRemap { pages, to, purge } => {
                self.each_pair(statement, *pages, *to, |r, from, to| r.kernel.remap(cpu, from, to, *purge))
            }
            Verb::HostCopy { pages, to } => {
                self.each_pair(statement, *pages, *to, |r, from, to| r.kernel.copy(cpu, from, to))
            }
            Verb::GuestShare { pages } => {
                self.each(statement, *pages, |r, g, p| r.share(g, cpu, p, Command::SetSharedAccess))
            }
            Verb::GuestUnshare { pages } => {
                self.each(statement, *pages, |r, g, p| r.share(g, cpu, p, Command::RemoveSharedAccess))
            }
            Verb::CheckPage { pages, check } => self.each_check(*pages, *check),
            Verb::GuestVerify { guest, address, data, frames } => {
                self.verify(statement, *guest, GuestAddress(*address), data, *frames)
            }
            other => self.execute_single(statement, other),
        }
    }

    /// The verbs that name no page.
    fn execute_single(&mut self, statement: &'s Statement, verb: &'s Verb) -> Result<Observed, Failed> {
        let done = match verb {
            Verb::HostCreate { guest } => self.kernel.create(guest.0),
            Verb::HostStart { guest } => self.kernel.start(guest.0),
            Verb::HostStop { guest } => self.kernel.stop(guest.0),
            Verb::HostUnshareAll { guest } => self.kernel.unshare_all(guest.0),
            Verb::HostTeardown { guest, fast } => self.kernel.teardown(guest.0, *fast),
            Verb::HostResetMachine => self.kernel.reset_machine(),
            Verb::HostFaults { policy } => {
                self.faults = match policy {
                    FaultPolicy::Linux => FaultAnswers::Linux,
                    FaultPolicy::Stop => FaultAnswers::Stop,
                };
                Ok(Observed::OK)
            }
            Verb::HostInject { command, injection } => {
                self.kernel.machine().inject(
                    *command,
                    match injection {
                        Injection::Busy(count) => uvsim_model::Injection::Busy(*count),
                        Injection::Partial(count) => uvsim_model::Injection::Partial(*count),
                        Injection::LateFailure => uvsim_model::Injection::LateFailure,
                    },
                );
                Ok(Observed::OK)
            }
            Verb::HostUvc { call } => self.host_uvc(statement.cpu, call),
            Verb::GuestUvc { guest, call } => self.guest_uvc(guest.0, statement.cpu, call),
            Verb::CheckEqual { left, right } => return self.check_equal(left.0, right.0),
            Verb::CheckDiffer { left, right } => return self.check_differ(left.0, right.0),
            Verb::CheckZero { buffer } => return self.check_zero(buffer.0),
            Verb::CheckInvariants => return self.check_invariants(),
            _ => Err(Stop::Internal("a verb without an executor".into())),
        };
        let got = done.or_else(outcome).map_err(|end| (None, end))?;
        self.judge(&statement.expectation, None, got)
    }

    fn each(
        &mut self,
        statement: &Statement,
        pages: Pages,
        mut act: impl FnMut(&mut Self, usize, u64) -> Result<Observed, Stop>,
    ) -> Result<Observed, Failed> {
        let mut last = Observed::OK;
        for page in pages.iter() {
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
            let (left, right) = ((pages.guest.0, from.0), (to.guest.0, target.0));
            let got = act(self, left, right).or_else(outcome).map_err(|end| (None, end))?;
            last = self.judge(&statement.expectation, Some((pages.guest, from)), got)?;
        }
        Ok(last)
    }

    fn read_each(
        &mut self,
        statement: &Statement,
        pages: Pages,
        read: &Read,
        mut act: impl FnMut(&mut Self, usize, u64, u64, &mut [u8]) -> Result<Observed, Stop>,
    ) -> Result<Observed, Failed> {
        let wanted = read.compare.as_ref().map(|source| self.bytes(source).to_vec());
        let len = read.length.map_or_else(|| wanted.as_ref().map_or(0, Vec::len), usize::from);
        self.fits(read.offset, len)?;
        let mut bytes = vec![0; len];
        let mut last = Observed::OK;
        for page in pages.iter() {
            let offset = u64::from(read.offset);
            let got =
                act(self, pages.guest.0, page.0, offset, &mut bytes).or_else(outcome).map_err(|end| (None, end))?;
            last = self.judge(&statement.expectation, Some((pages.guest, page)), got)?;
            if last.outcome != Outcome::Ok {
                continue;
            }
            if let Some(wanted) = &wanted
                && let Some(difference) = Difference::between(wanted, &bytes)
            {
                let mut failure = self.failure(Some((pages.guest, page)), last.rule, difference.to_string());
                failure.state.splice(0..0, difference.rows());
                return Err((Some(last), End::Failed(failure, Status::Fail)));
            }
            if let Some(buffer) = read.save {
                self.buffers[buffer.0].clone_from(&bytes);
            }
        }
        Ok(last)
    }

    fn write_each(
        &mut self,
        statement: &Statement,
        pages: Pages,
        write: &Write,
        mut act: impl FnMut(&mut Self, usize, u64, u64, &[u8]) -> Result<Observed, Stop>,
    ) -> Result<Observed, Failed> {
        let bytes = self.bytes(&write.data).to_vec();
        self.fits(write.offset, bytes.len())?;
        self.each(statement, pages, |runner, guest, page| act(runner, guest, page, write.offset.into(), &bytes))
    }

    /// Buffers get their length at run time; an access crosses no page all the same.
    fn fits(&self, offset: u16, len: usize) -> Result<(), Failed> {
        if usize::from(offset) + len <= PAGE_SIZE as usize {
            return Ok(());
        }
        let message = format!("{len} bytes from offset {offset} on go beyond the page (D71)");
        Err((None, End::Unusable(message)))
    }

    fn bytes<'a>(&'a self, source: &'a Source) -> &'a [u8] {
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

    fn guest_store(&mut self, guest: usize, vcpu: u16, page: u64, offset: u64, bytes: &[u8]) -> Result<Observed, Stop> {
        let at = GuestAddress(page.wrapping_mul(PAGE_SIZE).wrapping_add(offset));
        let faults = self.faults;
        self.kernel
            .with_faults(guest, vcpu, faults, None, |kernel| kernel.act(guest, vcpu, |cpu| cpu.store(at, bytes)))?;
        Ok(Observed::OK)
    }

    /// The guest reads a stretch back page by page. With a limit, the host keeps at most `frames` pages of the
    /// stretch: it pages out what has been there longest.
    fn verify(
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
                return Err((Some(got), End::Failed(failure, Status::Fail)));
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
            let got = self.kernel.page_out(0, guest, page).or_else(outcome)?;
            if got.outcome != Outcome::Ok {
                let message = format!("page {page} cannot be paged out: {}", observed(&got));
                return Err(End::Failed(self.failure(None, got.rule, message), Status::Fail));
            }
        }
        Ok(())
    }

    /// SET_SHARED_ACCESS or REMOVE_SHARED_ACCESS, repeated while busy.
    fn share(&mut self, guest: usize, vcpu: u16, page: u64, command: Command) -> Result<Observed, Stop> {
        let address = page.wrapping_mul(PAGE_SIZE);
        let mut block = vec![0; usize::from(command.usual_length())];
        block[0x20..0x28].copy_from_slice(&address.to_be_bytes());
        let header = [command.usual_length().to_be_bytes(), command.code().to_be_bytes()].concat();
        block[..4].copy_from_slice(&header);
        let call = GuestCall { block: &block, problem_state: false, immediate: 0, skew: 0 };
        let faults = self.faults;
        let mut last = Observed::OK;
        for _ in 0..PATIENCE {
            let issue = self
                .kernel
                .with_faults(guest, vcpu, faults, Some(page), |kernel| kernel.guest_issue(guest, vcpu, &call));
            last = issue?.0;
            if !matches!(last.outcome, Outcome::Busy | Outcome::Partial) {
                break;
            }
        }
        Ok(last)
    }

    /// The bytes of a raw block: header, `bytes=`, fields.
    fn block(&self, call: &UvcCall, longest: usize) -> Vec<u8> {
        let end =
            |(field, _): &(uvsim_model::uvc::Field, FieldValue)| usize::from(field.offset) + usize::from(field.size);
        let fields = call.fields.iter().map(end).max().unwrap_or(0);
        let len = usize::from(call.length).max(8 + call.bytes.len()).max(fields).clamp(8, longest);
        let mut block = vec![0; len];
        block[..2].copy_from_slice(&call.length.to_be_bytes());
        block[2..4].copy_from_slice(&call.code.to_be_bytes());
        block[8..][..call.bytes.len().min(len - 8)].copy_from_slice(&call.bytes[..call.bytes.len().min(len - 8)]);
        for (field, value) in &call.fields {
            let (offset, size) = (usize::from(field.offset), usize::from(field.size));
            let value = self.field_value(*value).to_be_bytes();
            if let Some(target) = block.get_mut(offset..offset + size) {
                target.copy_from_slice(&value[8 - size..]);
            }
        }
        block
    }

    fn field_value(&self, value: FieldValue) -> u64 {
        match value {
            FieldValue::Number(number) => number,
            FieldValue::Handle(guest) => self.kernel.handle(guest.0),
            FieldValue::Cpu(guest, number) => self.kernel.vcpu_handle(guest.0, number),
            FieldValue::Frame(guest, page) => self.kernel.mapped(guest.0, page.0).map_or(0, |frame| frame.address().0),
            FieldValue::Page(_, page) => page.address().0,
        }
    }

    /// `(frame)` of a page that has none cannot be given.
    fn missing_frame(&self, call: &UvcCall) -> bool {
        call.fields.iter().any(|(_, value)| match value {
            FieldValue::Frame(guest, page) => self.kernel.mapped(guest.0, page.0).is_none(),
            _ => false,
        })
    }

    fn host_uvc(&mut self, cpu: u16, call: &UvcCall) -> Result<Observed, Stop> {
        if self.missing_frame(call) {
            return Err(Observed::UNMAPPED.into());
        }
        let mut block = self.block(call, PAGE_SIZE as usize);
        let at = VirtualAddress(self.kernel.block_address(cpu).0 + u64::from(call.skew));
        let instruction = Uvc { r1: 0, r2: at.0, m3: call.immediate >> 4, m4: call.immediate & 0xf };
        self.kernel.cpu(cpu).set_problem_state(call.problem_state);
        let got = self.kernel.issue(cpu, call.code, call.length, &mut block, at, instruction);
        self.kernel.cpu(cpu).set_problem_state(false);
        let got = got?;
        self.kernel.learn(call.command, &block, &got)?;
        if let Some(buffer) = call.save {
            self.buffers[buffer.0] = block;
        }
        Ok(got)
    }

    fn guest_uvc(&mut self, guest: usize, vcpu: u16, call: &UvcCall) -> Result<Observed, Stop> {
        if self.missing_frame(call) {
            return Err(Observed::UNMAPPED.into());
        }
        let block = self.block(call, 512);
        let unshared = (call.command == Some(Command::RemoveSharedAccess))
            .then(|| block.get(0x20..0x28).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()))
            .flatten()
            .map(|bytes| u64::from_be_bytes(bytes) / PAGE_SIZE);
        let issued = GuestCall {
            block: &block,
            problem_state: call.problem_state,
            immediate: call.immediate,
            skew: call.skew.into(),
        };
        let faults = self.faults;
        let (got, block) = self
            .kernel
            .with_faults(guest, vcpu, faults, unshared, |kernel| kernel.guest_issue(guest, vcpu, &issued))?;
        if let Some(buffer) = call.save {
            self.buffers[buffer.0] = block;
        }
        Ok(got)
    }

    /// Compares what came out with what was expected.
    fn judge(
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
        if fits {
            return Ok(got);
        }
        let message = format!("expected {}, got {}", described(expected), observed(&got));
        Err((Some(got), End::Failed(self.failure(page, got.rule, message), Status::Fail)))
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

    fn each_check(&mut self, pages: Pages, check: PageCheck) -> Result<Observed, Failed> {
        for page in pages.iter() {
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
                return Err((Some(Observed::OK), End::Failed(failure, Status::Fail)));
            }
        }
        Ok(Observed::OK)
    }

    fn check_equal(&mut self, left: usize, right: usize) -> Result<Observed, Failed> {
        match Difference::between(&self.buffers[left], &self.buffers[right]) {
            None => Ok(Observed::OK),
            Some(difference) => Err(failed_check(difference.to_string(), difference.rows())),
        }
    }

    fn check_differ(&mut self, left: usize, right: usize) -> Result<Observed, Failed> {
        let (left, right) = (&self.buffers[left], &self.buffers[right]);
        let shorter = left.len().min(right.len());
        if left[..shorter] != right[..shorter] {
            return Ok(Observed::OK);
        }
        Err(failed_check(format!("the first {shorter} bytes are equal"), Vec::new()))
    }

    fn check_zero(&mut self, buffer: usize) -> Result<Observed, Failed> {
        let bytes = &self.buffers[buffer];
        match bytes.iter().position(|&byte| byte != 0) {
            None => Ok(Observed::OK),
            Some(at) => {
                let message = format!("byte {at} of {} is {:#04x}, not zero", bytes.len(), bytes[at]);
                Err(failed_check(message, Vec::new()))
            }
        }
    }

    fn check_invariants(&mut self) -> Result<Observed, Failed> {
        match self.kernel.machine().check_invariants() {
            Ok(()) => Ok(Observed::OK),
            Err(violation) => {
                let failure = Failure {
                    page: None,
                    rule: violation.invariant,
                    message: violation.to_string(),
                    state: Vec::new(),
                };
                Err((Some(Observed::OK), End::Failed(failure, Status::Broken)))
            }
        }
    }
}

fn failed_check(message: String, state: Vec<(String, String, String)>) -> Failed {
    (Some(Observed::OK), End::Failed(Failure { page: None, rule: "", message, state }, Status::Fail))
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

const fn security_name(security: FrameSecurity) -> &'static str {
    match security {
        FrameSecurity::Secure => "secure",
        FrameSecurity::NonSecure => "non-secure",
        FrameSecurity::None => "none",
    }
}

/// An expectation in words.
pub(super) fn described(expected: &Expectation) -> String {
    codes(expected.outcome, expected.rc, expected.rrc, expected.code)
}

/// An outcome in words.
#[must_use]
pub(super) fn observed(got: &Observed) -> String {
    codes(got.outcome, got.rc.filter(|_| got.outcome != Outcome::Ok), got.rrc.filter(|&rrc| rrc != 0), got.code)
}

fn codes(outcome: Outcome, rc: Option<u16>, rrc: Option<u16>, code: Option<u16>) -> String {
    let mut text = outcome.name().to_owned();
    for (name, value) in [("rc", rc), ("rrc", rrc)] {
        if let Some(value) = value {
            text.push_str(&format!(" {name}={value:#x}"));
        }
    }
    if let Some(code) = code {
        text.push_str(&format!(" code={code}"));
    }
    text
}
