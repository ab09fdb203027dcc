//! Cases are run, changed, and kept if they reach something new, until the time or the number of runs is over.

use super::case::Case;
use super::corpus::{self, CorpusError};
use super::coverage::Coverage;
use super::goals::{Goal, goals};
use super::run::{CaseReport, Find, RunOptions, run_case_with};
use super::{draw, mutate, seeds, shrink};
use parking_lot::Mutex;
use rand::RngExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use uvsim_model::seed::{Purpose, Seed, SeedStream};

/// What a campaign is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where all chance comes from.
    pub seed: u64,
    /// Jobs that run at once. Each has a corpus and a random stream of its own, so that what one does depends on
    /// nothing but the seed and its number.
    pub jobs: u32,
    /// Runs, of all jobs together.
    pub runs: Option<u64>,
    /// Time.
    pub time: Option<Duration>,
    /// Where entries come from, and go to.
    pub corpus: Option<PathBuf>,
    /// Where finds go to.
    pub finds: Option<PathBuf>,
    /// Remove entries from the corpus that reach nothing of their own.
    pub minimise: bool,
    /// How cases are run.
    pub run: RunOptions,
}

/// What a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Cases run.
    pub runs: u64,
    /// Steps compared with the oracle.
    pub steps: u64,
    /// Cases whose machine or guests did not come up.
    pub without_setup: u64,
    /// Time spent on running.
    pub elapsed: Duration,
    /// What was reached.
    pub coverage: Coverage,
    /// What there is to reach.
    pub goals: Vec<Goal>,
    /// What is wrong, one of each class.
    pub finds: Vec<Found>,
    /// Entries of the corpora, without those that two jobs have.
    pub entries: usize,
}

/// A find, made small.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is wrong.
    pub find: Find,
    /// The case that shows it.
    pub case: Case,
    /// It as a scenario.
    pub scenario: String,
    /// Where that was written.
    pub file: Option<PathBuf>,
}

/// Where a campaign stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Cases run.
    pub runs: u64,
    /// Steps taken.
    pub steps: u64,
    /// Things reached.
    pub reached: usize,
    /// Goals reached, and goals that can be.
    pub goals: (usize, usize),
    /// Finds.
    pub finds: usize,
}

/// Is told now and then where a campaign stands.
pub trait Watcher: Sync {
    /// It stands here.
    fn stands(&self, standing: &Standing);
}

/// Nobody is told.
impl Watcher for () {
    fn stands(&self, _: &Standing) {}
}

/// Finds of so many classes end a campaign.
const MOST_FINDS: usize = 32;
/// A job tells what it has reached after so many runs.
const TELLING: u64 = 16;
/// Time between two words about where it stands.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs a campaign.
///
/// # Errors
/// A folder that cannot be used.
pub fn campaign(settings: &Settings, watcher: &dyn Watcher) -> Result<Summary, CorpusError> {
    let mut begin = seeds::all();
    if let Some(folder) = &settings.corpus {
        begin.extend(corpus::load(folder)?);
        corpus::make_folder(folder)?;
    }
    if let Some(folder) = &settings.finds {
        corpus::make_folder(folder)?;
    }
    let shared = Shared::new(settings);
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..settings.jobs.max(1))
            .map(|number| {
                let (shared, begin) = (&shared, &begin);
                scope.spawn(move || Job::new(settings, shared, number).run(begin))
            })
            .collect();
        while jobs.iter().any(|job| !job.is_finished()) {
            watcher.stands(&shared.standing());
            thread::park_timeout(PAUSE);
        }
    });
    watcher.stands(&shared.standing());
    shared.summary(settings, begin)
}

/// What jobs have in common. None looks at what another one has put there, but for finds that it need not shrink.
struct Shared {
    begun: Instant,
    end: Option<Instant>,
    runs: AtomicU64,
    steps: AtomicU64,
    without_setup: AtomicU64,
    enough: AtomicBool,
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    coverage: Coverage,
    entries: Vec<Case>,
    /// Job, run, and what was found there.
    finds: Vec<((u32, u64), Find, Case)>,
}

