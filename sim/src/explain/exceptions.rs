//! Program interruptions that the model can raise.

use super::entry::{Entry, Heading, Kind};
use super::outcomes;

/// One program interruption.
#[derive(Debug)]
pub(super) struct Exception {
    pub(super) code: u8,
    pub(super) name: &'static str,
    meaning: &'static str,
    raised_by: &'static str,
    answer: &'static str,
    rules: &'static str,
    source: &'static str,
}

const PRINCIPLES: &str = "the z/Architecture definition of program interruptions";
const FAULT_IN: &str = "Map a frame and let the instruction repeat: nothing has happened yet. For a page of a secure \
    guest a host \
    then also imports it.";

pub(super) static ALL: &[Exception] = &[
    Exception {
        code: 0x01,
        name: "operation",
        meaning: "Operation exception: the instruction does not exist.",
        raised_by: "A UVC instruction on a machine without the Ultravisor-call facility (facility bit 158).",
        answer: "Test facility 158 before the first call; a kernel without it runs without Secure Execution.",
        rules: "",
        source: "Linux arch/s390/boot/uv.c, which tests the facility first; the interruption follows from the \
            architecture",
    },
    Exception {
        code: 0x02,
        name: "privileged-operation",
        meaning: "Privileged-operation exception: the instruction is for the supervisor only.",
        raised_by: "Any Ultravisor call in the problem state, by host or guest, the query included.",
        answer: "Issue the call in the supervisor state; programs go through /dev/kvm or /dev/uv.",
        rules: "D2",
        source: "kvm-unit-tests s390x/uv-host and s390x/uv-guest",
    },
    Exception {
        code: 0x03,
        name: "execute",
        meaning: "Execute exception: an EXECUTE instruction whose target is an EXECUTE.",
        raised_by: "Nothing in this model: no instruction stream is executed.",
        answer: "None.",
        rules: "",
        source: PRINCIPLES,
    },
    Exception {
        code: 0x04,
        name: "protection",
        meaning: "Protection exception: a store to a page that is mapped for reading only.",
        raised_by: "A store through a protected entry anywhere on the path of the translation. A control block on \
            such a page \
            raises it at once, since rc must be stored.",
        answer: "Map the page for writing. The access is suppressed; nothing was stored.",
        rules: "D3 D19 D59 D76",
        source: PRINCIPLES,
    },
    Exception {
        code: 0x05,
        name: "addressing",
        meaning: "Addressing exception: an address outside storage.",
        raised_by: "An access whose frame, or a translation table, lies outside storage; a guest that touches an \
            address beyond \
            its own storage, which is interrupted itself.",
        answer: "Correct the address or the tables; an access beyond guest storage is the guest's own error.",
        rules: "T22 D59 D71",
        source: PRINCIPLES,
    },
    Exception {
        code: 0x06,
        name: "specification",
        meaning: "Specification exception: the instruction itself is malformed.",
        raised_by: "A UVC instruction with a non-zero immediate field, or whose control block is not on an 8-byte \
            boundary. A \
            host may inject it into a guest after an interception 104.",
        answer: "Correct the instruction or the alignment.",
        rules: "Q17 D2",
        source: "kvm-unit-tests s390x/uv-host (immediate); the alignment is inferred from the layouts",
    },
    Exception {
        code: 0x10,
        name: "segment-translation",
        meaning: "No translation: the segment-table entry is invalid, or the table is too short.",
        raised_by: "Any access through the tables of an address space.",
        answer: FAULT_IN,
        rules: "T13 I-39 D59 D62",
        source: PRINCIPLES,
    },
    Exception {
        code: 0x11,
        name: "page-translation",
        meaning: "No translation: the page-table entry is invalid. In a scenario the word covers every missing \
            mapping: 0x10, 0x11 \
            and 0x38 to 0x3b.",
        raised_by: "Any access through the tables of an address space. For a secure guest it is an interruption of \
            the host, out \
            of SIE; for a control block, of the issuer.",
        answer: FAULT_IN,
        rules: "T13 I-39 D2 D18 D59 D62",
        source: "kvm-unit-tests s390x/uv-host (control blocks) and Linux arch/s390/mm/fault.c",
    },
    Exception {
        code: 0x12,
        name: "translation-specification",
        meaning: "A translation table is malformed: a wrong table type, a reserved bit, or a common-segment bit in a \
            private space.",
        raised_by: "Any access through such an entry.",
        answer: "Correct the tables: repeating the access cannot help.",
        rules: "D59 D60 D76",
        source: PRINCIPLES,
    },
    Exception {
        code: 0x15,
        name: "operand",
        meaning: "Operand exception: an operand holds an invalid value.",
        raised_by: "Only a host that injects it into a guest, at the entry after an interception 104 (as for \
            diagnose 0x500).",
        answer: "It is the guest's: its kernel handles the failed instruction.",
        rules: "",
        source: "kvm-unit-tests s390x/pv-diags",
    },
    Exception {
        code: 0x38,
        name: "asce-type",
        meaning: "The address lies outside the space that the ASCE describes.",
        raised_by: "Any access with a virtual address too large for the type of its top table.",
        answer: "Use a larger address space, or an address inside it.",
        rules: "D59 D62",
        source: PRINCIPLES,
    },
    Exception {
        code: 0x39,
        name: "region-first-translation",
        meaning: "No translation: the region-first-table entry is invalid, or the table is too short.",
        raised_by: "Any access through the tables of an address space.",
        answer: FAULT_IN,
        rules: "D59",
        source: PRINCIPLES,
    },
    Exception {
        code: 0x3a,
        name: "region-second-translation",
        meaning: "No translation: the region-second-table entry is invalid, or the table is too short.",
        raised_by: "Any access through the tables of an address space.",
        answer: FAULT_IN,
        rules: "D59",
        source: PRINCIPLES,
    },
    Exception {
        code: 0x3b,
        name: "region-third-translation",
        meaning: "No translation: the region-third-table entry is invalid, or the table is too short.",
        raised_by: "Any access through the tables of an address space.",
        answer: FAULT_IN,
        rules: "D59",
        source: PRINCIPLES,
    },
    Exception {
        code: 0x3c,
        name: "secure-page-size",
        meaning: "A secure guest reached a page through a large mapping that was not verified. The prefix pages give \
            interception 112 instead.",
        raised_by: "A secure guest's access; delivered to the host, out of SIE, with the virtual address in the TEID.",
        answer: "Map the page with 4 KiB pages. Linux mainline never maps secure guests otherwise and does not \
            handle it.",
        rules: "T21 T81 D19 D35",
        source: "a kvm-unit-tests patch of December 2024, not merged",
    },
    Exception {
        code: 0x3d,
        name: "secure-storage-access",
        meaning: "Somebody who is not secure touched a secure frame: a page of a guest, donated storage, or an \
            orphan. The access \
            did not happen. The TEID names the page if its bit 61 is on.",
        raised_by: "A host CPU, reading or writing with any key; a non-secure guest, out of SIE; a control block or \
            a translation \
            table in a secure frame.",
        answer: "Make the page accessible: pin it if it is shared, else export it; then the instruction repeats. In \
            SIE Linux \
            destroys the page, else exports it. Donated storage cannot be had back this way. Program without repair: SIGSEGV.",
        rules: "T2 T3 T4 T9 T18 I-09 I-38 I-39 D15 D19 D23",
        source: "Linux arch/s390/mm/fault.c and kvm-unit-tests s390x/uv-host; the check is that of US11531627",
    },
    Exception {
        code: 0x3e,
        name: "non-secure-storage-access",
        meaning: "A secure guest touched a page that the host has mapped but that is not secure for it. The access \
            did not happen, \
            and the guest never learns of it.",
        raised_by: "A secure guest's access; delivered to the host, out of SIE, with MSO plus the guest address in \
            the TEID.",
        answer: "Import the page and enter the guest again: the instruction repeats. If the import answers 0x010a, \
            fault the page in \
            first; if it fails otherwise Linux ends the VM with SIGSEGV.",
        rules: "T14 T58 T62 I-19 I-39 D19 D21 D22 D31",
        source: "Linux arch/s390/mm/fault.c; the mechanism is that of US11403409",
    },
    Exception {
        code: 0x3f,
        name: "secure-storage-violation",
        meaning: "A secure guest reached a secure frame that is not this page of its own: it belongs to another \
            guest, another page, \
            the Ultravisor, or to nobody any more. The access did not happen.",
        raised_by: "A secure guest's access; delivered to the host, out of SIE. A host bug, or what an earlier guest \
            left behind \
            after an asynchronous teardown.",
        answer: "Destroy the frame, else export it, then import the page for the guest. If both fail Linux warns and \
            ends the VM \
            with SIGSEGV.",
        rules: "T15 T16 T17 I-19 I-39 D19 D21 D67",
        source: "Linux arch/s390/mm/fault.c and kvm; the check is that of US11531627 and US11182192",
    },
];

impl Exception {
    pub(super) fn entry(&self) -> Entry {
        let outcome = if outcomes::NAMES.contains(&self.name) {
            format!("In a scenario: `expect={}`.", self.name)
        } else {
            String::new()
        };
        Entry::new(format!("{:#04x} {}", self.code, self.name), Kind::ProgramInterruption)
            .text(Heading::Meaning, self.meaning)
            .text(Heading::Meaning, outcome)
            .text(Heading::RaisedBy, self.raised_by)
            .text(Heading::Answer, self.answer)
            .rules(self.rules.split_whitespace())
            .text(Heading::Source, format!("Attested by {}.", self.source))
    }
}
