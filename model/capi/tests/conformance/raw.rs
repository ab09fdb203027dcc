//! What raw mode does instead: plain pointers into the host's view, and calls with native operands.

use super::host::HostCpu;
use super::{Mode, interface};
use core::ptr::NonNull;
use model::address::{AbsoluteAddress, PAGE_SIZE, VirtualAddress};
use model::cpu::Uvc;
use model::storage::{ProgramCode, ProgramInterruption, Teid};
use model::uvc::{Command, ConditionCode};

/// Where raw mode does as the simulated one, and why.
pub const SIMULATED: &[(&str, &str)] = &[
    ("translation on", "the case walks tables of its own, and no table translates pointers of the process"),
    ("a prefix", "real and absolute addresses differ, and the view has absolute ones"),
    ("beyond storage", "what lies there in the process is none of the machine's business"),
    ("instruction fetch", "compiled code does not run in the view"),
    ("CREATE_SEC_CONF", "the zone entry of the variable area keeps the virtual page at which it was donated"),
    ("entry into SIE", "the state description names its data area by a virtual address, which would have to be native"),
    ("more than enough calls", "the case of all codes and lengths: after as many, nothing is new but the time"),
    ("channel I/O, IPTE, IDTE", "their addresses are absolute, and a device has no pointers"),
];

/// Calls of one CPU after which it goes on without pointers.
const ENOUGH: u64 = 1 << 20;

/// The longest block that a call may have on the stack.
const LONGEST: usize = 0x200;

/// A block, aligned as the instruction wants it.
#[repr(C, align(8))]
struct OnStack([u8; LONGEST]);

/// What there is to know of a call with native operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands {
    block: NonNull<u8>,
    length: usize,
    command: Option<Command>,
    /// The doublewords at 0x18 and at 0x20, as they stand in the block.
    fields: [u64; 2],
}

/// Bytes of a block in which all operands lie that matter here.
const LOOKED_AT: usize = 0x28;
/// Where SET_SEC_CONF_PARAMS has the address of the header.
const HEADER: usize = 0x20;