impl Shared {
    fn new(settings: &Settings) -> Self {
        let begun = Instant::now();
        Self {
            begun,
            end: settings.time.and_then(|time| begun.checked_add(time)),
            runs: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            without_setup: AtomicU64::new(0),
            enough: AtomicBool::new(false),
            totals: Mutex::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.enough.load(Ordering::Relaxed) || self.end.is_some_and(|end| Instant::now() >= end)
    }

    fn standing(&self) -> Standing {
        let totals = self.totals.lock();
        let goals = goals(&totals.coverage);
        let can = goals.iter().filter(|goal| goal.exempt.is_none());
        Standing {
            runs: self.runs.load(Ordering::Relaxed),
            steps: self.steps.load(Ordering::Relaxed),
            reached: totals.coverage.len(),
            goals: (can.clone().filter(|goal| goal.count > 0).count(), can.count()),
            finds: totals.finds.len(),
        }
    }

    fn summary(self, settings: &Settings, begin: Vec<Case>) -> Result<Summary, CorpusError> {
        let elapsed = self.begun.elapsed();
        let mut totals = self.totals.into_inner();
        totals.finds.sort_by_key(|(when, ..)| *when);
        let mut classes: Vec<Find> = Vec::new();
        totals.finds.retain(|(_, find, _)| {
            let new = !classes.iter().any(|class| class.is_like(find));
            if new {
                classes.push(find.clone());
            }
            new
        });
        let mut finds = Vec::new();
        for (_, find, case) in totals.finds {
            finds.push(written(settings, &find, &case)?);
        }
        let mut entries: Vec<Case> = Vec::new();
        for case in totals.entries {
            if !entries.contains(&case) {
                entries.push(case);
            }
        }
        if let Some(folder) = &settings.corpus {
            if settings.minimise {
                let all: Vec<Case> = begin.into_iter().chain(entries).collect();
                entries = fewest(&all, settings.run);
                corpus::retain(folder, &entries)?;
            }
            for case in &entries {
                corpus::save(folder, case)?;
            }
        }
        Ok(Summary {
            runs: self.runs.into_inner(),
            steps: self.steps.into_inner(),
            without_setup: self.without_setup.into_inner(),
            elapsed,
            goals: goals(&totals.coverage),
            coverage: totals.coverage,
            finds,
            entries: entries.len(),
        })
    }
}

/// A find is made small and written.
fn written(settings: &Settings, find: &Find, case: &Case) -> Result<Found, CorpusError> {
    let (case, report) = shrink::shrunk(case, find, settings.run);
    let find = report.find.clone().unwrap_or_else(|| find.clone());
    let scenario = scenario(&case, &report, &find, settings.seed);
    let mut file = None;
    if let Some(folder) = &settings.finds {
        let name = format!("{}-{:016x}", find.kind.name(), xxhash_rust::xxh3::xxh3_64(&case.to_bytes()));
        corpus::write(&folder.join(format!("{name}.{}", corpus::ENTRY)), &case.to_bytes())?;
        let path = folder.join(format!("{name}.kdl"));
        corpus::write(&path, scenario.as_bytes())?;
        file = Some(path);
    }
    Ok(Found { find, case, scenario, file })
}

/// A find as a scenario that shows it.
fn scenario(case: &Case, report: &CaseReport, find: &Find, seed: u64) -> String {
    let command = find.command.and_then(uvsim_model::uvc::Command::from_code).map(|command| command.name());
    let rule = if find.rule.is_empty() { "none named" } else { &find.rule };
    let remarks = [
        format!("found by `uvsim fuzz --seed {seed}`: {}", find.kind.name()),
        format!("rule: {rule}; command: {}", command.unwrap_or("none")),
        find.message.clone(),
        "again: uvsim run --verify FILE".to_owned(),
    ];
    let title = format!("A find of the fuzzer: {}", find.kind.name());
    case.to_scenario_with(&title, &remarks, &report.outcomes)
}

/// Entries that together reach what all reach: each adds something to those before it, short ones first.
fn fewest(all: &[Case], options: RunOptions) -> Vec<Case> {
    let mut sized: Vec<(usize, &Case)> = all.iter().map(|case| (case.to_bytes().len(), case)).collect();
    sized.sort_by_key(|(length, _)| *length);
    let mut coverage = Coverage::default();
    let kept = sized.into_iter().filter(|(_, case)| coverage.join(&run_case_with(case, options).coverage));
    kept.map(|(_, case)| case.clone()).collect()
}

/// One of the jobs.
struct Job<'a> {
    settings: &'a Settings,
    shared: &'a Shared,
    number: u32,
    random: SeedStream,
    corpus: Vec<Case>,
    coverage: Coverage,
    /// Not told yet.
    fresh: Coverage,
    runs: u64,
}

