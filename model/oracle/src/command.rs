//! The table of commands, and the checks that all of them share (D2).

use crate::boot;
use crate::call::{Block, Call, Issuer, Refusal, Ruling, Stop};
use crate::configuration;
use crate::cpu;
use crate::ids::{Handle, VirtualAddress};
use crate::machine;
use crate::paging;
use crate::query;
use crate::reset;
use crate::sharing;
use crate::state::State;
use crate::world::World;
use core::fmt;

/// A row of the table.
pub(crate) struct Command {
    /// Command code.
    pub(crate) code: u16,
    /// Bit in the list of installed calls.
    pub(crate) bit: u32,
    /// First generation that has it (Q32).
    generation: u8,
    /// Who may issue it.
    issuer: Who,
    /// Rule for its length.
    length: Length,
    /// It needs an initialised Ultravisor.
    initialised: bool,
    /// The handle in it.
    handle: Operand,
    /// Where a call that was refused with this code has looked for an operand in home space, and how long that is.
    operand: Option<Area>,
    /// What it does. The calls of a guest that touch its pages are done where their pages are reached (D32).
    perform: Option<Perform>,
}

type Perform = fn(&State, &Call, &mut dyn World) -> Ruling;

type Area = fn(&Block, u16) -> Option<(VirtualAddress, u64)>;

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({:#06x})", self.code)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Host,
    Guest,
    Both,
}
use Who::{Both, Guest, Host};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Length {
    Exactly(u16),
    AtLeast(u16),
}
use Length::{AtLeast, Exactly};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operand {
    NoHandle,
    Configuration(usize),
    Cpu(usize),
}
use Operand::{Configuration, Cpu, NoHandle};

/// Commands that are known but not implemented have no row: they are answered like unknown ones (D14).
#[rustfmt::skip]
static COMMANDS: [Command; 24] = [
    row(0x0001, 0, 15, Both, AtLeast(0xa8), false, NoHandle, query::qui),
    row(0x0002, 34, 17, Both, Exactly(0x200), false, NoHandle, query::query_keys),
    row(0x000f, 1, 15, Host, Exactly(0x48), false, NoHandle, machine::init_uv),
    row(0x0100, 2, 15, Host, Exactly(0x80), true, NoHandle, configuration::create_sec_conf)
        .reading(configuration::translated),
    row(0x0101, 3, 15, Host, Exactly(0x40), true, Configuration(0x18), configuration::destroy_sec_conf),
    row(0x0102, 23, 16, Host, Exactly(0x48), true, Configuration(0x18), configuration::destroy_sec_conf_fast),
    row(0x0120, 4, 15, Host, Exactly(0x60), true, Configuration(0x20), configuration::create_sec_cpu),
    row(0x0121, 5, 15, Host, Exactly(0x40), true, Cpu(0x18), configuration::destroy_sec_cpu),
    row(0x0200, 6, 15, Host, Exactly(0x28), true, Configuration(0x18), paging::conv_to_sec_stor),
    row(0x0201, 7, 15, Host, Exactly(0x20), true, NoHandle, paging::conv_from_sec_stor),
    row(0x0202, 12, 15, Host, Exactly(0x20), true, NoHandle, paging::destr_sec_stor),
    row(0x0300, 11, 15, Host, Exactly(0x50), true, Configuration(0x18), boot::set_sec_conf_params)
        .reading(|block, rc| (rc != 0x101).then(|| (VirtualAddress(block.u64(0x20)), u64::from(block.u32(0x28))))),
    row(0x0301, 13, 15, Host, Exactly(0x50), true, Configuration(0x18), boot::unpack_img),
    row(0x0302, 14, 15, Host, Exactly(0x40), true, Configuration(0x18), boot::verify_img),
    row(0x0310, 15, 15, Host, Exactly(0x40), true, Cpu(0x18), cpu::cpu_reset),
    row(0x0311, 16, 15, Host, Exactly(0x40), true, Cpu(0x18), cpu::cpu_reset_initial),
    row(0x0320, 18, 15, Host, Exactly(0x40), true, Configuration(0x18), reset::prepare_reset),
    row(0x0321, 19, 15, Host, Exactly(0x40), true, Cpu(0x18), cpu::cpu_reset_clear),
    row(0x0330, 17, 15, Host, Exactly(0x50), true, Cpu(0x18), cpu::cpu_set_state),
    row(0x0340, 20, 15, Host, Exactly(0x40), true, Configuration(0x18), sharing::set_unshared_all),
    row(0x0341, 21, 15, Host, Exactly(0x20), true, NoHandle, sharing::pin_page_shared),
    row(0x0342, 22, 15, Host, Exactly(0x28), true, Configuration(0x18), sharing::unpin_page_shared),
    guest(0x1000, 8, Exactly(0x30)),
    guest(0x1001, 9, Exactly(0x30)),
];

#[expect(clippy::too_many_arguments, reason = "a row of a table")]
const fn row(
    code: u16,
    bit: u32,
    generation: u8,
    issuer: Who,
    length: Length,
    initialised: bool,
    handle: Operand,
    perform: Perform,
) -> Command {
    Command { code, bit, generation, issuer, length, initialised, handle, operand: None, perform: Some(perform) }
}

const fn guest(code: u16, bit: u32, length: Length) -> Command {
    Command {
        code,
        bit,
        generation: 15,
        issuer: Guest,
        length,
        initialised: false,
        handle: NoHandle,
        operand: None,
        perform: None,
    }
}

impl Command {
    const fn reading(mut self, operand: Area) -> Command {
        self.operand = Some(operand);
        self
    }

    /// The operand in home space that a call looked for although it was refused with this code.
    pub(crate) fn operand(&self, block: &Block, rc: u16) -> Option<(VirtualAddress, u64)> {
        self.operand.and_then(|operand| operand(block, rc))
    }

    /// Does it, behind all general checks.
    pub(crate) fn perform(&self, state: &State, call: &Call, world: &mut dyn World) -> Ruling {
        match self.perform {
            Some(perform) => perform(state, call, world),
            None => Err(Stop::Refused(Refusal { rc: 0x0002, rrc: 0, rule: "D14" })),
        }
    }
}

/// The commands that an issuer finds installed (Q32, D14).
pub(crate) fn installed(state: &State, issuer: Issuer) -> impl Iterator<Item = &'static Command> {
    let (setup, other) = (state.setup.clone(), if issuer == Issuer::Host { Guest } else { Host });
    COMMANDS.iter().filter(move |command| {
        command.issuer != other && command.generation <= setup.generation && !setup.without.contains(&command.code)
    })
}

