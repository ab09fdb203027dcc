//! Queries, INIT_UV and configurations.

use super::{Check, Command, Facts};

const KUT: &str = "kvm-unit-tests s390x/uv-host";

pub(super) static QUERY_UV_INFORMATION: Facts = Facts {
    command: Command::QueryUvInformation,
    aliases: &["query"],
    meaning: "Tells what the Ultravisor can do: the installed calls, how much storage each donation needs, the limits, \
        and the feature word. It works in any state, also before INIT_UV. A host and a guest each see only their own calls.",
    checks: &[Check::public(
        0x0100,
        "the block is shorter than the full answer of 0x120 bytes; what fits is delivered, up to the length given",
        "D4 D14",
        KUT,
    )
    .then("Nothing: 0x0100 is a success with a remark. Pass 0x120 bytes to get everything.")],
    answer: "A kernel without a usable answer runs without Secure Execution.",
    rules: "Q16 D4 D14 D15 D36",
    source: "Linux arch/s390/include/asm/uv.h and kvm-unit-tests s390x/uv-host",
};

pub(super) static QUERY_KEYS: Facts = Facts {
    command: Command::QueryKeys,
    aliases: &["keys"],
    meaning: "Delivers the SHA-256 hashes of the host keys, 15 slots of 32 bytes from offset 0x20: slot 0 is the \
        host key, \
        slot 1 the backup host key, unused slots are zero.",
    checks: &[],
    answer: "Linux shows the hashes in sysfs only where the call is installed.",
    rules: "Q34 D15",
    source: "Linux arch/s390/include/asm/uv.h and kernel/uv.c",
};

pub(super) static INIT_UV: Facts = Facts {
    command: Command::InitUv,
    aliases: &["init"],
    meaning: "Donates the base storage and starts the Ultravisor. The host loses access to the area until the \
        machine is \
        reset. The low 20 bits of the origin and the low 12 bits of the length are ignored.",
    checks: &[
        Check::public(0x0101, "the Ultravisor is already initialised", "I-31", KUT)
            .then("Only a machine reset makes a second INIT_UV possible."),
        Check::public(0x0103, "the length differs from uv-base-stor-len of the query", "I-30", KUT)
            .then("Take the length from the query."),
        Check::public(0x0104, "the origin lies at or beyond the end of storage", "Q30", KUT),
        Check::public(0x0105, "origin plus length reaches beyond storage", "I-30", KUT),
        Check::ours(0x0105, "the control block lies in the area to be donated, so rc could not be stored", "D5"),
        Check::public(0x0108, "the origin lies below 2 GiB", "D75", KUT),
        Check::public(0x0102, "another CPU of the machine is operating", "I-31", KUT)
            .then("Stop all other CPUs, then issue the call again."),
    ],
    answer: "Linux frees the reserved storage and goes on without support for protected guests.",
    rules: "T2 T43 T76 T77 I-30 I-31 D5 D75",
    source: "kvm-unit-tests s390x/uv-host and Linux arch/s390/kernel/uv.c",
};

pub(super) static CREATE_SEC_CONF: Facts = Facts {
    command: Command::CreateSecConf,
    aliases: &["create", "create-configuration"],
    meaning: "Makes a secure configuration from donated storage: a base area by absolute address and a variable area \
        by \
        virtual address, whose size grows with the guest. The ASCE and the SCA belong to the configuration until it is \
        destroyed. Hands out a wide handle that is never used again.",
    checks: CREATE_CHECKS,
    answer: "The host keeps what it wanted to donate; nothing has changed. With the flag 0x8000 in rc the handle is \
        valid \
        and must be destroyed (Linux does it at once).",
    rules: "T76 T77 I-30 I-32 Q1 Q25 Q27 Q35 Q36 D5 D11 D16 D17 D20",
    source: "kvm-unit-tests s390x/uv-host and Linux arch/s390/kvm/pv.c",
};

