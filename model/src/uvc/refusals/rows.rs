//! What each command itself looks at.

use super::{Check, Evidence, Machines, Reach, Reply};
use crate::uvc::command::Command;
use Evidence::{Caller, Choice, Inferred, Tested};

/// The rows of a command; `None` if no machine installs it (D14).
pub(super) const fn own(command: Command) -> Option<&'static [Check]> {
    Some(match command {
        Command::QueryUvInformation => QUERY,
        Command::QueryKeys => QUERY_KEYS,
        Command::InitUv => INIT,
        Command::CreateSecConf => CREATE,
        Command::DestroySecConf => DESTROY,
        Command::DestroySecConfFast => DESTROY_FAST,
        Command::CreateSecCpu => CREATE_CPU,
        Command::DestroySecCpu => DESTROY_CPU,
        Command::ConvToSecStor => IMPORT,
        Command::ConvFromSecStor => EXPORT,
        Command::DestrSecStor => DESTROY_PAGE,
        Command::SetSecConfParams => PARAMETERS,
        Command::UnpackImg => UNPACK,
        Command::VerifyImg => VERIFY,
        Command::CpuReset | Command::CpuResetInitial | Command::CpuResetClear => RESET_CPU,
        Command::PrepareReset => PREPARE_RESET,
        Command::CpuSetState => SET_STATE,
        Command::SetUnsharedAll => UNSHARE_ALL,
        Command::PinPageShared => PIN,
        Command::UnpinPageShared => UNPIN,
        Command::SetSharedAccess => SHARE,
        Command::RemoveSharedAccess => UNSHARE,
        Command::VerifyLargeFrame
        | Command::DumpInit
        | Command::DumpConfStorState
        | Command::DumpCpu
        | Command::DumpComplete
        | Command::RetrAttest
        | Command::AddSecret
        | Command::ListSecrets
        | Command::LockSecrets
        | Command::RetrSecret => return None,
    })
}

const fn refused(id: &'static str, rc: u16, cause: &'static str, rules: &'static str, by: Evidence) -> Check {
    Check::refused(id, rc, cause, rules, by)
}

const fn done(id: &'static str, cause: &'static str, rules: &'static str, by: Evidence) -> Check {
    Check::done(id, cause, rules, by)
}

const CONFIGURATION_BUSY: Check =
    Check::busy("configuration-busy", "another call holds the configuration for itself, or is ending it");
const PAGE_BUSY: Check = Check::busy("page-busy", "another call holds the page or the frame");
const OWNER_BUSY: Check =
    Check::busy("owner-busy", "another call holds the configuration or the page that shares the frame");
const AREA_BUSY: Check = Check::busy("area-busy", "another call holds a frame of an area");
const FRAME_BUSY: Check = Check::busy("frame-busy", "another call holds the frame, its page or its owner");
const OUTSIDE: Check = refused("outside", 0x101, "the address lies outside storage", "D10", Choice);
const UNMAPPED: &str = "the host maps no frame there, or only for reading";
const BEYOND_GUEST: &str = "the address lies outside guest storage";

const QUERY: &[Check] = &[
    Check::new(
        "short",
        Reply::Remark { rc: 0x0100 },
        "the block is shorter than the answer: what fits is given",
        "D14 D4",
        Tested,
    ),
    done("done", "the whole answer is given", "D14", Tested),
];

const QUERY_KEYS: &[Check] = &[done("done", "the hashes are given", "Q34 D15", Inferred)];

const INIT: &[Check] = &[
    refused("initialised", 0x101, "the Ultravisor is initialised already", "I-31", Tested),
    refused("length-field", 0x103, "the length differs from what QUI asks for", "C24 I-30", Tested),
    refused("origin", 0x104, "the origin lies outside storage", "Q30", Tested),
    refused("end", 0x105, "the area reaches beyond storage", "C27 I-30", Tested),
    refused("low", 0x108, "the area begins below 2 GiB", "C28 D75", Tested),
    refused("others-operate", 0x102, "another CPU of the machine operates", "C29", Tested),
    refused("block", 0x105, "the control block lies in the area", "D5", Choice),
    refused("taken", 0x105, "a frame of the area is not free", "T77", Choice)
        .by(Reach::Never("all frames are free before INIT_UV")),
    done("done", "the area is donated", "T76", Tested),
];

