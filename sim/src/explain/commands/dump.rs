//! Dumps of a guest. Their response codes are not public.

use super::{Check, Command, Facts};

const SOURCE: &str = "Linux arch/s390/kvm/pv.c and the kernel's documentation of protected dumps";
const ANSWER: &str = "The dump fails and the vCPUs may go on.";
const NOT_BEGUN: &[Check] = &[Check::ours(0x0101, "no dump is in progress", "Q31").then("Begin with DUMP_INIT.")];

pub(super) static DUMP_INIT: Facts = Facts {
    command: Command::DumpInit,
    aliases: &["dump"],
    meaning: "Begins a dump. No CPU of the guest may run until DUMP_COMPLETE, and the image must allow dumps \
        (control flag \
        bit 34).",
    checks: &[Check::ours(0x0102, "the image does not allow dumps", "Q31")],
    answer: ANSWER,
    rules: "Q31 D13 D14 D47",
    source: SOURCE,
};

pub(super) static DUMP_CONF_STOR_STATE: Facts = Facts {
    command: Command::DumpConfStorState,
    aliases: &["dump", "dump-storage-state"],
    meaning: "Writes, for 1 MiB of guest storage, 256 entries that tell for each page with which tweak its exported \
        bytes \
        are decrypted, or that it is zero or shared.",
    checks: NOT_BEGUN,
    answer: ANSWER,
    rules: "T78 T79 T80 Q31 D14 D48",
    source: SOURCE,
};

pub(super) static DUMP_CPU: Facts = Facts {
    command: Command::DumpCpu,
    aliases: &["dump"],
    meaning: "Writes the registers of one CPU, encrypted for the owner of the image.",
    checks: NOT_BEGUN,
    answer: ANSWER,
    rules: "Q31 D14",
    source: SOURCE,
};

pub(super) static DUMP_COMPLETE: Facts = Facts {
    command: Command::DumpComplete,
    aliases: &["dump"],
    meaning: "Ends a dump and writes the data with which the owner of the image decrypts it: page key and nonce, \
        sealed.",
    checks: NOT_BEGUN,
    answer: ANSWER,
    rules: "Q31 D14 D47",
    source: SOURCE,
};
