//! The command line.

mod domain;
mod fuzz;
mod host_info;
mod host_key;
mod image;
mod sweep;
mod trace;

use anstream::AutoStream;
use anstream::stream::IsTerminal;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use owo_colors::OwoColorize;
use std::cell::Cell;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use uvsim::explain;
use uvsim::run::{self, Options, Report, Status, human::Human, json::Json};
use uvsim::scenario::ScenarioErrors;

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
  uvsim check-domain guest.xml
  uvsim run --domain guest.xml
  uvsim host-info --generation z17
  uvsim explain 0x10a
  uvsim explain import";

#[derive(Subcommand)]
enum Command {
    /// Run scenarios and compare what happens with what they expect
    Run {
        /// Scenario files, or folders of `*.kdl` files
        #[arg(required_unless_present = "domain", value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
        /// Set up the first guest of each scenario as this libvirt domain definition says; without scenarios, boot a
        /// guest that it defines
        #[arg(long, value_name = "FILE.xml")]
        domain: Option<PathBuf>,
        /// Print the scenario that boots the guest of --domain, and do not run it
        #[arg(long, requires = "domain", conflicts_with = "paths")]
        print_scenario: bool,
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
        /// Run lanes of `parallel` at the same time, each on a thread, for load: their order is not decided by the
        /// seed, and what they expect of outcomes is not compared
        #[arg(long)]
        threads: bool,
        /// Let the oracle, an independent statement of the rules, take every step as well, and compare what follows;
        /// not with --threads
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
    /// Tell what in a libvirt domain definition would not work under protected virtualization, and what to write
    ///
    /// Exit status: 0 nothing that would keep the guest or a device from working, 1 something would, 2 a file is
    /// no domain definition.
    CheckDomain {
        /// Domain definitions, such as `virsh dumpxml DOMAIN` prints
        #[arg(required = true, value_name = "FILE.xml")]
        paths: Vec<PathBuf>,
        /// How to report
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Show what Linux has under /sys/firmware/uv on a simulated host
    HostInfo(host_info::Options),
    /// Tell what a code, a command, an exception or a rule means, and what a host does about it
    Explain {
        /// Such as `0x10a`, `import 0x106`, `conv-to-sec-stor`, `3e`, `intercept 108`, `T26`, `D40`; none for
        /// an index
        #[arg(value_name = "CODE|COMMAND|EXCEPTION|RULE")]
        query: Vec<String>,
    },
    /// List what a command looks at, in order, and the answer to each
    Refusals {
        /// Such as `import`, `conv-to-sec-stor`, `CREATE_SEC_CONF`; none for all
        command: Option<String>,
        /// How to list
        #[arg(long, value_enum, default_value_t = ListFormat::Human)]
        format: ListFormat,
    },
    /// Run scenarios and write what they print into `*.out` files beside them
    Bless {
        /// Scenario files, or folders of `*.kdl` files
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
    },
    Fuzz(Box<fuzz::Arguments>),
    HostKey(host_key::Arguments),
    /// Make SE images, show what is in one, or try whether a machine boots it
    #[command(subcommand)]
    Image(image::ImageCommand),
    Sweep(Box<sweep::Arguments>),
    /// Look at traces of memory accesses, or make them small
    #[command(subcommand)]
    Trace(trace::TraceCommand),
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// For people
    Human,
    /// One JSON object a line
    Json,
    /// The page of the book: always all commands
    Markdown,
}

/// Widest report.
const WIDEST: usize = 100;
/// Width where there is no terminal.
const USUAL: usize = 80;

pub(crate) fn run() -> ExitCode {
    let status = match Arguments::parse().command {
        Command::Run { domain: Some(domain), print_scenario: true, format, quiet, .. } => {
            with_report(format, quiet, |report| domain::print_scenario(&domain, report))
        }
        Command::Run { paths, domain, format, seed, time_limit, quiet, threads, verify, .. } => {
            let deadline = time_limit.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
            let options = Options { seed, deadline, threads, verify, go_on: false };
            with_report(format, quiet, |report| match domain {
                Some(domain) => run::run_domain(&domain, &paths, options, report).status,
                None => run::run(&paths, options, report).status,
            })
        }
        Command::Check { paths, format } => with_report(format, false, |report| run::check(&paths, report).status),
        Command::CheckDomain { paths, format } => domain::check(&paths, format),
        Command::HostInfo(options) => host_info::show(&options),
        Command::Explain { query } => explain(&query.join(" ")),
        Command::Refusals { command, format } => refusals(command.as_deref(), format),
        Command::Bless { paths } => bless(&paths),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::HostKey(arguments) => match host_key::run(&arguments) {
            Ok(told) => {
                let _ = io::stdout().write_all(told.as_bytes());
                Status::Pass
            }
            Err(message) => {
                complain(&message);
                Status::Unusable
            }
        },
        Command::Image(command) => image::run(command),
        Command::Sweep(arguments) => sweep::run(*arguments),
        Command::Trace(command) => trace::run(command),
        Command::Completions { shell } => {
            // Generated whole first: a pipe that closes early is no reason to panic.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "uvsim", &mut script);
            let _ = io::stdout().write_all(&script);
            Status::Pass
        }
    };
    ExitCode::from(status.code())
}

fn with_report(format: Format, quiet: bool, act: impl FnOnce(&mut dyn Report) -> Status) -> Status {
    let stdout = io::stdout();
    let failure = Cell::new(None);
    let status = match format {
        Format::Json => act(&mut Json::new(BufWriter::new(Watched { out: stdout.lock(), failure: &failure }))),
        // A person watches lines come; a file or a pipe gets them in pieces.
        Format::Human if stdout.is_terminal() => act(&mut human(anstream::stdout(), quiet)),
        Format::Human => {
            let out = Watched { out: AutoStream::auto(stdout), failure: &failure };
            act(&mut human(BufWriter::new(out), quiet))
        }
    };
    match failure.take() {
        Some(error) => {
            complain(&format!("the report cannot be written: {error}"));
            status.worse(Status::Unusable)
        }
        None => status,
    }
}

/// Remembers that a stream cannot be written, for reports go on without it. A reader that goes away is no failure.
struct Watched<'a, W> {
    out: W,
    failure: &'a Cell<Option<io::Error>>,
}

impl<W> Watched<'_, W> {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            if !matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted) {
                self.failure.set(Some(error));
            }
            kind.into()
        })
    }
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.note(result)
    }
}

