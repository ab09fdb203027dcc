//! What a hostile host, and its guests, may be after.

use super::{Draw, PAGES};
use crate::scenario::{
    CpuReset, FaultPolicy, GuestDiagnose, ImagePart, Injection, MpState, PvCommand, Source, Unpack, Verb,
};
use rand::{Rng, RngExt};
use uvsim_model::uvc::Command;

impl<R: Rng> Draw<'_, R> {
    /// Statements of one theme.
    pub(super) fn theme(&mut self) {
        if self.once_in(6) {
            let policy = self.one_of(&[FaultPolicy::Stop, FaultPolicy::Linux]);
            self.host(Verb::HostFaults { policy });
        }
        let length = self.below(10) + 1;
        let theme = self.below(14);
        for _ in 0..length {
            match theme {
                0..=3 => self.paging(),
                4..=5 => self.sharing(),
                6 => self.mapping(),
                7 => self.life(),
                8 => self.boot(),
                9 => self.reset(),
                10..=11 => self.raw_call(),
                12 => self.instruction(),
                _ => self.inject(),
            }
        }
        if self.once_in(30) {
            self.host(Verb::CheckInvariants);
        }
    }

    fn paging(&mut self) {
        let pages = self.page();
        match self.below(16) {
            0 | 1 => self.host(Verb::HostExport { pages }),
            2 | 3 => {
                let pages = self.far_page();
                self.host(Verb::HostImport { pages });
            }
            4 => self.host(Verb::HostPageOut { pages }),
            5 => self.host(Verb::HostPageIn { pages }),
            6 => self.host(Verb::HostDestroy { pages }),
            7 => {
                let bit = self.random.random_range(0..0x8000);
                self.host(Verb::HostFlip { pages, bit });
            }
            8 => {
                let read = self.read();
                self.host(Verb::HostRead { pages, read });
            }
            9 => {
                let write = self.write();
                self.host(Verb::HostWrite { pages, write });
            }
            10 => {
                let read = self.read();
                self.by_guest(Verb::DeviceRead { pages, read });
            }
            11 => {
                let write = self.write();
                self.by_guest(Verb::DeviceWrite { pages, write });
            }
            12 | 13 => {
                let (pages, write) = (self.far_page(), self.write());
                self.by_guest(Verb::GuestWrite { pages, write });
            }
            _ => {
                let (pages, read) = (self.far_page(), self.read());
                self.by_guest(Verb::GuestRead { pages, read });
            }
        }
    }

    fn sharing(&mut self) {
        let pages = self.page();
        match self.below(10) {
            0 | 1 => {
                let pages = self.far_page();
                self.by_guest(Verb::GuestShare { pages });
            }
            2 | 3 => {
                let pages = self.far_page();
                self.by_guest(Verb::GuestUnshare { pages });
            }
            4 | 5 => self.host(Verb::HostPin { pages }),
            6 => {
                let pages = self.far_page();
                self.host(Verb::HostUnpin { pages });
            }
            7 => self.host(Verb::HostMakeAccessible { pages }),
            8 if self.once_in(3) => self.host(Verb::HostUnshareAll { guest: pages.guest }),
            _ => self.paging(),
        }
    }

    fn mapping(&mut self) {
        let (pages, to) = (self.page(), self.other_page());
        let purge = !self.once_in(4);
        match self.below(6) {
            0 => self.host(Verb::HostMove { pages, purge }),
            1 | 2 => self.host(Verb::HostRemap { pages, to, purge }),
            3 => self.host(Verb::HostCopy { pages, to }),
            4 => self.host(Verb::HostUnmap { pages, purge }),
            _ => self.paging(),
        }
    }

    fn life(&mut self) {
        let guest = self.guest();
        match self.below(9) {
            0 => self.host(Verb::HostCreate { guest }),
            1 | 2 => self.host(Verb::HostStart { guest }),
            3 => self.host(Verb::HostStop { guest }),
            4 | 5 => {
                let fast = self.once_in(2);
                self.host(Verb::HostTeardown { guest, fast });
            }
            6 => {
                let vcpu = self.random.random_range(0..3);
                self.host(Verb::HostCreateCpu { guest, vcpu });
            }
            7 if self.once_in(4) => self.host(Verb::HostResetMachine),
            _ => self.kvm(),
        }
    }

    fn kvm(&mut self) {
        let guest = self.guest();
        let command = match self.below(9) {
            0 => PvCommand::Enable,
            1 => PvCommand::Disable,
            2 => PvCommand::PrepReset,
            3 => PvCommand::UnshareAll,
            4 => PvCommand::Info { save: None },
            5 => PvCommand::Dump,
            6 => PvCommand::AsyncCleanupPrepare,
            _ => PvCommand::AsyncCleanupPerform {
                pages: self.once_in(2).then(|| self.random.random_range(0..8)),
                signal: self.once_in(2),
            },
        };
        self.host(Verb::HostPv { guest, command });
    }

    /// A boot by hand, with something damaged on the way.
    fn boot(&mut self) {
        let guest = self.guest();
        if self.once_in(4) {
            self.host(Verb::HostPv { guest, command: PvCommand::Enable });
        }
        match self.below(4) {
            0 => {
                let bit = self.random.random_range(0..8 * 0x280);
                self.host(Verb::HostFlipHeader { guest, bit });
            }
            1 => {
                let (offset, byte) = (self.random.random_range(0..0x1c0), self.random.random::<u8>());
                self.host(Verb::HostWriteHeader { guest, offset, data: Source::Bytes(vec![byte; 1]) });
            }
            _ => {}
        }
        let length = self.once_in(6).then(|| self.one_of(&[0, 0x19f, 0x1a0, 0x280, 0x2000, 0x2001]));
        self.host(Verb::HostPv { guest, command: PvCommand::SetSecParms { length } });
        if self.once_in(3) {
            self.host(Verb::HostLoadImage { guest, part: ImagePart::All, block: None });
        }
        if self.once_in(3) {
            self.paging();
        }
        let part = self.one_of(&[
            ImagePart::All,
            ImagePart::All,
            ImagePart::Component(0),
            ImagePart::Component(1),
            ImagePart::Page(3),
            ImagePart::Page(5),
        ]);
        let mut unpack = Unpack { part, ..Unpack::default() };
        if matches!(part, ImagePart::Component(_)) && self.once_in(2) {
            unpack.address = Some(self.random.random_range(0..PAGES) << 12);
            unpack.tweak = self.once_in(2).then(|| self.random.random());
        }
        self.host(Verb::HostPv { guest, command: PvCommand::Unpack(unpack) });
        self.host(Verb::HostPv { guest, command: PvCommand::Verify });
        self.state(MpState::Load);
    }

    fn state(&mut self, state: MpState) {
        let (guest, vcpu) = (self.guest(), self.vcpu());
        self.host(Verb::HostCpuState { guest, vcpu, state });
    }

    fn reset(&mut self) {
        let (guest, vcpu) = (self.guest(), self.vcpu());
        match self.below(8) {
            0 => self.host(Verb::HostPv { guest, command: PvCommand::UnshareAll }),
            1 => self.host(Verb::HostPv { guest, command: PvCommand::PrepReset }),
            2 | 3 => {
                let kind = self.one_of(&[CpuReset::Normal, CpuReset::Initial, CpuReset::Clear]);
                self.host(Verb::HostCpuReset { guest, vcpu, kind });
            }
            4 => self.host(Verb::HostStop { guest }),
            5 => self.host(Verb::HostReset { guest }),
            6 => {
                let subcode = self.one_of(&[0, 1, 3, 4, 8, 10]);
                self.diagnose(0x308, [0, 0, subcode, 0, 0]);
            }
            _ => {
                let state = self.one_of(&[MpState::Operating, MpState::Stopped, MpState::Load, MpState::CheckStop]);
                self.state(state);
            }
        }
    }

    /// What the guest executes besides loads and stores.
    fn instruction(&mut self) {
        match self.below(4) {
            0 => {
                let prefix = self.one_of(&[0, 0x2000, 0x4000, 0x1000, 0x10_0000, u64::MAX]);
                let guest = self.guest();
                self.by_guest(Verb::GuestSetPrefix { guest, prefix });
            }
            1 | 2 => {
                let function = self.one_of(&[0x308, 0x288, 0x44, 0x9c, 0x258, 0x500, 0]);
                let registers = core::array::from_fn(|_| self.one_of(&[0, 1, 8, 10, 0x3000, u64::MAX]));
                self.diagnose(function, registers);
            }
            _ => self.guest_call(),
        }
    }

    fn diagnose(&mut self, function: u16, registers: [u64; 5]) {
        let guest = self.guest();
        let diagnose = GuestDiagnose { function, registers, register: None };
        self.by_guest(Verb::GuestDiagnose { guest, diagnose });
    }

    fn inject(&mut self) {
        let command = self.one_of(Command::ALL);
        let count = self.random.random_range(1..4);
        let injection = self.one_of(&[Injection::Busy(count), Injection::Partial(count), Injection::LateFailure]);
        self.host(Verb::HostInject { command, injection });
        self.raw_call_of(command);
    }
}
