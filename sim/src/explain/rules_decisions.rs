//! The decisions D1 to D85: where public sources disagree or say nothing, this is what holds.

use super::entry::{Basis, Kind};
use super::rules::Rule;

const fn d(number: u8, text: &'static str) -> Rule {
    Rule::new(Kind::Decision, number, Basis::Choice, text)
}

pub(super) static ALL: &[Rule] = &[
    // Interface.
    d(
        1,
        "One set of state names: frames are ordinary, donated, secure, shared (perhaps pinned) or orphaned; pages \
            are absent, resident, exported, shared, pinned or destroyed.",
    ),
    d(
        2,
        "Order of the general checks: privilege, immediate, alignment, access to the header, 0x0002, 0x0003, 0x0005, \
            access to the whole block, configuration handle, CPU handle, then the command.",
    ),
    d(
        3,
        "cc 0 stores rc, rrc and outputs, cc 1 only rc and rrc, cc 2 and 3 nothing. A header on a read-only page \
            raises 0x04; reserved bytes are ignored.",
    ),
    d(
        4,
        "rc 0x0100 and the flag 0x8000 of CREATE_SEC_CONF are no refusals: both deliver something. In scenarios \
            0x0100 counts as `ok`.",
    ),
    d(
        5,
        "A control block inside the area or frame that the call makes secure is refused with the code for an \
            unusable area, since rc could not be stored.",
    ),
    d(6, "Page addresses need no alignment: the low 12 bits are ignored, except by UNPACK_IMG (0x0103)."),
    d(
        7,
        "Order of import: 0x0103, 0x010a, busy, success if it fits, 0x0104, 0x0105, shared page registered again, \
            0x0106.",
    ),
    d(
        8,
        "Import of a page that already fits is cc 0 without effect, also if it is shared: Linux imports both prefix \
            pages though one may be there.",
    ),
    d(9, "Order of unpin: 0x0103, 0x010a, busy; not pinned is a success; pinned in another frame is 0x0105."),
    d(
        10,
        "Commands with absolute addresses: 0x0101 outside storage, 0x0103 donated frame, PIN of anything not shared \
            0x0102, DESTR while the owner has a CPU 0x0104, export at the counter's end 0x0105.",
    ),
    d(
        11,
        "All codes of CREATE_SEC_CONF and their order: limits, alignment, ASCE, base area, variable area, SCA, free \
            slot.",
    ),
    d(12, "Order of CREATE_SEC_CPU: 0x0020, 0x0103, 0x0104, 0x0106, 0x0105, 0x0107. Address 0 must give 0x0106."),
    d(
        13,
        "Codes for wrong states come right after the handles: state 5 too early 0x0104 or on a running CPU 0x0103, \
            PREPARE_RESET without unshare-all 0x0102, DESTROY_SEC_CPU in SIE 0x0103.",
    ),
    d(
        14,
        "A call that is not built answers 0x0002 and its bit is off: a bit must not promise what is absent. `without \
            COMMAND` takes one away.",
    ),
    d(
        15,
        "Generations: feature \"misc\" is off on z15 and on from z16; z15 also keeps two old answers (Q20, D10). \
            QUERY_KEYS answers zeros while there are no keys.",
    ),
    d(
        16,
        "Page records are kept beside storage: the size that the query reports per page cannot hold them. Variable \
            storage is translated once, when the configuration is created.",
    ),
    d(
        17,
        "Injected busy and partial answers change nothing. Flag 0x8000 arises only by `late-failure`, and 0x0007 \
            never.",
    ),
    d(
        18,
        "A guest's control block is addressed as guest real and accessed like any guest page; a page that is missing \
            faults to the host and the call repeats.",
    ),
    d(
        19,
        "TEID: 0x3d and 0x3f name the page with bit 61 on, except after an instruction fetch; 0x3e and 0x3c name MSO \
            plus the guest address.",
    ),
    d(
        20,
        "Handles are 64 random bits, differ in more than one bit, and are never used again. A refused call uses no \
            randomness.",
    ),
    // Storage.
    d(
        21,
        "A secure guest touching a frame that another configuration shares gets 0x3e, not 0x3f: Linux says such \
            pages raise no secure-storage exception.",
    ),
    d(22, "A shared frame reached through another page of its owner: 0x3e on access, 0x0104 on import."),
    d(23, "Devices are denied by an I/O error of their own, not by an interruption."),
    d(24, "Export of a pinned frame succeeds and ends the pin: Linux exports whenever it unmaps a page."),
    d(25, "SET_UNSHARED_ALL makes shared and pinned frames secure and forgets shared pages without a frame."),
    d(
        26,
        "Pages of a live configuration are destroyed only once it has no CPU (else 0x0104); a destroyed page cannot \
            be imported again.",
    ),
    d(27, "After DESTROY_SEC_CONF secure frames are cleared and the host's, shared ones keep their bytes."),
    d(
        28,
        "After DESTROY_SEC_CONF_FAST secure frames are orphans; shared ones stay usable by the host and keep an \
            owner that is gone.",
    ),
    d(
        29,
        "After a machine reset donated, secure and orphaned frames are zero; all others keep their bytes. Keys, \
            handles and page records are gone.",
    ),
    d(
        30,
        "A frame changes its owner only together with a successful import, never within one configuration and never \
            if it is pinned.",
    ),
    d(
        31,
        "Unshare of a page without a frame: import first, then unshare with contents kept. Only unshare-all makes it \
            zero.",
    ),
    d(
        32,
        "Share and unshare: 0x0005, 0x0101, then the page must be accessible like for a load, then the state. After \
            interception 108 the guest stands at the instruction.",
    ),
    d(33, "A call never waits for another call; it only waits, for a bounded time, for accesses already begun."),
    d(
        34,
        "Export knows only the frame: it reads the owner, takes configuration, page and frame, and looks again; if \
            anything moved it is busy.",
    ),
    d(
        35,
        "Large mappings are walked for imports; a secure guest's access through one is 0x3c (prefix: 112). \
            VERIFY_LARGE_FRAME is not built.",
    ),
    d(
        36,
        "Progress (I-39) excludes donated frames and destroyed pages; I-31 excludes queries and calls of the other \
            issuer.",
    ),
    d(37, "A frame that is still shared, or left over, cannot be donated; the host exports it first."),
    // Page cryptography.
    d(38, "Cipher `gcm`: the tag alone decides at import; it covers configuration, page, counter and contents."),
    d(39, "\"Unchanged\" is decided by a keyed hash in the page's row: POLYVAL with `gcm`, HMAC-SHA-256 with `xts`."),
    d(
        40,
        "The hash may be skipped only for a page that came back by a verified decryption and that nobody could write \
            since.",
    ),
    d(41, "No counter is lost: every check comes before the cipher, and nothing after it can fail."),
    d(42, "At the last counter value, 2^56 - 1, a changed page cannot be exported (0x0105); an unchanged one can."),
    d(43, "No call clears guest memory: a reset keeps all pages, counters and hashes."),
    d(
        44,
        "Further keys are derived by HKDF-SHA-512 under labels of their own; the layout of the `xts` tweak is index, \
            counter, four zero bytes.",
    ),
    d(45, "Known-answer tests may fix the key seed and the unique id of configurations."),
    d(
        46,
        "All randomness is ChaCha20 from the machine's seed, one stream per purpose, so equal seeds give equal bytes \
            everywhere.",
    ),
    d(47, "Cipher `gcm` is the default; dump commands, once built, need `xts`."),
    d(48, "The dump entry of a resident page names the tweak that its next export will use."),
    // Boot.
    d(49, "Images without keys served until the real header was read; they are refused like any unknown magic now."),
    d(50, "Tweaks may repeat or fall, the digests decide; with `strict-tweaks` UNPACK_IMG refuses them (0x0106)."),
    d(
        51,
        "Order of UNPACK_IMG: 0x0101, 0x0103, 0x010a, busy, 0x0104, 0x0105. A page that was imported before is \
            refused.",
    ),
    d(
        52,
        "Order of SET_SEC_CONF_PARAMS: state, access, length, magic, version, slots, sizes, flags, key slot, tag, \
            secret flags. Nothing is kept on refusal.",
    ),
    d(53, "Only plaintext control flags of known meaning are supported: 0x300000e2, on z17 0x300000f2."),
    d(54, "A failed VERIFY_IMG changes nothing; the order is number of pages, addresses, contents, tweaks."),
    d(55, "The order of ADD_SECRET: store, access, form, flags, seal, type, length, image (0x010c), room, dump."),
    // Translation.
    d(
        56,
        "A buffered translation holds frame and protection, never a zone verdict; each access checks the live zone \
            entry. A change of a frame's zone purges it everywhere.",
    ),
    d(
        57,
        "Guest addresses of import, unpack and unpin are always walked afresh, so the host can repair by its tables \
            alone.",
    ),
    d(58, "On a buffered translation the frame and address reached are compared with the registered pair."),
    d(
        59,
        "Import, unpack and unpin report any failed walk as 0x010a; for a guest access the same failure is the \
            host's interruption.",
    ),
    d(
        60,
        "Table origins are absolute. The result of host translation is real (prefixing applies), that of a guest's \
            ASCE absolute.",
    ),
    d(61, "The host's home space maps all storage at its own address, with a window for variable areas."),
    d(62, "A guest's space is the smallest that covers it, so a page without mapping may give 0x10 or 0x11."),
    d(63, "Each CPU buffers 4096 translations, direct mapped, so runs repeat exactly."),
    // Scenarios.
    d(
        64,
        "After a refused call all of storage but rc and rrc, all zones, pages, configurations and CPUs are compared \
            with before.",
    ),
    d(65, "`check differ` compares the shorter length; `check equal` wants equal lengths."),
    d(66, "Teardown on z15: 0x0107 with 0xd counts as done, as in Linux."),
    d(67, "`host destroy` of a page of a started guest is refused with 0x0104; destroy its CPUs first."),
    d(68, "A frame returns to the free list only when it is ordinary again."),
    d(69, "Changed mappings are purged at once; `purge=#false` models a host that forgets."),
    d(
        70,
        "Reads, writes, flips, copies and moves map a frame first; import and unpin answer 0x010a; other verbs end \
            `unmapped`.",
    ),
    d(
        71,
        "Outside the guest: its reads and writes end `addressing`, share and unshare 0x0101, import and unpin 0x0103.",
    ),
    d(72, "Under `faults stop` a guest gives up the instruction that exited with 108; its next action replaces it."),
    d(73, "The control block of `host uvc` has a page of its own per CPU; `skew` moves it."),
    d(74, "The last 512 bytes of guest page 1 hold the control blocks of guest calls and are overwritten by them."),
    d(
        75,
        "Storage is a multiple of 1 MiB; the base area lies at exactly 2 GiB; everything else takes the lowest free \
            frame.",
    ),
    d(
        76,
        "Interruptions outside the list are reported by name and number; `protection`, `translation-specification` \
            and `secure-page-size` may be expected.",
    ),
    d(
        77,
        "`load random=` and workloads have random streams of their own; their bytes do not depend on cipher or \
            generation.",
    ),
    d(78, "Pages of a guest that was torn down keep their mappings; guest statements then give interception 32."),
    // Life cycle.
    d(
        79,
        "A reset request (diagnose 0x308) or PREPARE_RESET marks the whole configuration; stop, unshare-all, \
            prepare, CPU reset and state 5 clear it.",
    ),
    d(
        80,
        "Checks at dispatch: state description, handles and ASCE (32), CPU timer (32), verified and no reset (32), \
            operating (32), then both prefix pages (112).",
    ),
    d(81, "Time passes only when the client says so: each scenario statement takes 1 microsecond."),
    d(
        82,
        "A configuration with CPUs cannot be destroyed (0x0105). AP queues are not modelled, so 0x0104 does not arise.",
    ),
    d(
        83,
        "KVM's asynchronous-cleanup call always reports rc 1, rrc 42; without the fast call a fast teardown leaves \
            the configuration to the steps.",
    ),
    d(84, "The fast destroy itself cleans nothing; that the low 2 GiB are cleaned at once is the work of KVM."),
    d(85, "I-11 compares two runs, and I-41 to I-45 need threads; all other invariants are checked after every step."),
];
