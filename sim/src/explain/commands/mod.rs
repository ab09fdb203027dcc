//! The commands: what each is for, and every answer that it can give.

mod configuration;
mod cpu;
mod dump;
mod guest;
mod image;
mod paging;

use uvsim_model::uvc::{Command, HandleKind, Issuer, Length, Response};

use super::codes;
use super::entry::{Basis, Entry, Heading, Kind};

/// What is known about one command beyond its row of the command table.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) command: Command,
    /// Other names, lower case.
    pub(super) aliases: &'static [&'static str],
    /// What it is for and does.
    pub(super) meaning: &'static str,
    /// Its own checks, in order; the general ones come before.
    pub(super) checks: &'static [Check],
    /// What the caller does when it fails.
    pub(super) answer: &'static str,
    pub(super) rules: &'static str,
    pub(super) source: &'static str,
}

/// One answer of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) rc: u16,
    /// The reason code, if it tells answers with one rc apart.
    pub(super) rrc: Option<u16>,
    pub(super) when: &'static str,
    /// Ids, separated by blanks.
    pub(super) rules: &'static str,
    pub(super) basis: Basis,
    /// What the caller does; empty: as for any failure of the command.
    pub(super) answer: &'static str,
}

impl Check {
    /// An answer that a public source attests.
    const fn public(rc: u16, when: &'static str, rules: &'static str, source: &'static str) -> Self {
        Self { rc, rrc: None, when, rules, basis: Basis::Public(source), answer: "" }
    }

    /// An answer whose code is a choice (°).
    const fn ours(rc: u16, when: &'static str, rules: &'static str) -> Self {
        Self { rc, rrc: None, when, rules, basis: Basis::Choice, answer: "" }
    }

    const fn reason(mut self, rrc: u16) -> Self {
        self.rrc = Some(rrc);
        self
    }

    const fn then(mut self, answer: &'static str) -> Self {
        self.answer = answer;
        self
    }

    /// The codes as text, with ° if they are a choice.
    pub(super) fn codes(&self) -> String {
        let rrc = self.rrc.map_or_else(String::new, |rrc| format!("/{rrc:#x}"));
        format!("{:#06x}{rrc}{}", self.rc, self.basis.mark())
    }

    fn source(&self) -> String {
        match self.basis {
            Basis::Choice => "The code is a choice of this project (°): no public source names it.".to_owned(),
            basis => basis.sentence(),
        }
    }

    pub(super) fn matches(&self, rc: u16, rrc: Option<u16>) -> bool {
        self.rc == rc && rrc.is_none_or(|rrc| self.rrc.unwrap_or(0) == rrc)
    }
}

/// The facts of all commands, by rising code.
pub(super) fn all() -> impl Iterator<Item = &'static Facts> {
    Command::ALL.iter().map(|&command| of(command))
}

