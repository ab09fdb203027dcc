//! `uvsim sweep`

use super::complain;
use anstream::stream::IsTerminal;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::PathBuf;
use uvsim::paging::{DEFAULT_WINDOW, PolicyKind};
use uvsim::run::Status;
use uvsim::sweep::{self, FrameList, Progress, Request, Settings, Shard, Summary, SweepError};
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation, MachineConfig};

const EXAMPLES: &str = "\
Examples:
  uvsim sweep --trace sort.uvtrace.gz --policy lru,fifo --frames 16..=256:*2 --out results
  uvsim sweep --trace *.uvtrace.gz --out results --resume
  uvsim sweep --trace *.uvtrace.gz --shard 1/2 --out one
  uvsim sweep --trace *.uvtrace.gz --shard 2/2 --out two
  uvsim sweep merge one two --out whole";

/// Replay traces under many policies and limits of frames, and draw the curves
///
/// Each cell of the grid trace × generation × policy × frames is a fresh machine with one protected guest. Results
/// depend on nothing but the traces, the axes and the seed.
///
/// A sweep that was interrupted goes on with --resume. With --shard it is spread over hosts: see `merge`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    joined: Option<Joined>,
    /// Traces, as valgrind's lackey or `uvsim trace` writes them
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    trace: Vec<PathBuf>,
    /// How pages to export are chosen: lru, clock, fifo, random, working-set
    #[arg(long, value_delimiter = ',', value_name = "POLICY,...", default_value = "lru", value_parser = policy)]
    policy: Vec<PolicyKind>,
    /// Most pages resident: numbers, ranges and shares of the trace's pages, such as `16,64..=1024:*2,50%`
    ///
    /// A range doubles with `:*2`, goes by sixteen with `:+16`, and has every number without.
    #[arg(long, value_name = "LIST", default_value = "10%,25%,50%,75%,100%")]
    frames: FrameList,
    /// Machine generations: z15, z16, z17
    #[arg(long, value_delimiter = ',', value_name = "GENERATION,...", default_value = "z16", value_parser = generation)]
    generation: Vec<Generation>,
    /// The page cipher
    #[arg(long, value_enum, default_value_t = Cipher::Gcm)]
    cipher: Cipher,
    /// When an exported page is encrypted anew
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Detection::Digest)]
    change_detection: Detection,
    /// Accesses of the working-set window
    #[arg(long, value_name = "ACCESSES", default_value_t = DEFAULT_WINDOW, value_parser = clap::value_parser!(u64).range(1..))]
    window: u64,
    /// The seed of the machines, and of what policies draw
    #[arg(long, value_name = "N", default_value_t = MachineConfig::default().seed)]
    seed: u64,
    /// Where the results go: an empty or absent folder, unless --resume
    #[arg(long, required = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Cells that run at once; as many as there are CPUs if not said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Only every N-th cell, beginning with the I-th
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    /// Go on with the sweep in DIR
    #[arg(long)]
    resume: bool,
    /// Write how long each cell took as well (times.csv)
    #[arg(long)]
    measure: bool,
    /// Print nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Joined {
    /// Join shards into what the undivided sweep would have written
    Merge {
        /// Folders with the journals of shards
        #[arg(required = true, value_name = "DIR")]
        folders: Vec<PathBuf>,
        /// Where the results go: an empty or absent folder
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Print nothing but errors
        #[arg(long, short)]
        quiet: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Cipher {
    Gcm,
    Xts,
}

#[derive(Clone, Copy, ValueEnum)]
enum Detection {
    /// If its content has changed
    Digest,
    /// At every export
    Always,
}

/// Sweeps, or joins shards.
pub(super) fn run(arguments: Arguments) -> Status {
    let (done, quiet) = match arguments {
        Arguments { joined: Some(Joined::Merge { folders, out, quiet }), .. } => (sweep::merge(&folders, &out), quiet),
        Arguments { quiet, .. } => (swept(arguments), quiet),
    };
    match done {
        Ok(summary) => {
            if !quiet {
                tell(&summary);
            }
            Status::Pass
        }
        Err(error) => {
            complain(&error.to_string());
            error.status()
        }
    }
}

fn swept(arguments: Arguments) -> Result<Summary, SweepError> {
    let request = Request {
        traces: arguments.trace,
        settings: Settings {
            policies: arguments.policy,
            frames: arguments.frames,
            generations: arguments.generation,
            cipher: match arguments.cipher {
                Cipher::Gcm => CipherProfile::Gcm,
                Cipher::Xts => CipherProfile::Xts,
            },
            change_detection: match arguments.change_detection {
                Detection::Digest => ChangeDetection::Digest,
                Detection::Always => ChangeDetection::Always,
            },
            seed: arguments.seed,
            window: arguments.window,
        },
        out: arguments.out.unwrap_or_default(),
        jobs: arguments.jobs.map(usize::from),
        shard: arguments.shard,
        resume: arguments.resume,
        measure: arguments.measure,
    };
    let bar = if arguments.quiet || !io::stderr().is_terminal() { ProgressBar::hidden() } else { ProgressBar::new(0) };
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} cells{left}") {
        bar.set_style(style.with_key("left", left));
    }
    let bar = Bar(bar);
    let done = sweep::sweep(&request, &bar);
    bar.0.finish_and_clear();
    done
}

/// How long it will take, once that can be told.
fn left(state: &ProgressState, out: &mut dyn fmt::Write) {
    if !state.eta().is_zero() {
        let _ = write!(out, ", {:#} left", HumanDuration(state.eta()));
    }
}

struct Bar(ProgressBar);

impl Progress for Bar {
    fn begins(&self, done: usize, of: usize) {
        self.0.set_length(of as u64);
        self.0.set_position(done as u64);
        self.0.reset_eta();
        self.0.tick();
    }

    fn cell_done(&self) {
        self.0.inc(1);
    }
}

fn tell(summary: &Summary) {
    let mut out = anstream::stdout();
    let _ = writeln!(out, "{} cells run, {} found done", summary.run, summary.found);
    for file in &summary.files {
        let _ = writeln!(out, "wrote {}", file.display());
    }
}

fn policy(name: &str) -> Result<PolicyKind, String> {
    PolicyKind::from_name(name).ok_or_else(|| unknown(name, &PolicyKind::ALL.map(PolicyKind::name)))
}

fn generation(name: &str) -> Result<Generation, String> {
    sweep::generation_named(name).ok_or_else(|| unknown(name, &["z15", "z16", "z17"]))
}

fn unknown(name: &str, known: &[impl AsRef<str> + Display]) -> String {
    let distance = |one: &str| strsim::damerau_levenshtein(name, one);
    let near = known.iter().min_by_key(|one| distance(one.as_ref())).filter(|one| distance(one.as_ref()) < 3);
    match near {
        Some(near) => format!("not known; did you mean `{near}`?"),
        None => {
            format!("not known; there are {}", known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
    }
}
