//! The transitions of storage, T1 to T81, as the decisions leave them.

use super::entry::{Basis, Kind};
use super::rules::Rule;

const FAULT: &str = "Linux arch/s390/mm/fault.c";
const UV: &str = "Linux arch/s390/kernel/uv.c";
const PV: &str = "Linux arch/s390/kvm/pv.c";
const KVM: &str = "Linux arch/s390/kvm";
const ICPT: &str = "kvm-unit-tests s390x/pv-icptcode";
const HOST: &str = "kvm-unit-tests s390x/uv-host";
const GUEST: &str = "kvm-unit-tests s390x/uv-guest";
const IPL: &str = "kvm-unit-tests s390x/pv-ipl";
const BOOK: &str = "Linux' documentation of protected VMs";
const VIRT: &str = "libvirt's article on Secure Execution";
const EDAT: &str = "a kvm-unit-tests patch of December 2024, not merged";
const DUMP: &str = "s390-tools zgetdump";

/// A transition that a public source attests.
const fn p(number: u8, source: &'static str, text: &'static str) -> Rule {
    Rule::new(Kind::Transition, number, Basis::Public(source), text)
}

/// A transition that follows from how callers behave.
const fn i(number: u8, text: &'static str) -> Rule {
    Rule::new(Kind::Transition, number, Basis::Inferred, text)
}

/// A transition that is a choice.
const fn c(number: u8, text: &'static str) -> Rule {
    Rule::new(Kind::Transition, number, Basis::Choice, text)
}