/// A report for people on standard output, with errors of files on standard error.
fn human<W: Write>(out: W, quiet: bool) -> Human<W> {
    let stderr = io::stderr();
    // Only the drawings of errors choose their colours here; streams strip the others.
    let colour = colour_of(&stderr);
    let bars = stderr.is_terminal();
    Human::new(out, colour, width()).quiet(quiet).progress_bars(bars).errors_to(anstream::stderr())
}

/// Whether drawings for this stream, which streams cannot strip by themselves, may have colours.
fn colour_of(stream: &impl anstream::stream::RawStream) -> bool {
    AutoStream::choice(stream) != anstream::ColorChoice::Never
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

fn refusals(name: Option<&str>, format: ListFormat) -> Status {
    let commands: Vec<_> = match name {
        None => uvsim::refusals::built().collect(),
        Some(name) => explain::commands_named(name).collect(),
    };
    if commands.is_empty() {
        complain(&format!("there is no command `{}`", name.unwrap_or_default()));
        let _ = writeln!(anstream::stderr(), "  `uvsim explain` alone lists the commands");
        return Status::Unusable;
    }
    let text = match format {
        ListFormat::Human => {
            let lists: Vec<String> = commands.iter().map(|&one| uvsim::refusals::human(one, width())).collect();
            lists.join("\n")
        }
        ListFormat::Json => commands.iter().map(|&one| format!("{}\n", uvsim::refusals::json(one))).collect(),
        ListFormat::Markdown => uvsim::refusals::markdown(),
    };
    let _ = anstream::stdout().write_all(text.as_bytes());
    Status::Pass
}

/// Writes what each scenario prints, with its status, beside it.
fn bless(paths: &[PathBuf]) -> Status {
    let mut status = Status::Pass;
    for file in run::collect(paths) {
        if let Err(message) = bless_file(file) {
            complain(&message);
            status = Status::Unusable;
        }
    }
    status
}

fn bless_file(file: Result<PathBuf, ScenarioErrors>) -> Result<(), String> {
    let file = file.map_err(|errors| {
        let told: Vec<String> = errors.errors().iter().map(ToString::to_string).collect();
        format!("{}: {}", errors.path().display(), told.join("; "))
    })?;
    // A scenario that is wrong has a transcript too; a file that is none has not.
    if file.extension().is_none_or(|extension| extension != "kdl") {
        return Err(format!("{}: a scenario is a file whose name ends in `.kdl`", file.display()));
    }
    if !file.is_file() {
        return Err(format!("{}: there is no such file", file.display()));
    }
    write_if_changed(&file.with_extension("out"), &run::transcript(&file))
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
