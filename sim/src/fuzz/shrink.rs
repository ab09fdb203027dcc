//! Finds made small: statements, parts of the setup and operands go as long as the find stays.

use super::case::{Case, Deed, GuestSetup, LoadContent, Setup};
use super::run::{CaseReport, Find, RunOptions, run_case_with};
use crate::scenario::{FieldValue, GuestId, GuestState, Pages, Source, Verb};
use uvsim_model::address::PageIndex;

/// The most runs that are spent on a find.
const MOST_RUNS: usize = 3000;

/// A smaller case that shows the same, and its report.
#[must_use]
pub fn shrunk(case: &Case, find: &Find, options: RunOptions) -> (Case, CaseReport) {
    let mut shrinker = Shrinker { find, options, left: MOST_RUNS, best: case.clone() };
    shrinker.cut_behind();
    loop {
        let before = shrinker.best.clone();
        shrinker.drop_statements();
        shrinker.simplify_setup();
        shrinker.simplify_operands();
        if shrinker.best == before || shrinker.left == 0 {
            break;
        }
    }
    let report = run_case_with(&shrinker.best, options);
    (shrinker.best, report)
}

struct Shrinker<'f> {
    find: &'f Find,
    options: RunOptions,
    left: usize,
    best: Case,
}

impl Shrinker<'_> {
    /// Takes a case in place of the best one, if it shows the same.
    fn keep(&mut self, setup: Setup, statements: Vec<Deed>) -> bool {
        let case = Case::new(setup, statements);
        if self.left == 0 || case == self.best {
            return false;
        }
        self.left -= 1;
        let shows = run_case_with(&case, self.options).find.is_some_and(|find| find.is_like(self.find));
        if shows {
            self.best = case;
        }
        shows
    }

    /// What comes behind the statement that showed it.
    fn cut_behind(&mut self) {
        if let Some(last) = self.find.statement {
            let kept = self.best.statements.iter().take(last + 1).cloned().collect();
            self.keep(self.best.setup.clone(), kept);
        }
    }

    /// Halves first, then ever smaller pieces, in the end single ones.
    fn drop_statements(&mut self) {
        let mut size = self.best.statements.len().div_ceil(2).max(1);
        loop {
            let mut at = self.best.statements.len();
            while at > 0 {
                let from = at.saturating_sub(size);
                let mut kept = self.best.statements.clone();
                kept.drain(from..at);
                self.keep(self.best.setup.clone(), kept);
                at = from.min(self.best.statements.len());
            }
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
    }

    fn simplify_setup(&mut self) {
        for number in (0..self.best.setup.guests.len()).rev() {
            self.drop_guest(number);
        }
        let defaults = Setup::default();
        let simpler: [fn(&mut Setup, &Setup); 9] = [
            |setup, default| setup.seed = default.seed,
            |setup, default| setup.storage = default.storage,
            |setup, _| setup.cpus = 1,
            |setup, default| setup.generation = default.generation,
            |setup, default| setup.cipher = default.cipher,
            |setup, default| setup.change_detection = default.change_detection,
            |setup, default| setup.misc = default.misc,
            |setup, default| setup.strict_tweaks = default.strict_tweaks,
            |setup, _| setup.without.clear(),
        ];
        for change in simpler {
            let mut setup = self.best.setup.clone();
            change(&mut setup, &defaults);
            self.keep(setup, self.best.statements.clone());
        }
        let simpler: [fn(&mut GuestSetup); 7] = [
            |guest| guest.loads.clear(),
            |guest| drop(guest.loads.pop()),
            |guest| {
                for load in &mut guest.loads {
                    load.data = LoadContent::Bytes(vec![1]);
                }
            },
            |guest| guest.state = GuestState::None,
            |guest| guest.state = GuestState::Created,
            |guest| guest.vcpus = 1,
            |guest| guest.memory = 1,
        ];
        for number in 0..self.best.setup.guests.len() {
            for change in simpler {
                let mut setup = self.best.setup.clone();
                // What was made simpler already is not made less simple.
                if matches!(setup.guests[number].state, GuestState::None) {
                    setup.guests[number].state = GuestState::None;
                }
                change(&mut setup.guests[number]);
                if rank(&setup) < rank(&self.best.setup) {
                    self.keep(setup, self.best.statements.clone());
                }
            }
        }
    }

    /// A guest goes with all statements about it; those behind it move up.
    fn drop_guest(&mut self, number: usize) {
        let mut setup = self.best.setup.clone();
        if setup.guests.len() < 2 {
            return;
        }
        setup.guests.remove(number);
        let statements = self.best.statements.iter().filter_map(|deed| {
            let mut deed = deed.clone();
            let mut names = false;
            each_guest(&mut deed.verb, &mut |guest| {
                names |= guest.0 == number;
                guest.0 -= usize::from(guest.0 > number);
            });
            (!names).then_some(deed)
        });
        let statements = statements.collect();
        self.keep(setup, statements);
    }

    fn simplify_operands(&mut self) {
        for at in 0..self.best.statements.len() {
            for simpler in simpler(&self.best.statements[at]) {
                let mut statements = self.best.statements.clone();
                statements[at] = simpler;
                self.keep(self.best.setup.clone(), statements);
                if at >= self.best.statements.len() {
                    return;
                }
            }
        }
    }
}

/// How much a setup says.
fn rank(setup: &Setup) -> u64 {
    let state = |state: GuestState| match state {
        GuestState::None => 0,
        GuestState::Created => 1,
        GuestState::Running => 2,
    };
    let loads = |guest: &GuestSetup| guest.loads.iter().map(|load| 1 + load.data.length()).sum::<u64>();
    let guest = |guest: &GuestSetup| guest.memory + u64::from(guest.vcpus) + state(guest.state) + loads(guest);
    setup.guests.iter().map(guest).sum()
}

