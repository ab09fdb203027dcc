//! The outcomes of the scenario language, as far as they are not a code of their own.

use super::entry::{Entry, Heading, Kind};
use super::interceptions;

/// Every word that `expect=` takes.
pub(super) const NAMES: &[&str] = &[
    "ok",
    "refused",
    "busy",
    "partial",
    "secure-storage-access",
    "non-secure-storage-access",
    "secure-storage-violation",
    "secure-page-size",
    "page-translation",
    "translation-specification",
    "protection",
    "addressing",
    "specification",
    "privileged-operation",
    "operation",
    "intercept",
    "io-refused",
    "unmapped",
    "invalid",
    "no-bounce-slot",
    "no-device",
    "io-error",
    "no-data",
];

/// One outcome.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    meaning: &'static str,
    raised_by: &'static str,
    answer: &'static str,
    rules: &'static str,
    source: &'static str,
}

const LANGUAGE: &str = "The scenario language of this project defines it.";

pub(super) static ALL: &[Outcome] = &[
    Outcome {
        name: "ok",
        meaning: "The statement did what it says: condition code 0, or rc 0x0100 (a success with a remark). It is \
            what a statement \
            without `expect=` must meet. `rc=` may be asked for.",
        raised_by: "Every statement.",
        answer: "Nothing.",
        rules: "D4",
        source: LANGUAGE,
    },
    Outcome {
        name: "refused",
        meaning: "The Ultravisor refused the call: condition code 1 with an rc other than 0x0100. Nothing has \
            changed but rc and \
            rrc; the runner compares the machine before and after. `rc=` and `rrc=` may be asked for.",
        raised_by: "Statements that issue Ultravisor calls, and guest statements whose fault the host could not \
            repair.",
        answer: "Ask for the command with the code, such as `import 0x106`.",
        rules: "I-18 D4 D64",
        source: LANGUAGE,
    },
    Outcome {
        name: "intercept",
        meaning: "The guest left SIE with an interception code that nobody answered. `code=` may be asked for.",
        raised_by: "Guest statements. Under `faults linux` the host answers 112, and 108 of an unshare, by itself.",
        answer: "Ask for the code, such as `intercept 112`.",
        rules: "T20 T60 D72 D80",
        source: LANGUAGE,
    },
    Outcome {
        name: "io-refused",
        meaning: "The channel could not access the frame because it is secure. There is no program interruption; no \
            byte was \
            transferred. A statement about a device of the guest ends so, too, when the device is refused a ring or a \
            buffer: the host could not pin the page because it is not shared, or the channel refused its frame. The \
            message tells which page.",
        raised_by: "`device read` and `device write`, statements of guests about their devices.",
        answer: "A host makes the page accessible first: pin it if it is shared, else export it (`host \
            make-accessible`).",
        rules: "T10 T11 T69 I-09 Q33 D23",
        source: "The channel's refusal is inferred from how Linux prepares pages for I/O; the word is the scenario \
            language's.",
    },
    Outcome {
        name: "unmapped",
        meaning: "The statement needs the frame behind the page, and the host has mapped none.",
        raised_by: "`host export`, `destroy`, `pin` and other statements on a page without a frame. Statements that \
            read or write \
            map one first; import and unpin answer rc 0x010a instead.",
        answer: "Let the host map a frame, for instance by `host write` or `host page-in`.",
        rules: "D68 D70",
        source: LANGUAGE,
    },
    Outcome {
        name: "invalid",
        meaning: "The host kernel refuses a command before it issues any call for it: -EINVAL and its like. There             are no codes, for the Ultravisor was not asked.",
        raised_by: "`host pv` and the statements about vCPUs, where KVM checks the command itself: no protected             virtual machine, unaligned operands, a header of more than 8 KiB, a second configuration to be set             aside, a guest of at most 2 GiB.",
        answer: "Look at the order of the commands.",
        rules: "D83",
        source: "Linux arch/s390/kvm/kvm-s390.c and pv.c decide when; the word is the scenario language's.",
    },
    Outcome {
        name: "no-bounce-slot",
        meaning: "The bounce buffer of the guest has no run of free slots that the request fits into. The driver has \
            given the request back; the device has seen nothing of it.",
        raised_by: "`guest disk-read`, `disk-write`, `send`, `console-write` and `entropy`.",
        answer: "Give the guest more slots (`swiotlb=` of the guest), or make the request smaller.",
        rules: "T56",
        source: "Linux kernel/dma/swiotlb.c, which says \"swiotlb buffer is full\"; the word is the scenario language's.",
    },
    Outcome {
        name: "no-device",
        meaning: "No driver is bound to the device: it does not offer VIRTIO_F_ACCESS_PLATFORM, so that the driver \
            of a protected guest leaves it alone; or the guest has not run yet, or its devices were removed, or the \
            bounce buffer had no room for the buffers that the driver hands out at the start.",
        raised_by: "Statements of guests about their devices.",
        answer: "Write `iommu=#true` at the device, as `iommu='on'` in a domain definition; `host start` binds the \
            drivers again.",
        rules: "T56",
        source: "Linux arch/s390/kernel/uv.c and drivers/virtio/virtio.c require the feature; the word is the scenario \
            language's.",
    },
    Outcome {
        name: "io-error",
        meaning: "The device answered that the request failed, or the driver knows that it would.",
        raised_by: "Statements of guests about their devices: a sector behind the end of the disk, a write to a disk \
            that is read-only.",
        answer: "Look at the sector, and at `read-only=` of the disk.",
        rules: "T10 T11",
        source: "Virtio 1.2, 2.1 and 5.2; the word is the scenario language's.",
    },
    Outcome {
        name: "no-data",
        meaning: "The device has put nothing into the buffers that wait for it.",
        raised_by: "`guest receive`.",
        answer: "Let the other end send first.",
        rules: "",
        source: LANGUAGE,
    },
];

impl Outcome {
    pub(super) fn entry(&self) -> Entry {
        let codes = if self.name == "intercept" {
            interceptions::ALL.iter().map(|one| (one.code.to_string(), one.name.to_owned())).collect()
        } else {
            Vec::new()
        };
        Entry::new(self.name, Kind::Outcome)
            .text(Heading::Meaning, self.meaning)
            .list(Heading::Meaning, codes)
            .text(Heading::RaisedBy, self.raised_by)
            .text(Heading::Answer, self.answer)
            .rules(self.rules.split_whitespace())
            .text(Heading::Source, self.source)
    }
}
