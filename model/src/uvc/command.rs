//! The command table: one row per Ultravisor call. Codes, bits, lengths and issuers are those of
//! Linux `arch/s390/include/asm/uv.h` and of kvm-unit-tests `lib/s390x/asm/uv.h`.

/// Who may issue a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Issuer {
    /// Only a host CPU.
    Host,
    /// Only a CPU of a secure configuration.
    Guest,
    /// Both.
    Both,
}

/// Which block lengths a command accepts; any other gives rc 0x0005 (Q16).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// Exactly this many bytes.
    Exact(u16),
    /// At least this many bytes (QUI only).
    AtLeast(u16),
}

/// What the general checks look up before the command itself runs (D2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandleKind {
    /// No handle in the block, or the issuer's own configuration.
    None,
    /// A configuration handle at this offset.
    Configuration(u16),
    /// A CPU handle at this offset.
    Cpu(u16),
}

/// A field of a control block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Name as in the public headers, with `-` for `_`.
    pub name: &'static str,
    /// Offset in the block, bytes.
    pub offset: u16,
    /// Size, bytes: 1, 2, 4 or 8 (larger areas are outputs and have no field).
    pub size: u8,
    /// Written by the Ultravisor.
    pub output: bool,
}

const fn input(name: &'static str, offset: u16, size: u8) -> Field {
    Field { name, offset, size, output: false }
}

const fn output(name: &'static str, offset: u16, size: u8) -> Field {
    Field { name, offset, size, output: true }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $bit:literal, $issuer:ident, $length:ident($len:literal),
        init $init:literal, $name:literal, $handle:expr, [$($field:expr),* $(,)?];)*) => {
        /// Every command that public sources know. A code outside this list is a value like any
        /// other in a block; the call that carries it is answered with rc 0x0002.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        #[repr(u16)]
        pub enum Command {
            $($(#[$doc])* $variant = $code,)*
        }

        impl Command {
            /// All commands, by rising code.
            pub const ALL: &'static [Command] = &[$(Command::$variant),*];

            /// The command with this code.
            #[must_use]
            pub const fn from_code(code: u16) -> Option<Command> {
                match code {
                    $($code => Some(Command::$variant),)*
                    _ => None,
                }
            }

            /// The row of the table.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Command::$variant => const { &Row {
                        command: Command::$variant,
                        bit: $bit,
                        issuer: Issuer::$issuer,
                        length: Length::$length($len),
                        needs_init: $init,
                        name: $name,
                        handle: $handle,
                        fields: &[$($field),*],
                    } },)*
                }
            }
        }
    };
}

/// One row of the command table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The command.
    pub command: Command,
    /// Bit of the installed-calls list, MSB first.
    pub bit: u8,
    /// Who may issue it.
    pub issuer: Issuer,
    /// Accepted block lengths.
    pub length: Length,
    /// Whether it is refused with 0x0003 before INIT_UV.
    pub needs_init: bool,
    /// Short name, lower case.
    pub name: &'static str,
    /// The handle that the general checks look up.
    pub handle: HandleKind,
    /// The fields that a caller can name.
    pub fields: &'static [Field],
}

use HandleKind::{Configuration, Cpu, None as NoHandle};