const CREATE: &[Check] = &[
    refused("mso", 0x101, "the main-storage origin lies above the highest guest address", "D11", Tested),
    refused("msl", 0x102, "origin plus length lie above it, or overflow", "D11", Tested),
    refused("mebibytes", 0x103, "origin or length is not a multiple of 1 MiB, or the length is 0", "D11", Choice),
    refused("asce-form", 0x105, "the ASCE is not private, or is a real-space one", "D11", Tested),
    refused("asce-in-use", 0x104, "a live configuration has the same table origin", "Q35 Q36", Tested),
    refused("base-storage", 0x108, "the base area reaches beyond storage", "D11", Tested),
    refused("base-block", 0x108, "the control block lies in the base area", "D5", Choice),
    refused("base-taken", 0x108, "a frame of the base area is not free", "T77 D11 D37", Choice),
    refused("base-alignment", 0x106, "the base area does not begin with a frame", "D11", Choice),
    refused("base-lowcore", 0x109, "the base area covers absolute 0 to 0x1fff or the prefix area", "D11", Tested),
    refused("variable-overflow", 0x31, "the variable area reaches beyond the last address", "D11", Choice),
    refused("variable-real-space", 0x30, "the home ASCE is a real-space one", "D11", Caller),
    refused(
        "variable-translation",
        0x31,
        "the first page of the variable area that is not reached has no translation",
        "D11",
        Caller,
    ),
    refused("variable-storage", 0x32, "that page lies outside storage", "D11", Caller),
    refused("variable-alignment", 0x10a, "the variable area does not begin with a page", "D11", Choice),
    refused(
        "variable-lowcore",
        0x10e,
        "the variable area covers absolute 0 to 0x1fff or the prefix area",
        "Q25",
        Inferred,
    ),
    refused("variable-overlap", 0x10b, "the variable area has a frame twice, or one of the base area", "D11", Choice),
    refused("variable-block", 0x10b, "the control block lies in the variable area", "D11 D5", Choice),
    AREA_BUSY,
    refused("variable-taken", 0x10b, "a frame of the variable area is not free", "T77 D11 D37", Choice),
    refused("sca-zero", 0x10c, "the system control area is at 0", "D11", Tested),
    refused(
        "sca",
        0x10d,
        "the system control area lies beyond storage, in a secure frame or in a donated area",
        "D11",
        Tested,
    ),
    refused("full", 0x10f, "no configuration is free", "D11", Choice)
        .by(Reach::Never("a test would need some eight million configurations")),
    refused("asce-taken", 0x104, "another call has taken the ASCE in the meantime", "Q35", Choice).by(Reach::Race),
    Check::new(
        "late-failure",
        Reply::Remark { rc: 0x810f },
        "a test hook asks for a late failure: the handle is valid",
        "D17 D4",
        Caller,
    )
    .by(Reach::Injection),
    done("done", "the configuration exists", "T76", Tested),
];

const AP_BOUND: Check = refused("ap-queues", 0x104, "AP queues are bound to the configuration", "D82", Caller)
    .by(Reach::Never("AP queues are not modelled (D82)"));
const HAS_CPUS: Check = refused("cpus", 0x105, "the configuration has CPUs", "Q12 D82", Choice);

const DESTROY: &[Check] = &[
    CONFIGURATION_BUSY,
    AP_BOUND,
    HAS_CPUS,
    AREA_BUSY,
    PAGE_BUSY,
    done("done", "the configuration ends, its frames come back", "T40 T42 D27", Tested),
];

