//! Everything before the first step: the host comes up, the guests are created or started.

use crate::image::{ImageKeys, Recipe, SeImage, USUAL_FLAGS, USUAL_PSW_MASK, components_of_loads};
use crate::kernel::{GuestPlan, Kernel, Stop};
use crate::scenario::{Guest, GuestState, LoadData, Place, Scenario};
use uvsim_model::Machine;
use uvsim_model::seed::{Purpose, Seed};

/// The scenario cannot be set up.
pub(crate) struct SetupError {
    pub(super) place: Place,
    pub(crate) message: String,
    pub(super) help: Option<String>,
}

/// Brings the host up and the guests to where the scenario wants them.
pub(crate) fn boot<'m>(machine: &'m Machine, scenario: &Scenario) -> Result<Kernel<'m>, SetupError> {
    let plans = (0..scenario.guests.len()).map(|guest| plan(machine, scenario, guest)).collect();
    let mut kernel =
        Kernel::boot(machine, plans).map_err(|stop| failed(scenario.place, "the host cannot be brought up", stop))?;
    // Nothing is checked yet, so nothing is compared.
    kernel.watch = false;
    for (number, guest) in scenario.guests.iter().enumerate() {
        let done = match guest.state {
            GuestState::None => continue,
            GuestState::Created => kernel.create(0, number),
            GuestState::Running => kernel.start(0, number),
        };
        done.map_err(|stop| failed(guest.place, &format!("guest `{}` cannot be started", guest.name), stop))?;
    }
    kernel.watch = true;
    Ok(kernel)
}

fn plan(machine: &Machine, scenario: &Scenario, number: usize) -> GuestPlan {
    let guest = &scenario.guests[number];
    let plan = |image| GuestPlan { name: guest.name.clone(), memory: guest.memory, vcpus: guest.vcpus, image };
    if let Some(image) = &guest.image {
        return plan(SeImage::clone(image));
    }
    plan(image_of(machine, number, guest))
}

/// The image that a guest starts from which has loads.
pub(crate) fn image_of(machine: &Machine, number: usize, guest: &Guest) -> SeImage {
    let seed = Seed(machine.config().seed);
    let content = |load: usize, data: &LoadData| match data {
        LoadData::Bytes(bytes) => bytes.clone(),
        LoadData::Random(len) => {
            let mut bytes = vec![0; usize::try_from(*len).unwrap_or(0)];
            // Files have far fewer guests and loads than these fields can number.
            seed.item(Purpose::LoadRandom, number as u32, load as u16).fill(&mut bytes);
            bytes
        }
    };
    let loads = guest.loads.iter().enumerate().map(|(index, load)| (load.address, content(index, &load.data)));
    let loads: Vec<(u64, Vec<u8>)> = loads.collect();
    let mut random = seed.substream(Purpose::Images, number as u32);
    let recipe = Recipe {
        recipients: &[machine.host_public_key().clone()],
        flags: USUAL_FLAGS,
        secret_flags: 0,
        psw: [USUAL_PSW_MASK, 0],
        keys: ImageKeys::draw(&mut random),
        components: components_of_loads(&loads, &mut random),
    };
    recipe.make().expect("one host key has one slot")
}

fn failed(place: Place, what: &str, stop: Stop) -> SetupError {
    match stop {
        Stop::OutOfStorage { what: item, needed, available } => SetupError {
            place,
            message: format!("{what}: {}", shortfall(&item, needed, available)),
            help: Some("give the machine more storage: `machine { storage \"8GiB\" }`".into()),
        },
        Stop::Outcome(observed) => {
            let code = observed.rc.map(|rc| format!(" rc={rc:#x} rrc={:#x}", observed.rrc.unwrap_or(0)));
            SetupError {
                place,
                message: format!("{what}: {}{}", observed.outcome, code.unwrap_or_default()),
                help: observed.rc.map(|rc| {
                    let call = observed.command.map(|command| format!("{} ", command.name())).unwrap_or_default();
                    let reason = observed.rrc.filter(|rrc| *rrc != 0).map(|rrc| format!("/{rrc:#x}"));
                    format!("`uvsim explain {call}{rc:#x}{}` tells what it means", reason.unwrap_or_default())
                }),
            }
        }
        Stop::TimeOut => SetupError { place, message: format!("{what}: no time is left"), help: None },
        Stop::Internal(message) => {
            SetupError { place, message: format!("{what}: error of the simulator: {message}"), help: None }
        }
    }
}

/// Says what storage does not suffice for.
pub(super) fn shortfall(what: &str, needed: u64, available: u64) -> String {
    match needed.saturating_sub(available) {
        0 => {
            format!("storage is too small for {what}: {needed} bytes in one piece wanted, {available} there in pieces")
        }
        short => format!("storage is too small for {what}: {needed} bytes wanted, {available} there, {short} short"),
    }
}
