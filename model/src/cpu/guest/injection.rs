//! Interruptions that the host injects at an entry: what it may inject, and what the guest then finds in
//! its prefix area.
//!
//! Where the parameters lie in the state description is as in Linux `asm/kvm_host.h`. Masks and assigned
//! storage locations are those of the z/Architecture Principles of Operation.

use super::interception::ValidityReason;
use crate::config::ByteOrder;
use crate::firmware::{GuestRegisters, Outstanding, Psw};

/// Bytes of the state description from the injection parameters on.
pub(super) const PARAMETERS: usize = 0x34;

/// Values of injection control.
mod control {
    pub(super) const NONE: u8 = 0;
    pub(super) const MACHINE_CHECK: u8 = 1;
    pub(super) const EXTERNAL: u8 = 2;
    pub(super) const INPUT_OUTPUT: u8 = 3;
    pub(super) const RESTART: u8 = 4;
    pub(super) const SPECIFICATION: u8 = 0x10;
    pub(super) const OPERAND: u8 = 0x11;
}

const PROGRAM_SPECIFICATION: u16 = 0x06;
const PROGRAM_OPERAND: u16 = 0x15;

/// An interruption that may go in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Injection {
    MachineCheck { code: u64, external_damage: u32, failing_address: u64 },
    External { parameter: u32, cpu_address: u16, code: u16 },
    InputOutput { subchannel_id: u16, subchannel_number: u16, parameter: u32, word: u32 },
    Restart,
    Program(u16),
}

/// Reads the parameters.
#[derive(Clone, Copy)]
struct Parameters<'p>(&'p [u8; PARAMETERS], ByteOrder);

impl Parameters<'_> {
    fn bytes<const N: usize>(self, at: usize) -> [u8; N] {
        core::array::from_fn(|byte| self.0[at + byte])
    }

    fn u16(self, at: usize) -> u16 {
        self.1.u16(self.bytes(at))
    }

    fn u32(self, at: usize) -> u32 {
        self.1.u32(self.bytes(at))
    }

    fn u64(self, at: usize) -> u64 {
        self.1.u64(self.bytes(at))
    }
}

impl Injection {
    /// What `control` asks for, if the guest may get it.
    pub(super) fn check(
        control: u8,
        parameters: &[u8; PARAMETERS],
        order: ByteOrder,
        psw: Psw,
        registers: &[u64; 16],
        outstanding: Option<Outstanding>,
    ) -> Result<Option<Self>, ValidityReason> {
        let exception = |admitted: fn(Outstanding) -> bool, code| match outstanding {
            Some(outstanding) if admitted(outstanding) => Ok(Some(Self::Program(code))),
            _ => Err(ValidityReason::ExceptionNotAdmitted),
        };
        let interruption = match control {
            control::NONE => return Ok(None),
            control::SPECIFICATION => return exception(|it| it.takes_specification, PROGRAM_SPECIFICATION),
            control::OPERAND => return exception(|it| it.takes_operand, PROGRAM_OPERAND),
            control::MACHINE_CHECK | control::EXTERNAL | control::INPUT_OUTPUT | control::RESTART => {
                Self::parse(control, Parameters(parameters, order))
            }
            _ => return Err(ValidityReason::InjectionControl),
        };
        if outstanding.is_some() {
            return Err(ValidityReason::InstructionIncomplete);
        }
        let subclasses = interruption.subclasses(registers).ok_or(ValidityReason::InvalidInterruption)?;
        match subclasses && psw.mask & interruption.psw_mask() == interruption.psw_mask() {
            true => Ok(Some(interruption)),
            false => Err(ValidityReason::NotEnabled),
        }
    }

    fn parse(control: u8, at: Parameters<'_>) -> Self {
        match control {
            control::MACHINE_CHECK => {
                Self::MachineCheck { code: at.u64(0), external_damage: at.u32(0x0c), failing_address: at.u64(0x10) }
            }
            control::EXTERNAL => Self::External { parameter: at.u32(0), cpu_address: at.u16(4), code: at.u16(6) },
            control::INPUT_OUTPUT => Self::InputOutput {
                subchannel_id: at.u16(0x28),
                subchannel_number: at.u16(0x2a),
                parameter: at.u32(0x2c),
                word: at.u32(0x30),
            },
            _ => Self::Restart,
        }
    }

    /// The PSW bit that must be one. Restart cannot be masked.
    fn psw_mask(self) -> u64 {
        match self {
            Self::MachineCheck { .. } => Psw::MACHINE_CHECK,
            Self::External { .. } => Psw::EXTERNAL,
            Self::InputOutput { .. } => Psw::INPUT_OUTPUT,
            Self::Restart | Self::Program(_) => 0,
        }
    }

