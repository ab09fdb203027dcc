//! Devices of guests: drivers are bound when a guest comes to run, do what statements say, and are counted.

mod device;

use uvsim_model::Machine;
use uvsim_model::address::{GuestAddress, PAGE_SIZE};

use super::execute::Failed;
use super::{Difference, End, Failure, IoCounters, IoEnd, Runner, Status, outcome};
use crate::kernel::{FaultAnswers, Observed, Stop};
use crate::scenario::{DiskData, GuestId, GuestIo, IoCheck, Outcome, SECTOR, Scenario, Statement, Verb};
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
}

impl Devices {
    pub(super) fn new(scenario: &Scenario, machine: &Machine) -> Self {
        let count = scenario.guests.len();
        Self {
            board: Board::new(device::attached(scenario, machine)),
            bound: vec![None; count],
            before: vec![IoStatistics::default(); count],
        }
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

/// An outcome, and the bytes that came with it.
type Done = (Observed, Option<Vec<u8>>);

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

    /// What a driver does.
    pub(super) fn guest_io(&mut self, statement: &Statement, guest: GuestId, io: &GuestIo) -> Result<Observed, Failed> {
        let (got, bytes) = match self.drive_device(statement.cpu, guest.0, io) {
            Ok(done) => done,
            Err(stop) => (outcome(stop).map_err(|end| (None, end))?, None),
        };
        let got = self.judge(&statement.expectation, None, got)?;
        let (Outcome::Ok, Some(bytes)) = (got.outcome, bytes) else { return Ok(got) };
        let (compare, save) = match io {
            GuestIo::DiskRead { compare, save, .. } | GuestIo::Receive { compare, save, .. } => {
                (compare.as_ref(), *save)
            }
            GuestIo::Entropy { save, .. } => (None, *save),
            _ => (None, None),
        };
        if let Some(wanted) = compare {
            let wanted = self.bytes(wanted);
            // Sectors are compared as far as something is said of them, frames as a whole.
            let sectors = matches!(io, GuestIo::DiskRead { .. }) && wanted.len() < bytes.len();
            let found = if sectors { &bytes[..wanted.len()] } else { &bytes[..] };
            if let Some(difference) = Difference::between(wanted, found) {
                let mut failure = self.failure(None, "I-14", difference.to_string());
                failure.state = difference.rows();
                return Err((Some(got), End::Failed(Box::new(failure), Status::Fail)));
            }
        }
        if let Some(buffer) = save {
            self.buffers[buffer.0] = bytes;
        }
        Ok(got)
    }

    fn drive_device(&mut self, vcpu: u16, guest: usize, io: &GuestIo) -> Result<Done, Stop> {
        let at = IoAt { guest, vcpu, faults: self.faults };
        let (board, kernel) = (&mut self.devices.board, &mut self.kernel);
        match io {
            GuestIo::DiskRead { disk, sector, count, to, .. } => {
                let (done, mut bytes) = board.disk_read(kernel, at, *disk, *sector, *count)?;
                let got = observed(&done);
                if let (Some(to), Outcome::Ok) = (to, got.outcome) {
                    self.own_memory(at, *to, &mut bytes, true)?;
                }
                Ok((got, Some(bytes)))
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
                let done = self.devices.board.disk_write(&mut self.kernel, at, *disk, *sector, &bytes)?;
                Ok((observed(&done), None))
            }
            GuestIo::Send { net, data } => {
                let bytes = self.bytes(data).to_vec();
                let done = self.devices.board.send(&mut self.kernel, at, *net, &bytes)?;
                Ok((observed(&done), None))
            }
            GuestIo::Receive { net, .. } => Ok(match board.receive(kernel, at, *net)? {
                (IoOutcome::Done, None) => (Observed::plain(Outcome::NoData, ""), None),
                (done, bytes) => (observed(&done), bytes),
            }),
            GuestIo::ConsoleWrite { console, text } => {
                Ok((observed(&board.console_write(kernel, at, *console, text)?), None))
            }
            GuestIo::Entropy { rng, length, .. } => {
                let (done, bytes) = board.entropy(kernel, at, *rng, usize::from(*length))?;
                Ok((observed(&done), Some(bytes)))
            }
            GuestIo::RemoveDevices => {
                board.shutdown(kernel, at)?;
                Ok((Observed::OK, None))
            }
        }
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

/// What a driver's outcome is in the language.
fn observed(done: &IoOutcome) -> Observed {
    match done {
        IoOutcome::Done => Observed::OK,
        IoOutcome::NoBounceSlot { .. } => Observed::plain(Outcome::NoBounceSlot, ""),
        IoOutcome::NoDevice { .. } => Observed::plain(Outcome::NoDevice, ""),
        IoOutcome::IoError { .. } | IoOutcome::OutOfRange { .. } => Observed::plain(Outcome::IoError, ""),
        IoOutcome::IoRefused { .. } => Observed::plain(Outcome::IoRefused, "T11"),
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
