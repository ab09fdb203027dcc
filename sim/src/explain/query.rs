//! From the words of a query to what they ask for.

use super::commands::{self, Facts};
use super::entry::{Entry, Heading};
use super::names::{self, Subject};
use super::{codes, diagnose, exceptions, interceptions, rules};

/// Nothing is known under this query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing to explain under `{query}`: {reason}")]
pub struct Unknown {
    /// The query, as it was given.
    pub query: String,
    /// Why not.
    pub reason: String,
    /// Queries close to it that have an answer, best first; perhaps none.
    pub suggestions: Vec<String>,
}

/// The most words that the name of a command is made of.
const MAX_NAME_WORDS: usize = 8;

/// Explains what a query asks for; nothing at all gives the index of topics.
///
/// A query is a name (`import`, `CONV_TO_SEC_STOR`, `secure-storage-access`, `busy`), a rule (`T26`, `I-15`,
/// `Q2`, `D24`), or a number (`0x10a`, `266`, `3d`), which may follow a word that says what it is (`rc`, `rrc`,
/// `cc`, `pgm`, `intercept`, `command`) or a command (`import 0x106`, `verify-img 0x102/0x1b`). Case does not
/// matter. Digits without `0x` are decimal, or hexadecimal if that alone makes sense. Whatever has several
/// meanings gives several entries.
///
/// # Errors
///
/// [`Unknown`] if the query has no meaning, with the closest queries that have one.
pub fn lookup(query: &str) -> Result<Vec<Entry>, Unknown> {
    let words = words(query);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = match words.as_slice() {
        ["expect", rest @ ..] if !rest.is_empty() => rest,
        ["refused" | "ok", rest @ ..] if rest.first().is_some_and(|word| matches!(*word, "rc" | "rrc")) => rest,
        ["intercept", "code", number] => &["intercept", *number],
        other => other,
    };
    if words.is_empty() || matches!(words, ["index" | "topics" | "help"]) {
        return Ok(vec![names::index()]);
    }
    let found = names::find(&words.join("-"));
    if !found.is_empty() {
        return Ok(found.into_iter().map(Subject::entry).collect());
    }
    let found = kind_and_number(words).or_else(|| number(words)).unwrap_or_default();
    if !found.is_empty() {
        return Ok(found);
    }
    command_and_code(words)
        .unwrap_or_else(|| Err(unknown(words)))
        .map_err(|unknown| Unknown { query: query.to_owned(), ..unknown })
}

fn words(query: &str) -> Vec<String> {
    let query = query.to_lowercase().replace('_', "-");
    let words = query.split(|c: char| c.is_whitespace() || ",;:/()=`'\"°".contains(c));
    words.map(|word| word.trim_end_matches('.')).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The values that a number may stand for: digits alone are decimal first, then hexadecimal.
fn readings(word: &str) -> Vec<u16> {
    if let Some(digits) = word.strip_prefix("0x") {
        return hexadecimal(digits).into_iter().collect();
    }
    if !word.starts_with(|first: char| first.is_ascii_digit()) {
        return Vec::new();
    }
    let decimal = if word.bytes().all(|byte| byte.is_ascii_digit()) { word.parse().ok() } else { None };
    let mut values: Vec<u16> = decimal.into_iter().chain(hexadecimal(word)).collect();
    values.dedup();
    values
}

fn hexadecimal(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u16::from_str_radix(digits, 16).ok() } else { None }
}

/// `cc 2`, `rc 0x106`, `pgm 3d`, `intercept 108`, `command 0x200`, `rule T26`.
fn kind_and_number(words: &[&str]) -> Option<Vec<Entry>> {
    let (&word, rest) = words.split_first()?;
    if word == "rc" {
        let Codes { rc, rrc } = code_pair(words)?;
        return first_meaning(&rc?, |value| in_pair(&rrc, |reason| codes::response(value, reason)));
    }
    let rest = match (word, rest) {
        ("program", ["interruption" | "exception", number]) => *number,
        (_, [number]) => *number,
        _ => return None,
    };
    match word {
        "cc" | "condition" => first_meaning(&readings(rest), condition),
        "rrc" => first_meaning(&readings(rest), codes::reason),
        "pgm" | "program" | "exception" | "interruption" => first_meaning(&readings(rest), exception),
        "intercept" | "interception" | "icpt" => first_meaning(&readings(rest), interception),
        "command" | "uvc" => match first_meaning(&readings(rest), command) {
            Some(found) => Some(found),
            None => Some(commands_named(rest).map(Facts::entry).collect()),
        },
        "rule" | "transition" | "invariant" | "choice" | "decision" => rules::find(rest).map(|rule| vec![rule.entry()]),
        _ => None,
    }
}

/// A number alone: everything that it may mean. Two numbers are rc and rrc.
fn number(words: &[&str]) -> Option<Vec<Entry>> {
    let word = words.first()?;
    let values = readings(word);
    if words.len() > 1 {
        let Codes { rc, rrc } = code_pair(words)?;
        return first_meaning(&rc?, |value| in_pair(&rrc, |reason| codes::response(value, reason)));
    }
    let mut found = first_meaning(&values, any_number)?;
    if let [decimal, hexadecimal] = values[..]
        && !any_number(decimal).is_empty()
        && let Some(entry) = found.pop()
    {
        let other = any_number(hexadecimal);
        let titles: Vec<&str> = other.iter().map(|entry| entry.title.as_str()).collect();
        let hint = format!("Digits without 0x are decimal. 0x{word} would be: {}.", titles.join("; "));
        found.push(entry.text(Heading::SeeAlso, if titles.is_empty() { String::new() } else { hint }));
    }
    Some(found)
}