/// The facts of this command. The match is exhaustive: a new command does not compile without facts.
pub(super) fn of(command: Command) -> &'static Facts {
    match command {
        Command::QueryUvInformation => &configuration::QUERY_UV_INFORMATION,
        Command::QueryKeys => &configuration::QUERY_KEYS,
        Command::InitUv => &configuration::INIT_UV,
        Command::CreateSecConf => &configuration::CREATE_SEC_CONF,
        Command::DestroySecConf => &configuration::DESTROY_SEC_CONF,
        Command::DestroySecConfFast => &configuration::DESTROY_SEC_CONF_FAST,
        Command::CreateSecCpu => &cpu::CREATE_SEC_CPU,
        Command::DestroySecCpu => &cpu::DESTROY_SEC_CPU,
        Command::ConvToSecStor => &paging::CONV_TO_SEC_STOR,
        Command::ConvFromSecStor => &paging::CONV_FROM_SEC_STOR,
        Command::DestrSecStor => &paging::DESTR_SEC_STOR,
        Command::VerifyLargeFrame => &paging::VERIFY_LARGE_FRAME,
        Command::SetSecConfParams => &image::SET_SEC_CONF_PARAMS,
        Command::UnpackImg => &image::UNPACK_IMG,
        Command::VerifyImg => &image::VERIFY_IMG,
        Command::CpuReset => &cpu::CPU_RESET,
        Command::CpuResetInitial => &cpu::CPU_RESET_INITIAL,
        Command::PrepareReset => &cpu::PREPARE_RESET,
        Command::CpuResetClear => &cpu::CPU_RESET_CLEAR,
        Command::CpuSetState => &cpu::CPU_SET_STATE,
        Command::SetUnsharedAll => &paging::SET_UNSHARED_ALL,
        Command::PinPageShared => &paging::PIN_PAGE_SHARED,
        Command::UnpinPageShared => &paging::UNPIN_PAGE_SHARED,
        Command::DumpInit => &dump::DUMP_INIT,
        Command::DumpConfStorState => &dump::DUMP_CONF_STOR_STATE,
        Command::DumpCpu => &dump::DUMP_CPU,
        Command::DumpComplete => &dump::DUMP_COMPLETE,
        Command::SetSharedAccess => &guest::SET_SHARED_ACCESS,
        Command::RemoveSharedAccess => &guest::REMOVE_SHARED_ACCESS,
        Command::RetrAttest => &guest::RETR_ATTEST,
        Command::AddSecret => &guest::ADD_SECRET,
        Command::ListSecrets => &guest::LIST_SECRETS,
        Command::LockSecrets => &guest::LOCK_SECRETS,
        Command::RetrSecret => &guest::RETR_SECRET,
    }
}

