//! The calls that a secure guest issues.

use super::{Check, Command, Facts};

const KUT: &str = "kvm-unit-tests s390x/uv-guest";
const ATTEST: &str = "kvm-unit-tests s390x/pv-attest and s390-tools pv_core";
const CORE: &str = "s390-tools pv_core";
const REPORT: &str = "Linux reports rc and rrc to the program that used /dev/uv; the ioctl itself succeeds.";

const OUTSIDE: &[Check] = &[Check::public(0x0101, "the address lies outside guest storage", "T63 D32 D71", KUT)];

pub(super) static SET_SHARED_ACCESS: Facts = Facts {
    command: Command::SetSharedAccess,
    aliases: &["share"],
    meaning: "The guest opens a page to the host. The contents stay and become visible, so a guest clears them \
        first. A page \
        that is not resident is imported by the host before the call completes.",
    checks: OUTSIDE,
    answer: "Linux panics: a guest that cannot share cannot do I/O.",
    rules: "T5 T56 T57 T58 T63 I-13 I-25 Q5 Q11 D18 D32",
    source: "Linux arch/s390/include/asm/uv.h and kvm-unit-tests s390x/uv-guest; the mechanism is that of US11487906",
};

pub(super) static REMOVE_SHARED_ACCESS: Facts = Facts {
    command: Command::RemoveSharedAccess,
    aliases: &["unshare"],
    meaning: "The guest takes a page back; its contents stay. If the host has pinned the page, the call exits to the \
        host \
        with interception 108, and repeats when the guest is entered again.",
    checks: OUTSIDE,
    answer: "Linux panics: the guest could not trust its memory any more.",
    rules: "T59 T60 T61 T62 T63 I-26 Q10 D31 D32 D72",
    source: "Linux arch/s390/include/asm/uv.h and kvm-unit-tests s390x/uv-guest; the mechanism is that of US11487906",
};

pub(super) static RETR_ATTEST: Facts = Facts {
    command: Command::RetrAttest,
    aliases: &["attest", "attestation"],
    meaning: "Measures how the guest was started: an HMAC-SHA-512 over the image digests, the header tag, the unique \
        id of \
        the configuration and data of the caller, under a key that only the verifier and the Ultravisor know.",
    checks: &[
        Check::public(0x0101, "the continuation token is not valid", "D14", ATTEST),
        Check::public(0x0102, "more than 256 bytes of user data", "D14", ATTEST),
        Check::public(0x0103, "the request is not accessible", "D14", ATTEST),
        Check::public(0x0106, "the version of the request is not supported", "D14", ATTEST),
        Check::public(0x0107, "the length does not fit the version and the number of key slots", "D14", ATTEST),
        Check::public(0x0108, "no key slot, or too many", "D14", ATTEST),
        Check::public(0x0109, "the encrypted size does not fit flags and length", "D14", ATTEST),
        Check::public(0x010a, "a flag is not supported", "D14", ATTEST),
        Check::public(0x010b, "the measurement algorithm is unknown", "D14", ATTEST),
        Check::public(0x010d, "the measurement buffer is too small", "D14", ATTEST),
        Check::public(0x010e, "the buffer for additional data is too small for the flags", "D14", ATTEST),
        Check::public(
            0x010c,
            "the request cannot be unsealed: it is not for this machine, or was altered",
            "D14",
            ATTEST,
        ),
        Check::public(0x0104, "the measurement buffer is not accessible", "D14", ATTEST),
        Check::public(0x0105, "the buffer for additional data is not accessible", "D14", ATTEST),
    ],
    answer: REPORT,
    rules: "Q16 D14",
    source: "Linux drivers/s390/char/uvdevice.c, s390-tools and kvm-unit-tests s390x/pv-attest; the idea is that of \
        US12362938",
};

pub(super) static ADD_SECRET: Facts = Facts {
    command: Command::AddSecret,
    aliases: &["secret", "secrets"],
    meaning: "Puts a secret, sealed by the owner of the guest for this machine, into the guest's secret store.",
    checks: &[
        Check::public(0x0101, "the store may not be modified", "D55", CORE),
        Check::public(0x0102, "the store is locked", "D55", CORE),
        Check::public(0x0103, "the request is not accessible", "D55", CORE),
        Check::public(0x0104, "the version of the request is not supported", "D55", CORE),
        Check::public(0x0105, "the size of the request is wrong", "D55", CORE),
        Check::public(0x0106, "the number of host keys is wrong", "D55", CORE),
        Check::public(0x0107, "a flag is not supported", "D55", CORE),
        Check::public(0x0108, "the request cannot be decrypted", "D55", CORE),
        Check::public(0x0109, "the type of the secret is not supported", "D55", CORE),
        Check::public(0x010a, "the length of the secret is wrong", "D55", CORE),
        Check::public(0x010c, "the secret cannot be added: the request is not for this image", "D55", CORE),
        Check::public(0x010b, "the store is full", "D55", CORE),
        Check::public(0x010d, "a dump is in progress", "D55", CORE),
    ],
    answer: REPORT,
    rules: "D14 D55",
    source: "s390-tools pv_core and Linux drivers/s390/char/uvdevice.c",
};

pub(super) static LIST_SECRETS: Facts = Facts {
    command: Command::ListSecrets,
    aliases: &["secrets"],
    meaning: "Lists the secrets of the guest, up to 85 in one page: index, type, length and id of each.",
    checks: &[Check::public(0x0100, "more secrets exist than were returned", "D4", CORE)
        .then("Continue with the index that the page names.")],
    answer: REPORT,
    rules: "D4 D14",
    source: "s390-tools pv_core and Linux arch/s390/kernel/uv.c",
};

pub(super) static LOCK_SECRETS: Facts = Facts {
    command: Command::LockSecrets,
    aliases: &["secrets"],
    meaning: "Closes the secret store for as long as the configuration lives.",
    checks: &[
        Check::public(0x0101, "not allowed", "D14", CORE),
        Check::public(0x0102, "the store is locked already", "D14", CORE),
    ],
    answer: REPORT,
    rules: "D14",
    source: "s390-tools pv_core and Linux drivers/s390/char/uvdevice.c",
};

pub(super) static RETR_SECRET: Facts = Facts {
    command: Command::RetrSecret,
    aliases: &["retrieve-secret", "secrets"],
    meaning: "Delivers a retrievable secret: plaintext as it was added, a key only as a protected key that the \
        machine has \
        wrapped.",
    checks: &[
        Check::public(0x010f, "the store is empty", "D14", "Linux arch/s390/include/asm/uv.h"),
        Check::public(0x0110, "no secret has this index", "D14", "Linux arch/s390/include/asm/uv.h"),
        Check::public(0x0111, "the secret exists but is not retrievable", "D14", "Linux arch/s390/include/asm/uv.h"),
        Check::public(
            0x0109,
            "the buffer is too small (s390-tools names it 0x0009)",
            "Q21",
            "Linux arch/s390/include/asm/uv.h",
        ),
        Check::public(0x0102, "the buffer is not accessible", "D14", CORE),
    ],
    answer: REPORT,
    rules: "Q21 D14",
    source: "Linux arch/s390/include/asm/uv.h and s390-tools pv_core",
};
