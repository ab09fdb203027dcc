//! The modelling choices Q1 to Q36: questions that public sources leave open.

use super::entry::{Basis, Kind};
use super::rules::Rule;

const fn q(number: u8, text: &'static str) -> Rule {
    Rule::new(Kind::Choice, number, Basis::Choice, text)
}

pub(super) static ALL: &[Rule] = &[
    q(
        1,
        "The sizes of donated storage are not public: 64 KiB base, 64 KiB fixed variable part, 4 KiB for each MiB of \
            guest storage.",
    ),
    q(
        2,
        "Import failures other than 0x010a: 0x0103 outside guest storage, 0x0104 frame taken, 0x0105 page in another \
            frame, 0x0106 integrity. Linux treats all alike.",
    ),
    q(3, "Import of a page that already fits is a success: two CPUs may fault at once."),
    q(4, "Export leaves shared pages plain, so that I/O rings stay readable when they are swapped."),
    q(5, "A page stays shared over export and import; guests never share again."),
    q(6, "Import of a page that the host destroyed is refused: clearing it silently would break integrity."),
    q(7, "Pin of a page that is not shared: 0x0102. Linux looks only at success."),
    q(8, "Unpin of a page that is not pinned: success."),
    q(9, "SET_UNSHARED_ALL drops pins: the host's I/O must not block a reset."),
    q(10, "Contents are kept when a guest unshares a page."),
    q(11, "Sharing a page that is absent: the host gets an exception, imports, and the call repeats."),
    q(12, "Destroying a configuration that still has CPUs: 0x0105, no change."),
    q(13, "Image commands in the wrong state of the configuration: 0x0101."),
    q(14, "CPU_SET_STATE with an undefined value: 0x0102; a reset of a CPU that runs: 0x0103."),
    q(15, "PREPARE_RESET and SET_UNSHARED_ALL while a CPU runs: 0x0101."),
    q(16, "A length larger than required is 0x0005 too, except for QUI. Tested in public for attestation only."),
    q(17, "A control block that is not on an 8-byte boundary: specification exception."),
    q(18, "The state of the Ultravisor (0x0003) is checked before the length (0x0005)."),
    q(19, "Busy and partial answers can be injected, so that the loops of callers are tested."),
    q(20, "An unsupported plaintext control flag has rrc 0x30, on z15 rrc 0. Both are documented."),
    q(21, "RETR_SECRET with a buffer too small: 0x0109, as in the kernel's header. s390-tools says 0x0009."),
    q(22, "Diagnose 0x288 gives interception 104."),
    q(
        23,
        "Injection control is at offset 0x55 of the state description, as running code has it; a document says 0x54.",
    ),
    q(24, "The address of an export is always absolute."),
    q(25, "Variable storage in the lowcore: 0x010e, the number that was meant for it."),
    q(26, "The address of the state description at dispatch must be the one of CREATE_SEC_CPU; else validity."),
    q(27, "Handles are never used again."),
    q(28, "Donated storage comes back as zeros, not only after a reset."),
    q(29, "Destroy of a frame that is not secure: success; on z15 0x0107, rrc 0xd. Both are documented."),
    q(30, "INIT_UV with its origin at the end of storage: 0x0104. The public test accepts 0x0105 too."),
    q(31, "Dump commands without DUMP_INIT: 0x0101; an image that forbids dumps: 0x0102."),
    q(
        32,
        "Installed calls grow by generation: z15 the base set, z16 fast destroy, dump, attestation and secrets, z17 \
            large frames, QUERY_KEYS and RETR_SECRET. Calls that are not built stay off (D14).",
    ),
    q(33, "I/O over several pages that reaches a secure frame ends with an I/O error."),
    q(34, "QUERY_KEYS works before INIT_UV."),
    q(35, "An ASCE that is in use: 0x0104, the lowest code that the public test allows."),
    q(36, "The same CREATE_SEC_CONF again: 0x0104 (ASCE) is found before 0x0108 (storage)."),
];
