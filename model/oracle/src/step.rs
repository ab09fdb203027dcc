//! What can be done to a machine, and how that can end.

use crate::ids::{AbsoluteAddress, CpuNumber, GuestAddress, VirtualAddress};

/// One thing that a host, a guest or a device does. Guest steps name the host CPU on which the guest runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A host CPU begins to operate.
    Start(CpuNumber),
    /// A host CPU stops; it keeps its registers and its translation buffer.
    Stop(CpuNumber),
    /// A host CPU executes something.
    Host(CpuNumber, HostStep),
    /// The guest CPU in SIE on a host CPU executes something.
    Guest(CpuNumber, GuestStep),
    /// A device reads storage.
    ChannelRead {
        /// From where.
        address: AbsoluteAddress,
        /// Bytes.
        length: u64,
    },
    /// A device writes storage.
    ChannelWrite {
        /// To where.
        address: AbsoluteAddress,
        /// What.
        bytes: Vec<u8>,
    },
    /// Time passes (D81).
    Clock {
        /// How much.
        nanoseconds: u64,
    },
    /// Test hook (Q19, D17): the next calls of a command end differently.
    Inject {
        /// Command code.
        command: u16,
        /// How.
        injection: Injection,
    },
    /// Test hook (D42): a resident page looks as if its latest export had been under this counter. Has no effect
    /// on a page that is not resident.
    PresetCounter {
        /// Configuration handle.
        configuration: u64,
        /// Page.
        page: crate::ids::PageIndex,
        /// Counter of the latest export.
        counter: u64,
    },
}

/// What an injection asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injection {
    /// So many calls answer condition code 2 and do nothing.
    Busy(u64),
    /// So many calls answer condition code 3 and do nothing (after the busy ones).
    Partial(u64),
    /// The next CREATE_SEC_CONF does its work and answers 0x8000 | 0x10f.
    LateFailure,
}

/// Kind of a storage access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Operand fetch.
    Fetch,
    /// Operand store.
    Store,
    /// Instruction fetch.
    Instruction,
}

/// Which table an INVALIDATE DAT TABLE ENTRY works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    /// A segment table.
    Segment,
    /// A region-third table.
    RegionThird,
}

/// Kind of machine reset (T43, D29).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MachineReset {
    /// Load-normal: frames that nobody fenced keep their bytes.
    Normal,
    /// Load-clear.
    Clear,
    /// Power-on.
    PowerOn,
}

/// What a host CPU executes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostStep {
    /// Registers are loaded; SET PREFIX is a step of its own.
    Registers {
        /// PSW bit 15.
        problem_state: bool,
        /// PSW bit 5, home space.
        translation: bool,
        /// Control register 1.
        primary: u64,
        /// Control register 13.
        home: u64,
    },
    /// SET PREFIX.
    SetPrefix(u64),
    /// Loads bytes: home-space virtual, or real while translation is off.
    Load {
        /// From where.
        address: VirtualAddress,
        /// Bytes.
        length: u64,
        /// Operand or instruction.
        kind: Access,
    },
    /// Stores bytes.
    Store {
        /// To where.
        address: VirtualAddress,
        /// What.
        bytes: Vec<u8>,
    },
    /// Where a fetch would go, without an access; tells the absolute address.
    Translate(VirtualAddress),
    /// INVALIDATE PAGE TABLE ENTRY.
    Ipte {
        /// Origin of the page table.
        table: AbsoluteAddress,
        /// Address whose page index selects the entry.
        address: VirtualAddress,
    },
    /// INVALIDATE DAT TABLE ENTRY.
    Idte {
        /// Level of the table.
        level: Table,
        /// Its origin.
        table: AbsoluteAddress,
        /// Address whose index selects the entry.
        address: VirtualAddress,
    },
    /// INVALIDATE DAT TABLE ENTRY by ASCE.
    IdteSpace(u64),
    /// PURGE TLB.
    Ptlb,
    /// ULTRAVISOR CALL.
    Uvc(Uvc),
    /// START INTERPRETIVE EXECUTION with a state description at this virtual address. Ends with
    /// [`Outcome::Done`] when the guest runs now.
    Enter(VirtualAddress),
    /// Asks for a reset of the whole machine.
    ResetMachine(MachineReset),
}

/// Operands of ULTRAVISOR CALL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uvc {
    /// Contents of R1.
    pub r1: u64,
    /// Contents of R2: where the control block is.
    pub r2: u64,
    /// Third operand field.
    pub m3: u8,
    /// Fourth operand field.
    pub m4: u8,
}

/// What a guest CPU executes. Addresses are guest real.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GuestStep {
    /// The client lets go of the guest CPU: it is no longer in SIE.
    Leave,
    /// Loads bytes.
    Load {
        /// From where.
        address: GuestAddress,
        /// Bytes.
        length: u64,
    },
    /// Stores bytes.
    Store {
        /// To where.
        address: GuestAddress,
        /// What.
        bytes: Vec<u8>,
    },
    /// PREFETCH DATA: a hint; may form translations, never fails.
    Prefetch(GuestAddress),
    /// ULTRAVISOR CALL.
    Uvc(Uvc),
    /// DIAGNOSE.
    Diagnose {
        /// Function code.
        function: u16,
        /// First operand register.
        r1: u8,
        /// Third operand register.
        r3: u8,
    },
    /// SET PREFIX.
    SetPrefix(u64),
    /// SERVICE CALL.
    ServiceCall {
        /// Command word.
        command: u32,
        /// Block.
        block: GuestAddress,
    },
    /// SIGNAL PROCESSOR.
    Sigp {
        /// Order code.
        order: u8,
        /// CPU address.
        cpu: u16,
        /// Parameter register.
        parameter: u64,
    },
    /// LOAD PSW EXTENDED.
    LoadPsw {
        /// Mask half.
        mask: u64,
        /// Address half.
        address: u64,
    },
    /// LOAD CONTROL on one register.
    LoadControl {
        /// Low four bits count.
        number: u8,
        /// Value.
        value: u64,
    },
    /// A general register gets a value; of the number the low four bits count.
    General(u8, u64),
    /// An access register gets a value, likewise.
    AccessRegister(u8, u32),
    /// Enters or leaves problem state for this stay in SIE (the PSW keeps its bit; a PSW that is loaded brings its
    /// own).
    ProblemState(bool),
}

/// A program interruption.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Program {
    /// Interruption code.
    pub code: u16,
    /// Translation-exception identification; zero where the code has none.
    pub teid: u64,
}

/// An interception, as the state description shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interception {
    /// Interception code.
    pub code: u8,
    /// First halfword of the instruction.
    pub ipa: u16,
    /// Rest of it, or the validity reason in its upper half.
    pub ipb: u32,
}

/// How a step ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It is done, and this was loaded or read.
    Loaded(Vec<u8>),
    /// The absolute address.
    Translated(AbsoluteAddress),
    /// Condition code of ULTRAVISOR CALL.
    Condition(u8),
    /// Program interruption of the host CPU; from a guest step or an entry: SIE has ended with it.
    Program(Program),
    /// Program interruption that the guest takes itself, staying in SIE.
    GuestProgram(Program),
    /// SIE ends, or an entry fails, with an interception.
    Interception(Interception),
    /// The channel subsystem refuses a secure frame; the first failing byte (T11).
    ChannelSecure(AbsoluteAddress),
    /// The channel subsystem refuses an address outside storage: the address that the transfer began with.
    ChannelOutside(AbsoluteAddress),
    /// The step cannot be taken at all: a CPU that operates already or does not exist, a reset while others
    /// operate.
    Impossible,
}