const DESTROY_FAST: &[Check] = &[
    CONFIGURATION_BUSY,
    AP_BOUND,
    HAS_CPUS,
    AREA_BUSY,
    done("done", "the configuration ends, the frames of its pages stay", "T41 T42 D28", Caller),
];

const CREATE_CPU: &[Check] = &[
    CONFIGURATION_BUSY,
    refused("number", 0x103, "the CPU number lies above the highest", "D12", Tested),
    refused("defined", 0x104, "the configuration has a CPU of this number", "C40", Tested),
    refused("lowcore", 0x106, "the storage covers absolute 0 to 0x1fff or the prefix area", "D12", Tested),
    refused("storage", 0x105, "the storage lies beyond storage, or does not begin with a frame", "D12", Tested),
    refused("block", 0x105, "the control block lies in the storage", "D5", Choice),
    AREA_BUSY,
    refused("taken", 0x105, "a frame of the storage is not free", "C42 T77 D37", Inferred),
    refused(
        "state-description",
        0x107,
        "the state description lies beyond storage, in a secure frame or in the storage, or not on 512 bytes",
        "D12 Q26",
        Tested,
    ),
    done("done", "the CPU exists, stopped", "T76", Tested),
];

const DESTROY_CPU: &[Check] = &[
    CONFIGURATION_BUSY,
    AREA_BUSY,
    refused("in-sie", 0x103, "the CPU is in SIE", "D13", Choice),
    done("done", "the CPU ends, its storage comes back", "T42", Tested),
];

const IMPORT: &[Check] = &[
    CONFIGURATION_BUSY,
    refused("range", 0x103, BEYOND_GUEST, "Q2 D7", Choice),
    refused("unmapped", 0x10a, UNMAPPED, "T23 D59", Caller),
    PAGE_BUSY,
    done("already", "the page is in this very frame", "T31 Q3 D8", Inferred),
    refused("block", 0x104, "the control block lies in the frame", "D5", Choice),
    refused("donated", 0x104, "the frame is donated", "T38 D7", Choice),
    refused("own-frame", 0x104, "the frame holds another page of the same configuration", "T33 D22", Choice),
    refused(
        "foreign-frame",
        0x104,
        "the frame is secure for another configuration, or pinned by its leave",
        "T34 T36",
        Choice,
    ),
    refused("orphan", 0x104, "the frame was secure for a configuration that has ended", "T39", Choice),
    refused("shared-frame", 0x104, "the frame is shared by another configuration", "T35", Caller)
        .on(Machines::WithoutMisc),
    refused("elsewhere", 0x105, "the page is in another frame", "T32", Choice),
    OWNER_BUSY,
    refused("destroyed", 0x106, "the page was destroyed", "T55", Choice),
    refused("integrity", 0x106, "the bytes are not those of the latest export of this page", "T26 T27 T28 T29", Choice),
    done("done", "the page is in the frame", "T24 T25 T35 T37", Caller),
];

const EXPORT: &[Check] = &[
    OUTSIDE,
    FRAME_BUSY,
    done("non-secure", "the frame is the host's already", "T47", Caller),
    refused("donated", 0x103, "the frame is donated", "T49 D10", Choice),
    refused("counter", 0x105, "the page has changed and its counter is at its end", "D42", Choice),
    done("done", "the frame is the host's", "T44 T45 T46 T48 D28", Caller),
];

const DESTROY_PAGE: &[Check] = &[
    OUTSIDE,
    FRAME_BUSY,
    refused("non-secure-z15", 0x107, "the frame is the host's already", "T53 Q29 D10", Caller)
        .reason(0xd)
        .on(Machines::Z15),
    done("non-secure", "the frame is the host's already", "T53", Caller).on(Machines::SinceZ16),
    refused("donated", 0x103, "the frame is donated", "T54 D10", Choice),
    refused("cpus", 0x104, "the owner of the frame has a CPU", "D26", Choice),
    done("done", "the frame is cleared and the host's", "T50 T51 T52 D28", Caller),
];