commands! {
    /// QUI: query Ultravisor information.
    QueryUvInformation = 0x0001, 0, Both, AtLeast(0xa8), init false, "qui", NoHandle, [
        output("uv-base-stor-len", 0x40, 8), output("conf-base-phys-stor-len", 0x50, 8),
        output("conf-base-virt-stor-len", 0x58, 8), output("conf-virt-var-stor-len", 0x60, 8),
        output("cpu-stor-len", 0x68, 8), output("max-num-sec-conf", 0x7c, 4),
        output("max-guest-stor-addr", 0x80, 8), output("max-guest-cpu-id", 0x9e, 2),
        output("uv-feature-indications", 0xa0, 8),
    ];
    /// QUERY_KEYS: hashes of the host keys.
    QueryKeys = 0x0002, 34, Both, Exact(0x200), init false, "query-keys", NoHandle, [];
    /// INIT_UV: donate the base storage.
    InitUv = 0x000f, 1, Host, Exact(0x48), init false, "init-uv", NoHandle, [
        input("stor-origin", 0x18, 8), input("stor-len", 0x20, 8),
    ];
    /// CREATE_SEC_CONF: make a secure configuration.
    CreateSecConf = 0x0100, 2, Host, Exact(0x80), init true, "create-sec-conf", NoHandle, [
        output("guest-handle", 0x18, 8), input("conf-base-stor-origin", 0x20, 8),
        input("conf-virt-stor-origin", 0x28, 8), input("flags", 0x36, 2),
        input("guest-stor-origin", 0x38, 8), input("guest-stor-len", 0x40, 8),
        input("guest-sca", 0x48, 8), input("guest-asce", 0x50, 8),
    ];
    /// DESTROY_SEC_CONF: end a configuration and clean its frames.
    DestroySecConf = 0x0101, 3, Host, Exact(0x40), init true, "destroy-sec-conf", Configuration(0x18), [
        input("handle", 0x18, 8),
    ];
    /// DESTROY_SEC_CONF_FAST: end a configuration, leave its frames to the host.
    DestroySecConfFast = 0x0102, 23, Host, Exact(0x48), init true, "destroy-sec-conf-fast", Configuration(0x18), [
        input("handle", 0x18, 8),
    ];
    /// CREATE_SEC_CPU: make a CPU of a configuration.
    CreateSecCpu = 0x0120, 4, Host, Exact(0x60), init true, "create-sec-cpu", Configuration(0x20), [
        output("cpu-handle", 0x18, 8), input("guest-handle", 0x20, 8), input("stor-origin", 0x28, 8),
        input("num", 0x36, 2), input("state-origin", 0x38, 8),
    ];
    /// DESTROY_SEC_CPU: end a CPU.
    DestroySecCpu = 0x0121, 5, Host, Exact(0x40), init true, "destroy-sec-cpu", Cpu(0x18), [
        input("handle", 0x18, 8),
    ];
    /// CONV_TO_SEC_STOR: import a page.
    ConvToSecStor = 0x0200, 6, Host, Exact(0x28), init true, "conv-to-sec-stor", Configuration(0x18), [
        input("guest-handle", 0x18, 8), input("gaddr", 0x20, 8),
    ];
    /// CONV_FROM_SEC_STOR: export a frame.
    ConvFromSecStor = 0x0201, 7, Host, Exact(0x20), init true, "conv-from-sec-stor", NoHandle, [
        input("paddr", 0x18, 8),
    ];
    /// DESTR_SEC_STOR: clear a frame and give it to the host.
    DestrSecStor = 0x0202, 12, Host, Exact(0x20), init true, "destr-sec-stor", NoHandle, [
        input("paddr", 0x18, 8),
    ];
    /// VERIFY_LARGE_FRAME: allow a 1 MiB mapping.
    VerifyLargeFrame = 0x0203, 32, Host, Exact(0x28), init true, "verify-large-frame", Configuration(0x18), [
        input("guest-handle", 0x18, 8), input("gaddr", 0x20, 8),
    ];
    /// SET_SEC_CONF_PARAMS: give the image header.
    SetSecConfParams = 0x0300, 11, Host, Exact(0x50), init true, "set-sec-conf-params", Configuration(0x18), [
        input("guest-handle", 0x18, 8), input("sec-header-origin", 0x20, 8), input("sec-header-len", 0x28, 4),
    ];
    /// UNPACK_IMG: load one page of the image.
    UnpackImg = 0x0301, 13, Host, Exact(0x50), init true, "unpack-img", Configuration(0x18), [
        input("guest-handle", 0x18, 8), input("gaddr", 0x20, 8), input("tweak-prefix", 0x28, 8),
        input("tweak-offset", 0x30, 8),
    ];
    /// VERIFY_IMG: compare the digests of the loaded image with its header.
    VerifyImg = 0x0302, 14, Host, Exact(0x40), init true, "verify-img", Configuration(0x18), [
        input("handle", 0x18, 8),
    ];
    /// CPU_RESET.
    CpuReset = 0x0310, 15, Host, Exact(0x40), init true, "cpu-reset", Cpu(0x18), [input("handle", 0x18, 8)];
    /// CPU_RESET_INITIAL.
    CpuResetInitial = 0x0311, 16, Host, Exact(0x40), init true, "cpu-reset-initial", Cpu(0x18), [
        input("handle", 0x18, 8),
    ];
    /// PREPARE_RESET: allow CPU resets and a new start.
    PrepareReset = 0x0320, 18, Host, Exact(0x40), init true, "prepare-reset", Configuration(0x18), [
        input("handle", 0x18, 8),
    ];
    /// CPU_RESET_CLEAR.
    CpuResetClear = 0x0321, 19, Host, Exact(0x40), init true, "cpu-reset-clear", Cpu(0x18), [
        input("handle", 0x18, 8),
    ];
    /// CPU_SET_STATE: stop, start or load a CPU.
    CpuSetState = 0x0330, 17, Host, Exact(0x50), init true, "cpu-set-state", Cpu(0x18), [
        input("cpu-handle", 0x18, 8), input("state", 0x27, 1),
    ];
    /// SET_UNSHARED_ALL: end all sharing of a configuration.
    SetUnsharedAll = 0x0340, 20, Host, Exact(0x40), init true, "set-unshared-all", Configuration(0x18), [
        input("handle", 0x18, 8),
    ];
    /// PIN_PAGE_SHARED: keep a shared frame shared.
    PinPageShared = 0x0341, 21, Host, Exact(0x20), init true, "pin-page-shared", NoHandle, [
        input("paddr", 0x18, 8),
    ];
    /// UNPIN_PAGE_SHARED: end a pin.
    UnpinPageShared = 0x0342, 22, Host, Exact(0x28), init true, "unpin-page-shared", Configuration(0x18), [
        input("guest-handle", 0x18, 8), input("gaddr", 0x20, 8),
    ];
    /// DUMP_INIT.
    DumpInit = 0x0400, 24, Host, Exact(0x40), init true, "dump-init", Configuration(0x18), [
        input("handle", 0x18, 8),
    ];
    /// DUMP_CONF_STOR_STATE.
    DumpConfStorState = 0x0401, 25, Host, Exact(0x50), init true, "dump-conf-stor-state", Configuration(0x18), [
        input("handle", 0x18, 8), input("dump-area-origin", 0x20, 8), input("gaddr", 0x28, 8),
    ];
    /// DUMP_CPU.
    DumpCpu = 0x0402, 26, Host, Exact(0x50), init true, "dump-cpu", Cpu(0x18), [
        input("handle", 0x18, 8), input("dump-area-origin", 0x20, 8),
    ];
    /// DUMP_COMPLETE.
    DumpComplete = 0x0403, 27, Host, Exact(0x50), init true, "dump-complete", Configuration(0x18), [
        input("handle", 0x18, 8), input("dump-area-origin", 0x20, 8),
    ];
    /// SET_SHARED_ACCESS: the guest opens a page to the host.
    SetSharedAccess = 0x1000, 8, Guest, Exact(0x30), init false, "set-shared-access", NoHandle, [
        input("paddr", 0x20, 8),
    ];
    /// REMOVE_SHARED_ACCESS: the guest takes a page back.
    RemoveSharedAccess = 0x1001, 9, Guest, Exact(0x30), init false, "remove-shared-access", NoHandle, [
        input("paddr", 0x20, 8),
    ];
    /// RETR_ATTEST.
    RetrAttest = 0x1020, 28, Guest, Exact(0x188), init false, "retr-attest", NoHandle, [
        input("arcb-addr", 0x18, 8), input("cont-token", 0x20, 8), input("user-data-len", 0x2e, 2),
        input("meas-len", 0x13c, 4), input("meas-addr", 0x140, 8), input("add-data-len", 0x15c, 4),
        input("add-data-addr", 0x160, 8),
    ];
    /// ADD_SECRET.
    AddSecret = 0x1031, 29, Guest, Exact(0x48), init false, "add-secret", NoHandle, [
        input("request-address", 0x20, 8),
    ];
    /// LIST_SECRETS.
    ListSecrets = 0x1033, 30, Guest, Exact(0x48), init false, "list-secrets", NoHandle, [
        input("start-index", 0x1e, 2), input("address", 0x20, 8),
    ];
    /// LOCK_SECRETS.
    LockSecrets = 0x1034, 31, Guest, Exact(0x40), init false, "lock-secrets", NoHandle, [
        input("handle", 0x18, 8),
    ];
    /// RETR_SECRET.
    RetrSecret = 0x1035, 33, Guest, Exact(0x48), init false, "retr-secret", NoHandle, [
        input("index", 0x18, 2), input("buffer-size", 0x1c, 4), input("buffer-address", 0x20, 8),
    ];
}

