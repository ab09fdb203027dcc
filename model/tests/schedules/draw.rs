//! How schedules are drawn.

use crate::image::{Change, FIELDS, FLAGS, Image, Seal, Slip};
use crate::step::{
    BLOCK_FRAME, BootPlan, FRAMES, Instruction, Offer, PAGES, POOL, Purged, SLOTS, Schedule, Setup, Spot, Step, Text,
};
use proptest::prelude::*;
use uvsim_model::Injection;
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation};
use uvsim_model::uvc::Command;

/// What a test concentrates on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    pub paging: u32,
    pub sharing: u32,
    pub life: u32,
    pub raw: u32,
    pub reset: u32,
    /// Boots that go wrong, and the reset protocol.
    pub boot: u32,
    pub protocol: u32,
    /// Of eight schedules, how many start with both guests; most others start with one.
    pub both: u32,
}

pub(crate) fn schedules(theme: Theme, setups: impl Strategy<Value = Setup>) -> impl Strategy<Value = Schedule> {
    let ready = prop_oneof![
        theme.both => Just([true, true]),
        7 - theme.both => Just([true, false]),
        1 => Just([false, false])
    ];
    (setups, ready, prop::collection::vec(parts(theme), 8..32)).prop_map(|(setup, ready, parts)| Schedule {
        setup,
        ready,
        steps: parts.into_iter().flatten().collect(),
    })
}

/// Mostly single steps. Strategies are boxed: unboxed they are larger than the stack of a test.
fn parts(theme: Theme) -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![
        40 => steps(theme).prop_map(|step| vec![step]),
        theme.boot => spoilt_boot(),
        theme.protocol => protocol(theme).boxed(),
        theme.protocol => instructions().boxed(),
    ]
    .boxed()
}

/// A guest ends and another boots, or not; and is tried.
fn spoilt_boot() -> impl Strategy<Value = Vec<Step>> {
    (guest(), page(), spoilt())
        .prop_map(|(guest, page, plan)| vec![Step::Renew { guest, plan }, Step::Progress { guest, page }])
}

/// A guest that runs tells its host something, and goes on: by itself if it can, else with help.
fn instructions() -> impl Strategy<Value = Vec<Step>> {
    (guest(), page(), instruction()).prop_map(|(guest, page, instruction)| {
        let (cpu, vcpu) = (0, 0);
        vec![
            Step::Progress { guest, page },
            Step::Instruct { guest, cpu, vcpu, instruction },
            Step::GuestLoad { guest, page, cpu, vcpu },
            Step::Progress { guest, page },
        ]
    })
}

/// The reset of a guest in its order, with anything between the steps.
fn protocol(theme: Theme) -> impl Strategy<Value = Vec<Step>> {
    let noise = || prop::option::weighted(0.2, prop_oneof![1 => steps(theme), 1 => life(), 1 => paging()].boxed());
    let asked = prop_oneof![2 => Just(Some(0u64)), 2 => Just(Some(1)), 1 => Just(None)];
    let kind = prop::sample::select(&CPU_RESETS);
    (guest(), page(), asked, kind, prop::array::uniform6(noise())).prop_map(|(guest, page, asked, command, noise)| {
        let ask =
            asked.map(|subcode| Step::Instruct { guest, cpu: 0, vcpu: 0, instruction: Instruction::Ipl(subcode, 0) });
        let command = if asked == Some(0) && command == Command::CpuReset { Command::CpuResetClear } else { command };
        let [a, b, c, d, e, f] = noise;
        let state = |number, state| Some(Step::SetState { guest, number, state });
        let steps = [
            Some(Step::Progress { guest, page }),
            ask,
            a,
            state(0, 2),
            state(1, 2),
            b,
            Some(Step::UnshareAll { guest, stop: false }),
            c,
            Some(Step::PrepareReset { guest }),
            d,
            Some(Step::CpuReset { guest, number: 1, command }),
            Some(Step::CpuReset { guest, number: 0, command }),
            e,
            state(0, 5),
            f,
            Some(Step::Progress { guest, page }),
        ];
        steps.into_iter().flatten().collect()
    })
}

pub(crate) fn setups() -> impl Strategy<Value = Setup> {
    let generation = prop_oneof![
        1 => Just(Generation::Z15),
        3 => Just(Generation::Z16),
        1 => Just(Generation::Z17)
    ];
    let detection = prop_oneof![3 => Just(ChangeDetection::Digest), 1 => Just(ChangeDetection::Always)];
    let cipher = prop_oneof![4 => Just(CipherProfile::Gcm), 1 => Just(CipherProfile::Xts)];
    (generation, prop::bool::weighted(0.8), detection, cipher).prop_map(|(generation, usual, detection, cipher)| {
        Setup { generation, misc: (generation != Generation::Z15) == usual, detection, cipher }
    })
}

