//! Interceptions: why SIE ended and the host is asked.

use super::entry::{Entry, Heading, Kind};

/// One interception code of a secure guest.
#[derive(Debug)]
pub(super) struct Interception {
    pub(super) code: u8,
    pub(super) name: &'static str,
    meaning: &'static str,
    raised_by: &'static str,
    answer: &'static str,
    rules: &'static str,
    source: &'static str,
}

pub(super) static ALL: &[Interception] = &[
    Interception {
        code: 32,
        name: "validity",
        meaning: "The CPU cannot be dispatched; nothing ran and nothing changed. The reason is in bits 0 to 15 of \
            ipb; those of \
            the Ultravisor are 0x20xx.",
        raised_by: "Dispatch with CR1 other than the ASCE of CREATE_SEC_CONF, a wrong handle or one of another \
            configuration, a \
            state description other than the CPU's own, a CPU that already runs or does not operate, an image not verified, a \
            reset not finished, a CPU timer that was raised or lowered too far, an interruption that the guest has not enabled, or \
            a dump in progress. A guest statement for a vCPU that does not exist or operate ends so too.",
        answer: "Correct the field, or finish the reset protocol, and dispatch again. KVM ends the run of the vCPU \
            with an error.",
        rules: "I-34 I-36 Q26 D78 D79 D80 D81",
        source: "kvm-unit-tests s390x/pv-icptcode and s390x/pv-ipl",
    },
    Interception {
        code: 96,
        name: "machine-check-request",
        meaning: "The guest is now enabled for a machine check that the host wants to inject.",
        raised_by: "A secure guest, when its masks change.",
        answer: "Inject the pending machine check at the next entry.",
        rules: "",
        source: "Linux arch/s390/include/asm/kvm_host.h",
    },
    Interception {
        code: 100,
        name: "interrupt-enablement",
        meaning: "The guest changed its masks (PSW, CR0, CR6, CR14), so a pending interruption may go in.",
        raised_by: "A secure guest that loads such a mask.",
        answer: "Inject what is pending at the next entry.",
        rules: "",
        source: "Linux arch/s390/include/asm/kvm_host.h; the idea is that of US11308215",
    },
    Interception {
        code: 104,
        name: "secure-instruction",
        meaning: "An instruction that the host must complete; the guest waits. Only the operands that the host needs \
            are exposed, \
            storage operands through the SIDA.",
        raised_by: "A secure guest: SERVICE CALL, diagnose 0x500, diagnose 0x288 and others.",
        answer: "Emulate the instruction, or inject a specification or operand exception, then enter again.",
        rules: "Q22",
        source: "Linux arch/s390/kvm and kvm-unit-tests s390x/pv-diags; the idea is that of US10956188",
    },
    Interception {
        code: 108,
        name: "secure-instruction-notification",
        meaning: "The Ultravisor has done the instruction, or the host only has to react. No exception may be \
            injected. With ipa \
            0xb9a4 it is the unshare of a pinned page: nothing has happened yet, and the guest's control block is in the SIDA.",
        raised_by: "A secure guest: SET PREFIX, SIGP, diagnose 0x44, 0x9c and 0x308, SERVICE CALL when it is \
            finished, and UVC \
            (REMOVE_SHARED_ACCESS of a pinned page).",
        answer: "React and enter again. For the unshare: UNPIN_PAGE_SHARED with the address from the SIDA; the guest \
            repeats its call, \
            and exits again if the page is still pinned.",
        rules: "T60 T66 I-26 D32 D72",
        source: "Linux arch/s390/kvm/intercept.c and kvm-unit-tests s390x/pv-icptcode",
    },
    Interception {
        code: 112,
        name: "prefix-not-secure",
        meaning: "A prefix page of the CPU is not there: not mapped, not secure or shared for this guest, or under a \
            large mapping. \
            Nothing ran.",
        raised_by: "Dispatch of a secure CPU, for instance after the host has exported page 0 or 1, also if it was \
            shared.",
        answer: "Import both prefix pages (prefix and prefix plus 4 KiB) and dispatch again, as Linux does.",
        rules: "T20 T21 D8 D35 D80",
        source: "Linux arch/s390/kvm/intercept.c and kvm-unit-tests s390x/pv-icptcode; the idea is that of US12020059",
    },
];

impl Interception {
    pub(super) fn entry(&self) -> Entry {
        Entry::new(format!("{} ({:#04x}) {}", self.code, self.code, self.name), Kind::Interception)
            .text(Heading::Meaning, self.meaning)
            .text(Heading::Meaning, format!("In a scenario: `expect=intercept code={}`.", self.code))
            .text(Heading::RaisedBy, self.raised_by)
            .text(Heading::Answer, self.answer)
            .rules(self.rules.split_whitespace())
            .text(Heading::Source, format!("Attested by {}.", self.source))
    }
}
