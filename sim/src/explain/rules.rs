//! The rules by id: transitions T, invariants I-, choices Q, decisions D.

use super::commands;
use super::entry::{Basis, Entry, Heading, Kind};
use super::{rules_choices, rules_decisions, rules_invariants, rules_transitions};

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) kind: Kind,
    pub(super) number: u8,
    pub(super) text: &'static str,
    pub(super) basis: Basis,
}

impl Rule {
    pub(super) const fn new(kind: Kind, number: u8, basis: Basis, text: &'static str) -> Self {
        Self { kind, number, text, basis }
    }

    /// The id as it is written: `T26`, `I-05`, `Q2`, `D11`.
    pub(super) fn id(&self) -> String {
        match self.kind {
            Kind::Invariant => format!("I-{:02}", self.number),
            Kind::Choice => format!("Q{}", self.number),
            Kind::Decision => format!("D{}", self.number),
            _ => format!("T{}", self.number),
        }
    }

    pub(super) fn entry(&self) -> Entry {
        let id = self.id();
        let seen = commands::all().flat_map(|facts| {
            let answers = facts.checks.iter().filter(|check| check.rules.split_whitespace().any(|rule| rule == id));
            answers.map(|check| (format!("{} {}", facts.command.name(), check.codes()), check.when.to_owned()))
        });
        let near = all().filter(|rule| ids_in(rule.text).any(|mentioned| mentioned == id)).map(Rule::id);
        let near: Vec<String> = ids_in(self.text).chain(near).filter(|other| *other != id).collect();
        Entry::new(&*id, self.kind)
            .text(Heading::Meaning, self.text)
            .list(Heading::SeenAs, seen.collect())
            .rules(near.iter().map(String::as_str))
            .text(Heading::Source, self.basis.sentence())
    }
}

/// All rules: T, I-, Q, D, each by rising number.
pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    [rules_transitions::ALL, rules_invariants::ALL, rules_choices::ALL, rules_decisions::ALL].into_iter().flatten()
}

/// The rule of this id, in any spelling of case, hyphen and leading zeros.
pub(super) fn find(id: &str) -> Option<&'static Rule> {
    let (kind, number) = parse(id)?;
    all().find(|rule| rule.kind == kind && u32::from(rule.number) == number)
}

/// Whether this has the form of an id, existing or not: its kind and number.
pub(super) fn parse(id: &str) -> Option<(Kind, u32)> {
    let letter = id.chars().next()?;
    let kind = match letter.to_ascii_lowercase() {
        't' => Kind::Transition,
        'i' => Kind::Invariant,
        'q' => Kind::Choice,
        'd' => Kind::Decision,
        _ => return None,
    };
    let rest = id.get(1..)?;
    let digits = rest.strip_prefix('-').unwrap_or(rest);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((kind, digits.parse().ok()?))
}

/// The ids of one kind in words, such as `T1 to T81`.
pub(super) fn range(kind: Kind) -> String {
    let mut ids = all().filter(|rule| rule.kind == kind).map(Rule::id);
    let first = ids.next().unwrap_or_default();
    format!("{first} to {}", ids.last().unwrap_or_default())
}

/// The ids that a text mentions, in its order.
pub(super) fn ids_in(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.starts_with(['T', 'I', 'Q', 'D'])).filter_map(find).map(Rule::id)
}

/// The text up to the first full stop that ends a sentence.
pub(super) fn first_sentence(text: &str) -> &str {
    text.find(". ").map_or(text, |end| &text[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_complete_and_rising() {
        for (kind, last) in [(Kind::Transition, 81), (Kind::Invariant, 45), (Kind::Choice, 36), (Kind::Decision, 85)] {
            let numbers: Vec<u8> = all().filter(|rule| rule.kind == kind).map(|rule| rule.number).collect();
            assert_eq!(numbers, (1..=last).collect::<Vec<u8>>(), "{kind:?}");
        }
    }

    #[test]
    fn ids_are_found_in_any_spelling_and_only_as_ids() {
        for spelling in ["I-05", "i-5", "i05", "I5"] {
            assert_eq!(find(spelling).map(Rule::id).as_deref(), Some("I-05"), "{spelling}");
        }
        assert_eq!(ids_in("as T26; D24, not TEID, DESTR or T999").collect::<Vec<_>>(), ["T26", "D24"]);
        for other in ["", "t", "t-", "tx", "26", "i--5", "t99999999999"] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert!(find("T82").is_none());
    }

    #[test]
    fn every_text_is_one_or_a_few_whole_sentences() {
        for rule in all() {
            assert!(rule.text.ends_with('.') && rule.text.len() < 420, "{}", rule.id());
            assert!(first_sentence(rule.text).ends_with('.'), "{}", rule.id());
        }
    }
}
