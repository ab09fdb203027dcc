//! `uvsim fuzz`

use super::complain;
use anstream::stream::IsTerminal;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;
use parking_lot::Mutex;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uvsim::fuzz::{
    self, Goal, GoalKind, RunOptions, Settings, Standing, Summary, Watcher, campaign, corpus, corpus::CorpusError,
    run_case, tally,
};
use uvsim::run::Status;

const EXAMPLES: &str = "\
Examples:
  uvsim fuzz
  uvsim fuzz --time 10m --jobs 2 --corpus corpus --finds finds
  uvsim fuzz --runs 2000 --seed 7 --coverage coverage.json
  uvsim fuzz --to-scenario finds/difference-0123456789abcdef.case
  uvsim fuzz --to-entry scenarios/bad_pin.kdl > bad_pin.case";

/// Try to break the model: random hostile hosts, with the oracle beside the model
///
/// Cases are machines with guests and lists of statements. They are drawn, changed, run whatever each statement comes
/// to, and kept if they reach something new. A panic, a broken invariant or a disagreement with the oracle is made small
/// and written as a scenario that `uvsim run --verify` shows again.
///
/// Exit status: 0 nothing found, 2 unusable arguments or files, 3 something found.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// For how long: seconds, or a number with s, m or h; 60 s unless --runs says otherwise
    #[arg(long, value_name = "TIME", value_parser = time)]
    time: Option<Duration>,
    /// How many cases
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    runs: Option<u64>,
    /// Where all chance comes from. With --runs the same seed runs the same cases, whatever the jobs' pace
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Jobs that run at once, each with a corpus of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: u32,
    /// Begin with the entries in DIR as well, and add those that reach something new
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Write finds into DIR: a scenario and an entry each
    #[arg(long, value_name = "DIR")]
    finds: Option<PathBuf>,
    /// Write what was reached into a JSON file
    #[arg(long, value_name = "FILE")]
    coverage: Option<PathBuf>,
    /// In the end, remove entries from the corpus that reach nothing of their own
    #[arg(long, requires = "corpus")]
    minimise: bool,
    /// Without the oracle: only panics, invariants and refused calls that change the state are found
    #[arg(long)]
    no_verify: bool,
    /// Check the invariants after every N-th statement, not only at the end of a case
    #[arg(long, value_name = "N")]
    invariants_every: Option<usize>,
    /// Print an entry as a scenario that expects what its statements come to, and run nothing else
    #[arg(long, value_name = "ENTRY", exclusive = true)]
    to_scenario: Option<PathBuf>,
    /// Print a scenario as an entry, and run nothing
    #[arg(long, value_name = "SCENARIO", exclusive = true)]
    to_entry: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Status {
    let done = if let Some(path) = &arguments.to_scenario {
        print_scenario(path).map(|()| Status::Pass)
    } else if let Some(path) = &arguments.to_entry {
        print_entry(path).map(|()| Status::Pass)
    } else {
        fuzz(arguments)
    };
    done.unwrap_or_else(|error| {
        complain(&error.to_string());
        Status::Unusable
    })
}

fn print_scenario(path: &Path) -> Result<(), CorpusError> {
    let case = corpus::read(path)?;
    let report = run_case(&case);
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let text = case.to_scenario_with(&format!("Entry {name}"), &[], &report.outcomes);
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn print_entry(path: &Path) -> Result<(), CorpusError> {
    let case = corpus::read(path)?;
    let _ = io::stdout().write_all(&case.to_bytes());
    Ok(())
}

fn fuzz(arguments: &Arguments) -> Result<Status, CorpusError> {
    let time = match (arguments.time, arguments.runs) {
        (None, None) => Some(Duration::from_secs(60)),
        (time, _) => time,
    };
    let settings = Settings {
        seed: arguments.seed,
        jobs: arguments.jobs,
        runs: arguments.runs,
        time,
        corpus: arguments.corpus.clone(),
        finds: arguments.finds.clone(),
        minimise: arguments.minimise,
        run: RunOptions {
            verify: !arguments.no_verify,
            watch: arguments.no_verify,
            invariants_every: arguments.invariants_every,
            ..RunOptions::default()
        },
    };
    let line = Line::new();
    fuzz::quietly();
    let summary = campaign(&settings, &line)?;
    line.bar.finish_and_clear();
    if let Some(path) = &arguments.coverage {
        let text = format!("{:#}\n", fuzz::to_json(&summary.goals));
        std::fs::write(path, text).map_err(|error| CorpusError::Write(path.clone(), error))?;
    }
    tell(&summary, !arguments.no_verify);
    Ok(if summary.finds.is_empty() { Status::Pass } else { Status::Broken })
}

/// A line that tells how far it is: renewed in place on a terminal, else a new one now and then.
struct Line {
    bar: ProgressBar,
    begun: Instant,
    plain: Option<Mutex<Instant>>,
}

/// Time between two plain lines.
const PLAIN_PAUSE: Duration = Duration::from_secs(10);

impl Line {
    fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
            bar.set_style(style);
        }
        let begun = Instant::now();
        Self { bar, begun, plain: (!terminal).then(|| Mutex::new(begun)) }
    }
}

