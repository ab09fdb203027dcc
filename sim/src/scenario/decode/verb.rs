//! The verbs.

use kdl::KdlEntry;
use uvsim_model::uvc::Command;

use super::super::document::{BufferId, LoadData};
use super::super::outcome::Expectation;
use super::super::reader::NodeReader;
use super::super::statement::{FaultPolicy, FrameSecurity, Injection, PageCheck, Pages, RecordState, Verb};
use super::Decoder;
use super::operand::Outside;

/// The verbs of an actor.
pub(crate) fn verbs(actor: &str) -> &'static [&'static str] {
    match actor {
        "host" => &[
            "read",
            "write",
            "flip",
            "export",
            "import",
            "destroy",
            "pin",
            "unpin",
            "make-accessible",
            "page-out",
            "page-in",
            "move",
            "remap",
            "copy",
            "unmap",
            "create",
            "start",
            "stop",
            "unshare-all",
            "teardown",
            "reset-machine",
            "pv",
            "create-cpu",
            "cpu-reset",
            "cpu-state",
            "reset",
            "load-image",
            "write-header",
            "flip-header",
            "faults",
            "inject",
            "uvc",
            "console-write",
            "console-read",
        ],
        "device" => &["read", "write"],
        "guest" => &[
            "read",
            "write",
            "share",
            "unshare",
            "verify",
            "diagnose",
            "set-prefix",
            "uvc",
            "disk-read",
            "disk-write",
            "send",
            "receive",
            "console-write",
            "console-read",
            "entropy",
            "remove-devices",
        ],
        _ => &["page", "equal", "differ", "zero", "cpu", "leaks", "io", "invariants"],
    }
}

/// The most that an encryption counter can be.
const MAX_COUNTER: u64 = (1 << 56) - 1;

impl Decoder<'_, '_> {
    pub(super) fn host(&mut self, verb: &str, reader: &mut NodeReader<'_>, expectation: &Expectation) -> Option<Verb> {
        match verb {
            _ if super::life::VERBS.contains(&verb) => return self.life_cycle(verb, reader),
            "reset-machine" => return Some(Verb::HostResetMachine),
            "faults" => return self.faults(reader),
            "inject" => return self.inject(reader),
            "uvc" => return Some(Verb::HostUvc { call: self.uvc(reader, 4096)? }),
            "console-write" | "console-read" => return self.host_console(verb, reader, expectation),
            _ => {}
        }
        let outside = match verb {
            "import" | "unpin" => beyond(expectation),
            _ => Outside::Never,
        };
        let pages = self.pages_argument(reader, outside);
        let verb = match verb {
            "read" => {
                let read = self.read(reader, pages, expectation);
                Verb::HostRead { pages: pages?, read: read? }
            }
            "write" => {
                let write = self.write(reader);
                Verb::HostWrite { pages: pages?, write: write? }
            }
            "flip" => {
                let bit = reader.required("bit", &mut self.reports);
                let bit = bit.and_then(|entry| self.reports.number16(entry, 0, 32_767));
                Verb::HostFlip { pages: pages?, bit: bit? }
            }
            "export" => Verb::HostExport { pages: pages? },
            "import" => Verb::HostImport { pages: pages? },
            "destroy" => Verb::HostDestroy { pages: pages? },
            "pin" => Verb::HostPin { pages: pages? },
            "unpin" => Verb::HostUnpin { pages: pages? },
            "make-accessible" => Verb::HostMakeAccessible { pages: pages? },
            "page-out" => Verb::HostPageOut { pages: pages? },
            "page-in" => Verb::HostPageIn { pages: pages? },
            _ => return self.mapping(verb, reader, pages),
        };
        Some(verb)
    }

