//! Registers of a guest CPU, and what the three kinds of CPU reset make of them.

/// A program-status word in the 16-byte format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Psw {
    /// Mask half.
    pub mask: u64,
    /// Address half.
    pub address: u64,
}

impl Psw {
    /// Bit 6: I/O interruptions are enabled.
    pub const INPUT_OUTPUT: u64 = 1 << (63 - 6);
    /// Bit 7: external interruptions are enabled.
    pub const EXTERNAL: u64 = 1 << (63 - 7);
    /// Bit 13: machine-check interruptions are enabled.
    pub const MACHINE_CHECK: u64 = 1 << (63 - 13);
    /// Bit 15: problem state.
    pub const PROBLEM_STATE: u64 = 1 << (63 - 15);
    /// Bit 12: one in the 8-byte format, zero in the 16-byte one.
    const SHORT_FORMAT: u64 = 1 << (63 - 12);
    /// Bits 33–63 of the 8-byte format: the address.
    const SHORT_ADDRESS: u64 = 0x7fff_ffff;

    /// Expands the 8-byte format as LOAD PSW does: bit 12 is inverted, the addressing-mode bits stay, the
    /// 31 address bits become the address half. A short PSW without bit 12 yields a long one with it: that
    /// is invalid, and the guest's own trouble.
    #[must_use]
    pub const fn from_short(short: u64) -> Self {
        Self { mask: (short & !Self::SHORT_ADDRESS) ^ Self::SHORT_FORMAT, address: short & Self::SHORT_ADDRESS }
    }
}

/// Kinds of CPU reset; each does all that the ones before it do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum CpuReset {
    /// CPU_RESET.
    Normal,
    /// CPU_RESET_INITIAL.
    Initial,
    /// CPU_RESET_CLEAR.
    Clear,
}

/// The registers of a CPU of a configuration, as far as the Ultravisor of the model keeps them.
/// Floating-point and vector registers are not modelled: no guest action has a use for them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestRegisters {
    /// Program-status word.
    pub psw: Psw,
    /// Prefix: guest absolute address of the prefix area.
    pub prefix: u64,
    /// General registers.
    pub general: [u64; 16],
    /// Control registers.
    pub control: [u64; 16],
    /// Access registers.
    pub access: [u32; 16],
    /// CPU timer, in units of 1/4096 µs: the value at the latest exit, or of the current stay in SIE.
    pub cpu_timer: u64,
    /// Clock comparator.
    pub clock_comparator: u64,
    /// Floating-point control register.
    pub floating_point_control: u32,
    /// TOD programmable register.
    pub tod_programmable: u32,
}

/// Control register 0 after an initial CPU reset (z/Architecture Principles of Operation, "Resets").
const INITIAL_CONTROL_0: u64 = 0xe0;
/// Control register 14, likewise.
const INITIAL_CONTROL_14: u64 = 0xc200_0000;

impl Default for GuestRegisters {
    /// As after a clear reset.
    fn default() -> Self {
        let mut control = [0; 16];
        control[0] = INITIAL_CONTROL_0;
        control[14] = INITIAL_CONTROL_14;
        Self {
            psw: Psw::default(),
            prefix: 0,
            general: [0; 16],
            control,
            access: [0; 16],
            cpu_timer: 0,
            clock_comparator: 0,
            floating_point_control: 0,
            tod_programmable: 0,
        }
    }
}

impl GuestRegisters {
    /// Resets the registers as the architecture says: CPU reset leaves all of them, initial CPU reset
    /// leaves general and access registers, clear reset leaves none.
    pub(crate) fn reset(&mut self, kind: CpuReset) {
        match kind {
            CpuReset::Normal => {}
            CpuReset::Initial => *self = Self { general: self.general, access: self.access, ..Self::default() },
            CpuReset::Clear => *self = Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_psw_is_expanded_as_load_psw_does() {
        // As kvm-unit-tests and Linux write it: bit 12, both addressing-mode bits, 31-bit address.
        let psw = Psw::from_short(0x0008_0001_8000_0000 | 0x1234);
        assert_eq!(psw, Psw { mask: 0x0000_0001_8000_0000, address: 0x1234 });
        let psw = Psw::from_short(0x0708_0000_ffff_fffe);
        assert_eq!(psw, Psw { mask: 0x0700_0000_8000_0000, address: 0x7fff_fffe });
        // Not a valid short PSW: neither is what becomes of it.
        assert_eq!(Psw::from_short(0).mask, 0x0008_0000_0000_0000);
    }

    #[test]
    fn each_reset_does_what_the_one_before_it_does() {
        let set = GuestRegisters {
            psw: Psw { mask: 1, address: 2 },
            prefix: 0x8000,
            general: [3; 16],
            control: [4; 16],
            access: [5; 16],
            cpu_timer: 6,
            clock_comparator: 7,
            floating_point_control: 8,
            tod_programmable: 9,
        };
        let after = |kind| {
            let mut registers = set.clone();
            registers.reset(kind);
            registers
        };
        assert_eq!(after(CpuReset::Normal), set);
        let initial = after(CpuReset::Initial);
        assert_eq!((initial.general, initial.access), ([3; 16], [5; 16]));
        assert_eq!((initial.psw, initial.prefix, initial.cpu_timer), (Psw::default(), 0, 0));
        assert_eq!((initial.clock_comparator, initial.floating_point_control, initial.tod_programmable), (0, 0, 0));
        assert_eq!((initial.control[0], initial.control[14]), (0xe0, 0xc200_0000));
        assert!((1..16).filter(|&number| number != 14).all(|number| initial.control[number] == 0));
        assert_eq!(after(CpuReset::Clear), GuestRegisters { general: [0; 16], access: [0; 16], ..initial });
    }
}
