//! Random calls, well-formed and not: whatever comes back stands in the table of the command.

use crate::scene::Field;
use crate::stage::{END, Ending, PAGE, Stage, Trace};
use crate::support::{DONE, UV_BASE};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};
use uvsim_model::address::PageIndex;
use uvsim_model::config::{ChangeDetection, Generation, MachineConfig};
use uvsim_model::uvc::{Check, Command, Issuer, Reach, Reply};

/// One call: which command, which values in which fields, and what else is wrong.
#[derive(Clone, Debug)]
struct Wish {
    command: usize,
    by_guest: bool,
    /// For each field a number that selects from [`Pool::values`], and a change to the value.
    values: Vec<(usize, Change)>,
    length: Option<u16>,
    skew: bool,
    immediate: bool,
    problem: bool,
    header: bool,
    rest: bool,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    None,
    Add(u64),
    Flip(u8),
    Instead(u64),
}

fn wish() -> impl Strategy<Value = Wish> {
    let change = prop_oneof![
        12 => Just(Change::None),
        1 => prop_oneof![Just(1), Just(8), Just(0x1000), Just(1 << 20), Just(u64::MAX)].prop_map(Change::Add),
        1 => (0u8..64).prop_map(Change::Flip),
        1 => any::<u64>().prop_map(Change::Instead),
    ];
    let rarely = || prop::bool::weighted(0.03);
    let length = prop_oneof![
        15 => Just(None),
        1 => prop_oneof![Just(8u16), Just(0), Just(0x28), Just(0x118), Just(0x200), any::<u16>()].prop_map(Some),
    ];
    (
        (0..Command::ALL.len(), prop::bool::weighted(0.2), prop::collection::vec((any::<usize>(), change), 8)),
        length,
        (rarely(), rarely(), rarely(), rarely(), rarely()),
    )
        .prop_map(|((command, by_guest, values), length, (skew, immediate, problem, header, rest))| Wish {
            command,
            by_guest,
            values,
            length,
            skew,
            immediate,
            problem,
            header,
            rest,
        })
}