    /// Whether the control registers let it in. `None` if there is no such interruption.
    fn subclasses(self, control: &[u64; 16]) -> Option<bool> {
        let bit = |register: usize, bit: u32| control[register] & 1 << (63 - bit) != 0;
        match self {
            Self::MachineCheck { code, .. } => {
                let present = |bit: u32| code & 1 << (63 - bit) != 0;
                // System and instruction-processing damage have no subclass mask.
                let exigent = present(0) || present(1);
                let mut repressible = MACHINE_CHECK_SUBCLASSES.iter().filter(|(kind, _)| present(*kind)).peekable();
                (exigent || repressible.peek().is_some())
                    .then(|| exigent || repressible.any(|&(_, mask)| bit(14, mask)))
            }
            Self::External { code, .. } => {
                EXTERNAL_SUBCLASSES.iter().find(|(known, _)| *known == code).map(|&(_, mask)| bit(0, mask))
            }
            Self::InputOutput { word, .. } => Some(bit(6, 32 + (word >> 27 & 7))),
            Self::Restart | Self::Program(_) => Some(true),
        }
    }

    /// Real address of the new PSW.
    pub(super) fn new_psw(&self) -> u64 {
        match self {
            Self::Restart => 0x1a0,
            Self::External { .. } => 0x1b0,
            Self::Program(_) => 0x1d0,
            Self::MachineCheck { .. } => 0x1e0,
            Self::InputOutput { .. } => 0x1f0,
        }
    }

    /// Real address of the old PSW.
    fn old_psw(&self) -> u64 {
        self.new_psw() - 0x80
    }
}

/// Repressible machine checks: bit of the interruption code, bit of control register 14. System recovery,
/// timing-facility damage, external damage, degradation, warning, channel report.
const MACHINE_CHECK_SUBCLASSES: [(u32, u32); 6] = [(2, 36), (4, 38), (5, 38), (7, 37), (8, 39), (9, 35)];

/// External interruptions: code, bit of control register 0. Interrupt key, clock comparator, CPU timer,
/// malfunction alert, emergency signal, external call, timing alert, measurement alert, service signal, and
/// the one that Linux uses for page faults of the host and for virtio.
const EXTERNAL_SUBCLASSES: [(u16, u32); 10] = [
    (0x0040, 57),
    (0x1004, 52),
    (0x1005, 53),
    (0x1200, 48),
    (0x1201, 49),
    (0x1202, 50),
    (0x1406, 59),
    (0x1407, 58),
    (0x2401, 54),
    (0x2603, 54),
];

/// What an interruption stores into the prefix area.
#[derive(Debug)]
pub(super) struct Lowcore {
    stores: Vec<(u64, Vec<u8>)>,
    order: ByteOrder,
}

impl Lowcore {
    /// Old PSW, codes and parameters. A machine check also fills the register save areas (those of them
    /// that the model keeps).
    pub(super) fn of(injection: &Injection, old: Psw, registers: &GuestRegisters, order: ByteOrder) -> Self {
        let mut lowcore = Self { stores: Vec::new(), order };
        lowcore.psw(injection.old_psw(), old);
        match *injection {
            Injection::External { parameter, cpu_address, code } => {
                lowcore.word(0x80, parameter);
                lowcore.halfword(0x84, cpu_address);
                lowcore.halfword(0x86, code);
            }
            Injection::InputOutput { subchannel_id, subchannel_number, parameter, word } => {
                lowcore.halfword(0xb8, subchannel_id);
                lowcore.halfword(0xba, subchannel_number);
                lowcore.word(0xbc, parameter);
                lowcore.word(0xc0, word);
            }
            Injection::MachineCheck { code, external_damage, failing_address } => {
                lowcore.doubleword(0xe8, code);
                lowcore.word(0xf4, external_damage);
                lowcore.doubleword(0xf8, failing_address);
                lowcore.save_areas(old, registers);
            }
            Injection::Program(code) => {
                // Instruction-length code: all instructions that admit an exception have four bytes.
                lowcore.halfword(0x8c, 4);
                lowcore.halfword(0x8e, code);
            }
            Injection::Restart => {}
        }
        lowcore
    }

    pub(super) fn stores(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.stores.iter().map(|(at, bytes)| (*at, bytes.as_slice()))
    }

    fn save_areas(&mut self, old: Psw, registers: &GuestRegisters) {
        for (at, &value) in (0x1280..).step_by(8).zip(&registers.general) {
            self.doubleword(at, value);
        }
        self.psw(0x1300, old);
        self.word(0x1318, registers.prefix as u32);
        self.word(0x131c, registers.floating_point_control);
        self.word(0x1324, registers.tod_programmable);
        self.doubleword(0x1328, registers.cpu_timer);
        // Bits 0–55, from the second byte on.
        self.doubleword(0x1330, registers.clock_comparator >> 8);
        for (at, &value) in (0x1340..).step_by(4).zip(&registers.access) {
            self.word(at, value);
        }
        for (at, &value) in (0x1380..).step_by(8).zip(&registers.control) {
            self.doubleword(at, value);
        }
    }

    fn psw(&mut self, at: u64, psw: Psw) {
        self.doubleword(at, psw.mask);
        self.doubleword(at + 8, psw.address);
    }

    fn doubleword(&mut self, at: u64, value: u64) {
        self.stores.push((at, self.order.u64_bytes(value).to_vec()));
    }

    fn word(&mut self, at: u64, value: u32) {
        self.stores.push((at, self.order.u32_bytes(value).to_vec()));
    }

    fn halfword(&mut self, at: u64, value: u16) {
        self.stores.push((at, self.order.u16_bytes(value).to_vec()));
    }
}
