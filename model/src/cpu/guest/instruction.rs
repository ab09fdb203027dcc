//! Instructions of a guest that concern the host: what it gets to see of them, and what it must not do.
//!
//! The host sees canonical operands (hardware shows it a fixed form of the instruction, whatever registers
//! the guest has used): a diagnose is `diag %r0,%r2,0(%r5)` with the function code in register 5, its
//! first operand pair in registers 0 and 1, its second in 2 and 3. Only these registers reach the save
//! area; the rest of it stays as it is.

use super::description::offset;
use super::{GuestCpu, GuestEvent, Interception};
use crate::address::{GuestAddress, PAGE_SIZE};
use crate::firmware::{Outstanding, Psw};
use crate::storage::{AccessKind, ProgramCode, ProgramInterruption};
use crate::witness::{GuestStep, Outcome};

/// DIAGNOSE: function code and the numbers of its two operand registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Diagnose {
    /// The function code.
    pub function: u16,
    /// First operand: a register, or an even-odd pair of them.
    pub r1: u8,
    /// Third operand, likewise.
    pub r3: u8,
}

impl Diagnose {
    /// Time-slice end.
    pub const TIME_SLICE_END: u16 = 0x44;
    /// Time-slice end, directed.
    pub const TIME_SLICE_END_DIRECTED: u16 = 0x9c;
    /// Watchdog.
    pub const WATCHDOG: u16 = 0x288;
    /// Reset and IPL functions.
    pub const IPL: u16 = 0x308;
    /// KVM's own calls, such as the virtio notification.
    pub const KVM: u16 = 0x500;

    /// With registers 0 and 2 as operands, as the host sees every one.
    #[must_use]
    pub const fn new(function: u16) -> Self {
        Self { function, r1: 0, r3: 2 }
    }
}

/// SERVICE CALL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServiceCall {
    /// The command word.
    pub command: u32,
    /// Real address of the control block.
    pub block: GuestAddress,
}

/// SIGNAL PROCESSOR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sigp {
    /// The order code.
    pub order: u8,
    /// Address of the CPU.
    pub cpu: u16,
    /// The parameter register.
    pub parameter: u64,
}

/// Instructions as the host sees them.
const DIAGNOSE: (u16, u32) = (0x8302, 0x5000_0000);
const SET_PREFIX: (u16, u32) = (0xb210, 0);
const SERVICE_CALL: (u16, u32) = (0xb220, 0x0012_0000);
const SIGP: (u16, u32) = (0xae02, 0x5000_0000);

/// The prefix is a multiple of 8 KiB below 2 GiB.
const PREFIX_BITS: u64 = 0x7fff_e000;

/// Where the host announces which mask changes it wants to hear of (Linux `asm/kvm_host.h`).
mod announced {
    /// CPU flags: an I/O, an external interruption is pending.
    pub(super) const INPUT_OUTPUT: u32 = 0x0200_0000;
    pub(super) const EXTERNAL: u32 = 0x0100_0000;
    /// Interception controls: PSW bit 13 counts.
    pub(super) const LOAD_PSW: u32 = 0x0040_0000;
    /// Load-control requests, by number of the register from the left.
    pub(super) const CONTROL_0: u16 = 0x8000;
}

impl GuestCpu<'_, '_> {
    /// Executes DIAGNOSE on the general registers ([`GuestCpu::set_general`]).
    ///
    /// | function | exit | exposed | the next entry |
    /// |---|---|---|---|
    /// | 0x44, 0x9c | 108 | first operand | – |
    /// | 0x288 | 104 | both pairs | may inject specification (Q22) |
    /// | 0x308, subcode 0, 1 | 108 | first pair, subcode | a reset is pending (I-36) |
    /// | 0x308, subcode 3 | 108 | first pair, subcode | goes on behind it; hosts end the guest (°) |
    /// | 0x308, subcode 5, 6 | 104° | first pair, subcode; SIDA the list | takes the second register |
    /// | 0x500 | 104 | registers 1 to 4 | takes register 2; may inject specification, operand |
    ///
    /// # Errors
    /// Always one: the exit, or a program interruption of the guest: privileged operation; specification
    /// for subcodes 4, 7, 8, 9, 10 of function 0x308 (QEMU's rule for secure guests) and undefined ones (°),
    /// for an odd operand pair, for other functions (°).
    pub fn diagnose(&mut self, diagnose: Diagnose) -> Result<(), GuestEvent> {
        let done = self.perform_diagnose(diagnose);
        self.tell(GuestStep::Diagnose(diagnose), Outcome::of_guest(&done));
        done
    }