fn machines() -> impl Strategy<Value = MachineConfig> {
    let generation = prop_oneof![Just(Generation::Z15), Just(Generation::Z16), Just(Generation::Z17)];
    (generation, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(generation, misc, strict_tweaks, always)| {
        MachineConfig {
            generation,
            feature_misc: misc.then_some(false),
            strict_tweaks,
            change_detection: if always { ChangeDetection::Always } else { ChangeDetection::Digest },
            ..crate::stage::config()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_stands_in_the_table(config in machines(), wishes in calls()) {
        run(&config, &wishes)?;
    }
}

/// The calls are worth something only if they get past the general checks: these seeds never change.
#[test]
fn random_calls_reach_most_of_the_table() {
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..60 {
        let (config, wishes) = (machines(), calls()).new_tree(&mut runner).expect("a value").current();
        reached.extend(run(&config, &wishes).expect("every answer stands in the table"));
    }
    let built = Command::ALL.iter().filter(|command| command.is_built());
    let table = built.flat_map(|command| command.checks()).filter(|check| check.reach == Reach::Call).count();
    let succeeded = reached.iter().filter(|(_, id)| *id == "done").count();
    assert!(succeeded >= 20, "{succeeded} commands have succeeded");
    assert!(reached.len() * 2 > table, "{} of {table} rows", reached.len());
}

fn calls() -> impl Strategy<Value = Vec<Wish>> {
    prop::collection::vec(wish(), 1..100)
}

/// Issues the calls on a machine of its own. Returns the rows of the table that decided.
fn run(config: &MachineConfig, wishes: &[Wish]) -> Result<Vec<(Command, &'static str)>, TestCaseError> {
    let machine = crate::support::machine(config.clone());
    let mut stage = Stage::new(&machine, Command::QueryUvInformation, Issuer::Host);
    let mut pool = Pool::of(&mut stage);
    let mut rows = Vec::new();
    for wish in wishes {
        let (trace, command) = pool.issue(&mut stage, wish);
        let table = command.checks();
        let row = table.iter().find(|check| check.machines.include(config) && agrees(check, &trace));
        prop_assert!(row.is_some(), "{} ended with {:x?} by {:?}", command.name(), trace.ending, trace.rule);
        rows.extend(row.map(|row| (command, row.id)));
        if let Err(violation) = machine.check_invariants() {
            prop_assert!(false, "{violation} after {}", command.name());
        }
    }
    Ok(rows)
}

fn agrees(check: &Check, trace: &Trace) -> bool {
    let rule = trace.rule.is_none_or(|rule| check.rules.split_whitespace().any(|known| known == rule));
    rule && match (check.answer, trace.ending) {
        (Reply::Interruption(codes), Ending::Interruption(code)) => codes.contains(&code),
        (Reply::Interception(one), Ending::Interception(other)) => one == other,
        (_, Ending::Code(cc @ (0 | 1), rc, rrc)) => {
            check.codes() == Some((rc, rrc)) && (cc == 0) == (check.answer == Reply::Done)
        }
        (Reply::Busy, Ending::Code(cc, ..)) => cc == 2,
        (Reply::Partial, Ending::Code(cc, ..)) => cc == 3,
        _ => false,
    }
}

/// Values that mean something on this machine.
struct Pool {
    handles: Vec<u64>,
    cpus: Vec<u64>,
    addresses: Vec<u64>,
    /// What makes a field right, as far as there is one such value.
    right: BTreeMap<&'static str, u64>,
}

impl Pool {
    /// A guest that runs, with pages of all kinds; one that is being made; areas for others.
    fn of(stage: &mut Stage<'_>) -> Self {
        stage.start();
        let guest = stage.guest.clone();
        let mut addresses = vec![0, UV_BASE, END, 1 << 20, PAGE.0 * 4096, 0x4000, 0x5000, 0x6000, 0x7000];
        let secure = stage.host.resident(&guest, PAGE);
        let exported = stage.host.resident(&guest, PageIndex(4));
        assert_eq!(stage.host.export(exported), DONE);
        let open = stage.host.shared(&guest, PageIndex(5), b"open");
        let held = stage.host.shared(&guest, PageIndex(6), b"held");
        assert_eq!(stage.host.pin(held), DONE);
        let fresh = stage.host.frame();
        stage.host.map(&guest, PageIndex(7), fresh);
        let young = stage.host.create(1);
        for page in 3..8 {
            let frame = stage.host.frame();
            stage.host.map(&young, PageIndex(page), frame);
            addresses.push(frame.address().0);
        }
        let header = crate::support::image::empty_header(stage.host.machine());
        let header_at = stage.host.allocate(0x1000);
        stage.host.store(header_at, &header);
        let more = stage.host.prepare(1);
        let frames = [secure, exported, open, held, fresh].map(|frame| frame.address().0);
        addresses.extend(frames);
        addresses.extend([header_at, guest.base, more.base, more.variable, more.sca, more.asce.0, guest.asce.0]);
        addresses.extend([more.cpu_storage, more.state_description, header.len() as u64, stage.block]);
        let right = BTreeMap::from([
            ("conf-base-stor-origin", more.base),
            ("conf-virt-stor-origin", more.variable),
            ("guest-sca", more.sca),
            ("guest-asce", more.asce.0),
            ("stor-origin", more.cpu_storage),
            ("state-origin", more.state_description),
            ("sec-header-origin", header_at),
            ("sec-header-len", header.len() as u64),
            ("guest-stor-origin", 0),
            ("guest-stor-len", 1 << 20),
        ]);
        Self { handles: vec![guest.handle, young.handle], cpus: vec![guest.cpu, young.cpu], addresses, right }
    }

    /// Issues a call, and remembers the handle that it gives.
    fn issue(&mut self, stage: &mut Stage<'_>, wish: &Wish) -> (Trace, Command) {
        let command = Command::ALL[wish.command];
        // A guest that has ended or stopped issues nothing.
        let by_guest = wish.by_guest && stage.runs();
        stage.command = command;
        stage.issuer = if by_guest { Issuer::Guest } else { Issuer::Host };
        stage.fields = self.fields(command, wish);
        stage.around = crate::stage::Around {
            problem: wish.problem,
            immediate: wish.immediate,
            skew: wish.skew,
            // The pages that a guest would need for it are there once only.
            header: wish.header && !by_guest,
            rest: wish.rest && !by_guest,
            length: wish.length,
            ..Default::default()
        };
        let trace = stage.issue();
        stage.host.cpu.set_translation(false);
        if trace.ending == Ending::Code(0, 1, 0) && !wish.header && !wish.rest && !by_guest {
            let handle = stage
                .host
                .load(stage.block + 0x18, 8)
                .map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")));
            match command {
                Command::CreateSecConf => self.handles.push(handle),
                Command::CreateSecCpu => self.cpus.push(handle),
                _ => {}
            }
        }
        (trace, command)
    }

    /// A value for every input: of the kind that belongs there, or what a change makes of it.
    fn fields(&self, command: Command, wish: &Wish) -> Vec<Field> {
        let inputs = command.row().fields.iter().filter(|field| !field.output);
        let choose = |values: &[u64], number: usize| values[number % values.len()];
        inputs
            .zip(wish.values.iter().cycle())
            .map(|(field, &(number, change))| {
                let value = match field.name {
                    name if number % 8 != 0 && self.right.contains_key(name) => self.right[name],
                    "guest-handle" => choose(&self.handles, number),
                    "cpu-handle" => choose(&self.cpus, number),
                    "handle" if matches!(command.row().handle, uvsim_model::uvc::HandleKind::Cpu(_)) => {
                        choose(&self.cpus, number)
                    }
                    "handle" => choose(&self.handles, number),
                    "num" => number as u64 % 4,
                    "state" => number as u64 % 7,
                    "tweak-prefix" | "tweak-offset" => number as u64 % 3,
                    _ => choose(&self.addresses, number),
                };
                let value = match change {
                    Change::None => value,
                    Change::Add(more) => value.wrapping_add(more),
                    Change::Flip(bit) => value ^ 1 << bit,
                    Change::Instead(other) => other,
                };
                (u64::from(field.offset), field.size, value)
            })
            .collect()
    }
}