const PARAMETERS: &[Check] = &[
    CONFIGURATION_BUSY,
    refused("state", 0x101, "the configuration has its parameters already", "Q13", Choice),
    refused("access", 0x103, "the header, or only its tail, cannot be fetched", "D52", Tested),
    refused("given-length", 0x10a, "the length given is below 0x1a0 or above 0x2000", "D52", Caller).reason(0x31),
    refused("magic", 0x10a, "the header does not begin with `IBMSecEx`", "D52", Choice),
    refused("version", 0x104, "the version is not supported", "D52 C53", Caller).reason(0x1),
    refused("no-slots", 0x10a, "the header has no key slot", "D52 C57", Caller).reason(0x40),
    refused("encrypted-size", 0x10a, "the encrypted area does not have 0x80 bytes", "D52", Caller).reason(0x39),
    refused(
        "size",
        0x10a,
        "the size in the header, the length given and the number of slots do not fit",
        "D52 C56",
        Caller,
    )
    .reason(0x31),
    refused("flags-z15", 0x106, "a plaintext control flag is not supported", "D52 Q20 C55", Caller).on(Machines::Z15),
    refused("flags", 0x106, "a plaintext control flag is not supported", "D52 Q20 C55", Caller)
        .reason(0x30)
        .on(Machines::SinceZ16),
    refused("slot", 0x108, "no key slot is for the host key", "D52 C54", Caller).reason(0x5),
    refused(
        "backup-slot",
        0x108,
        "the backup key is allowed, and no key slot is for it or for the host key",
        "D52",
        Caller,
    )
    .reason(0x34),
    refused("customer-key", 0x108, "the customer's public key is not a point of the curve", "D52", Caller).reason(0xb),
    refused("unwrap", 0x108, "the key slot does not unwrap", "D52", Choice),
    refused("tag", 0x10a, "the authentication tag does not fit", "D52 C58", Choice),
    refused("secret-flags", 0x109, "a secret control flag is not supported", "D52", Caller),
    refused("items", 0x10a, "the header announces optional items", "D52", Choice),
    done("done", "the header is accepted", "D52", Caller),
];

const UNPACK: &[Check] = &[
    CONFIGURATION_BUSY,
    refused("state", 0x101, "no parameters yet, or verified already", "Q13 D51", Choice),
    refused("range", 0x103, "the address lies outside guest storage, or does not begin a page", "D51 D6", Choice),
    refused("unmapped", 0x10a, UNMAPPED, "T74 D59 C59", Caller),
    PAGE_BUSY,
    refused("already", 0x105, "the page is in this very frame", "T75", Choice),
    refused("taken", 0x104, "the frame is donated, or secure, or holds another page, or is pinned", "D51", Choice),
    refused("shared-frame", 0x104, "the frame is shared by another configuration", "D51 T35", Choice)
        .on(Machines::WithoutMisc),
    refused("block", 0x104, "the control block lies in the frame", "D5", Choice),
    refused("not-absent", 0x105, "the page is elsewhere, exported, shared or destroyed", "T75 D51", Choice),
    refused("tweak", 0x106, "the tweak is not greater than the last one", "D50", Choice).on(Machines::StrictTweaks),
    OWNER_BUSY,
    done("done", "the page is loaded", "T73", Caller),
];

const VERIFY: &[Check] = &[
    CONFIGURATION_BUSY,
    refused("state", 0x101, "no parameters yet, or verified already", "Q13", Choice),
    refused("pages", 0x102, "the number of pages differs from the header", "D54 I-34", Caller).reason(0x1d),
    refused("addresses", 0x102, "the digest of the addresses differs", "D54 I-34", Caller).reason(0x1a),
    refused("contents", 0x102, "the digest of the pages differs", "D54 I-34", Caller).reason(0x1b),
    refused("tweaks", 0x102, "the digest of the tweaks differs", "D54 I-34", Caller).reason(0x1c),
    done("done", "the image is genuine", "I-34", Caller),
];