impl Command {
    /// The code at offset 2 of the block.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Short name: that of the public headers in lower case with `-` for `_`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The command with this short name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Command> {
        Command::ALL.iter().copied().find(|command| command.name() == name)
    }

    /// The length that a caller puts into the block: the exact one, and 0x120 for QUI (D14).
    #[must_use]
    pub const fn usual_length(self) -> u16 {
        match self.row().length {
            Length::Exact(length) => length,
            Length::AtLeast(_) => super::QUI_FULL_LENGTH,
        }
    }

    /// The field of this name.
    #[must_use]
    pub fn field(self, name: &str) -> Option<Field> {
        self.row().fields.iter().copied().find(|field| field.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_are_unique_and_fields_fit_their_block() {
        assert_eq!(Command::ALL.len(), 34);
        let codes: BTreeSet<_> = Command::ALL.iter().map(|c| c.code()).collect();
        let bits: BTreeSet<_> = Command::ALL.iter().map(|c| c.row().bit).collect();
        let names: BTreeSet<_> = Command::ALL.iter().map(|c| c.name()).collect();
        assert_eq!((codes.len(), bits.len(), names.len()), (34, 34, 34));
        assert!(!bits.contains(&10), "bit 10 is reserved");
        for &command in Command::ALL {
            assert_eq!(Command::from_code(command.code()), Some(command));
            assert_eq!(Command::from_name(command.name()), Some(command));
            for field in command.row().fields {
                assert!(field.offset + u16::from(field.size) <= command.usual_length(), "{}", field.name);
                assert!(field.offset >= 8 && matches!(field.size, 1 | 2 | 4 | 8));
            }
        }
        assert_eq!(Command::from_code(0x4242), None);
    }
}