impl Watcher for Line {
    fn stands(&self, standing: &Standing) {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let rate = |count: u64| (count as f64 / seconds) as u64;
        let (reached, of) = standing.goals;
        let message = format!(
            "{} cases, {}/s, {} steps/s, rows {reached}/{of}, reached {}, finds {}",
            standing.runs,
            rate(standing.runs),
            rate(standing.steps),
            standing.reached,
            standing.finds
        );
        match &self.plain {
            None => {
                self.bar.set_message(message);
                self.bar.tick();
            }
            Some(last) => {
                let mut last = last.lock();
                if last.elapsed() >= PLAIN_PAUSE {
                    *last = Instant::now();
                    let _ = writeln!(io::stderr(), "{message}");
                }
            }
        }
    }
}

fn tell(summary: &Summary, verified: bool) {
    let mut out = anstream::stdout();
    let seconds = summary.elapsed.as_secs_f64().max(0.001);
    let steps = if verified { "steps beside the oracle" } else { "steps, without the oracle" };
    let _ = writeln!(
        out,
        "{} cases in {seconds:.1} s, {} {steps} ({:.0}/s), {} new entries",
        summary.runs,
        summary.steps,
        summary.steps as f64 / seconds,
        summary.entries
    );
    if summary.without_setup > 0 {
        let _ = writeln!(out, "{} of them had no machine or guests that come up", summary.without_setup);
    }
    for (kind, name) in [(GoalKind::Answer, "answers of calls"), (GoalKind::Transition, "transition rows")] {
        tell_goals(&mut out, &summary.goals, kind, name);
    }
    for found in &summary.finds {
        let find = &found.find;
        let rule = if find.rule.is_empty() { String::new() } else { format!(" ({})", find.rule) };
        let _ = writeln!(out, "{}{rule}: {}", find.kind.name().red().bold(), find.message);
        match &found.file {
            Some(file) => {
                let _ = writeln!(out, "  uvsim run --verify {}", file.display());
            }
            None => {
                let _ = writeln!(out, "{}", found.scenario);
            }
        }
    }
    let _ = match summary.finds.len() {
        0 => writeln!(out, "nothing found"),
        found => writeln!(out, "{found} found"),
    };
}

fn tell_goals(out: &mut dyn Write, goals: &[Goal], kind: GoalKind, name: &str) {
    let (reached, of) = tally(goals, kind);
    let _ = writeln!(out, "{name}: reached {reached} of {of}");
    let mine = || goals.iter().filter(|goal| goal.kind == kind);
    for goal in mine().filter(|goal| goal.exempt.is_none() && goal.count == 0) {
        let _ = writeln!(out, "  not reached: {}", goal.id);
    }
    for goal in mine() {
        let Some(why) = goal.exempt else { continue };
        let met = if goal.count > 0 { ", and was reached all the same" } else { "" };
        let _ = writeln!(out, "  exempt: {}: {why}{met}", goal.id);
    }
}

/// Such as `90`, `90s`, `5m`, `2h`.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        unit => return Err(format!("`{unit}` is no unit of time; there are s, m, h")),
    };
    let number: u64 = digits.parse().map_err(|_| "a number with s, m or h wanted, such as 90s".to_owned())?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(|| "that is too long".to_owned())
}
