//! The invariants I-01 to I-45, which tests check after every step.

use super::entry::{Basis, Kind};
use super::rules::Rule;

/// An invariant that a public source attests.
const fn p(number: u8, source: &'static str, text: &'static str) -> Rule {
    Rule::new(Kind::Invariant, number, Basis::Public(source), text)
}

/// An invariant that follows from what is public.
const fn i(number: u8, text: &'static str) -> Rule {
    Rule::new(Kind::Invariant, number, Basis::Inferred, text)
}

/// An invariant of this project's page cryptography or choices.
const fn c(number: u8, text: &'static str) -> Rule {
    Rule::new(Kind::Invariant, number, Basis::Choice, text)
}

pub(super) static ALL: &[Rule] = &[
    // The tables fit together.
    p(1, "US11347869", "A guest page is registered for at most one frame."),
    p(2, "US11347869", "A frame is registered for at most one guest page."),
    i(
        3,
        "Zone table and page records agree: resident means a secure frame of this page, shared means an open one. \
            Destroyed means no frame (D1).",
    ),
    i(4, "A shared frame is not secure; a donated one is, and it has a host address exactly if it was donated by one."),
    i(5, "A frame that is neither secure nor shared has an empty zone entry."),
    i(6, "A registered frame names a configuration that lives or was discarded, or the Ultravisor."),
    i(7, "The Ultravisor's frames are exactly the donated areas of what lives, and areas do not overlap."),
    i(8, "Only Ultravisor calls change secure bits and zone entries; accesses never do."),
    // Confidentiality.
    p(9, "US11531627", "No access of the host or a device to a secure frame ever completes."),
    p(
        10,
        "US11068310 and kvm-unit-tests s390x/uv-host",
        "A frame that the host gets back holds ciphertext made in that step or zeros, never guest data. Frames that \
            the guest had shared are the exception.",
    ),
    i(
        11,
        "What the host sees depends only on what it did and on random keys, not on what the guest stored; which \
            pages changed between exports may show.",
    ),
    i(12, "Two configurations that export equal pages give different ciphertext, also if they run the same image."),
    i(13, "Sharing opens exactly one page."),
    // Integrity and freshness.
    i(14, "A guest reads what it last wrote, or zeros, or nothing at all, whatever the host does."),
    p(
        15,
        "US11206128 and libvirt's article on Secure Execution",
        "Import of an exported page succeeds exactly if the frame holds the ciphertext of the latest export of this \
            page.",
    ),
    i(
        16,
        "Altered, moved, foreign or old bytes are an integrity error that changes nothing; the right bytes still \
            succeed later.",
    ),
    p(17, "Linux arch/s390/kernel/uv.c", "The first import of a page gives zeros, whatever the frame held."),
    i(
        18,
        "A refused or busy call changes nothing but rc and rrc. CREATE_SEC_CONF with flag 0x8000 and rc 0x0100 are \
            no refusals (D4).",
    ),
    p(
        19,
        "US11347869 and US11182192",
        "A guest access succeeds only if owner and page match; remapping a page never shows the guest other bytes.",
    ),
    // Counters and nonces.
    c(20, "The counter of a page never falls while its configuration lives, also over share, unshare and reset."),
    c(21, "No counter value of a page ever encrypts two different contents."),
    p(22, "US11206128", "An export of changed contents counts up by exactly 1 and gives other ciphertext."),
    p(
        23,
        "US11206128",
        "An export of unchanged contents keeps the counter and gives the same bytes (unless change detection is \
            `always`).",
    ),
    c(24, "A counter at its end makes exports of changed pages fail (0x0105°); it never wraps. See D42."),
    // Sharing.
    p(
        25,
        "US11487906",
        "Only a page that is resident in the caller's own configuration, or shared already, can be shared; then both \
            sides see the same bytes.",
    ),
    p(
        26,
        "Linux arch/s390/kvm/intercept.c",
        "While a page is pinned no guest call makes it secure; each try exits to the host. SET_UNSHARED_ALL is a \
            host call and may (D25).",
    ),
    p(
        27,
        "kvm-unit-tests s390x/pv-ipl",
        "After SET_UNSHARED_ALL nothing of the configuration is shared; after pin, unpin and unshare the page is the \
            guest's alone.",
    ),
    i(
        28,
        "Import of a shared page never decrypts, never makes the frame secure, and never looks at the integrity row.",
    ),
    p(29, "Linux arch/s390/kernel/uv.c", "Pin succeeds exactly for shared frames; unpin may be repeated. See D9."),
    // Donation and life cycle.
    p(
        30,
        "US11283800 and kvm-unit-tests s390x/uv-host",
        "Only ordinary, unlocked frames can be donated, an area as a whole; then every host access raises 0x3d.",
    ),
    p(
        31,
        "kvm-unit-tests s390x/uv-host",
        "INIT_UV works once until a reset; before it every call but the queries (and calls of the other issuer) is \
            0x0003.",
    ),
    p(
        32,
        "kvm-unit-tests s390x/uv-host",
        "No two live configurations have one ASCE, and no handle is ever used again (D20).",
    ),
    p(
        33,
        "US12411719 and Linux arch/s390/kvm/pv.c",
        "Destroying a configuration returns its secure frames cleared, or in fast form as orphans that nobody can \
            read before they are cleared. See D27, D28.",
    ),
    p(
        34,
        "US11354418",
        "No CPU runs before VERIFY_IMG has succeeded, and it succeeds only if contents, addresses, tweaks and number \
            of pages match.",
    ),
    p(
        35,
        "US11354418",
        "No tweak is used twice within an image, and only absent pages are unpacked. By default the digests see to \
            the first half (D50).",
    ),
    p(
        36,
        "kvm-unit-tests s390x/pv-ipl",
        "After a reset request no CPU runs until stop, unshare-all, prepare, CPU reset and load happened in this \
            order.",
    ),
    // The access check.
    i(
        37,
        "The access check is a pure function of requestor, secure bit, zone entry and address, and equals the \
            published matrix.",
    ),
    p(38, "US11531627", "For the host and devices only the secure bit decides."),
    i(
        39,
        "Every fault has a repair: 0x3e by import, 0x3d by pin or export, 0x3f by destroy or export. Donated frames \
            and destroyed pages have none (D36).",
    ),
    i(40, "Export, destroy and import may be repeated: the second time is a success without effect. See D8."),
    // Concurrency.
    i(
        41,
        "Concurrent calls and accesses have the effect of some order of them, one by one; busy answers may be left \
            out.",
    ),
    i(42, "From the integrity check until the guest has the page, no write of the host reaches its frame."),
    i(
        43,
        "From the change check until the page is encrypted, no write of the guest reaches its frame; afterwards no \
            CPU holds a translation to it.",
    ),
    i(44, "No deadlock: locks are only tried, and every busy call succeeds in the end if the host is fair."),
    i(45, "At most one call holds a frame; while it does nobody else can access the frame."),
];