    fn perform_diagnose(&mut self, diagnose: Diagnose) -> Result<(), GuestEvent> {
        self.check_privilege()?;
        let Diagnose { function, r1, r3 } = diagnose;
        let general = self.registers().general;
        let value = |register: u8| general[usize::from(register & 15)];
        let first = [(0, value(r1)), (1, value(r1.wrapping_add(1)))];
        let second = [(2, value(r3)), (3, value(r3.wrapping_add(1)))];
        let odd = |register: u8| !register.is_multiple_of(2);
        let exceptions = Outstanding { takes_specification: true, ..Outstanding::of(DIAGNOSE.0) };
        match function {
            Diagnose::TIME_SLICE_END | Diagnose::TIME_SLICE_END_DIRECTED => {
                self.show_diagnose(function, &first[..1]);
                Err(self.intercept(Interception::NOTIFICATION, DIAGNOSE.0, DIAGNOSE.1))
            }
            Diagnose::WATCHDOG if !odd(r1) && !odd(r3) => {
                self.show_diagnose(function, &[first, second].concat());
                Err(self.wait_for_host(exceptions, DIAGNOSE))
            }
            Diagnose::IPL if !odd(r1) => self.diagnose_ipl(r1, &[first[0], first[1], second[0]]),
            Diagnose::KVM => {
                self.show_diagnose(function, &[1, 2, 3, 4].map(|register| (register, value(register))));
                Err(self
                    .wait_for_host(Outstanding { takes_operand: true, result: Some((2, 2)), ..exceptions }, DIAGNOSE))
            }
            _ => Err(specification()),
        }
    }

    /// Function 0x308: pair, subcode.
    fn diagnose_ipl(&mut self, r1: u8, exposed: &[(u8, u64); 3]) -> Result<(), GuestEvent> {
        let [(_, address), _, (_, subcode)] = *exposed;
        let answered = Outstanding { result: Some((1, r1.wrapping_add(1))), ..Outstanding::of(DIAGNOSE.0) };
        match subcode {
            0 | 1 => {
                self.configuration.change_reset().request(subcode);
                self.show_diagnose(Diagnose::IPL, exposed);
                Err(self.intercept(Interception::NOTIFICATION, DIAGNOSE.0, DIAGNOSE.1))
            }
            3 => {
                self.show_diagnose(Diagnose::IPL, exposed);
                Err(self.intercept(Interception::NOTIFICATION, DIAGNOSE.0, DIAGNOSE.1))
            }
            5 | 6 if address.is_multiple_of(PAGE_SIZE) => {
                let list = GuestAddress(address);
                let outstanding = if subcode == 5 {
                    let mut length = [0; 4];
                    self.load_within(list, &mut length)?;
                    let length = u64::from(self.host.storage().order().u32(length)).min(PAGE_SIZE);
                    self.expose_storage(list, length as usize)?;
                    answered
                } else {
                    self.probe(list, PAGE_SIZE, AccessKind::Store)?;
                    Outstanding { write_back: Some((list, PAGE_SIZE as u16)), ..answered }
                };
                self.show_diagnose(Diagnose::IPL, exposed);
                Err(self.wait_for_host(outstanding, DIAGNOSE))
            }
            _ => Err(specification()),
        }
    }

