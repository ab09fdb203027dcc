//! Condition codes, response codes and reason codes.

use uvsim_model::uvc::Response;

use super::commands::{self, Check, Facts};
use super::entry::{Entry, Heading, Kind};

/// A response code that any command may give.
#[derive(Debug)]
pub(super) struct General {
    pub(super) rc: u16,
    /// Not a success: it belongs into the list of a command's refusals.
    pub(super) refusal: bool,
    /// A clause.
    pub(super) short: &'static str,
    meaning: &'static str,
    answer: &'static str,
    rules: &'static str,
    source: &'static str,
}

/// Characters of an rc as text, such as `0x0106`.
const RC_DIGITS: usize = 6;
const LEGEND: &str = "Answers marked ° have codes that are choices of this project, the others are attested. Ask \
    with the command for \
    its source and what to do.";
const KUT: &str = "Linux arch/s390/include/asm/uv.h and kvm-unit-tests s390x/uv-host";
const UV: &str = "Linux arch/s390/include/asm/uv.h";
const CORE: &str = "s390-tools pv_core";

pub(super) static GENERAL: &[General] = &[
    General {
        rc: Response::EXECUTED,
        refusal: false,
        short: "executed",
        meaning: "The call did its work; condition code 0.",
        answer: "Nothing.",
        rules: "D3",
        source: UV,
    },
    General {
        rc: Response::INVALID_COMMAND,
        refusal: true,
        short: "unknown, not installed, or not for this issuer",
        meaning: "The command code is unknown, the machine has not installed the call, or it is not for this issuer: \
            a host may not \
            issue guest calls, nor a guest host calls. It is found before anything else in the block is looked at.",
        answer: "Test the bit of the call in the list of installed calls (QUI) before using it. Linux does, and has \
            a way around \
            most newer calls.",
        rules: "Q32 D2 D14 D36",
        source: "kvm-unit-tests s390x/uv-host and s390x/uv-guest",
    },
    General {
        rc: Response::INVALID_STATE,
        refusal: true,
        short: "the Ultravisor is not initialised",
        meaning: "The Ultravisor is not initialised: every host call but the queries needs INIT_UV first. Found \
            before length and \
            operands.",
        answer: "Issue INIT_UV first.",
        rules: "I-31 Q18 D2",
        source: KUT,
    },
    General {
        rc: Response::INVALID_LENGTH,
        refusal: true,
        short: "wrong block length",
        meaning: "The length in the header of the control block is not the one that the command wants. Only QUI \
            accepts more than \
            one length.",
        answer: "Correct the length; ask for the command to see it.",
        rules: "Q16 Q18 D2",
        source: KUT,
    },
    General {
        rc: Response::NO_RESUME,
        refusal: false,
        short: "cannot be resumed",
        meaning: "A call that had answered condition code 3 cannot be continued. It never arises in this model.",
        answer: "Start the operation again.",
        rules: "D17",
        source: UV,
    },
    General {
        rc: Response::INVALID_CONFIGURATION_HANDLE,
        refusal: true,
        short: "invalid configuration handle",
        meaning: "No configuration has this handle. Handles are wide and never used again, so that of a destroyed \
            configuration \
            stays invalid.",
        answer: "Use the handle that CREATE_SEC_CONF has returned.",
        rules: "I-32 Q27 D2 D20",
        source: KUT,
    },
    General {
        rc: Response::INVALID_CPU_HANDLE,
        refusal: true,
        short: "invalid CPU handle",
        meaning: "No CPU has this handle. Handles are wide and never used again.",
        answer: "Use the handle that CREATE_SEC_CPU has returned.",
        rules: "Q27 D2 D15 D20",
        source: KUT,
    },
    General {
        rc: Response::REAL_SPACE_ASCE,
        refusal: false,
        short: "the home ASCE is a real-space ASCE",
        meaning: "The home ASCE of the caller has its real-space bit on, so a virtual operand cannot be translated.",
        answer: "Issue the call with translation tables in the home space (CR13).",
        rules: "D11",
        source: CORE,
    },
    General {
        rc: Response::OPERAND_TRANSLATION,
        refusal: false,
        short: "a virtual operand does not translate",
        meaning: "An operand that the block names by virtual address has no translation. (A control block without \
            one is a program \
            interruption instead.)",
        answer: "Map the operand and issue the call again.",
        rules: "D11 D57",
        source: CORE,
    },
    General {
        rc: Response::OPERAND_ADDRESS,
        refusal: false,
        short: "a virtual operand lies outside storage",
        meaning: "An operand that the block names by virtual address translates to an address outside storage.",
        answer: "Correct the translation tables.",
        rules: "D11",
        source: CORE,
    },
    General {
        rc: Response::MORE_DATA,
        refusal: false,
        short: "more data than the buffer holds",
        meaning: "More data are available than the buffer holds: a success with a remark, condition code 1.",
        answer: "Nothing, or ask again with a longer block (QUI) or the next index (LIST_SECRETS).",
        rules: "D4",
        source: KUT,
    },
];

impl General {
    /// The code as one command gives it.
    pub(super) fn entry_of(&self, facts: &Facts) -> Entry {
        self.finish(
            Entry::new(format!("{}, rc {:#06x}", facts.command.name(), self.rc), Kind::ResponseCode)
                .text(Heading::Meaning, self.meaning)
                .text(Heading::RaisedBy, facts.title()),
        )
    }

    fn finish(&self, entry: Entry) -> Entry {
        entry
            .text(Heading::Answer, self.answer)
            .rules(self.rules.split_whitespace())
            .text(Heading::Source, format!("Attested by {}.", self.source))
    }
}