/// A command, then rc and perhaps rrc. `None` if the query does not begin with a command.
fn command_and_code(words: &[&str]) -> Option<Result<Vec<Entry>, Unknown>> {
    let split = (1..words.len().min(MAX_NAME_WORDS + 1))
        .rev()
        .find(|&split| commands_named(&words[..split].join("-")).next().is_some())?;
    let name = words[..split].join("-");
    let rest = &words[split..];
    let Some(Codes { rc: Some(rc), rrc }) = code_pair(rest) else {
        return Some(Err(refusal(
            format!("`{}` after a command should be a response code, and perhaps a reason code", rest.join(" ")),
            vec![name],
        )));
    };
    let explain = |value| {
        let in_all = |reason| commands_named(&name).flat_map(|facts| facts.code(value, reason)).collect();
        in_pair(&rrc, in_all)
    };
    if let Some(found) = first_meaning(&rc, explain) {
        return Some(Ok(found));
    }
    let mut known: Vec<String> = Vec::new();
    for facts in commands_named(&name) {
        for check in facts.checks {
            let query = format!("{} {}", facts.command.name(), check.codes().trim_end_matches('°'));
            if !known.contains(&query) {
                known.push(query);
            }
        }
    }
    Some(Err(refusal(format!("{name} does not give this code"), known)))
}

/// The readings of a response code and a reason code, as far as they are given.
#[derive(Default)]
struct Codes {
    rc: Option<Vec<u16>>,
    rrc: Option<Vec<u16>>,
}

/// The codes that these words name. `None` if a word does not belong there.
fn code_pair(words: &[&str]) -> Option<Codes> {
    let Codes { mut rc, mut rrc } = Codes::default();
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "rc" => {}
            "cc" => _ = words.next(),
            "rrc" => rrc = Some(readings(words.next()?)),
            id if rules::find(id).is_some() => {}
            number if rc.is_none() => rc = Some(readings(number)),
            number if rrc.is_none() => rrc = Some(readings(number)),
            _ => return None,
        }
    }
    let readable = |values: &Option<Vec<u16>>| values.as_ref().is_none_or(|values| !values.is_empty());
    (readable(&rc) && readable(&rrc)).then_some(Codes { rc, rrc })
}

fn first_meaning(values: &[u16], explain: impl Fn(u16) -> Vec<Entry>) -> Option<Vec<Entry>> {
    values.iter().map(|&value| explain(value)).find(|found| !found.is_empty())
}

fn in_pair(rrc: &Option<Vec<u16>>, explain: impl Fn(Option<u16>) -> Vec<Entry>) -> Vec<Entry> {
    match rrc {
        None => explain(None),
        Some(values) => first_meaning(values, |reason| explain(Some(reason))).unwrap_or_default(),
    }
}

fn any_number(value: u16) -> Vec<Entry> {
    let mut found = command(value);
    found.extend(codes::response(value, None));
    found.extend(codes::reason(value));
    found.extend(exception(value));
    found.extend(interception(value));
    found.extend(condition(value));
    found.extend(diagnose::has(value).then(diagnose::entry));
    found
}

fn command(value: u16) -> Vec<Entry> {
    commands::all().filter(|facts| facts.command.code() == value).map(Facts::entry).collect()
}

fn condition(value: u16) -> Vec<Entry> {
    codes::CONDITIONS.iter().filter(|one| u16::from(one.code) == value).map(codes::Condition::entry).collect()
}

fn exception(value: u16) -> Vec<Entry> {
    exceptions::ALL.iter().filter(|one| u16::from(one.code) == value).map(exceptions::Exception::entry).collect()
}

fn interception(value: u16) -> Vec<Entry> {
    interceptions::ALL
        .iter()
        .filter(|one| u16::from(one.code) == value)
        .map(interceptions::Interception::entry)
        .collect()
}

fn commands_named(name: &str) -> impl Iterator<Item = &'static Facts> {
    commands::all().filter(move |facts| facts.names().any(|known| known == name))
}

fn unknown(words: &[&str]) -> Unknown {
    let phrase = words.join("-");
    if let Some((kind, _)) = rules::parse(&phrase) {
        return refusal(format!("there are {} only", rules::range(kind)), Vec::new());
    }
    let reason = if words.iter().all(|word| !readings(word).is_empty()) {
        "no command, code, interruption or interception has this number"
    } else {
        "no command, code, interruption, interception, outcome or rule has this name"
    };
    let mut suggestions = names::near(&phrase);
    if let (true, Some((&first, rest))) = (suggestions.is_empty(), words.split_first()) {
        for name in names::near(first) {
            let corrected = [&[name.as_str()], rest].concat();
            if matches!(command_and_code(&corrected), Some(Ok(_))) {
                suggestions.push(corrected.join(" "));
            }
        }
    }
    refusal(reason.to_owned(), suggestions)
}

fn refusal(reason: String, suggestions: Vec<String>) -> Unknown {
    Unknown { query: String::new(), reason, suggestions }
}
