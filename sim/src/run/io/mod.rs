//! Devices of guests: drivers are bound when a guest comes to run, do what statements say, and are counted.

mod device;

use uvsim_model::Machine;
use uvsim_model::address::{GuestAddress, PAGE_SIZE, PageIndex};

use super::execute::Failed;
use super::{Difference, End, Failure, IoCounters, IoEnd, Note, Runner, Status, outcome};
use crate::kernel::{FaultAnswers, Observed, Stop};
use crate::scenario::{
    BufferId, ConsoleText, DiskData, GuestId, GuestIo, IoCheck, Outcome, SECTOR, Scenario, Source, Statement, Verb,
};
use crate::virtio::board::{Board, Hosted, IoAt, IoOutcome, IoStatistics};

/// Points of the course of a bounce buffer that are reported.
const POINTS: usize = 64;

/// All devices of a run.
#[derive(Debug)]
pub(super) struct Devices {
    board: Board<Hosted>,
    /// By guest, the configuration whose drivers are bound.
    bound: Vec<Option<u64>>,
    /// By guest, what was counted in lives that are over.
    before: Vec<IoStatistics>,
    /// Why the request of the current statement was not done.
    note: Option<Note>,
}

impl Devices {
    pub(super) fn new(scenario: &Scenario, machine: &Machine) -> Self {
        let count = scenario.guests.len();
        Self {
            board: Board::new(device::attached(scenario, machine)),
            bound: vec![None; count],
            before: vec![IoStatistics::default(); count],
            note: None,
        }
    }

    /// None: lanes on threads have no devices.
    pub(super) fn none() -> Self {
        Self { board: Board::new(Vec::new()), bound: Vec::new(), before: Vec::new(), note: None }
    }

    /// Why the request of a statement was not done, told once.
    pub(super) fn take_note(&mut self) -> Option<Note> {
        self.note.take()
    }

    fn statistics(&self, guest: usize) -> IoStatistics {
        let (now, before) = (self.board.statistics(guest), &self.before[guest]);
        IoStatistics {
            bounce_in: now.bounce_in + before.bounce_in,
            bounce_in_bytes: now.bounce_in_bytes + before.bounce_in_bytes,
            bounce_out: now.bounce_out + before.bounce_out,
            bounce_out_bytes: now.bounce_out_bytes + before.bounce_out_bytes,
            slots_peak: now.slots_peak.max(before.slots_peak),
            ..now
        }
    }

    /// The configuration is gone, and its drivers with it.
    fn forget(&mut self, guest: usize) {
        self.before[guest] = self.statistics(guest);
        self.board.forget(guest);
        self.bound[guest] = None;
    }
}

/// What a request came to.
struct Done {
    got: Observed,
    /// The bytes that came with it.
    bytes: Option<Vec<u8>>,
    /// The page that the host could not reach.
    page: Option<PageIndex>,
}

/// Nothing has come in.
const NOTHING: Done = Done::with(Observed::plain(Outcome::NoData, ""), None);

impl Done {
    const fn with(got: Observed, bytes: Option<Vec<u8>>) -> Self {
        Self { got, bytes, page: None }
    }
}