    /// Verbs that change mappings or move frames.
    fn mapping(&mut self, verb: &str, reader: &mut NodeReader<'_>, pages: Option<Pages>) -> Option<Verb> {
        if verb == "copy" {
            let to = self.destination(reader, pages);
            return Some(Verb::HostCopy { pages: pages?, to: to? });
        }
        let to = if verb == "remap" { self.destination(reader, pages).map(Some) } else { Some(None) };
        let purge = self.switch(reader, "purge", true);
        let (pages, purge) = (pages?, purge?);
        Some(match (verb, to?) {
            ("remap", Some(to)) => Verb::HostRemap { pages, to, purge },
            ("move", _) => Verb::HostMove { pages, purge },
            _ => Verb::HostUnmap { pages, purge },
        })
    }

    /// A truth value with a default.
    pub(super) fn switch(&mut self, reader: &mut NodeReader<'_>, name: &'static str, default: bool) -> Option<bool> {
        reader.property(name).map_or(Some(default), |entry| self.reports.truth(entry))
    }

    fn faults(&mut self, reader: &mut NodeReader<'_>) -> Option<Verb> {
        let entry = reader.argument("`linux` or `stop`", &mut self.reports)?;
        let policies = [("linux", FaultPolicy::Linux), ("stop", FaultPolicy::Stop)];
        let policy = self.reports.choice(entry, "a way to answer faults", &policies)?;
        Some(Verb::HostFaults { policy })
    }

    fn inject(&mut self, reader: &mut NodeReader<'_>) -> Option<Verb> {
        let entry = reader.argument("a command", &mut self.reports);
        let command = entry.and_then(|entry| self.command(entry));
        let (kind, given) = self.one_of(reader, &["busy", "partial", "late-failure"], true)?;
        let injection = match kind {
            "busy" => Injection::Busy(self.reports.number(given, 1, u64::MAX)?),
            "partial" => Injection::Partial(self.reports.number(given, 1, u64::MAX)?),
            _ => {
                if !self.reports.truth(given)? {
                    return self.reports.error(
                        given.span(),
                        "there is nothing to inject".to_owned(),
                        "always #true",
                        "write late-failure=#true",
                    );
                }
                Injection::LateFailure
            }
        };
        let command = command?;
        if injection == Injection::LateFailure && command != Command::CreateSecConf {
            return self.reports.error(
                given.span(),
                format!("`{}` never fails late", command.name()),
                "not with this command",
                "only create-sec-conf does its work and then fails (D17)",
            );
        }
        Some(Verb::HostInject { command, injection })
    }

    pub(super) fn device(
        &mut self,
        verb: &str,
        reader: &mut NodeReader<'_>,
        expectation: &Expectation,
    ) -> Option<Verb> {
        let pages = self.pages_argument(reader, Outside::Never);
        if verb == "read" {
            let read = self.read(reader, pages, expectation);
            return Some(Verb::DeviceRead { pages: pages?, read: read? });
        }
        let write = self.write(reader);
        Some(Verb::DeviceWrite { pages: pages?, write: write? })
    }

    pub(super) fn guest_verb(
        &mut self,
        verb: &str,
        reader: &mut NodeReader<'_>,
        expectation: &Expectation,
    ) -> Option<Verb> {
        if verb == "uvc" {
            let guest = self.guest_argument(reader);
            let call = self.uvc(reader, 512);
            return Some(Verb::GuestUvc { guest: guest?, call: call? });
        }
        match verb {
            "verify" => return self.verify(reader),
            "diagnose" => return self.diagnose(reader),
            "set-prefix" => return self.set_prefix(reader),
            _ if super::io::VERBS.contains(&verb) => return self.guest_io(verb, reader, expectation),
            _ => {}
        }
        let pages = self.pages_argument(reader, beyond(expectation));
        Some(match verb {
            "read" => {
                let read = self.read(reader, pages, expectation);
                Verb::GuestRead { pages: pages?, read: read? }
            }
            "write" => {
                let write = self.write(reader);
                Verb::GuestWrite { pages: pages?, write: write? }
            }
            "share" => Verb::GuestShare { pages: pages? },
            _ => Verb::GuestUnshare { pages: pages? },
        })
    }