pub(super) static ALL: &[Rule] = &[
    // The host touches a frame.
    i(1, "The host reads and writes ordinary frames freely."),
    p(2, HOST, "A host access to donated storage raises 0x3d; nothing the host can do repairs it."),
    p(
        3,
        FAULT,
        "A host read or write of a secure page raises 0x3d with its address; after an export the host sees ciphertext.",
    ),
    p(
        4,
        FAULT,
        "A host instruction fetch from a secure page raises 0x3d without a reliable address (TEID bit 61 is 0).",
    ),
    p(5, ICPT, "The host reads and writes a shared page in plain, without exception."),
    p(6, UV, "The host reads and writes a shared, pinned page in plain."),
    p(7, BOOK, "A host read of an exported page gives its ciphertext."),
    p(8, VIRT, "A host write into an exported page succeeds; the next import then fails (T26)."),
    p(9, PV, "A host access to an orphaned frame raises 0x3d until the frame is destroyed or exported."),
    // A device does.
    i(10, "Channel and PCI accesses to ordinary and shared frames succeed."),
    p(
        11,
        UV,
        "Channel and PCI accesses to secure, orphaned or donated frames are refused; the I/O ends with an error and \
            no program interruption arises. That it ends so is inferred: the host makes pages accessible first. See \
            D23.",
    ),
    // A guest does.
    p(12, BOOK, "A secure guest uses its own resident and shared pages without the host."),
    p(
        13,
        KVM,
        "A secure guest touching a page without host mapping gives the host an ordinary translation exception. The \
            host maps a frame, then T14 follows.",
    ),
    p(
        14,
        FAULT,
        "A secure guest touching a mapped page that is not secure gives the host 0x3e, and the host imports it.",
    ),
    p(
        15,
        FAULT,
        "A secure guest touching a secure page of another configuration gives the host 0x3f. If the other one shares \
            the page it is 0x3e (D21).",
    ),
    p(
        16,
        "US11347869",
        "A secure guest reaching its own secure frame through another page gives the host 0x3f. If the frame is \
            shared it is 0x3e (D22).",
    ),
    i(17, "A secure guest touching donated or orphaned frames gives the host 0x3f."),
    p(
        18,
        KVM,
        "A non-secure guest touching a secure or orphaned frame gives the host 0x3d; the host destroys or exports \
            the frame.",
    ),
    i(19, "A non-secure guest uses shared frames like the host. A second secure guest gets 0x3e there (D21)."),
    p(
        20,
        ICPT,
        "A CPU whose prefix pages are not both secure or shared for it is not dispatched: interception 112. An \
            exported shared prefix page counts as missing too.",
    ),
    p(
        21,
        EDAT,
        "A secure guest reaching a page through an unverified large mapping gives the host 0x3c; for the prefix it \
            is interception 112. See D35.",
    ),
    i(22, "A secure guest touching an address beyond its storage gets an addressing exception itself."),
    // Import.
    p(23, UV, "Import of a page that is unmapped or mapped read-only: 0x010a, no change."),
    p(24, BOOK, "First import of a page: the frame is cleared and becomes secure; what the host had there is lost."),
    p(25, BOOK, "Import of an exported page with intact bytes: decrypted, resident, secure."),
    p(
        26,
        VIRT,
        "Import of an exported page whose bytes were altered is refused (0x0106°); frame and record stay as they \
            are. The guest cannot go on without the page.",
    ),
    p(27, VIRT, "Import of an older export of the same page is refused as in T26: the counter has moved on."),
    p(
        28,
        VIRT,
        "Import of the exported bytes of another page is refused as in T26: the page index is part of what is \
            verified.",
    ),
    i(
        29,
        "Bytes exported by another configuration: refused as in T26 if this page is exported, cleared as in T24 if \
            it was never imported.",
    ),
    p(30, BOOK, "An exported page may come back in any frame: the frame address is not part of what is verified."),
    i(
        31,
        "Import of a page that is already there in this frame: success without effect, since two CPUs may fault at \
            once. See D8.",
    ),
    p(
        32,
        "US11347869",
        "Import of a page that is resident in another frame is refused (0x0105°): a guest page is resident once.",
    ),
    p(
        33,
        "US11347869",
        "Import into a frame that holds another page of this configuration is refused (0x0104°): no aliasing.",
    ),
    p(34, "US11347869", "Import into a secure frame of another configuration is refused (0x0104°)."),
    p(
        35,
        UV,
        "Import into a frame that another configuration shares: refused (0x0104°) without feature \"misc\". With it \
            the frame changes its owner, but only together with success (D30).",
    ),
    i(36, "Import into a frame that another configuration shares and the host has pinned is refused (0x0104°)."),
    i(
        37,
        "Import of a shared page that has no frame: the frame is registered as shared with the bytes it has; no \
            integrity check.",
    ),
    i(38, "Import into a donated frame is refused (0x0104°)."),
    i(39, "Import into an orphaned frame is refused (0x0104°); the host destroys or exports the frame and repeats."),
    // The end of a configuration.
    c(40, "DESTROY_SEC_CONF: secure frames of the guest return cleared; shared ones return with their bytes (D27)."),
    p(41, PV, "DESTROY_SEC_CONF_FAST: secure frames become orphans; shared ones stay usable by the host (D28)."),
    p(42, PV, "Storage donated to a configuration or a CPU returns cleared when it is destroyed."),
    p(
        43,
        HOST,
        "A machine reset makes every frame ordinary and the Ultravisor uninitialised; donated frames read zero. \
            Secure and orphaned frames are zero as well (D29).",
    ),
    // Export.
    p(
        44,
        BOOK,
        "Export of a secure page: encrypted in place, the frame is the host's, the record holds counter and \
            integrity values.",
    ),
    c(
        45,
        "Export of a shared page: the bytes stay plain, the frame is the host's, the page stays shared without a \
            frame.",
    ),
    c(46, "Export of a shared, pinned page: as T45, and the pin ends (D24)."),
    p(47, UV, "Export of a frame that is not secure: success without effect."),
    p(48, PV, "Export of an orphan: success; the frame is cleared, since its key is gone."),
    i(
        49,
        "Export of a donated frame (0x0103°) or of an address outside storage (0x0101°) is refused. The codes are \
            those of D10.",
    ),
    // Destroy.
    p(
        50,
        UV,
        "Destroy of a secure page of a configuration without CPUs: cleared, the frame is the host's, the page is \
            destroyed for good. While the owner has a CPU it is refused (D26).",
    ),
    i(51, "Destroy of a shared page: as T50."),
    p(52, PV, "Destroy of an orphan: cleared, the frame is the host's."),
    p(53, UV, "Destroy of a frame that is not secure: success without effect; z15 answers 0x0107, rrc 0xd."),
    i(
        54,
        "Destroy of a donated frame (0x0103°) or of an address outside storage (0x0101°) is refused. The codes are \
            those of D10.",
    ),
    c(
        55,
        "Import of a page that the host has destroyed is refused as in T26: the host must not be able to clear guest \
            memory silently.",
    ),
    // Share and unshare.
    p(56, GUEST, "Share of a resident page: the host may use the frame; the contents are kept and visible."),
    i(57, "Share of a shared page: success without effect."),
    i(
        58,
        "Share of a page that is not there: 0x3e or a translation exception for the host, which imports; then the \
            call repeats.",
    ),
    p(59, GUEST, "Unshare of a shared page: the frame is secure again, the contents are kept."),
    p(
        60,
        "Linux arch/s390/kvm/intercept.c",
        "Unshare of a pinned page: interception 108 for the host, no change of state.",
    ),
    i(61, "Unshare of a page that is not shared: success without effect."),
    i(
        62,
        "Unshare of a shared page without a frame: 0x3e first; the host's import makes it shared again, then the \
            call repeats.",
    ),
    p(63, GUEST, "Share or unshare of an address outside guest storage: 0x0101."),
    // Pins.
    p(64, UV, "Pin of a shared frame: it stays shared until the unpin."),
    i(65, "Pin of a pinned frame: success without effect; pins are not counted."),
    p(
        66,
        "Linux arch/s390/kvm/intercept.c",
        "Unpin: the frame is shared as before; the guest repeats its unshare and now succeeds (T59).",
    ),
    i(67, "Unpin of a page that is not pinned: success without effect, whatever the frame is (D9)."),
    p(68, UV, "Unpin of an unmapped page: 0x010a."),
    p(69, UV, "Pin of anything that is not shared is refused; the host exports instead."),
    p(70, IPL, "Unshare-all: shared frames become secure, with their contents."),
    c(71, "Unshare-all: a pinned frame becomes secure too, and the pin is gone."),
    c(72, "Unshare-all: a shared page without a frame starts anew; its next import gives zeros."),
    // Image, donation, dump.
    p(73, BOOK, "Unpack of a page: the frame becomes secure, its bytes are decrypted, the digests grow."),
    p(74, PV, "Unpack of an unmapped page: 0x010a; the host faults it in and repeats."),
    c(75, "Unpack of a page that is not absent any more is refused (0x0105°)."),
    p(
        76,
        HOST,
        "Frames donated by INIT_UV, CREATE_SEC_CONF and CREATE_SEC_CPU are the Ultravisor's; the host has lost them.",
    ),
    i(77, "Donating a frame that is not ordinary host storage is refused, and nothing changes."),
    p(
        78,
        DUMP,
        "The dump of a secure page gives the tweak of its exported bytes; the host exports the page itself. Which \
            tweak: D48.",
    ),
    p(79, DUMP, "The dump of a shared page says that it is shared; its bytes are plain."),
    p(80, DUMP, "The dump of a page that was never used says that it is zero."),
    p(81, EDAT, "Export of a page in a verified 1 MiB block succeeds; the block is no longer verified. See D35."),
];
