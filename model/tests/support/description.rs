//! What a host finds and leaves in a state description, and a guest that can be interrupted.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part")]

use super::scene::interception;
use super::support::{Guest, Host};
use uvsim_model::Psw;
use uvsim_model::cpu::{GuestCpu, GuestEvent, Interception, ValidityReason};

pub const PREFIX: Interception = Interception { code: 112, ipa: 0, ipb: 0 };
/// The PSW of a guest that can be interrupted: machine checks, I/O and external interruptions are enabled.
pub const ENABLED: Psw = Psw { mask: 0x0304_0001_8000_0000, address: 0x1000 };

pub fn validity(reason: ValidityReason) -> Interception {
    Interception { code: 32, ipa: 0, ipb: (reason as u32) << 16 }
}

impl Host<'_> {
    pub fn saved(&mut self, guest: &Guest, register: u64) -> u64 {
        let bytes = self.load(guest.state_description + 0x380 + register * 8, 8).unwrap();
        u64::from_be_bytes(bytes.try_into().unwrap())
    }

    pub fn give_register(&mut self, guest: &Guest, register: u64, value: u64) {
        self.store_u64(guest.state_description + 0x380 + register * 8, value);
    }

    pub fn injects(&mut self, guest: &Guest, control: u8) {
        self.store(guest.state_description + 0x55, &[control]);
    }

    pub fn injection_control(&mut self, guest: &Guest) -> u8 {
        self.load(guest.state_description + 0x55, 1).unwrap()[0]
    }

    /// Enters once, and lets the guest do one thing that must end with an exit.
    pub fn exit(
        &mut self,
        guest: &Guest,
        action: impl FnOnce(&mut GuestCpu<'_, '_>) -> Result<(), GuestEvent>,
    ) -> Interception {
        let mut cpu = self.enter(guest).expect("the guest runs");
        interception(action(&mut cpu))
    }

    /// Enters, and fills the save area with marks first, so that unexposed registers can be told.
    pub fn marked(&mut self, guest: &Guest) {
        for register in 0..16 {
            self.give_register(guest, register, 0xaaaa_0000 + register);
        }
    }

    pub fn untouched(&mut self, guest: &Guest, exposed: &[u64]) {
        for register in (0..16).filter(|register| !exposed.contains(register)) {
            assert_eq!(self.saved(guest, register), 0xaaaa_0000 + register, "register {register} is exposed");
        }
    }

    /// A guest whose new PSWs are `address = 0x100 × index`, with the masks of its own PSW on.
    pub fn interruptible(&mut self) -> Guest {
        let guest = self.start(1);
        for (index, at) in (1u64..).zip([0x1a0, 0x1b0, 0x1d0, 0x1e0, 0x1f0]) {
            self.guest_store(&guest, at, &0x1_8000_0000u64.to_be_bytes()).unwrap();
            self.guest_store(&guest, at + 8, &(index * 0x100).to_be_bytes()).unwrap();
        }
        self.enter(&guest).unwrap().load_psw(ENABLED).unwrap();
        guest
    }

    pub fn lowcore(&mut self, guest: &Guest, at: u64, len: usize) -> Vec<u8> {
        self.guest_load(guest, at, len).unwrap()
    }

    pub fn old_psw(&mut self, guest: &Guest, at: u64) -> Psw {
        let bytes = self.lowcore(guest, at, 16);
        let half = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        Psw { mask: half(0), address: half(8) }
    }
}

/// Registers of the guest with marks of their own.
pub fn fill(cpu: &mut GuestCpu<'_, '_>) {
    (0..16).for_each(|register| cpu.set_general(register, 0x1_0000 + u64::from(register)));
}
