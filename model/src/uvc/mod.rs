//! The language of Ultravisor calls: the command table, the control block, the codes.
//!
//! Nothing here knows what a command does. A block is bytes in storage; [`Block`] gives its fields a
//! meaning, and [`general_checks`] makes the checks that all commands share, in the order of D2.
//! [`Command::checks`] is the refusal matrix: all that a command looks at, in order, with the answers.

mod block;
mod code;
mod command;
mod refusals;

pub use block::{Block, BlockHeader, InstalledCalls, general_checks};
pub use code::{ConditionCode, Refusal, Response};
pub use command::{Command, Field, HandleKind, Issuer, Length, Row};
pub use refusals::{Check, Evidence, Machines, Reach, Reply};

/// Length of the full answer of QUI, bytes (D14).
pub const QUI_FULL_LENGTH: u16 = 0x120;
/// Bytes in the header of a control block.
pub const HEADER_LENGTH: usize = 8;
/// The longest block that any command but QUI accepts, bytes.
pub const MAX_BLOCK_LENGTH: usize = 0x200;