fn guest() -> impl Strategy<Value = usize> {
    0..SLOTS
}

/// Mostly few pages, so that steps meet.
fn page() -> impl Strategy<Value = u8> {
    prop_oneof![2 => 0..2u8, 6 => 2..4u8, 1 => 4..PAGES]
}

/// Also pages that are never mapped, and pages outside the guest.
fn any_page() -> impl Strategy<Value = u16> {
    prop_oneof![16 => page().prop_map(u16::from), 1 => 250..260u16]
}

fn frame() -> impl Strategy<Value = Spot> {
    prop_oneof![
        6 => (0..POOL).prop_map(Spot::Frame),
        1 => (POOL..FRAMES).prop_map(Spot::Frame),
        1 => Just(Spot::Frame(BLOCK_FRAME)),
        6 => (guest(), page()).prop_map(|(guest, page)| Spot::Page(guest, page)),
    ]
}

fn offer() -> impl Strategy<Value = Offer> {
    prop_oneof![
        2 => Just(Offer::Latest),
        2 => (0..0x8000u16).prop_map(Offer::Flipped),
        3 => any::<usize>().prop_map(Offer::Saved),
        1 => Just(Offer::Own),
    ]
}

fn low() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(0), 1 => 1..0x1000u16]
}

fn host_cpu() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(0), 1 => Just(1)]
}

fn vcpu() -> impl Strategy<Value = u16> {
    prop_oneof![6 => Just(0), 1 => Just(1)]
}

fn purged() -> impl Strategy<Value = Purged> {
    prop_oneof![3 => Just(Purged::No), 3 => Just(Purged::Ipte), 1 => Just(Purged::Ptlb)]
}

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![
        4 => Just(Text::Secret),
        1 => Just(Text::Zeros),
        2 => Just(Text::Same),
        2 => Just(Text::AsExported),
        2 => any::<u8>().prop_map(Text::Piece),
        1 => Just(Text::Straddle),
    ]
}

fn steps(theme: Theme) -> BoxedStrategy<Step> {
    prop_oneof![
        8 => host_access(),
        6 => mapping(),
        10 => guest_access(),
        theme.paging => paging(),
        theme.sharing => sharing(),
        theme.life => life(),
        theme.raw => raw(),
        theme.reset => any::<bool>().prop_map(|clear| Step::Reset { clear }),
    ]
    .boxed()
}

fn host_access() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => frame().prop_map(|frame| Step::HostLoad { frame }),
        1 => frame().prop_map(|frame| Step::HostFetch { frame }),
        2 => frame().prop_map(|frame| Step::HostStore { frame }),
        2 => (frame(), 0..0x8000u16).prop_map(|(frame, bit)| Step::HostFlip { frame, bit }),
        2 => (frame(), frame()).prop_map(|(from, to)| Step::Copy { from, to }),
        4 => (any::<usize>(), frame()).prop_map(|(saved, frame)| Step::Replay { saved, frame }),
        1 => (0..POOL - 1, any::<bool>()).prop_map(|(frame, device)| Step::Straddle { frame, device }),
        1 => frame().prop_map(|frame| Step::DeviceRead { frame }),
        1 => frame().prop_map(|frame| Step::DeviceWrite { frame }),
    ]
}

fn mapping() -> impl Strategy<Value = Step> {
    let map = (guest(), page(), frame(), prop::bool::weighted(0.1), purged());
    prop_oneof![
        5 => map.prop_map(|(guest, page, frame, protected, purged)| Step::Map { guest, page, frame, protected, purged }),
        1 => (guest(), page(), purged()).prop_map(|(guest, page, purged)| Step::Unmap { guest, page, purged }),
    ]
}

fn guest_access() -> impl Strategy<Value = Step> {
    let store = (guest(), page(), host_cpu(), vcpu(), text(), any::<bool>());
    prop_oneof![
        4 => (guest(), page(), host_cpu(), vcpu())
            .prop_map(|(guest, page, cpu, vcpu)| Step::GuestLoad { guest, page, cpu, vcpu }),
        5 => store.prop_map(|(guest, page, cpu, vcpu, text, helped)| Step::GuestStore { guest, page, cpu, vcpu, text, helped }),
        8 => (guest(), page()).prop_map(|(guest, page)| Step::Progress { guest, page }),
        1 => guest().prop_map(|guest| Step::GuestBeyond { guest }),
        1 => (guest(), host_cpu(), vcpu(), instruction())
            .prop_map(|(guest, cpu, vcpu, instruction)| Step::Instruct { guest, cpu, vcpu, instruction }),
    ]
}

