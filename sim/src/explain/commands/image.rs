//! Loading and verifying the image.

use super::{Check, Command, Facts};

const STAGE3A: &str = "the s390-tools boot loader (stage3a)";
const ASK: &str =
    "Build the image for this machine again; QEMU ends protected mode and returns diagnose rc 0x0a02 to the loader.";

pub(super) static SET_SEC_CONF_PARAMS: Facts = Facts {
    command: Command::SetSecConfParams,
    aliases: &["set-params"],
    meaning: "Gives the image header: who may open it (key slots), what the guest may do (control flags), the key \
        of the components, and the digests that VERIFY_IMG compares. Accepted once; after a refusal nothing is kept \
        and another attempt is allowed. `uvsim image info` shows a header, `uvsim image verify` tries one.",
    checks: PARAMS_CHECKS,
    answer: ASK,
    rules: "Q13 Q20 D13 D52 D53",
    source: "s390-tools and kvm-unit-tests s390x/uv-host; the order is inferred",
};

const PARAMS_CHECKS: &[Check] = &[
    Check::ours(0x0101, "the configuration has its parameters already", "Q13 D13"),
    Check::public(0x0103, "the header, or only its tail, is not accessible", "D52", "kvm-unit-tests s390x/uv-host")
        .then("Map the header in the home space of the caller, in storage that is not secure."),
    Check::public(0x010a, "the length given fits no header, which has 0x1a0 to 0x2000 bytes", "D52", STAGE3A)
        .reason(0x31),
    Check::ours(0x010a, "the magic is wrong", "D52").reason(0),
    Check::public(0x0104, "the header version is not supported", "D52", STAGE3A).reason(0x1),
    Check::public(0x010a, "the header has no key slot", "D52", STAGE3A).reason(0x40),
    Check::public(0x010a, "the size of the encrypted area is not 0x80", "D52", STAGE3A).reason(0x39),
    Check::public(0x010a, "the length given differs from the header's own size", "D52", STAGE3A).reason(0x31),
    Check::public(0x0106, "a plaintext control flag is not supported (z15 gives rrc 0)", "Q20 D15 D53", STAGE3A)
        .reason(0x30),
    Check::public(
        0x0106,
        "a plaintext control flag is not supported (z15; later machines give rrc 0x30)",
        "Q20 D15 D53",
        STAGE3A,
    )
    .reason(0),
    Check::public(0x0108, "no key slot is for this machine's host key", "D52", STAGE3A)
        .reason(0x5)
        .then("Build the image with the host key document of this machine."),
    Check::public(0x0108, "the hash for the backup host key does not match", "D52", STAGE3A).reason(0x34),
    Check::public(0x0108, "the customer's public key is not a point of the curve", "D52", STAGE3A).reason(0xb),
    Check::ours(0x0108, "the key slot does not unwrap", "D52").reason(0),
    Check::ours(0x010a, "the header's authentication tag fails, or it announces optional items", "D52").reason(0),
    Check::public(0x0109, "a secret control flag is not supported", "D52", STAGE3A).reason(0),
];

pub(super) static UNPACK_IMG: Facts = Facts {
    command: Command::UnpackImg,
    aliases: &["unpack"],
    meaning: "Loads one page of the image: the frame with its bytes becomes secure, and is decrypted in place \
        unless the header says that components are plain (flag 35); \
        contents, address and tweak go into three running digests.",
    checks: &[
        Check::ours(0x0101, "no parameters yet, or the image is verified already", "Q13 D51"),
        Check::ours(0x0103, "the address lies outside guest storage or is not aligned to 4 KiB", "D6 D51"),
        Check::public(
            0x010a,
            "the host maps no frame there, or only for reading",
            "T74 D51 D59",
            "Linux arch/s390/kernel/uv.c",
        )
        .then("Fault the page in for writing, then issue the call again."),
        Check::ours(0x0104, "the frame is taken, or holds the control block", "D5 D51"),
        Check::ours(
            0x0105,
            "the page is not absent: already loaded, imported, exported, shared or destroyed",
            "D51 T75 I-35",
        )
        .then("Unpack each page once, and before anything imports it."),
        Check::ours(0x0106, "the tweak does not rise (only on a machine with `strict-tweaks`)", "D50 I-35"),
    ],
    answer: ASK,
    rules: "T73 T74 T75 I-35 Q13 D6 D30 D50 D51",
    source: "Linux arch/s390/kvm/pv.c; the scheme is that of US11354418",
};

const DIGESTS: &str = "The image was altered, loaded to other addresses, in another order or incompletely: load it \
    again in a new \
    configuration. Nothing has changed, and the same call gives the same answer.";

pub(super) static VERIFY_IMG: Facts = Facts {
    command: Command::VerifyImg,
    aliases: &["verify"],
    meaning: "Compares the digests of everything unpacked, and the number of pages, with the image header. Only \
        after its \
        success may a CPU of the guest run.",
    checks: &[
        Check::ours(0x0101, "no parameters yet, or verified already", "Q13"),
        Check::public(0x0102, "the number of pages differs from the header", "D54 I-34", STAGE3A)
            .reason(0x1d)
            .then(DIGESTS),
        Check::public(0x0102, "the digest of the addresses differs (ALD)", "D54 I-34", STAGE3A)
            .reason(0x1a)
            .then(DIGESTS),
        Check::public(0x0102, "the digest of the page contents differs (PLD)", "D54 I-34", STAGE3A)
            .reason(0x1b)
            .then(DIGESTS),
        Check::public(0x0102, "the digest of the tweaks differs (TLD)", "D54 I-34", STAGE3A).reason(0x1c).then(DIGESTS),
    ],
    answer: ASK,
    rules: "I-34 Q13 D54",
    source: "the s390-tools boot loader (stage3a); the idea is that of US11354418",
};