    /// Executes SET PREFIX. The new prefix, of which bits 33 to 50 count, is in effect at once; whether its pages
    /// are there is checked at the next entry.
    ///
    /// # Errors
    /// Always one: privileged operation, addressing (the prefix area lies outside guest storage), or the
    /// exit: 108 with the prefix in the SIDA.
    pub fn set_prefix(&mut self, prefix: u64) -> Result<(), GuestEvent> {
        let done = self.perform_set_prefix(prefix);
        self.tell(GuestStep::SetPrefix(prefix), Outcome::of_guest(&done));
        done
    }

    fn perform_set_prefix(&mut self, prefix: u64) -> Result<(), GuestEvent> {
        self.check_privilege()?;
        let prefix = prefix & PREFIX_BITS;
        if prefix + 2 * PAGE_SIZE > self.size {
            return Err(GuestEvent::Program(ProgramInterruption::new(ProgramCode::Addressing)));
        }
        self.prefix = prefix;
        self.cpu.change(|status| status.registers.prefix = prefix);
        let operand = self.host.storage().order().u32_bytes(prefix as u32);
        self.description.give(self.host, &operand);
        Err(self.intercept(Interception::NOTIFICATION, SET_PREFIX.0, SET_PREFIX.1))
    }

    /// Executes SERVICE CALL. The exit is 104, with the control block in the SIDA and the command word in
    /// register 1; register 2, where the address would be, shows 0, for the host has no use for it. The next
    /// entry copies the block back, and ends at once with 108: the instruction is finished, and a
    /// service-signal interruption may follow. Neither exit admits an exception.
    ///
    /// # Errors
    /// Always one: privileged operation; specification (block not doubleword aligned, beyond 2 GiB, in the
    /// prefix area, shorter than its header or crossing a page boundary); the exit of an access to the block,
    /// and the guest repeats; interception 104.
    pub fn service_call(&mut self, call: ServiceCall) -> Result<(), GuestEvent> {
        let done = self.perform_service_call(call);
        self.tell(GuestStep::ServiceCall(call), Outcome::of_guest(&done));
        done
    }

    fn perform_service_call(&mut self, call: ServiceCall) -> Result<(), GuestEvent> {
        self.check_privilege()?;
        let ServiceCall { command, block } = call;
        let area = block.0 & !0x1fff;
        if block.0 & !0x7fff_fff8 != 0 || area == 0 || area == self.prefix {
            return Err(specification());
        }
        let mut length = [0; 2];
        self.load_within(block, &mut length)?;
        let length = self.host.storage().order().u16(length);
        if length < 8 || block.0 % PAGE_SIZE + u64::from(length) > PAGE_SIZE {
            return Err(specification());
        }
        self.probe(block, u64::from(length), AccessKind::Store)?;
        self.expose_storage(block, usize::from(length))?;
        self.description.expose(self.host, 1, u64::from(command));
        self.description.expose(self.host, 2, 0);
        let outstanding =
            Outstanding { write_back: Some((block, length)), notifies: true, ..Outstanding::of(SERVICE_CALL.0) };
        Err(self.wait_for_host(outstanding, SERVICE_CALL))
    }

    /// Executes SIGNAL PROCESSOR, which the host only hears of: the order counts as accepted. The host
    /// finds the parameter in register 1, the CPU address in register 2, the order in register 5.
    ///
    /// # Errors
    /// Always one: privileged operation, or interception 108.
    pub fn sigp(&mut self, sigp: Sigp) -> Result<(), GuestEvent> {
        let done = self.perform_sigp(sigp);
        self.tell(GuestStep::Sigp(sigp), Outcome::of_guest(&done));
        done
    }

    fn perform_sigp(&mut self, sigp: Sigp) -> Result<(), GuestEvent> {
        self.check_privilege()?;
        for (register, value) in [(1, sigp.parameter), (2, u64::from(sigp.cpu)), (5, u64::from(sigp.order))] {
            self.description.expose(self.host, register, value);
        }
        Err(self.intercept(Interception::NOTIFICATION, SIGP.0, SIGP.1))
    }