fn paging() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (guest(), any_page(), low(), any::<bool>())
            .prop_map(|(guest, page, low, again)| Step::Import { guest, page, low, again }),
        6 => (frame(), low(), any::<bool>()).prop_map(|(frame, low, again)| Step::Export { frame, low, again }),
        2 => (frame(), low(), any::<bool>()).prop_map(|(frame, low, again)| Step::Destroy { frame, low, again }),
        6 => take(),
        6 => (guest(), page(), offer()).prop_map(|(guest, page, offer)| Step::Replace { guest, page, offer }),
        1 => (guest(), page(), 0..3u8).prop_map(|(guest, page, below)| Step::Preset { guest, page, below }),
    ]
}

fn take() -> impl Strategy<Value = Step> {
    (guest(), page(), frame(), any::<bool>()).prop_map(|(guest, page, frame, out)| Step::Take {
        guest,
        page,
        frame,
        out,
    })
}

fn sharing() -> impl Strategy<Value = Step> {
    let pin = (frame(), low(), any::<bool>());
    prop_oneof![
        4 => (guest(), any_page(), low(), host_cpu(), any::<bool>())
            .prop_map(|(guest, page, low, cpu, helped)| Step::Share { guest, page, low, cpu, helped }),
        3 => (guest(), any_page(), low(), host_cpu(), any::<bool>())
            .prop_map(|(guest, page, low, cpu, helped)| Step::Unshare { guest, page, low, cpu, helped }),
        3 => (guest(), page()).prop_map(|(guest, page)| Step::Lend { guest, page }),
        3 => take(),
        1 => (guest(), page(), any::<bool>())
            .prop_map(|(guest, page, by_guest)| Step::Forget { guest, page, by_guest }),
        1 => (guest(), prop::bool::weighted(0.8)).prop_map(|(guest, stop)| Step::UnshareAll { guest, stop }),
        5 => pin.prop_map(|(frame, low, again)| Step::Pin { frame, low, again }),
        2 => (guest(), any_page(), low(), any::<bool>())
            .prop_map(|(guest, page, low, again)| Step::Unpin { guest, page, low, again }),
    ]
}

fn whole() -> BoxedStrategy<BootPlan> {
    (prop::option::of(page()), prop::option::of(frame()))
        .prop_map(|(page, frame)| BootPlan { frame, ..BootPlan::whole(page) })
        .boxed()
}

/// An image with something wrong in what its maker, or the host, has done. Mostly one thing at a time.
fn spoilt() -> BoxedStrategy<BootPlan> {
    let pages = prop_oneof![
        1 => Just([None, None]),
        3 => page().prop_map(|page| [Some(page), None]),
        4 => (page(), 1..3u8).prop_map(|(page, by)| [Some(page), Some((page + by) % PAGES)]),
    ];
    let seal = prop_oneof![
        3 => (0..3usize).prop_map(Seal::Digest),
        1 => Just(Seal::Count),
        3 => prop::sample::select(&FLAGS).prop_map(Seal::Flags),
        2 => prop_oneof![Just(63), Just(62), Just(61), Just(0)].prop_map(|bit| Seal::SecretFlags(1 << bit)),
        1 => any::<bool>().prop_map(Seal::Foreign),
        1 => Just(Seal::ForBoth),
    ];
    let field = || 0..FIELDS.len();
    let change = prop_oneof![
        8 => (field(), any::<u16>()).prop_map(|(field, bit)| Change::Flip(field, bit)),
        3 => (field(), prop_oneof![Just(0), Just(0xff), Just(1), any::<u8>()])
            .prop_map(|(field, byte)| Change::Fill(field, byte)),
        1 => Just(Change::Customer),
        2 => prop_oneof![Just(0), Just(0x19f), Just(0x1a0), Just(0x27f), Just(0x281), Just(0x2d0), Just(0x2001), any::<u32>()]
            .prop_map(Change::Length),
        1 => Just(Change::Donated),
        1 => Just(Change::Outside),
    ];
    let slip = prop_oneof![
        2 => (0..0x8000u16).prop_map(Slip::Flip),
        2 => Just(Slip::Tweak),
        2 => Just(Slip::Address),
        1 => Just(Slip::Twice),
        1 => Just(Slip::Exported),
        1 => Just(Slip::Imported),
        1 => Just(Slip::Destroyed),
        2 => Just(Slip::Late),
        1 => Just(Slip::Missing),
        2 => Just(Slip::Swapped),
    ];
    let wrong = prop_oneof![
        2 => seal.prop_map(|seal| (seal, Change::None, Slip::None)),
        3 => change.prop_map(|change| (Seal::Genuine, change, Slip::None)),
        5 => slip.prop_map(|slip| (Seal::Genuine, Change::None, slip)),
        1 => Just((Seal::Genuine, Change::None, Slip::None)),
    ];
    let frame = prop::option::weighted(0.2, frame());
    (pages, wrong, frame, any::<bool>(), prop::bool::weighted(0.2))
        .prop_map(|(pages, (seal, change, slip), frame, again, early)| BootPlan {
            image: Image { pages, seal },
            change,
            slip,
            frame,
            again,
            early,
        })
        .boxed()
}

