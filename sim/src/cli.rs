//! The command line.

use anstream::AutoStream;
use anstream::stream::IsTerminal;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use owo_colors::OwoColorize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use uvsim::explain;
use uvsim::run::{self, Options, Report, Status, human::Human, json::Json};

/// A behavioural simulator of the IBM Z Ultravisor (IBM Secure Execution).
///
/// Exit status: 0 everything as expected, 1 something was not, 2 unusable arguments or file, 3 the model
/// itself broke a rule, 4 time limit.
#[derive(Parser)]
#[command(name = "uvsim", version, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  uvsim run scenarios/good_paging_a_real_file.kdl
  uvsim run scenarios --format json
  uvsim explain 0x10a
  uvsim explain import";

#[derive(Subcommand)]
enum Command {
    /// Run scenarios and compare what happens with what they expect
    Run {
        /// Scenario files, or folders of `*.kdl` files
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
        /// How to report
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
        /// Use this seed instead of those of the files
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Give up after so many seconds
        #[arg(long, value_name = "SECONDS")]
        time_limit: Option<u64>,
        /// Print only failures and the verdict
        #[arg(long, short)]
        quiet: bool,
        /// Compare the model with the oracle after every step (not in this version)
        #[arg(long)]
        verify: bool,
    },
    /// Check that scenarios are well formed, without running them
    Check {
        /// Scenario files, or folders of `*.kdl` files
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
        /// How to report
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Tell what a code, a command, an exception or a rule means, and what a host does about it
    Explain {
        /// Such as `0x10a`, `import 0x106`, `conv-to-sec-stor`, `3e`, `intercept 108`, `T26`, `D40`; none for
        /// an index
        #[arg(value_name = "CODE|COMMAND|EXCEPTION|RULE")]
        query: Vec<String>,
    },
    /// Run scenarios and write what they print into `*.out` files beside them
    Bless {
        /// Scenario files, or folders of `*.kdl` files
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

/// Widest report.
const WIDEST: usize = 100;
/// Width where there is no terminal.
const USUAL: usize = 80;

pub(crate) fn run() -> ExitCode {
    let status = match Arguments::parse().command {
        Command::Run { verify: true, .. } => {
            complain("--verify needs the oracle, which is not in this version");
            Status::Unusable
        }
        Command::Run { paths, format, seed, time_limit, quiet, verify: false } => {
            let deadline = time_limit.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
            let options = Options { seed, deadline };
            with_report(&paths, format, quiet, |files, report| run::run(files, options, report).status)
        }
        Command::Check { paths, format } => {
            with_report(&paths, format, false, |files, report| run::check(files, report).status)
        }
        Command::Explain { query } => explain(&query.join(" ")),
        Command::Bless { paths } => bless(&paths),
        Command::Completions { shell } => {
            // Generated whole first: a pipe that closes early is no reason to panic.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "uvsim", &mut script);
            let _ = std::io::stdout().write_all(&script);
            Status::Pass
        }
    };
    ExitCode::from(status.code())
}

fn with_report(
    paths: &[PathBuf],
    format: Format,
    quiet: bool,
    act: impl FnOnce(&[PathBuf], &mut dyn Report) -> Status,
) -> Status {
    let files = match run::collect(paths) {
        Ok(files) => files,
        Err(message) => {
            complain(&message);
            return Status::Unusable;
        }
    };
    let stdout = std::io::stdout();
    match format {
        Format::Json => act(&files, &mut Json::new(std::io::BufWriter::new(stdout.lock()))),
        Format::Human => {
            let colour = AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
            // A person watches lines come; a file or a pipe gets them in pieces.
            if stdout.is_terminal() {
                act(&files, &mut Human::new(anstream::stdout(), colour, width()).quiet(quiet))
            } else {
                let out = std::io::BufWriter::new(AutoStream::auto(stdout));
                act(&files, &mut Human::new(out, colour, width()).quiet(quiet))
            }
        }
    }
}

fn explain(query: &str) -> Status {
    let mut out = anstream::stdout();
    match explain::lookup(query) {
        Ok(entries) => {
            for (number, entry) in entries.iter().enumerate() {
                let gap = if number == 0 { "" } else { "\n" };
                let _ = writeln!(out, "{gap}{} ({})", entry.title.bold(), entry.kind.name());
                for section in &entry.sections {
                    let _ = writeln!(out, "\n{}", section.heading.name().cyan());
                    for line in explain::lines(section, width()) {
                        let _ = writeln!(out, "{line}");
                    }
                }
            }
            Status::Pass
        }
        Err(unknown) => {
            complain(&unknown.to_string());
            if !unknown.suggestions.is_empty() {
                let _ = writeln!(anstream::stderr(), "  did you mean {}?", unknown.suggestions.join(", "));
            }
            let _ = writeln!(anstream::stderr(), "  `uvsim explain` alone lists the topics");
            Status::Unusable
        }
    }
}

/// Writes what each scenario prints, with its status, beside it.
fn bless(paths: &[PathBuf]) -> Status {
    let files = match run::collect(paths) {
        Ok(files) => files,
        Err(message) => {
            complain(&message);
            return Status::Unusable;
        }
    };
    let mut worst = Status::Pass;
    for file in files {
        let text = run::transcript(&file);
        if let Err(error) = write_if_changed(&file.with_extension("out"), &text) {
            complain(&error);
            worst = worst.worse(Status::Unusable);
        }
    }
    worst
}

fn write_if_changed(path: &Path, text: &str) -> Result<(), String> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(path, text).map_err(|error| format!("`{}` cannot be written: {error}", path.display()))?;
    let _ = writeln!(anstream::stdout(), "renewed {}", path.display());
    Ok(())
}

fn complain(message: &str) {
    let _ = writeln!(anstream::stderr(), "{}: {message}", "error".red().bold());
}

fn width() -> usize {
    terminal_size::terminal_size().map_or(USUAL, |(width, _)| usize::from(width.0).clamp(20, WIDEST))
}
