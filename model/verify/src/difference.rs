//! What the two sides do not agree on.

use core::fmt;
use owo_colors::OwoColorize;

/// The first step after which model and oracle were not the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Number of the step, from 1.
    pub step: u64,
    /// Number of the latest step after which these parts were compared and equal. Less than the step before if the
    /// machine has changed something that nobody expected: the step to blame is one after this.
    pub equal_since: u64,
    /// What was done.
    pub what: String,
    /// The rows by which the oracle went.
    pub rules: Vec<&'static str>,
    /// What the oracle lets whoever took the step see.
    pub expected: String,
    /// What the model did.
    pub found: String,
    /// What differs in the state afterwards.
    pub parts: Vec<Part>,
}

/// A part of the state that differs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Part {
    /// Where it is, from the whole to the part.
    pub path: Vec<String>,
    /// What the oracle has.
    pub oracle: String,
    /// What the model has.
    pub model: String,
}

impl Difference {
    /// Both states, in colour, with nothing but what differs.
    #[must_use]
    pub fn tree(&self) -> String {
        let mut tree = Tree::default();
        let mut parts = self.parts.clone();
        parts.sort();
        for part in parts {
            tree.add(&part.path, (part.oracle, part.model));
        }
        let mut text = String::new();
        tree.write(&mut text, "");
        text
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}: {}", "step".bold(), self.step.bold(), self.what)?;
        if self.equal_since + 1 < self.step {
            writeln!(f, "  the states were last compared and equal after step {}", self.equal_since)?;
        }
        if !self.rules.is_empty() {
            writeln!(f, "  by the rules {}", self.rules.join(", "))?;
        }
        if self.expected == self.found {
            writeln!(f, "  both sides: {}", self.found)?;
        } else {
            writeln!(f, "  oracle: {}", self.expected.green())?;
            writeln!(f, "  model:  {}", self.found.red())?;
        }
        if !self.parts.is_empty() {
            writeln!(f, "state after the step:")?;
        }
        f.write_str(&self.tree())
    }
}

/// Parts by their paths.
#[derive(Default)]
struct Tree {
    leaf: Option<(String, String)>,
    branches: Vec<(String, Tree)>,
}

impl Tree {
    fn add(&mut self, path: &[String], leaf: (String, String)) {
        let Some((first, rest)) = path.split_first() else {
            self.leaf = Some(leaf);
            return;
        };
        let at = match self.branches.iter().position(|(name, _)| name == first) {
            Some(at) => at,
            None => {
                self.branches.push((first.clone(), Self::default()));
                self.branches.len() - 1
            }
        };
        self.branches[at].1.add(rest, leaf);
    }

    fn write(&self, text: &mut String, indent: &str) {
        let last = self.branches.len().saturating_sub(1);
        for (number, (name, tree)) in self.branches.iter().enumerate() {
            let (branch, below) = if number == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            text.push_str(&format!("{indent}{branch}{name}"));
            if let Some((oracle, model)) = &tree.leaf {
                text.push_str(&format!(": oracle {} | model {}", oracle.green(), model.red()));
            }
            text.push('\n');
            tree.write(text, &format!("{indent}{below}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(path: &[&str], oracle: &str, model: &str) -> Part {
        Part { path: path.iter().map(ToString::to_string).collect(), oracle: oracle.into(), model: model.into() }
    }

    /// What is left without colours.
    fn plain(text: &str) -> String {
        let mut rest = text;
        let mut plain = String::new();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').map_or("", |(_, after)| after);
        }
        plain + rest
    }

    #[test]
    fn a_tree_shows_common_paths_once_and_both_sides() {
        let difference = Difference {
            step: 7,
            equal_since: 3,
            what: "host uvc conv-from-sec-stor".into(),
            rules: vec!["T44"],
            expected: "condition code 0".into(),
            found: "condition code 0".into(),
            parts: vec![
                part(&["zone", "frame 0x12"], "NonSecure", "Secure"),
                part(&["configuration 0xa", "page 0x3", "record"], "exported", "resident in frame 0x12"),
                part(&["configuration 0xa", "page 0x3", "counter"], "1", "0"),
            ],
        };
        assert_eq!(
            plain(&difference.to_string()),
            "step 7: host uvc conv-from-sec-stor\n  \
               the states were last compared and equal after step 3\n  \
               by the rules T44\n  \
               both sides: condition code 0\n\
             state after the step:\n\
             ├─ configuration 0xa\n\
             │  └─ page 0x3\n\
             │     ├─ counter: oracle 1 | model 0\n\
             │     └─ record: oracle exported | model resident in frame 0x12\n\
             └─ zone\n   \
                └─ frame 0x12: oracle NonSecure | model Secure\n"
        );
        assert!(difference.tree().contains('\u{1b}'), "the sides are coloured");
    }
}
