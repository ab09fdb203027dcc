//! What a fuzzer calls with any bytes: each target gives an answer, and says so if something that must hold did not.
//!
//! A panic is a find as well, but none is provoked here: the binaries in `model/fuzz` turn a [`Fault`] into one, and
//! ordinary tests look at it. An input means the same to both, so what a fuzzer has found can be kept as a file and
//! replayed by `cargo test`.

mod actions;
mod blocks;
mod domain;
mod images;
mod lanes;
mod prepared;
mod recipes;
mod running;
mod scenario;
mod traces;
mod words;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its binary, its dictionary and its folders.
    pub name: &'static str,
    /// What an input is.
    pub about: &'static str,
    /// Takes an input.
    pub run: fn(&[u8]) -> Result<(), Fault>,
    /// Inputs to begin with, by name.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
    /// Pieces that inputs are made of.
    pub words: fn() -> Vec<Vec<u8>>,
}

/// Something that must hold for every input did not hold for this one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}\n{shown}")]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// The input as a person would write it, where that is another form than the bytes.
    pub shown: String,
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), shown: String::new() }
    }

    fn in_text(message: impl Into<String>, text: &str) -> Self {
        Self { message: message.into(), shown: text.to_owned() }
    }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "scenario",
        about: "the text of a scenario: read, and run if it is small",
        run: scenario::run,
        seeds: scenario::seeds,
        words: words::scenario,
    },
    Target {
        name: "actions",
        about: "a machine with guests, and what a host and they do",
        run: actions::run,
        seeds: actions::seeds,
        words: words::none,
    },
    Target {
        name: "blocks",
        about: "control blocks of a host and of guests, 528 bytes each",
        run: blocks::run,
        seeds: blocks::seeds,
        words: words::blocks,
    },
    Target {
        name: "images",
        about: "an image file or a bare SE header, which is handed over as well",
        run: images::run,
        seeds: images::seeds,
        words: words::images,
    },
    Target {
        name: "recipes",
        about: "what an image is made from; it is made, read and booted",
        run: recipes::run,
        seeds: recipes::seeds,
        words: words::recipes,
    },
    Target {
        name: "domain",
        about: "a domain definition of libvirt",
        run: domain::run,
        seeds: domain::seeds,
        words: words::domain,
    },
    Target {
        name: "traces",
        about: "a recorded trace in any form",
        run: traces::run,
        seeds: traces::seeds,
        words: words::traces,
    },
    Target {
        name: "lanes",
        about: "a seed, and statements of two lanes that take turns",
        run: lanes::in_turn,
        seeds: lanes::seeds,
        words: words::none,
    },
    Target {
        name: "threads",
        about: "the same, each lane on a thread of its own",
        run: lanes::on_threads,
        seeds: lanes::seeds,
        words: words::none,
    },
];

impl Target {
    /// Its words, as libFuzzer and others read them from a file: one in quotation marks on each line.
    #[must_use]
    pub fn dictionary(&self) -> String {
        let quoted = |byte: u8| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(byte)),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        };
        let line = |word: Vec<u8>| format!("\"{}\"\n", word.into_iter().map(quoted).collect::<String>());
        (self.words)().into_iter().map(line).collect()
    }
}

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Fails with this message unless the condition holds.
fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::new(message())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_takes_nothing_and_rubbish() {
        for target in TARGETS {
            for input in [&b""[..], &[0], &[0xff; 700], b"scenario s\nguest a memory=\"1MiB\"\n", &[0; 5000]] {
                assert_eq!((target.run)(input), Ok(()), "{}", target.name);
            }
        }
    }

    #[test]
    fn seeds_are_inputs_like_any_other() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{}", target.name);
            for (name, data) in seeds {
                assert_eq!((target.run)(&data), Ok(()), "{} {name}", target.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_found_again() {
        for target in TARGETS {
            assert_eq!(super::target(target.name).map(|found| found.about), Some(target.about));
        }
        assert!(target("").is_none());
    }
}
