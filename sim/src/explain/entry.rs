//! What an explanation is made of.

use super::rules;

/// One explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The subject, on one line.
    pub title: String,
    /// What sort of thing the subject is.
    pub kind: Kind,
    /// The text, in reading order. No heading occurs twice.
    pub sections: Vec<Section>,
}

/// What an entry explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The list of everything that can be asked for.
    Index,
    /// An Ultravisor call.
    Command,
    /// A condition code of the UVC instruction.
    ConditionCode,
    /// A response code, of all commands or of one.
    ResponseCode,
    /// A reason code, which refines a response code.
    ReasonCode,
    /// A program interruption.
    ProgramInterruption,
    /// A SIE interception.
    Interception,
    /// An outcome of the scenario language.
    Outcome,
    /// A diagnose, by which a guest speaks to its hypervisor.
    Diagnose,
    /// A storage transition, T1 to T81.
    Transition,
    /// An invariant, I-01 to I-45.
    Invariant,
    /// A modelling choice, Q1 to Q36.
    Choice,
    /// A decision, D1 to D85.
    Decision,
}

impl Kind {
    /// The kind in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Index => "index",
            Kind::Command => "Ultravisor call",
            Kind::ConditionCode => "condition code",
            Kind::ResponseCode => "response code",
            Kind::ReasonCode => "reason code",
            Kind::ProgramInterruption => "program interruption",
            Kind::Interception => "interception",
            Kind::Outcome => "outcome in a scenario",
            Kind::Diagnose => "a guest's request",
            Kind::Transition => "transition",
            Kind::Invariant => "invariant",
            Kind::Choice => "modelling choice",
            Kind::Decision => "decision",
        }
    }
}

/// A part of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What the part is about.
    pub heading: Heading,
    /// Its paragraphs and lists, not wrapped.
    pub blocks: Vec<Block>,
}

/// The headings that an entry may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Heading {
    /// What the subject means.
    Meaning,
    /// What can be asked for.
    Topics,
    /// The fields of the control block.
    Fields,
    /// The checks of a command, in the order in which they are made.
    Checks,
    /// Who can raise it, and when.
    RaisedBy,
    /// The answers in which a rule shows.
    SeenAs,
    /// What a host (or a guest) does about it.
    Answer,
    /// The rules behind it, restated.
    Rules,
    /// Where it is attested, or that it is a choice.
    Source,
    /// Other readings of the query.
    SeeAlso,
}

impl Heading {
    /// The heading in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Heading::Meaning => "Meaning",
            Heading::Topics => "Topics",
            Heading::Fields => "Control block",
            Heading::Checks => "Answers, in the order of the checks",
            Heading::RaisedBy => "Raised by",
            Heading::SeenAs => "Seen as",
            Heading::Answer => "What to do",
            Heading::Rules => "Rules",
            Heading::Source => "Source",
            Heading::SeeAlso => "See also",
        }
    }
}

/// A piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Running text.
    Paragraph(String),
    /// A list of labels and what they stand for.
    List(Vec<(String, String)>),
}

/// Where a fact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// A public source states or tests it.
    Public(&'static str),
    /// No source states it, but public callers rely on it.
    Inferred,
    /// Nothing public settles it.
    Choice,
}

impl Basis {
    pub(super) fn sentence(self) -> String {
        match self {
            Basis::Public(source) => format!("Attested by {source}."),
            Basis::Inferred => "Not stated by a public source; it follows from how public callers behave.".to_owned(),
            Basis::Choice => "A choice of this project: no public source settles it.".to_owned(),
        }
    }

    pub(super) const fn mark(self) -> &'static str {
        match self {
            Basis::Choice => "°",
            Basis::Public(_) | Basis::Inferred => "",
        }
    }
}

impl Entry {
    /// The section under this heading.
    #[must_use]
    pub fn section(&self, heading: Heading) -> Option<&Section> {
        self.sections.iter().find(|section| section.heading == heading)
    }

    pub(super) fn new(title: impl Into<String>, kind: Kind) -> Self {
        Self { title: title.into(), kind, sections: Vec::new() }
    }

    /// Adds a paragraph, unless there is nothing to say.
    pub(super) fn text(self, heading: Heading, text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() { self } else { self.block(heading, Block::Paragraph(text)) }
    }

    /// Adds a list, unless it is empty.
    pub(super) fn list(self, heading: Heading, list: Vec<(String, String)>) -> Self {
        if list.is_empty() { self } else { self.block(heading, Block::List(list)) }
    }

    /// Adds the rules of these ids with the first sentence of each.
    pub(super) fn rules<'a>(self, ids: impl IntoIterator<Item = &'a str>) -> Self {
        let mut list: Vec<(String, String)> = Vec::new();
        for rule in ids.into_iter().filter_map(rules::find) {
            let id = rule.id();
            if list.iter().all(|(known, _)| *known != id) {
                list.push((id, rules::first_sentence(rule.text).to_owned()));
            }
        }
        self.list(Heading::Rules, list)
    }

    fn block(mut self, heading: Heading, block: Block) -> Self {
        match self.sections.iter_mut().find(|section| section.heading == heading) {
            Some(section) => section.blocks.push(block),
            None => self.sections.push(Section { heading, blocks: vec![block] }),
        }
        self
    }
}