/// A response code without its command: what it means everywhere, and which commands give it.
pub(super) fn response(rc: u16, rrc: Option<u16>) -> Vec<Entry> {
    let general = GENERAL.iter().find(|code| code.rc == rc && rrc.is_none_or(|rrc| rrc == 0));
    let own = own_meanings(true, |check| check.matches(rc, rrc));
    let flagged = rc & Response::DESTROY_NEEDED != 0 && rrc.is_none_or(|rrc| rrc == 0);
    if general.is_none() && own.is_empty() && !flagged {
        return Vec::new();
    }
    let rrc = rrc.map_or_else(String::new, |rrc| format!(", rrc {rrc:#x}"));
    let mut entry = Entry::new(format!("rc {rc:#06x}{rrc}"), Kind::ResponseCode);
    match general {
        Some(code) => {
            entry = entry.text(Heading::Meaning, code.meaning);
            let givers = commands::all().filter(|facts| code.refusal && facts.gives_general(rc));
            let names: Vec<&str> = givers.map(|facts| facts.command.name()).collect();
            entry = entry.text(Heading::RaisedBy, names.join(", ")).list(Heading::RaisedBy, own);
            entry = code.finish(entry);
        }
        None if flagged => entry = destroy_needed(rc, entry).list(Heading::RaisedBy, own),
        None => {
            entry = entry
                .text(
                    Heading::Meaning,
                    "It means something else for each command. Ask for one, such as `import 0x106`.",
                )
                .list(Heading::RaisedBy, own)
                .text(Heading::Source, LEGEND);
        }
    }
    vec![entry]
}

/// A reason code without its response code.
pub(super) fn reason(rrc: u16) -> Vec<Entry> {
    let own = own_meanings(false, |check| check.rrc == Some(rrc) && rrc != 0);
    if own.is_empty() {
        return Vec::new();
    }
    let meaning = "A reason code refines the response code of one command.";
    vec![
        Entry::new(format!("rrc {rrc:#x}"), Kind::ReasonCode)
            .text(Heading::Meaning, meaning)
            .list(Heading::RaisedBy, own)
            .text(Heading::Source, LEGEND),
    ]
}

/// What each command means by it, without the rc if `rc` is known.
fn own_meanings(rc_known: bool, wanted: impl Fn(&Check) -> bool) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = Vec::new();
    for facts in commands::all() {
        for check in facts.checks.iter().filter(|check| wanted(check)) {
            let codes = check.codes();
            let codes = if rc_known { codes.get(RC_DIGITS..).unwrap_or_default() } else { &*format!(" {codes}") };
            list.push((format!("{}{codes}", facts.command.name()), commands::sentence(check.when)));
        }
    }
    list
}

/// CREATE_SEC_CONF with the flag 0x8000 in an rc that is not in its table.
pub(super) fn late_failure(rc: u16) -> Entry {
    destroy_needed(rc, Entry::new(format!("create-sec-conf, rc {rc:#06x}"), Kind::ResponseCode))
}

fn destroy_needed(rc: u16, entry: Entry) -> Entry {
    let rest = rc & !Response::DESTROY_NEEDED;
    let reason = if rest == 0 { String::new() } else { format!("Without the flag the code is {rest:#06x}.") };
    entry
        .text(
            Heading::Meaning,
            "The flag 0x8000 in the rc of CREATE_SEC_CONF: it failed late, and the handle in the block is valid.",
        )
        .text(Heading::Meaning, reason)
        .text(
            Heading::Answer,
            "Destroy the configuration with the handle returned. Linux issues DESTROY_SEC_CONF at once.",
        )
        .rules(["D4", "D17"])
        .text(Heading::Source, format!("Attested by {UV} and kvm/pv.c."))
}

/// A condition code of the UVC instruction.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) code: u8,
    pub(super) name: &'static str,
    meaning: &'static str,
    raised_by: &'static str,
    answer: &'static str,
    rules: &'static str,
}

pub(super) static CONDITIONS: &[Condition] = &[
    Condition {
        code: 0,
        name: "done",
        meaning: "The call is done: rc is 0x0001, rrc 0, and the outputs are stored.",
        raised_by: "Every command.",
        answer: "Nothing.",
        rules: "D3",
    },
    Condition {
        code: 1,
        name: "other",
        meaning: "The call finished with an rc other than 0x0001: a refusal, which has changed nothing, or 0x0100 \
            (more data), which \
            is a success with a remark. In a scenario: `refused`, or `ok` for 0x0100.",
        raised_by: "Every command.",
        answer: "Read rc and rrc, and ask for the command with them.",
        rules: "I-18 D3 D4",
    },
    Condition {
        code: 2,
        name: "busy",
        meaning: "Another call holds what this one needs, so nothing was done and nothing was stored. Calls never \
            wait for each \
            other.",
        raised_by: "Every command; `host inject COMMAND busy=N` makes it arise at will.",
        answer: "Issue the call again with the same block. Linux first gives up its locks on the import path.",
        rules: "I-18 I-44 Q19 D3 D17 D33",
    },
    Condition {
        code: 3,
        name: "partial",
        meaning: "The call is long and not finished.",
        raised_by: "Any command that takes long; in this model only `host inject COMMAND partial=N`, and then \
            nothing has changed \
            before the last call.",
        answer: "Issue the call again with the same, unmodified block. Linux gives up the processor in between.",
        rules: "Q19 D3 D17",
    },
];

impl Condition {
    pub(super) fn entry(&self) -> Entry {
        Entry::new(format!("cc {} {}", self.code, self.name), Kind::ConditionCode)
            .text(Heading::Meaning, self.meaning)
            .text(Heading::RaisedBy, self.raised_by)
            .text(Heading::Answer, self.answer)
            .rules(self.rules.split_whitespace())
            .text(Heading::Source, format!("Attested by {UV}."))
    }
}