const CPU_RESETS: [Command; 3] = [Command::CpuReset, Command::CpuResetInitial, Command::CpuResetClear];

fn instruction() -> impl Strategy<Value = Instruction> {
    prop_oneof![
        2 => (0..2u64).prop_map(|subcode| Instruction::Ipl(subcode, 0)),
        2 => prop_oneof![Just(3u64), Just(4), Just(5), 7..12u64, any::<u64>()]
            .prop_map(|subcode| Instruction::Ipl(subcode, u64::from(subcode == 6))),
        1 => (5..7u64).prop_map(|subcode| Instruction::Ipl(subcode, 8)),
        2 => prop_oneof![Just(0x44u16), Just(0x9c), Just(0x288), Just(0x500), any::<u16>().prop_map(|code| code | 1)]
            .prop_map(Instruction::Diagnose),
        4 => (0..4u64, 0..0x2000u64).prop_map(|(area, low)| Instruction::SetPrefix(area << 13 | low)),
        1 => any::<u64>().prop_map(Instruction::SetPrefix),
    ]
}

fn life() -> BoxedStrategy<Step> {
    prop_oneof![
        3 => guest().prop_map(|guest| Step::Create { guest }),
        1 => guest().prop_map(|guest| Step::Early { guest }),
        3 => (guest(), any::<bool>(), any::<bool>()).prop_map(|(guest, fast, cpus)| Step::End { guest, fast, cpus }),
        2 => (guest(), prop_oneof![3 => Just(0u16), 3 => Just(1), 1 => 255..259u16], frame())
            .prop_map(|(guest, number, frame)| Step::CreateCpu { guest, number, frame }),
        4 => (guest(), 0..2u16).prop_map(|(guest, number)| Step::EndCpu { guest, number }),
        2 => (guest(), prop_oneof![whole(), spoilt()]).prop_map(|(guest, plan)| Step::Boot { guest, plan }),
        2 => (guest(), prop_oneof![whole(), spoilt()]).prop_map(|(guest, plan)| Step::Renew { guest, plan }),
        1 => guest().prop_map(|guest| Step::PrepareReset { guest }),
        2 => (guest(), 0..2u16, prop::sample::select(&CPU_RESETS))
            .prop_map(|(guest, number, command)| Step::CpuReset { guest, number, command }),
        2 => (guest(), 0..2u16, 0..7u8).prop_map(|(guest, number, state)| Step::SetState { guest, number, state }),
    ]
    .boxed()
}

/// Calls whose injected answers other steps run into.
const CONTENDED: [Command; 19] = [
    Command::SetSecConfParams,
    Command::UnpackImg,
    Command::VerifyImg,
    Command::PrepareReset,
    Command::CpuReset,
    Command::CpuResetInitial,
    Command::CpuResetClear,
    Command::CpuSetState,
    Command::CreateSecConf,
    Command::DestroySecConf,
    Command::CreateSecCpu,
    Command::ConvToSecStor,
    Command::ConvFromSecStor,
    Command::DestrSecStor,
    Command::SetUnsharedAll,
    Command::PinPageShared,
    Command::UnpinPageShared,
    Command::SetSharedAccess,
    Command::RemoveSharedAccess,
];

fn raw() -> impl Strategy<Value = Step> {
    let injection = prop_oneof![
        4 => (1..3u64).prop_map(Injection::Busy),
        2 => (1..3u64).prop_map(Injection::Partial),
        1 => Just(Injection::LateFailure),
    ];
    let blocks = prop::sample::select(Command::ALL).prop_flat_map(|command| {
        let code = prop_oneof![20 => Just(command.code()), 1 => any::<u16>()];
        let length = prop_oneof![20 => Just(command.usual_length()), 2 => 0..0x300u16, 1 => any::<u16>()];
        (code, length, prop::array::uniform8((0..12u8, any::<u64>())))
    });
    prop_oneof![
        1 => (prop::sample::select(&CONTENDED), injection).prop_map(|(command, injection)| Step::Inject { command, injection }),
        3 => blocks.prop_map(|(command, length, fields)| Step::Raw { command, length, fields }),
    ]
}