impl Facts {
    /// Every name: the short name, then the aliases.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.command.name()).chain(self.aliases.iter().copied())
    }

    /// Whether the general code can come from this command.
    pub(super) fn gives_general(&self, rc: u16) -> bool {
        let row = self.command.row();
        match rc {
            Response::EXECUTED | Response::INVALID_COMMAND | Response::INVALID_LENGTH => true,
            Response::INVALID_STATE => row.needs_init,
            Response::INVALID_CONFIGURATION_HANDLE => matches!(row.handle, HandleKind::Configuration(_)),
            Response::INVALID_CPU_HANDLE => matches!(row.handle, HandleKind::Cpu(_)),
            _ => false,
        }
    }

    pub(super) fn title(&self) -> String {
        match self.aliases.first() {
            Some(alias) => format!("{} ({alias}), command {:#06x}", self.command.name(), self.command.code()),
            None => format!("{}, command {:#06x}", self.command.name(), self.command.code()),
        }
    }

    pub(super) fn entry(&self) -> Entry {
        let fields = self.command.row().fields.iter().map(|field| {
            let direction = if field.output { ", set by the Ultravisor" } else { "" };
            (format!("{:#04x}", field.offset), format!("{} ({} bytes{direction})", field.name, field.size))
        });
        let general = codes::GENERAL.iter().filter(|code| code.refusal && self.gives_general(code.rc));
        let general = general.map(|code| (format!("{:#06x}", code.rc), code.short.to_owned()));
        let own = self.checks.iter().map(|check| {
            let rules = check.rules.split_whitespace().collect::<Vec<_>>().join(", ");
            (check.codes(), format!("{} ({rules})", check.when))
        });
        Entry::new(self.title(), Kind::Command)
            .text(Heading::Meaning, self.meaning)
            .text(Heading::Meaning, self.row_in_words())
            .list(Heading::Fields, fields.collect())
            .list(Heading::Checks, general.chain(own).collect())
            .text(Heading::Answer, self.answer)
            .rules(self.rules.split_whitespace())
            .text(Heading::Source, format!("Attested by {}. Codes marked ° are choices of this project.", self.source))
    }

    /// The explanation of one code of this command; empty if the command does not give it.
    pub(super) fn code(&self, rc: u16, rrc: Option<u16>) -> Vec<Entry> {
        let mut groups: Vec<Vec<&Check>> = Vec::new();
        for check in self.checks.iter().filter(|check| check.matches(rc, rrc)) {
            match groups.iter_mut().find(|group| group[0].rrc == check.rrc) {
                Some(group) => group.push(check),
                None => groups.push(vec![check]),
            }
        }
        if !groups.is_empty() || rrc.is_some_and(|rrc| rrc != 0) {
            return groups.iter().map(|group| self.answer_entry(group)).collect();
        }
        let general = codes::GENERAL.iter().filter(|code| code.rc == rc && self.gives_general(rc));
        let late = self.command == Command::CreateSecConf && rc & Response::DESTROY_NEEDED != 0;
        general.map(|code| code.entry_of(self)).chain(late.then(|| codes::late_failure(rc))).collect()
    }

    /// What a code of this command means, as a clause; `None` if it does not give the code.
    pub(super) fn short(&self, rc: u16, rrc: u16) -> Option<String> {
        let own: Vec<&str> =
            self.checks.iter().filter(|check| check.matches(rc, Some(rrc))).map(|check| check.when).collect();
        if !own.is_empty() {
            return Some(own.join("; or "));
        }
        let general = codes::GENERAL.iter().find(|code| code.rc == rc && self.gives_general(rc));
        general.map(|code| code.short.to_owned())
    }

    /// The answers with one rc and rrc, which several checks may give.
    fn answer_entry(&self, group: &[&Check]) -> Entry {
        let (rc, rrc) = (group[0].rc, group[0].rrc.map_or_else(String::new, |rrc| format!(", rrc {rrc:#x}")));
        let mut entry = Entry::new(format!("{}, rc {rc:#06x}{rrc}", self.command.name()), Kind::ResponseCode);
        for check in group {
            entry = entry.text(Heading::Meaning, sentence(check.when));
        }
        entry = entry.text(Heading::RaisedBy, self.title());
        let mut answers: Vec<&str> = Vec::new();
        for check in group {
            let answer = if check.answer.is_empty() { self.answer } else { check.answer };
            if !answers.contains(&answer) {
                answers.push(answer);
                entry = entry.text(Heading::Answer, answer);
            }
        }
        entry = entry.rules(group.iter().flat_map(|check| check.rules.split_whitespace()));
        if group.iter().all(|check| check.basis == group[0].basis) {
            return entry.text(Heading::Source, group[0].source());
        }
        let sources = group.iter().map(|check| format!("{} {}", sentence(check.when), check.source()));
        sources.fold(entry, |entry, source| entry.text(Heading::Source, source))
    }

    /// Issuer, length, bit and generations, from the command table.
    fn row_in_words(&self) -> String {
        let row = self.command.row();
        let issuer = match row.issuer {
            Issuer::Host => "the host",
            Issuer::Guest => "a secure guest",
            Issuer::Both => "host and guest",
        };
        let length = match row.length {
            Length::Exact(length) => format!("exactly {length:#x}"),
            Length::AtLeast(length) => format!("at least {length:#x}"),
        };
        let available = if self.command.is_built() {
            format!("installed from {} on (Q32)", first_generation(row.bit))
        } else {
            "known, but not built into this version: every call answers rc 0x0002 (D14)".to_owned()
        };
        format!("Issued by {issuer}; block length {length}; bit {} of the installed calls; {available}.", row.bit)
    }
}

/// Q32.
fn first_generation(bit: u8) -> &'static str {
    match bit {
        0..=22 => "z15",
        23..=31 => "z16",
        _ => "z17",
    }
}

/// A clause of a table as a sentence.
pub(super) fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::rules;

    #[test]
    fn every_command_has_its_own_facts() {
        for (facts, &command) in all().zip(Command::ALL) {
            assert_eq!(facts.command, command);
            assert!(facts.meaning.ends_with('.') && facts.answer.ends_with('.'), "{command:?}");
            assert!(!facts.source.is_empty() && !facts.rules.is_empty(), "{command:?}");
        }
    }

    #[test]
    fn every_rule_that_a_table_names_exists() {
        for facts in all() {
            let checks = facts.checks.iter().flat_map(|check| check.rules.split_whitespace());
            for id in checks.chain(facts.rules.split_whitespace()) {
                assert_eq!(rules::find(id).map(rules::Rule::id).as_deref(), Some(id), "{:?}", facts.command);
            }
            for check in facts.checks {
                assert!(!check.rules.is_empty(), "{:?} {}", facts.command, check.codes());
                assert!(!check.when.ends_with('.'), "a clause, no sentence: {}", check.when);
            }
        }
    }
}
