//! Import, export and what else a host does to pages and frames.

use super::{Check, Command, Facts};

const UV: &str = "Linux arch/s390/kernel/uv.c";
const OUTSIDE: Check = Check::ours(0x0101, "the address lies outside storage", "D10");

pub(super) static CONV_TO_SEC_STOR: Facts = Facts {
    command: Command::ConvToSecStor,
    aliases: &["import"],
    meaning: "Imports a guest page: the frame that the host has mapped there becomes secure. A page never seen \
        before is \
        cleared; an exported one is decrypted and must be exactly what the latest export gave out; a shared one is only \
        registered again. A page that already fits is a success without effect.",
    checks: &[
        Check::ours(0x0103, "the address lies outside guest storage", "Q2 D7"),
        Check::public(0x010a, "the host maps no frame there, or only for reading", "T23 D7 D59", UV)
            .then("Fault the page in for writing, then issue the call again."),
        Check::ours(
            0x0104,
            "the frame is taken: donated, orphaned, of another configuration, or of another page of this one",
            "Q2 T33 T34 T35 T36 T38 T39 D7 D22",
        )
        .then("Export or destroy what the frame holds (an orphan: destroy), or map another frame, then import again."),
        Check::ours(0x0104, "the control block lies in the frame", "D5"),
        Check::ours(0x0105, "the guest page is resident in another frame", "Q2 T32 D7")
            .then("Restore the mapping, or export the old frame and import its contents."),
        Check::ours(
            0x0106,
            "integrity: the bytes are not those of the latest export of this page (altered, older, moved, or from \
                another \
             guest), or the host has destroyed the page",
            "Q2 T26 T27 T28 T29 T55 I-16 D7",
        )
        .then(
            "The guest cannot go on without this page: Linux ends the VM with SIGSEGV. Frame and row are as before, \
                so an \
             import of the right bytes still succeeds; a destroyed page never comes back.",
        ),
    ],
    answer: "Linux treats every rc but 0x010a as fatal for the VM (SIGSEGV), and cc 2 or 3 as: try again later.",
    rules: "T23 T24 T25 T30 T31 T37 I-15 I-16 I-17 I-28 Q2 Q3 D7 D8 D57 D59",
    source: "Linux arch/s390/include/asm/uv.h and kernel/uv.c; the checks of frame and page are those of US11347869",
};

pub(super) static CONV_FROM_SEC_STOR: Facts = Facts {
    command: Command::ConvFromSecStor,
    aliases: &["export"],
    meaning: "Exports a frame: the guest loses it and the host gets 4096 bytes of ciphertext in place; counter, tag \
        and \
        change hash stay with the Ultravisor. A shared frame is handed over plain, an orphan cleared, and a frame that is \
        not secure is a success without effect.",
    checks: &[
        OUTSIDE,
        Check::ours(0x0103, "the frame is donated to the Ultravisor", "D10 T49"),
        Check::ours(0x0105, "the page has changed and its counter is at 2^56 - 1", "D10 D42 I-24")
            .then("Nothing helps: the page stays resident as long as its configuration lives."),
    ],
    answer: "Linux warns and leaks the page if it can be neither destroyed nor exported when its address space ends.",
    rules: "T44 T45 T46 T47 T48 T49 I-10 I-22 I-23 Q4 D10 D24 D40",
    source: "Linux arch/s390/kernel/uv.c; change detection is that of US11206128",
};

pub(super) static DESTR_SEC_STOR: Facts = Facts {
    command: Command::DestrSecStor,
    aliases: &["destroy", "destroy-page"],
    meaning: "Clears a secure frame and gives it to the host: cheaper than an export, for the end of a guest. A \
        frame that is \
        not secure is a success without effect (z15: refused).",
    checks: &[
        OUTSIDE,
        Check::ours(0x0103, "the frame is donated to the Ultravisor", "D10 T54"),
        Check::ours(
            0x0104,
            "the owner still has a CPU: pages of a guest that can run are not destroyed",
            "D26 T50 T51",
        )
        .then("Destroy the CPUs of the configuration first, or export the frame, as Linux does."),
        Check::public(
            0x0107,
            "the frame is not secure (z15 only; later machines answer 0x0001)",
            "T53 Q29 D10 D66",
            UV,
        )
        .reason(0xd)
        .then("Nothing: the frame is already the host's. Linux counts it as success."),
    ],
    answer: "Export the frame instead, as Linux does.",
    rules: "T50 T51 T52 T53 T54 T55 I-10 Q6 Q29 D10 D26 D67",
    source: UV,
};

