//! What every command looks at, from its row of the command table (D2).

use super::{Check, Evidence, Reach, Reply};
use crate::uvc::command::{Command, HandleKind, Issuer};
use Evidence::{Choice, Inferred, Tested};

/// How an access to the block may end. 0x3d is for a host, 0x3c, 0x3e and 0x3f are for a guest (D18); either
/// may name any command.
const ACCESS: &[u16] = &[0x04, 0x05, 0x10, 0x11, 0x12, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f];

/// Up to the answer 0x0002.
pub(super) fn before(command: Command) -> Vec<Check> {
    let mut checks = vec![
        Check::new("problem-state", Reply::Interruption(&[0x02]), "the CPU is in problem state", "D2", Tested),
        Check::new(
            "immediate-fields",
            Reply::Interruption(&[0x06]),
            "an immediate field of the instruction is not zero",
            "D2",
            Tested,
        ),
        Check::new(
            "alignment",
            Reply::Interruption(&[0x06]),
            "the address of the control block is not a multiple of 8",
            "Q17 D2",
            Inferred,
        ),
        Check::new(
            "header-access",
            Reply::Interruption(ACCESS),
            "the first 8 bytes of the block cannot be fetched and stored",
            "D2 D3 D18 D19",
            Tested,
        ),
    ];
    match command.row().issuer {
        Issuer::Host => {
            checks.push(Check::refused("issuer", 0x0002, "a guest issues a call for hosts", "D2 D36", Tested));
        }
        Issuer::Guest => {
            checks.push(Check::refused("issuer", 0x0002, "a host issues a call for guests", "D2 D36", Tested));
        }
        Issuer::Both => {}
    }
    checks.push(Check::refused(
        "not-installed",
        0x0002,
        "the machine has not installed the call",
        "D2 D14 Q32",
        Tested,
    ));
    checks
}

/// From the state of the Ultravisor to the handle.
pub(super) fn after(command: Command) -> Vec<Check> {
    let row = command.row();
    let mut checks = Vec::new();
    if row.needs_init {
        checks.push(Check::refused(
            "uninitialised",
            0x0003,
            "the Ultravisor is not initialised",
            "D2 Q18 I-31",
            Tested,
        ));
    }
    checks.push(Check::refused("length", 0x0005, "the block has a wrong length", "Q16 D2", Tested));
    checks.push(Check::new(
        "block-access",
        Reply::Interruption(ACCESS),
        "the rest of the block cannot be fetched and stored",
        "D2 D3 D18 D19",
        Tested,
    ));
    let (id, rc, cause) = match row.handle {
        HandleKind::None => ("", 0, ""),
        HandleKind::Configuration(_) => ("handle", 0x0020, "no configuration has the handle"),
        HandleKind::Cpu(_) => ("handle", 0x0021, "no CPU has the handle"),
    };
    if rc != 0 {
        checks.push(Check::refused(id, rc, cause, "D2 D20 Q27", Tested));
    }
    let injected = |id, reply, cause| Check::new(id, reply, cause, "Q19 D17", Choice).by(Reach::Injection);
    checks.push(injected("injected-busy", Reply::Busy, "a test hook asks for condition code 2"));
    checks.push(injected("injected-partial", Reply::Partial, "a test hook asks for condition code 3"));
    checks
}
