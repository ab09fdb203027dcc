//! Condition codes and response codes.

use core::fmt;

/// The condition code of the UVC instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum ConditionCode {
    /// 0: done, rc 0x0001.
    Done = 0,
    /// 1: finished with another rc.
    Other = 1,
    /// 2: busy, nothing was done; issue again.
    Busy = 2,
    /// 3: partially done; issue again with the same block.
    Partial = 3,
}

/// Response codes that every command may give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are those of Linux uv.h")]
pub struct Response;

#[allow(missing_docs, reason = "the names are those of Linux uv.h")]
impl Response {
    pub const EXECUTED: u16 = 0x0001;
    pub const INVALID_COMMAND: u16 = 0x0002;
    pub const INVALID_STATE: u16 = 0x0003;
    pub const INVALID_LENGTH: u16 = 0x0005;
    pub const NO_RESUME: u16 = 0x0007;
    pub const INVALID_CONFIGURATION_HANDLE: u16 = 0x0020;
    pub const INVALID_CPU_HANDLE: u16 = 0x0021;
    pub const REAL_SPACE_ASCE: u16 = 0x0030;
    pub const OPERAND_TRANSLATION: u16 = 0x0031;
    pub const OPERAND_ADDRESS: u16 = 0x0032;
    pub const MORE_DATA: u16 = 0x0100;
    /// Flag in the rc of CREATE_SEC_CONF: the handle is valid and must be destroyed.
    pub const DESTROY_NEEDED: u16 = 0x8000;
}

/// A call that the Ultravisor refuses (condition code 1). Nothing has changed but rc and rrc (D4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Response code.
    pub rc: u16,
    /// Reason code, 0 when there is nothing to add.
    pub rrc: u16,
    /// The rule that the refusal follows, such as `T26`, `Q2` or `D11`.
    pub rule: &'static str,
}

impl Refusal {
    /// A refusal without reason code.
    #[must_use]
    pub const fn new(rc: u16, rule: &'static str) -> Self {
        Self { rc, rrc: 0, rule }
    }

    /// A refusal with a reason code.
    #[must_use]
    pub const fn with_reason(rc: u16, rrc: u16, rule: &'static str) -> Self {
        Self { rc, rrc, rule }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rc {:#06x}, rrc {:#x} ({})", self.rc, self.rrc, self.rule)
    }
}