/// Statements that say less than this one; each is tried by itself.
fn simpler(deed: &Deed) -> Vec<Deed> {
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut Deed)| {
        let mut new = deed.clone();
        change(&mut new);
        if new != *deed {
            all.push(new);
        }
    };
    add(&|deed| deed.cpu = 0);
    add(&|deed| each_guest(&mut deed.verb, &mut |guest| guest.0 = 0));
    match &deed.verb {
        Verb::HostRead { .. } | Verb::DeviceRead { .. } | Verb::GuestRead { .. } => {
            add(&|deed| with_read(&mut deed.verb, &|read| read.save = None));
            add(&|deed| with_read(&mut deed.verb, &|read| (read.offset, read.length) = (0, Some(1))));
        }
        Verb::HostWrite { .. } | Verb::DeviceWrite { .. } | Verb::GuestWrite { .. } => {
            add(&|deed| with_write(&mut deed.verb, &|offset, _| *offset = 0));
            add(&|deed| with_write(&mut deed.verb, &|_, data| *data = Source::Bytes(vec![1])));
        }
        Verb::HostFlip { .. } => add(&|deed| {
            if let Verb::HostFlip { bit, .. } = &mut deed.verb {
                *bit = 0;
            }
        }),
        Verb::HostUvc { call } | Verb::GuestUvc { call, .. } => {
            for field in 0..call.fields.len() {
                add(&|deed| {
                    with_call(&mut deed.verb, &|call| {
                        call.fields.remove(field);
                    })
                });
                add(&|deed| with_call(&mut deed.verb, &|call| call.fields[field].1 = FieldValue::Number(0)));
            }
            add(&|deed| with_call(&mut deed.verb, &|call| call.bytes.clear()));
            add(&|deed| with_call(&mut deed.verb, &|call| call.save = None));
            add(&|deed| with_call(&mut deed.verb, &|call| call.skew = 0));
            add(&|deed| with_call(&mut deed.verb, &|call| call.immediate = 0));
            add(&|deed| with_call(&mut deed.verb, &|call| call.problem_state = false));
            add(&|deed| with_call(&mut deed.verb, &|call| call.length = super::call::usual_length(call.command)));
        }
        Verb::GuestDiagnose { .. } => {
            for number in 0..5 {
                add(&|deed| {
                    if let Verb::GuestDiagnose { diagnose, .. } = &mut deed.verb {
                        diagnose.registers[number] = 0;
                    }
                });
            }
        }
        _ => {}
    }
    all
}

fn with_read(verb: &mut Verb, change: &dyn Fn(&mut crate::scenario::Read)) {
    if let Verb::HostRead { read, .. } | Verb::DeviceRead { read, .. } | Verb::GuestRead { read, .. } = verb {
        change(read);
    }
}

fn with_write(verb: &mut Verb, change: &dyn Fn(&mut u16, &mut Source)) {
    if let Verb::HostWrite { write, .. } | Verb::DeviceWrite { write, .. } | Verb::GuestWrite { write, .. } = verb {
        change(&mut write.offset, &mut write.data);
    }
}

fn with_call(verb: &mut Verb, change: &dyn Fn(&mut crate::scenario::UvcCall)) {
    if let Verb::HostUvc { call } | Verb::GuestUvc { call, .. } = verb {
        change(call);
    }
}

/// Every guest that a statement names.
fn each_guest(verb: &mut Verb, act: &mut dyn FnMut(&mut GuestId)) {
    let mut pages_of = |pages: &mut Pages| {
        act(&mut pages.guest);
        let PageIndex(_) = pages.first;
    };
    match verb {
        Verb::HostRemap { pages, to, .. } | Verb::HostCopy { pages, to } => {
            pages_of(pages);
            pages_of(to);
            return;
        }
        _ => {}
    }
    if let Some(pages) = super::convert::pages_mut(verb) {
        pages_of(pages);
        return;
    }
    match verb {
        Verb::HostCreate { guest }
        | Verb::HostStart { guest }
        | Verb::HostStop { guest }
        | Verb::HostUnshareAll { guest }
        | Verb::HostTeardown { guest, .. }
        | Verb::HostReset { guest }
        | Verb::HostPv { guest, .. }
        | Verb::HostCreateCpu { guest, .. }
        | Verb::HostCpuReset { guest, .. }
        | Verb::HostCpuState { guest, .. }
        | Verb::HostLoadImage { guest, .. }
        | Verb::HostWriteHeader { guest, .. }
        | Verb::HostFlipHeader { guest, .. }
        | Verb::GuestDiagnose { guest, .. }
        | Verb::GuestSetPrefix { guest, .. }
        | Verb::GuestVerify { guest, .. } => act(guest),
        Verb::HostUvc { call } => each_guest_of(call, act),
        Verb::GuestUvc { guest, call } => {
            act(guest);
            each_guest_of(call, act);
        }
        _ => {}
    }
}

fn each_guest_of(call: &mut crate::scenario::UvcCall, act: &mut dyn FnMut(&mut GuestId)) {
    for (_, value) in &mut call.fields {
        match value {
            FieldValue::Number(_) => {}
            FieldValue::Handle(guest)
            | FieldValue::Cpu(guest, _)
            | FieldValue::Frame(guest, _)
            | FieldValue::Page(guest, _)
            | FieldValue::Header(guest)
            | FieldValue::HeaderLength(guest)
            | FieldValue::TweakPrefix(guest, _)
            | FieldValue::TweakOffset(guest, _) => act(guest),
        }
    }
}