impl Runner<'_, '_, '_> {
    /// Binds the drivers of guests that run before the first step.
    pub(super) fn bind_drivers(&mut self) -> Result<(), Status> {
        for (number, guest) in self.scenario.guests.iter().enumerate() {
            if guest.devices.is_none() || guest.state != crate::scenario::GuestState::Running {
                continue;
            }
            // Nothing is checked yet, so nothing is compared.
            self.kernel.watch = false;
            let bound = self.bind(number);
            self.kernel.watch = true;
            let end = bound.map(|()| Observed::OK).or_else(outcome).and_then(|got| match got.outcome {
                Outcome::Ok => Ok(()),
                _ => {
                    let message = format!("the drivers of `{}` cannot come up: {}", guest.name, got.outcome);
                    Err(End::Failed(Box::new(self.failure(None, got.rule, message)), Status::Fail))
                }
            });
            self.settle(guest.place, end)?;
        }
        Ok(())
    }

    fn bind(&mut self, guest: usize) -> Result<(), Stop> {
        let at = IoAt { guest, vcpu: 0, faults: FaultAnswers::Linux };
        self.devices.board.boot(&mut self.kernel, at)?;
        self.devices.bound[guest] = Some(self.kernel.handle(guest));
        Ok(())
    }

    /// After a statement: drivers come up with a guest and go with its configuration.
    pub(super) fn follow(&mut self, statement: &Statement, got: Observed) -> Result<Observed, Failed> {
        for guest in 0..self.devices.bound.len() {
            let gone = |bound: u64| !self.kernel.is_live(guest) || self.kernel.handle(guest) != bound;
            if self.devices.bound[guest].is_some_and(gone) {
                self.devices.forget(guest);
            }
        }
        let Verb::HostStart { guest } = statement.verb else { return Ok(got) };
        let wanted = self.scenario.guest(guest).devices.is_some() && self.devices.bound[guest.0].is_none();
        if !wanted || got.outcome != Outcome::Ok {
            return Ok(got);
        }
        match self.bind(guest.0).map(|()| got).or_else(outcome) {
            Ok(bound) if bound.outcome == Outcome::Ok => Ok(got),
            Ok(stopped) => self.judge(&statement.expectation, None, stopped),
            Err(end) => Err((None, end)),
        }
    }

    /// The host's end of a console: text waits in the device until the other end reads it.
    pub(super) fn host_console(
        &mut self,
        statement: &Statement,
        guest: GuestId,
        console: usize,
        text: &ConsoleText,
    ) -> Result<Observed, Failed> {
        let board = &mut self.devices.board;
        match text {
            ConsoleText::Write(text) => {
                board.console_input(guest.0, console, text);
                self.judge(&statement.expectation, None, Observed::OK)
            }
            ConsoleText::Read { save, compare } => {
                let found = board.take_console_output(guest.0, console);
                let got = if found.is_empty() { NOTHING.got } else { Observed::OK };
                let got = self.judge(&statement.expectation, None, got)?;
                if got.outcome != Outcome::Ok {
                    return Ok(got);
                }
                self.compared(got, compare.as_ref(), &found)?;
                self.saved(*save, found);
                Ok(got)
            }
        }
    }

    /// What a driver does.
    pub(super) fn guest_io(&mut self, statement: &Statement, guest: GuestId, io: &GuestIo) -> Result<Observed, Failed> {
        let Done { got, bytes, page } = match self.drive_device(statement.cpu, guest, io) {
            Ok(done) => done,
            Err(stop) => Done::with(outcome(stop).map_err(|end| (None, end))?, None),
        };
        let page = page.map(|page| (guest, page));
        let got = self.judge(&statement.expectation, page, got).map_err(|failed| self.explained(failed))?;
        let (Outcome::Ok, Some(bytes)) = (got.outcome, bytes) else { return Ok(got) };
        let (compare, save) = match io {
            GuestIo::DiskRead { compare, save, .. }
            | GuestIo::Receive { compare, save, .. }
            | GuestIo::ConsoleRead { compare, save, .. } => (compare.as_ref(), *save),
            GuestIo::Entropy { save, .. } => (None, *save),
            _ => (None, None),
        };
        // Sectors are compared as far as something is said of them, frames and text as a whole.
        let said = match (io, compare) {
            (GuestIo::DiskRead { .. }, Some(wanted)) => self.bytes(wanted).len().min(bytes.len()),
            _ => bytes.len(),
        };
        self.compared(got, compare, &bytes[..said])?;
        self.saved(save, bytes);
        Ok(got)
    }

    fn compared(&self, got: Observed, wanted: Option<&Source>, found: &[u8]) -> Result<(), Failed> {
        let difference = wanted.and_then(|wanted| Difference::between(self.bytes(wanted), found));
        let Some(difference) = difference else { return Ok(()) };
        let mut failure = self.failure(None, "I-14", difference.to_string());
        failure.state = difference.rows();
        Err((Some(got), End::Failed(Box::new(failure), Status::Fail)))
    }

    fn saved(&mut self, buffer: Option<BufferId>, bytes: Vec<u8>) {
        if let Some(buffer) = buffer {
            self.buffers[buffer.0] = bytes;
        }
    }

    /// A failure that says why as well.
    fn explained(&self, (got, mut end): Failed) -> Failed {
        if let (Some(note), End::Failed(failure, _)) = (&self.devices.note, &mut end) {
            let row = |what: &str, text: &String| (what.to_owned(), String::new(), text.clone());
            let help = note.help.as_ref().map(|help| row("help", help));
            failure.state.splice(0..0, [row("why", &note.message)].into_iter().chain(help));
        }
        (got, end)
    }

    fn drive_device(&mut self, vcpu: u16, guest: GuestId, io: &GuestIo) -> Result<Done, Stop> {
        let at = IoAt { guest: guest.0, vcpu, faults: self.faults };
        let (board, kernel) = (&mut self.devices.board, &mut self.kernel);
        let (done, bytes) = match io {
            GuestIo::DiskRead { disk, sector, count, to, .. } => {
                let (done, mut bytes) = board.disk_read(kernel, at, *disk, *sector, *count)?;
                if let (Some(to), IoOutcome::Done) = (to, &done) {
                    self.own_memory(at, *to, &mut bytes, true)?;
                }
                (done, Some(bytes))
            }
            GuestIo::DiskWrite { disk, sector, data } => {
                let bytes = match data {
                    DiskData::Given(source) => self.bytes(source).to_vec(),
                    DiskData::Memory { address, count } => {
                        let mut bytes = vec![0; *count as usize * SECTOR as usize];
                        self.own_memory(at, *address, &mut bytes, false)?;
                        bytes
                    }
                };
                (self.devices.board.disk_write(&mut self.kernel, at, *disk, *sector, &bytes)?, None)
            }
            GuestIo::Send { net, data } => {
                let bytes = self.bytes(data).to_vec();
                (self.devices.board.send(&mut self.kernel, at, *net, &bytes)?, None)
            }
            GuestIo::Receive { net, .. } => match board.receive(kernel, at, *net)? {
                (IoOutcome::Done, None) => return Ok(NOTHING),
                done => done,
            },
            GuestIo::ConsoleWrite { console, text } => (board.console_write(kernel, at, *console, text)?, None),
            GuestIo::ConsoleRead { console, .. } => match board.console_read(kernel, at, *console)? {
                (IoOutcome::Done, text) if text.is_empty() => return Ok(NOTHING),
                (done, text) => (done, Some(text)),
            },
            GuestIo::Entropy { rng, length, .. } => {
                let (done, bytes) = board.entropy(kernel, at, *rng, usize::from(*length))?;
                (done, Some(bytes))
            }
            GuestIo::RemoveDevices => {
                board.shutdown(kernel, at)?;
                (IoOutcome::Done, None)
            }
        };
        Ok(self.noted(guest, &done, bytes))
    }

    /// What a driver's outcome is in the language; why is kept for the reports.
    fn noted(&mut self, guest: GuestId, done: &IoOutcome, bytes: Option<Vec<u8>>) -> Done {
        let plain = |outcome| Observed::plain(outcome, "");
        let (got, help, refusal) = match done {
            IoOutcome::Done => return Done::with(Observed::OK, bytes),
            IoOutcome::NoBounceSlot { .. } => (plain(Outcome::NoBounceSlot), None, None),
            IoOutcome::NoDevice { help, .. } => (plain(Outcome::NoDevice), help.clone(), None),
            IoOutcome::IoError { .. } | IoOutcome::OutOfRange { .. } => (plain(Outcome::IoError), None, None),
            IoOutcome::IoRefused { refusal, .. } => {
                let rule = refusal.map_or("", |refusal| refusal.rule);
                (Observed::plain(Outcome::IoRefused, rule), None, *refusal)
            }
        };
        let page = refusal.map(|refusal| format!("{}:{}", self.scenario.guest(guest).name, refusal.page));
        self.devices.note = Some(Note { page, message: done.to_string(), help });
        Done { got, bytes, page: refusal.map(|refusal| PageIndex(refusal.page)) }
    }

    /// Secure stores and loads of the guest, page by page.
    fn own_memory(&mut self, at: IoAt, address: u64, bytes: &mut [u8], store: bool) -> Result<(), Stop> {
        let IoAt { guest, vcpu, faults } = at;
        let mut next = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            self.kernel.in_time()?;
            let length = rest.len().min((PAGE_SIZE - next % PAGE_SIZE) as usize);
            let (part, tail) = rest.split_at_mut(length);
            self.kernel.with_faults(guest, vcpu, faults, None, |kernel| {
                kernel.act(guest, vcpu, |cpu| match store {
                    true => cpu.store(GuestAddress(next), part),
                    false => cpu.load(GuestAddress(next), part),
                })
            })?;
            next += length as u64;
            rest = tail;
        }
        Ok(())
    }

    /// `check io`
    pub(super) fn check_io(&mut self, guest: GuestId, check: IoCheck) -> Result<Observed, Failed> {
        let found = self.devices.statistics(guest.0);
        let rows = [
            ("requests", check.requests, found.requests),
            ("bytes bounced", check.bounced, found.bounce_in_bytes + found.bounce_out_bytes),
            ("most slots in use", check.slots, found.slots_peak),
            ("pins", check.pins, found.pin_calls),
        ];
        let rows = rows.into_iter().filter_map(|(what, wanted, found)| {
            let wanted = wanted.filter(|&wanted| wanted != found)?;
            Some((what.to_owned(), wanted.to_string(), found.to_string()))
        });
        let state: Vec<_> = rows.collect();
        if state.is_empty() {
            return Ok(Observed::OK);
        }
        let message = "the devices have done something else".to_owned();
        let failure = Failure { page: None, rule: "", message, state };
        Err((Some(Observed::OK), End::Failed(Box::new(failure), Status::Fail)))
    }

    /// Reports what all devices have done.
    pub(super) fn report_devices(&mut self) {
        for (number, guest) in self.scenario.guests.iter().enumerate() {
            let Some(devices) = &guest.devices else { continue };
            let found = self.devices.statistics(number);
            let served = (0..devices.devices.len()).filter_map(|device| self.devices.board.device(number, device));
            let notifications = served.map(Hosted::notifications).sum();
            let counters = IoCounters {
                requests: found.requests,
                bytes_read: found.bytes_read,
                bytes_written: found.bytes_written,
                bounce_copies: found.bounce_in + found.bounce_out,
                bounce_bytes: found.bounce_in_bytes + found.bounce_out_bytes,
                slots: devices.slots.into(),
                slots_peak: found.slots_peak,
                slots_over_time: thinned(&found.slot_series),
                no_slot: found.no_slot,
                pins: found.pin_calls,
                unpins: found.unpin_calls,
                shares: found.share_calls,
                unshares: found.unshare_calls,
                refusals: found.refusals,
                notifications,
            };
            self.report.io(self.scenario, &IoEnd { guest, counters });
        }
    }
}