    /// Executes LOAD PSW EXTENDED on a PSW at hand. A PSW that is not valid is loaded all the same: what it leads to
    /// is up to the client.
    ///
    /// # Errors
    /// Privileged operation. Or an exit, with the PSW loaded: 96 if the host has asked for machine-check
    /// enablement and PSW bit 13 is on now; 100 if it has announced an external or I/O interruption and the
    /// mask for it is on now.
    pub fn load_psw(&mut self, psw: Psw) -> Result<(), GuestEvent> {
        let done = self.perform_load_psw(psw);
        self.tell(GuestStep::LoadPsw(psw), Outcome::of_guest(&done));
        done
    }

    fn perform_load_psw(&mut self, psw: Psw) -> Result<(), GuestEvent> {
        self.check_privilege()?;
        let old = self.cpu.change(|status| core::mem::replace(&mut status.registers.psw, psw));
        self.problem_state = psw.mask & Psw::PROBLEM_STATE != 0;
        let order = self.host.storage().order();
        let on = psw.mask & !old.mask;
        let mut word = |at| self.description.bytes(self.host, at).map_or(0, |bytes| order.u32(bytes));
        let (flags, controls) = (word(offset::CPU_FLAGS), word(offset::INTERCEPTION_CONTROL));
        if on & Psw::MACHINE_CHECK != 0 && controls & announced::LOAD_PSW != 0 {
            return Err(self.intercept(Interception::MACHINE_CHECK_REQUEST, 0, 0));
        }
        let external = on & Psw::EXTERNAL != 0 && flags & announced::EXTERNAL != 0;
        let input_output = on & Psw::INPUT_OUTPUT != 0 && flags & announced::INPUT_OUTPUT != 0;
        if external || input_output {
            return Err(self.intercept(Interception::INTERRUPT_ENABLEMENT, 0, 0));
        }
        Ok(())
    }

    /// Executes LOAD CONTROL on one register; of its number the low four bits count.
    ///
    /// # Errors
    /// Privileged operation. Or interception 100, with the register loaded: it is control register 0, 6 or
    /// 14, bits are on that were off, and the host has asked for that register.
    pub fn load_control(&mut self, number: u8, value: u64) -> Result<(), GuestEvent> {
        let done = self.perform_load_control(number, value);
        self.tell(GuestStep::LoadControl(number, value), Outcome::of_guest(&done));
        done
    }

    fn perform_load_control(&mut self, number: u8, value: u64) -> Result<(), GuestEvent> {
        self.check_privilege()?;
        let number = number & 15;
        let register = usize::from(number);
        let old = self.cpu.change(|status| core::mem::replace(&mut status.registers.control[register], value));
        if !matches!(number, 0 | 6 | 14) || value & !old == 0 {
            return Ok(());
        }
        let order = self.host.storage().order();
        let requests = self.description.bytes(self.host, offset::LOAD_CONTROL_REQUEST);
        if requests.map_or(0, |bytes| order.u16(bytes)) & announced::CONTROL_0 >> number != 0 {
            return Err(self.intercept(Interception::INTERRUPT_ENABLEMENT, 0, 0));
        }
        Ok(())
    }

    /// Exposes the registers of a diagnose.
    fn show_diagnose(&mut self, function: u16, registers: &[(u8, u64)]) {
        for &(register, value) in registers {
            self.description.expose(self.host, register, value);
        }
        self.description.expose(self.host, 5, u64::from(function));
    }

    /// Copies guest storage to the data area.
    fn expose_storage(&mut self, at: GuestAddress, length: usize) -> Result<(), GuestEvent> {
        let mut bytes = vec![0; length];
        self.load_within(at, &mut bytes)?;
        self.description.give(self.host, &bytes);
        Ok(())
    }

    /// Leaves with interception 104: the next entry completes the instruction.
    fn wait_for_host(&mut self, outstanding: Outstanding, (ipa, ipb): (u16, u32)) -> GuestEvent {
        self.cpu.change(|status| status.outstanding = Some(outstanding));
        self.intercept(Interception::INSTRUCTION, ipa, ipb)
    }
}

fn specification() -> GuestEvent {
    GuestEvent::Program(ProgramInterruption::new(ProgramCode::Specification))
}
