//! Diagnose 0x308, by which a guest asks its hypervisor for a protected start or for a reset.

use super::entry::{Entry, Heading, Kind};

/// Its function code.
const FUNCTION: u16 = 0x308;

/// What may be asked for, `-` for blanks.
pub(super) const NAMES: &[&str] = &["diagnose", "diag", "diagnose-0x308", "diagnose-308", "diag-0x308", "diag-308"];

/// Codes in register 1 and what they say. 0x0001, done, is no name of this subject: it answers everything.
const RESPONSES: &[(u16, &str)] = &[
    (0x0001, "done"),
    (0x0102, "subcode 9: no IPL parameter block has been set"),
    (0x0402, "subcode 8: the IPL parameter block is not valid (length, type, components, alignment, tweak prefixes)"),
    (0x0902, "subcode 10: no block for a protected start has been set"),
    (0x0a02, "subcode 10: the start failed; with the command of KVM, rrc and rc in front of it, 16 bits each"),
];

/// Whether a number may mean this diagnose: its function or one of its refusals.
pub(super) fn has(value: u16) -> bool {
    value == FUNCTION || RESPONSES.iter().skip(1).any(|(code, _)| *code == value)
}

pub(super) fn entry() -> Entry {
    let responses = RESPONSES.iter().map(|(code, meaning)| (format!("{code:#06x}"), (*meaning).to_owned()));
    Entry::new("diagnose 0x308", Kind::Diagnose)
        .text(
            Heading::Meaning,
            "A guest asks its hypervisor, not the Ultravisor: subcodes 8 and 9 set and store the IPL parameter block, \
             10 starts the guest protected; a protected guest uses 0, 1 and 3 for resets, which end in \
             interception 108. The answer is in register 1:",
        )
        .list(Heading::Meaning, responses.collect())
        .text(
            Heading::Meaning,
            "In a scenario: `guest diagnose GUEST 0x308 subcode=10`; `host reset GUEST` answers a request for a reset.",
        )
        .text(Heading::RaisedBy, "`guest diagnose` of a guest that is not protected, as far as codes are concerned.")
        .text(
            Heading::Answer,
            "0x0402: check the block, which `uvsim image build` writes correctly. 0x0a02: explain the command with its \
             code, such as `set-sec-conf-params 0x108/0x5`.",
        )
        .text(Heading::Source, "Attested by QEMU hw/s390x/ipl.h and target/s390x/diag.c.")
}