/// At most as many points as are reported, evenly spread, the last among them.
fn thinned(series: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let step = series.len().div_ceil(POINTS).max(1);
    let offset = series.len().saturating_sub(1) % step;
    series.iter().skip(offset).step_by(step).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::human::Human;
    use super::super::json::Json;
    use super::super::{Options, run_scenario};
    use super::*;
    use std::path::Path;

    #[test]
    fn drivers_come_and_go_with_the_configuration() {
        let text = "scenario s\nguest a memory=\"1MiB\" state=none { disk d size=\"512B\"; }\nstep t {\n\
                    guest disk-read a disk=d sector=0 count=1 expect=no-device\n\
                    host start a\n\
                    guest disk-write a disk=d sector=0 text=kept\n\
                    host teardown a\n\
                    guest disk-read a disk=d sector=0 count=1 expect=no-device\n\
                    host start a\n\
                    guest disk-read a disk=d sector=0 count=1 text=kept\n\
                    check io a requests=2 slots=3\n}";
        let scenario = Scenario::parse(Path::new("s.kdl"), text).unwrap();
        let mut out = Vec::new();
        let (status, _) = run_scenario(&scenario, Options::default(), &mut Json::new(&mut out));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(status, Status::Pass, "{text}");
        let line = text.lines().find(|line| line.contains("\"event\":\"io\"")).unwrap();
        assert!(line.contains("\"requests\":2,\"bytes_read\":512,\"bytes_written\":512,"), "{line}");
        assert!(line.contains("\"slots\":64,\"slots_peak\":3,\"slots_over_time\":[[1,3],[2,3]],"), "{line}");
    }

    /// A guest with a disk, and these statements in its only step: the status, and what is told to programs and people.
    fn told(devices: &str, statements: &str) -> (Status, String, String) {
        let text = format!(
            "scenario s\nguest a memory=\"1MiB\" {{ {devices}; }}\nstep t {{\n{statements}\ncheck invariants\n}}"
        );
        let scenario = Scenario::parse(Path::new("s.kdl"), &text).unwrap_or_else(|e| panic!("{:?}", e.errors()));
        let (mut json, mut human) = (Vec::new(), Vec::new());
        let (status, _) = run_scenario(&scenario, Options::default(), &mut Json::new(&mut json));
        run_scenario(
            &scenario,
            Options::default(),
            &mut Human::new(anstream::StripStream::new(&mut human), false, 100),
        );
        (status, String::from_utf8(json).unwrap(), String::from_utf8(human).unwrap())
    }

    const CLOSED: &str = "host stop a\nhost unshare-all a\nhost start a\n";

    #[test]
    fn a_refusal_names_its_rule_and_page() {
        let read = "guest disk-read a disk=d sector=0 count=1";
        let (status, json, human) = told("disk d size=\"512B\"", &format!("{CLOSED}{read} expect=io-refused"));
        assert_eq!(status, Status::Pass, "{json}");
        let words = "the device needs a reset: the device cannot use ring 0: page 0xdf cannot be read at 0xdf";
        let line = json.lines().find(|line| line.contains("disk-read")).unwrap();
        assert!(line.contains("\"rule\":\"T69\",\"page\":\"a:223\""), "{line}");
        assert!(line.contains(words) && line.contains("the guest has not shared it (T69)"), "{line}");
        assert!(human.contains("expect=io-refused  T69\n      the device needs a reset"), "{human}");

        let (status, json, human) = told("disk d size=\"512B\"", &format!("{CLOSED}{read}"));
        assert_eq!(status, Status::Fail, "{json}");
        let line = json.lines().find(|line| line.contains("\"event\":\"failure\"")).unwrap();
        assert!(line.contains("\"page\":\"a:223\",\"rule\":\"T69\""), "{line}");
        assert!(human.contains(&format!("        why: {words}")), "{human}");
        assert!(human.contains("a:223: expected ok, got io-refused (T69)"), "{human}");
        assert_eq!(human.matches(words).count(), 1, "{human}");
    }

    #[test]
    fn a_device_without_access_platform_is_told_of_with_what_to_change() {
        for (device, io, model) in [
            ("disk d size=\"512B\" iommu=#false", "disk-read a disk=d sector=0 count=1", "virtio-blk-ccw"),
            ("net d iommu=#false", "receive a net=d", "virtio-net-ccw"),
            ("console iommu=#false", "console-write a text=x", "virtio-serial-ccw"),
            ("rng iommu=#false", "entropy a len=1", "virtio-rng-ccw"),
        ] {
            let (status, json, human) = told(device, &format!("guest {io}"));
            assert_eq!(status, Status::Fail, "{json}");
            assert!(human.contains("why: virtio: device must provide VIRTIO_F_ACCESS_PLATFORM"), "{human}");
            for remedy in ["iommu=#true", "<driver iommu='on'/>", &format!("-device {model},iommu_platform=on")] {
                assert!(human.contains(remedy), "{human}");
                assert!(json.contains(remedy), "{json}");
            }
        }
    }

    #[test]
    fn a_long_course_keeps_its_end() {
        let series = |length: u64| (1..=length).map(|number| (number, number % 7)).collect::<Vec<_>>();
        assert_eq!(thinned(&[]), []);
        assert_eq!(thinned(&series(64)), series(64));
        for length in [65, 127, 128, 129, 1000] {
            let points = thinned(&series(length));
            assert!((32..=64).contains(&points.len()), "{length}: {}", points.len());
            assert_eq!(points.last(), series(length).last());
        }
    }
}