/// What can be judged from the header alone (D2): known, installed and open to the issuer 0x0002; state 0x0003;
/// length 0x0005.
pub(crate) fn general_checks(state: &State, header: &Block, issuer: Issuer) -> Result<&'static Command, Refusal> {
    let refuse = |rc, rule| Err(Refusal { rc, rrc: 0, rule });
    let (length, code) = (header.u16(0), header.u16(2));
    let Some(command) = installed(state, issuer).find(|command| command.code == code) else {
        return refuse(0x0002, "D14");
    };
    if command.initialised && !state.initialised {
        return refuse(0x0003, "Q18");
    }
    match command.length {
        Exactly(exactly) if length != exactly => refuse(0x0005, "Q16"),
        AtLeast(least) if length < least => refuse(0x0005, "Q16"),
        _ => Ok(command),
    }
}

/// Handles, behind the access to the whole block (D2, D15): they name something alive.
pub(crate) fn handles(state: &State, command: &Command, block: &Block) -> Result<(), Refusal> {
    let refuse = |rc, rule| Err(Refusal { rc, rrc: 0, rule });
    match command.handle {
        Configuration(at) if !state.configurations.contains_key(&Handle(block.u64(at))) => refuse(0x0020, "D2"),
        Cpu(at) if !state.cpus.contains_key(&Handle(block.u64(at))) => refuse(0x0021, "D15"),
        _ => Ok(()),
    }
}

/// Whether a test hook wants condition code 2 or 3 now, right before the command's own checks (D17, Q19); busy
/// answers come first. The state is the same but for the count.
pub(crate) fn injected(state: &State, command: &Command) -> (State, Option<u8>) {
    let (busy, partial, late) = state.injected.get(&command.code).copied().unwrap_or_default();
    let (rest, condition) = match (busy, partial) {
        (0, 0) => return (state.clone(), None),
        (0, _) => ((0, partial - 1, late), 3),
        _ => ((busy - 1, partial, late), 2),
    };
    let mut next = state.clone();
    next.injected.insert(command.code, rest);
    (next, Some(condition))
}