    /// `guest verify GUEST ADDR (text= | hex= | file=) [frames=N]`
    fn verify(&mut self, reader: &mut NodeReader<'_>) -> Option<Verb> {
        let guest = self.guest_argument(reader);
        let entry = reader.argument("an address", &mut self.reports);
        let address = entry.and_then(|entry| self.reports.number(entry, 0, u64::MAX));
        let frames = reader.property("frames").map(|entry| self.reports.number(entry, 1, u64::MAX));
        let given = self.one_of(reader, &["text", "hex", "file"], true);
        let (guest, address, entry, given) = (guest?, address?, entry?, given?);
        let data = match self.content(entry, address, given, self.guests[guest.0].memory)? {
            LoadData::Bytes(data) => data,
            LoadData::Random(_) => return None,
        };
        Some(Verb::GuestVerify { guest, address, data, frames: wanted(frames)? })
    }

    pub(super) fn check(&mut self, verb: &str, reader: &mut NodeReader<'_>) -> Option<Verb> {
        match verb {
            "page" => self.check_page(reader),
            "zero" => {
                let buffer = self.buffer_argument(reader);
                Some(Verb::CheckZero { buffer: buffer? })
            }
            "cpu" => self.check_cpu(reader),
            "leaks" => self.check_leaks(reader),
            "io" => self.check_io(reader),
            "invariants" => Some(Verb::CheckInvariants),
            _ => {
                let (left, right) = (self.buffer_argument(reader), self.buffer_argument(reader));
                let (left, right) = (left?, right?);
                Some(if verb == "equal" { Verb::CheckEqual { left, right } } else { Verb::CheckDiffer { left, right } })
            }
        }
    }

    fn buffer_argument(&mut self, reader: &mut NodeReader<'_>) -> Option<BufferId> {
        let entry = reader.argument("the name of a saved buffer", &mut self.reports)?;
        self.buffer(entry)
    }

    fn check_page(&mut self, reader: &mut NodeReader<'_>) -> Option<Verb> {
        let pages = self.pages_argument(reader, Outside::Never);
        let given: [Option<&KdlEntry>; 3] = ["state", "counter", "frame"].map(|name| reader.property(name));
        if given == [None; 3] {
            return self.reports.error(
                reader.span(),
                "`check page` checks nothing".to_owned(),
                "incomplete",
                "give at least one of: state= counter= frame=",
            );
        }
        let [state, counter, frame] = given;
        let states = [
            ("absent", RecordState::Absent),
            ("resident", RecordState::Resident),
            ("exported", RecordState::Exported),
            ("shared", RecordState::Shared),
            ("pinned", RecordState::Pinned),
            ("destroyed", RecordState::Destroyed),
        ];
        let frames = [
            ("secure", FrameSecurity::Secure),
            ("non-secure", FrameSecurity::NonSecure),
            ("none", FrameSecurity::None),
        ];
        let state = state.map(|entry| self.reports.choice(entry, "a state of a page", &states));
        let counter = counter.map(|entry| self.reports.number(entry, 0, MAX_COUNTER));
        let frame = frame.map(|entry| self.reports.choice(entry, "a security of a frame", &frames));
        // A value that is there but wrong makes the whole statement wrong.
        let check = PageCheck { state: wanted(state)?, counter: wanted(counter)?, frame: wanted(frame)? };
        Some(Verb::CheckPage { pages: pages?, check })
    }
}

/// `Some(None)` where nothing is given, `None` where it is wrong.
pub(super) fn wanted<T>(given: Option<Option<T>>) -> Option<Option<T>> {
    match given {
        None => Some(None),
        Some(value) => value.map(Some),
    }
}

fn beyond(expectation: &Expectation) -> Outside {
    if expectation.explicit { Outside::Allowed } else { Outside::Unexpected }
}