const SET_STATE: &[Check] = &[
    CONFIGURATION_BUSY,
    refused("value", 0x102, "the value is none of 1, 2, 3 and 5", "Q14", Choice),
    refused("in-sie", 0x103, "the CPU is in SIE", "D13", Choice),
    refused("unverified", 0x104, "a load before VERIFY_IMG", "D13", Choice),
    refused("reset-pending", 0x104, "a load before the CPU reset of a pending reset", "I-36 D13 D79", Choice),
    refused("not-stopped", 0x103, "a load of a CPU that is not stopped", "D13", Choice),
    done("done", "the CPU has the state", "Q14 D13", Tested),
];

const RESET_CPU: &[Check] = &[
    CONFIGURATION_BUSY,
    refused("in-sie", 0x103, "the CPU is in SIE", "D13", Choice),
    refused("not-stopped", 0x103, "the CPU is not stopped", "Q14", Choice),
    done("done", "the registers are reset", "Q14", Tested),
];

const PREPARE_RESET: &[Check] = &[
    CONFIGURATION_BUSY,
    refused("cpus", 0x101, "a CPU of the configuration operates", "Q15", Choice),
    refused("not-unshared", 0x102, "no SET_UNSHARED_ALL since a CPU operated last", "D13", Choice),
    done("done", "CPUs are to be reset, and one of them to be loaded", "D79 I-36", Tested),
];

const UNSHARE_ALL: &[Check] = &[
    CONFIGURATION_BUSY,
    refused("cpus", 0x101, "a CPU of the configuration operates", "Q15", Choice),
    PAGE_BUSY,
    refused("block", 0x102, "the control block lies in a frame that becomes secure", "D5", Choice),
    done("done", "no page is shared", "T70 T71 T72", Caller),
];

const PIN: &[Check] = &[
    OUTSIDE,
    FRAME_BUSY,
    done("already", "the frame is pinned already", "T65", Caller),
    refused("not-shared", 0x102, "the frame is not shared", "T69 Q7 D10", Choice),
    done("discarded", "the configuration that shares the frame has ended", "D28", Choice),
    done("done", "the frame is pinned", "T64", Caller),
];

const UNPIN: &[Check] = &[
    CONFIGURATION_BUSY,
    refused("range", 0x103, BEYOND_GUEST, "D9", Choice),
    refused("unmapped", 0x10a, UNMAPPED, "T68 D59", Caller),
    PAGE_BUSY,
    done("not-pinned", "the page is not pinned", "T67 Q8", Inferred),
    refused("elsewhere", 0x105, "the page is pinned in another frame", "D9", Choice),
    done("done", "the page is shared, no longer pinned", "T66", Caller),
];

/// Translation, or the page is not secure for this guest.
const PAGE_ACCESS: &[u16] = &[0x05, 0x10, 0x11, 0x12, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3e, 0x3f];

const SHARE: &[Check] = &[
    refused("range", 0x101, BEYOND_GUEST, "T63", Tested),
    Check::new(
        "page-access",
        Reply::Interruption(PAGE_ACCESS),
        "the guest could not load from the page",
        "T58 D32",
        Inferred,
    ),
    CONFIGURATION_BUSY,
    PAGE_BUSY,
    done("already", "the page is shared already", "T57 D22", Tested),
    done("done", "the page is shared", "T56", Tested),
];

const UNSHARE: &[Check] = &[
    refused("range", 0x101, BEYOND_GUEST, "T63", Tested),
    Check::new(
        "page-access",
        Reply::Interruption(PAGE_ACCESS),
        "the guest could not load from the page",
        "T62 D32",
        Inferred,
    ),
    CONFIGURATION_BUSY,
    PAGE_BUSY,
    Check::new("pinned", Reply::Interception(108), "the host has pinned the page", "T60", Caller),
    done("already", "the page is not shared", "T61", Tested),
    done("done", "the page is secure again", "T59", Tested),
];