impl HostCpu<'_> {
    /// Where a stretch lies in the host's view, if plain accesses mean the same there.
    pub(super) fn pointer(&self, address: VirtualAddress, len: u64) -> Option<NonNull<u8>> {
        if crate::MODE != Mode::Raw || self.calls > ENOUGH {
            return None;
        }
        let registers = self.twin.registers();
        let inside = address.0.checked_add(len).is_some_and(|end| end <= self.machine.twin.storage_size());
        let plain = !registers.translation && registers.prefix == 0 && inside;
        plain.then(|| self.machine.through_c.pointer(AbsoluteAddress(address.0)))
    }

    /// Loads through the view.
    #[track_caller]
    pub(super) fn load_plainly(&mut self, from: NonNull<u8>, bytes: &mut [u8]) -> Result<(), ProgramInterruption> {
        self.plainly(|cpu| cpu.copy_from_view(from, bytes))
    }

    /// Stores through the view.
    #[track_caller]
    pub(super) fn store_plainly(&mut self, to: NonNull<u8>, bytes: &[u8]) -> Result<(), ProgramInterruption> {
        self.plainly(|cpu| cpu.copy_to_view(to, bytes))
    }

    /// A plain access, in which every secure-storage access comes from one fault that the system has reported.
    #[track_caller]
    fn plainly(
        &mut self,
        access: impl FnOnce(&mut interface::Cpu) -> Result<(), ProgramInterruption>,
    ) -> Result<(), ProgramInterruption> {
        let before = self.machine.through_c.faults();
        let done = access(&mut self.through_c);
        let refused = done.is_err_and(|it| it.code == ProgramCode::SecureStorageAccess);
        assert_eq!(self.machine.through_c.faults() - before, u64::from(refused), "faults of a plain access");
        done.map_err(|interruption| self.simulated(interruption))
    }

    /// Whether a call means the same with pointers as operands.
    pub(super) fn operands(&self, instruction: Uvc) -> Option<Operands> {
        let at = VirtualAddress(instruction.r2);
        let mut head = [0; LOOKED_AT];
        self.pointer(at, LOOKED_AT as u64)?;
        if !self.machine.through_c.behind().peek(AbsoluteAddress(at.0), &mut head) {
            return None;
        }
        let [length, code] = [0, 2].map(|at| u16::from_be_bytes([head[at], head[at + 1]]));
        let block = self.pointer(at, u64::from(length).max(8))?;
        let fields = [0x18, 0x20].map(|at| u64::from_be_bytes(core::array::from_fn(|byte| head[at + byte])));
        let command = Command::from_code(code);
        let native = match command {
            Some(Command::CreateSecConf) => false,
            // The longest header is two pages long.
            Some(Command::SetSecConfParams) => self.pointer(VirtualAddress(fields[1]), 2 * PAGE_SIZE).is_some(),
            _ => true,
        };
        native.then_some(Operands { block, length: usize::from(length), command, fields })
    }

    /// The call with native operands; every other block lies on the stack.
    pub(super) fn uvc_native(
        &mut self,
        instruction: Uvc,
        operands: Operands,
    ) -> Result<ConditionCode, ProgramInterruption> {
        self.calls += 1;
        self.through_c.set_native(true);
        let header = operands.command == Some(Command::SetSecConfParams) && operands.length >= LOOKED_AT;
        if header {
            self.put_header(operands, operands.fields[1].wrapping_add(self.view()));
        }
        let done = if self.calls.is_multiple_of(2) && operands.may_lie_on_stack(instruction) {
            self.uvc_on_stack(instruction, operands)
        } else {
            self.uvc_in_view(instruction, operands)
        };
        if header {
            self.put_header(operands, operands.fields[1]);
        }
        self.through_c.set_native(false);
        done.map_err(|interruption| self.simulated(interruption))
    }

    fn uvc_on_stack(&mut self, instruction: Uvc, operands: Operands) -> Result<ConditionCode, ProgramInterruption> {
        let mut block = OnStack([0; LONGEST]);
        let length = operands.length.max(8);
        if self.through_c.copy_from_view(operands.block, &mut block.0[..length]).is_err() {
            // It is a secure frame that the call has to refuse.
            return self.uvc_in_view(instruction, operands);
        }
        let done = self.through_c.uvc(Uvc { r2: block.0.as_mut_ptr().expose_provenance() as u64, ..instruction })?;
        self.through_c.copy_to_view(operands.block, &block.0[..length])?;
        Ok(done)
    }

    fn uvc_in_view(&mut self, instruction: Uvc, operands: Operands) -> Result<ConditionCode, ProgramInterruption> {
        self.through_c.uvc(Uvc { r2: operands.block.as_ptr().expose_provenance() as u64, ..instruction })
    }

    /// Where a block lies that cannot be stored to, the call will say so as well.
    fn put_header(&mut self, operands: Operands, address: u64) {
        let at = operands.block.map_addr(|at| at.saturating_add(HEADER));
        let _ = self.through_c.copy_to_view(at, &address.to_be_bytes());
    }

    /// Where the view begins, as a number.
    fn view(&self) -> u64 {
        self.machine.through_c.pointer(AbsoluteAddress(0)).as_ptr().expose_provenance() as u64
    }

    /// The interruption, with the absolute address in place of the pointer.
    fn simulated(&self, interruption: ProgramInterruption) -> ProgramInterruption {
        let address = interruption.teid.address();
        let offset = address.wrapping_sub(self.view());
        let inside = address >= self.view() && offset < self.machine.twin.storage_size();
        let bits = interruption.teid.0 & (PAGE_SIZE - 1);
        if inside { ProgramInterruption { teid: Teid(offset | bits), ..interruption } } else { interruption }
    }
}

impl Operands {
    /// Whether it makes no difference where the block lies: it is aligned, and the call takes or opens no frames but one
    /// that it names, which is not the one that holds the block (D5).
    fn may_lie_on_stack(self, instruction: Uvc) -> bool {
        let takes = matches!(
            self.command,
            Some(
                Command::InitUv
                    | Command::CreateSecCpu
                    | Command::ConvToSecStor
                    | Command::UnpackImg
                    | Command::SetUnsharedAll
            )
        ) || !instruction.r2.is_multiple_of(8);
        !takes && self.length <= LONGEST && self.fields[0] / PAGE_SIZE != instruction.r2 / PAGE_SIZE
    }
}
