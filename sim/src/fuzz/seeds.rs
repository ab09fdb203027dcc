//! Cases to begin with: together they get every answer and take every row that statements can.

use super::case::{Case, Deed, GuestSetup, Setup};
use crate::image::{ImageKeys, Recipe, USUAL_FLAGS, USUAL_PSW_MASK};
use crate::refusals;
use crate::scenario::{FieldValue, GuestId, GuestState, Injection, PvCommand, Scenario, Source, UvcCall, Verb};
use std::path::Path;
use uvsim_model::address::PageIndex;
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::seed::{Purpose, Seed};
use uvsim_model::uvc::{Command, HandleKind, Issuer};

/// The scenarios, by name.
pub const SEEDS: [(&str, &str); 12] = [
    ("header.kdl", include_str!("seeds/header.kdl")),
    ("header_z15.kdl", include_str!("seeds/header_z15.kdl")),
    ("image.kdl", include_str!("seeds/image.kdl")),
    ("init.kdl", include_str!("seeds/init.kdl")),
    ("late.kdl", include_str!("seeds/late.kdl")),
    ("life.kdl", include_str!("seeds/life.kdl")),
    ("orphans.kdl", include_str!("seeds/orphans.kdl")),
    ("paging.kdl", include_str!("seeds/paging.kdl")),
    ("queries.kdl", include_str!("seeds/queries.kdl")),
    ("reset.kdl", include_str!("seeds/reset.kdl")),
    ("sharing.kdl", include_str!("seeds/sharing.kdl")),
    ("without_misc.kdl", include_str!("seeds/without_misc.kdl")),
];

/// The seeds as cases.
#[must_use]
pub fn all() -> Vec<Case> {
    let case = |(name, text): &(&str, &str)| {
        let scenario = Scenario::parse(Path::new(name), text).ok()?;
        Case::from_scenario(&scenario).ok()
    };
    let mut cases: Vec<Case> = SEEDS.iter().filter_map(case).collect();
    cases.extend(refusals::built().map(general));
    cases.push(uninitialised());
    cases.extend(secret_flag());
    cases
}

const ALPHA: GuestId = GuestId(0);
const NOBODY: u64 = 0xdead;

/// What a call looks at like every other: who issues it, its length, its handle, what is injected.
fn general(command: Command) -> Case {
    let guests = command.row().issuer == Issuer::Guest;
    let good = call(command, true);
    let mut deeds = vec![
        issued(good.clone(), !guests),
        issued(UvcCall { length: 8, ..good.clone() }, guests),
        issued(call(command, false), guests),
    ];
    for injection in [Injection::Busy(1), Injection::Partial(1)] {
        deeds.push(Deed { cpu: 0, verb: Verb::HostInject { command, injection } });
        deeds.push(issued(good.clone(), guests));
    }
    if command.row().issuer == Issuer::Both {
        deeds.push(issued(good, false));
    }
    // The generation that installs all of them.
    Case::new(Setup { generation: Generation::Z17, ..Setup::default() }, deeds)
}

/// Every call of a host before INIT_UV.
fn uninitialised() -> Case {
    let mut deeds = vec![Deed { cpu: 0, verb: Verb::HostResetMachine }];
    let calls = refusals::built().filter(|command| command.row().issuer != Issuer::Guest);
    deeds.extend(calls.map(|command| issued(call(command, false), false)));
    Case::new(Setup::default(), deeds)
}

/// A header that is genuine, but has a secret control flag that nobody knows.
fn secret_flag() -> Option<Case> {
    let setup =
        Setup { guests: vec![GuestSetup { state: GuestState::Created, ..GuestSetup::default() }], ..Setup::default() };
    let keys = MachineConfig { seed: setup.seed, ..MachineConfig::default() }.host_keys();
    let recipe = Recipe {
        recipients: &[keys.host.public().clone()],
        flags: USUAL_FLAGS,
        secret_flags: 1,
        psw: [USUAL_PSW_MASK, 0],
        keys: ImageKeys::draw(&mut Seed(setup.seed).stream(Purpose::Fuzz)),
        components: Vec::new(),
    };
    let header = recipe.make().ok()?.header;
    let deeds = vec![
        Deed { cpu: 0, verb: Verb::HostWriteHeader { guest: ALPHA, offset: 0, data: Source::Bytes(header) } },
        Deed { cpu: 0, verb: Verb::HostPv { guest: ALPHA, command: PvCommand::SetSecParms { length: None } } },
    ];
    Some(Case::new(setup, deeds))
}

fn issued(call: UvcCall, by_guest: bool) -> Deed {
    let verb = if by_guest { Verb::GuestUvc { guest: ALPHA, call } } else { Verb::HostUvc { call } };
    Deed { cpu: 0, verb }
}

/// A call with the handle of the guest, or one that nothing has.
fn call(command: Command, known: bool) -> UvcCall {
    let handle_at = match command.row().handle {
        HandleKind::None => None,
        HandleKind::Configuration(at) => Some((at, FieldValue::Handle(ALPHA))),
        HandleKind::Cpu(at) => Some((at, FieldValue::Cpu(ALPHA, 0))),
    };
    let mut fields = Vec::new();
    for field in command.row().fields.iter().filter(|field| !field.output) {
        match handle_at {
            Some((at, handle)) if field.offset == at => {
                fields.push((*field, if known { handle } else { FieldValue::Number(NOBODY) }));
            }
            _ if matches!(command, Command::SetSharedAccess | Command::RemoveSharedAccess) => {
                fields.push((*field, FieldValue::Page(ALPHA, PageIndex(3))));
            }
            _ => {}
        }
    }
    UvcCall {
        code: command.code(),
        command: Some(command),
        length: super::call::usual_length(Some(command)),
        bytes: Vec::new(),
        fields,
        save: None,
        problem_state: false,
        immediate: 0,
        skew: 0,
    }
}