const CREATE_CHECKS: &[Check] = &[
    Check::public(0x0101, "guest-stor-origin (MSO) lies above max-guest-stor-addr", "D11", KUT),
    Check::public(0x0102, "MSO plus length lies above max-guest-stor-addr, or overflows", "D11", KUT),
    Check::ours(0x0103, "MSO or length is not a multiple of 1 MiB, or the length is 0", "D11"),
    Check::public(0x0105, "the ASCE lacks the private-space bit or has the real-space bit", "D11", KUT),
    Check::ours(
        0x0104,
        "the ASCE (its table origin) belongs to another live configuration; a code of at least 0x104 \
        is attested",
        "Q35 Q36 D11 I-32",
    )
    .then(
        "Give each configuration tables of its own; destroy the old configuration before its ASCE is used \
            again.",
    ),
    Check::public(
        0x0108,
        "the base area reaches beyond storage, or one of its frames is not ordinary host storage",
        "D11 D37 T77",
        KUT,
    )
    .then("Use free frames; export a frame that is still shared or left over first."),
    Check::ours(0x0108, "the control block lies in the base area", "D5"),
    Check::ours(0x0106, "the base area is not aligned to 4 KiB", "D11"),
    Check::public(
        0x0109,
        "the base area overlaps the lowcore (absolute 0 to 0x1fff, or the issuer's prefix area)",
        "D11",
        KUT,
    ),
    Check::public(
        0x0030,
        "the home ASCE has its real-space bit on, so the variable area cannot be translated",
        "D11",
        "s390-tools pv_core",
    ),
    Check::public(0x0031, "a page of the variable area does not translate", "D11", "s390-tools pv_core"),
    Check::public(
        0x0032,
        "a page of the variable area translates to an address outside storage",
        "D11",
        "s390-tools \
        pv_core",
    ),
    Check::ours(0x010a, "the variable area is not aligned to 4 KiB", "D11"),
    Check::ours(
        0x010e,
        "the variable area overlaps the lowcore; the number was meant for it, machines answered \
        otherwise",
        "Q25 D11",
    ),
    Check::ours(
        0x010b,
        "a frame of the variable area is not ordinary host storage, overlaps the base area, or holds \
        the control block",
        "D5 D11 D37",
    ),
    Check::public(0x010c, "guest-sca is 0", "D11", KUT),
    Check::public(
        0x010d,
        "the SCA is not accessible: beyond storage, in a secure frame, or inside a donated area",
        "D11",
        KUT,
    ),
    Check::ours(0x010f, "no free configuration: max-num-sec-conf exist", "D11"),
    Check::ours(
        0x810f,
        "the call failed late, after its work was done (arises only from `host inject \
        create-sec-conf late-failure=#true`)",
        "D4 D17",
    )
    .then("Destroy the configuration: the handle in the block is valid. Linux issues DESTROY_SEC_CONF at once."),
];

pub(super) static DESTROY_SEC_CONF: Facts = Facts {
    command: Command::DestroySecConf,
    aliases: &["destroy-configuration", "teardown"],
    meaning: "Ends a configuration. Donated storage and every frame that was still secure go back to the host filled \
        with \
        zeros; frames that were shared keep their bytes. ASCE and SCA are free again, the handle stays invalid for ever.",
    checks: DESTROY_CHECKS,
    answer: "If it fails for good, Linux leaks the donated storage and the ASCE on purpose: they may still be in use.",
    rules: "T40 T42 I-33 Q12 Q27 Q28 D27 D66 D82",
    source: "kvm-unit-tests s390x/uv-host and Linux arch/s390/kvm/pv.c",
};

pub(super) static DESTROY_SEC_CONF_FAST: Facts = Facts {
    command: Command::DestroySecConfFast,
    aliases: &["destroy-configuration-fast", "teardown"],
    meaning: "Ends a configuration without touching the frames of its guest: donated storage returns at once, secure \
        frames \
        are left without an owner and the host cleans them later, page by page, with DESTR_SEC_STOR or an export.",
    checks: DESTROY_CHECKS,
    answer: "Linux falls back to the slow form, or leaks the donated storage if the configuration cannot be destroyed.",
    rules: "T9 T41 T42 T48 T52 I-33 Q12 D28 D82 D83 D84",
    source: "Linux arch/s390/include/asm/uv.h and kvm/pv.c; the idea is that of US12411719",
};

const DESTROY_CHECKS: &[Check] = &[
    Check::public(
        0x0104,
        "AP queues are still bound (not modelled, so it does not arise here)",
        "D82",
        "Linux arch/s390/kvm/pv.c",
    )
    .then("Reset the AP queues, then issue the call again."),
    Check::ours(0x0105, "the configuration still has CPUs", "Q12 D82")
        .then("Destroy its CPUs with DESTROY_SEC_CPU first."),
];