impl<'a> Job<'a> {
    fn new(settings: &'a Settings, shared: &'a Shared, number: u32) -> Self {
        let random = Seed(settings.seed).substream(Purpose::Fuzz, number);
        Self {
            settings,
            shared,
            number,
            random,
            corpus: Vec::new(),
            coverage: Coverage::default(),
            fresh: Coverage::default(),
            runs: 0,
        }
    }

    /// How many runs are this job's.
    fn share(&self) -> u64 {
        let (jobs, number) = (u64::from(self.settings.jobs.max(1)), u64::from(self.number));
        self.settings.runs.map_or(u64::MAX, |runs| runs / jobs + u64::from(number < runs % jobs))
    }

    fn run(mut self, begin: &[Case]) {
        let share = self.share();
        for case in begin {
            if self.runs >= share || self.shared.is_over() {
                break;
            }
            self.try_out(case.clone(), false);
        }
        while self.runs < share && !self.shared.is_over() {
            let case = self.next_case();
            self.try_out(case, true);
        }
        self.tell();
    }

    fn next_case(&mut self) -> Case {
        if self.corpus.is_empty() || self.random.random_ratio(1, 6) {
            return draw::case(&mut self.random);
        }
        let one = self.entry();
        let other = self.entry();
        mutate::mutated(&self.corpus[one], &self.corpus[other], &mut self.random)
    }

    /// Half of the time one of those that came last.
    fn entry(&mut self) -> usize {
        let all = self.corpus.len();
        let from = if self.random.random_ratio(1, 2) { all.saturating_sub(all / 4 + 1) } else { 0 };
        self.random.random_range(from..all)
    }

    fn try_out(&mut self, case: Case, is_new: bool) {
        let report = run_case_with(&case, self.settings.run);
        self.runs += 1;
        self.shared.runs.fetch_add(1, Ordering::Relaxed);
        self.shared.steps.fetch_add(report.steps, Ordering::Relaxed);
        if report.no_setup.is_some() {
            self.shared.without_setup.fetch_add(1, Ordering::Relaxed);
        }
        self.fresh.join(&report.coverage);
        if let Some(find) = report.find {
            self.note(find, case);
        } else if self.coverage.join(&report.coverage) && report.no_setup.is_none() {
            if is_new {
                self.shared.totals.lock().entries.push(case.clone());
            }
            self.corpus.push(case);
        }
        if self.runs.is_multiple_of(TELLING) {
            self.tell();
        }
    }

    /// Notes a find, if this job has none like it.
    fn note(&mut self, find: Find, case: Case) {
        let mut totals = self.shared.totals.lock();
        let known = |((job, _), other, _): &((u32, u64), Find, Case)| *job == self.number && other.is_like(&find);
        if !totals.finds.iter().any(known) {
            totals.finds.push(((self.number, self.runs), find, case));
        }
        if totals.finds.len() >= MOST_FINDS {
            self.shared.enough.store(true, Ordering::Relaxed);
        }
    }

    fn tell(&mut self) {
        let fresh = core::mem::take(&mut self.fresh);
        self.shared.totals.lock().coverage.join(&fresh);
    }
}