const EDAT: &str = "a kvm-unit-tests patch of December 2024, not merged";

pub(super) static VERIFY_LARGE_FRAME: Facts = Facts {
    command: Command::VerifyLargeFrame,
    aliases: &["verify-frame"],
    meaning: "Allows a 1 MiB mapping: succeeds if the 256 pages are all imported, consecutive in one 1 MiB frame and \
        mapped \
        as one.",
    checks: &[
        Check::public(0x0103, "the address lies outside guest storage", "D35", EDAT),
        Check::public(0x0104, "the pages are not consecutive in one 1 MiB frame", "D35", EDAT),
        Check::public(0x0106, "not all pages are imported", "D35", EDAT),
        Check::public(0x0107, "the host address does not translate", "D35", EDAT),
        Check::public(0x0108, "mapped by a 2 GiB mapping", "D35", EDAT),
    ],
    answer: "Map the range with 4 KiB pages; Linux mainline does not use this call.",
    rules: "T21 T81 D14 D35",
    source: EDAT,
};

pub(super) static SET_UNSHARED_ALL: Facts = Facts {
    command: Command::SetUnsharedAll,
    aliases: &["unshare-all"],
    meaning: "Ends all sharing of a configuration and drops its pins, a step of every reset. Resident pages keep their \
        contents; a shared page without a frame starts again with zeros.",
    checks: &[
        Check::ours(0x0101, "a CPU of the configuration is not stopped", "Q15")
            .then("Stop all CPUs with CPU_SET_STATE 2 first."),
        Check::ours(0x0102, "the control block lies in a frame that becomes secure", "D5")
            .then("A block that a guest shares cannot carry the call that ends its sharing: use a page of your own."),
    ],
    answer: "The guest cannot be reset; keep the order of the reset protocol.",
    rules: "T70 T71 T72 I-27 Q9 Q15 D25 D31",
    source: "kvm-unit-tests s390x/pv-ipl and Linux arch/s390/kvm/pv.c",
};

pub(super) static PIN_PAGE_SHARED: Facts = Facts {
    command: Command::PinPageShared,
    aliases: &["pin"],
    meaning: "Keeps a shared frame shared while the host works with it: the guest's unshare then exits to the host \
        instead \
        of completing. Pins are not counted.",
    checks: &[
        OUTSIDE,
        Check::ours(
            0x0102,
            "the frame is not shared (that it is refused is attested, the number is not)",
            "Q7 T69 D10 I-29",
        )
        .then("Export the frame instead: that is how Linux makes a page accessible that is not shared."),
    ],
    answer: "Export the frame instead, as Linux does.",
    rules: "T64 T65 T69 I-26 I-29 Q7 D10",
    source: UV,
};

pub(super) static UNPIN_PAGE_SHARED: Facts = Facts {
    command: Command::UnpinPageShared,
    aliases: &["unpin"],
    meaning: "Ends a pin. The page stays shared until the guest repeats its unshare. Success also if nothing is \
        pinned.",
    checks: &[
        Check::ours(0x0103, "the address lies outside guest storage", "D9 D71"),
        Check::public(0x010a, "the host maps no frame there, or only for reading", "T68 D9 D59", UV)
            .then("Fault the page in for writing, then issue the call again."),
        Check::ours(0x0105, "the page is pinned in another frame than the mapped one", "D9")
            .then("Restore the mapping."),
    ],
    answer: "Linux lets the guest run: it exits again with interception 108 until the unpin succeeds.",
    rules: "T66 T67 T68 I-29 Q8 D9 D57",
    source: "Linux arch/s390/kernel/uv.c and kvm/intercept.c",
};
