//! Devices that mean harm, against the drivers of the guest: whatever they write where they can write, a driver neither
//! panics nor leaks slots, and the guest's own pages stay as they are.

use std::collections::VecDeque;

use proptest::collection::{VecStrategy, vec};
use proptest::prelude::*;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::seed::{Purpose, Seed};
use virtio_queue::{Queue, QueueT};

use super::{load, on_guest, store};
use crate::kernel::{FaultAnswers, Kernel, Stop};
use crate::virtio::board::{Attachment, Board, GuestDevices, HostDevice, Hosted, IoAt, IoOutcome, Service};
use crate::virtio::device::{AnyDevice, Block, Console, Entropy, Network};

const AT: IoAt = IoAt { guest: 0, vcpu: 0, faults: FaultAnswers::Linux };
const MEMORY: u64 = 1 << 20;
const SLOTS: u64 = 64;
const SECTORS: usize = 128;
/// Pages that the guest keeps to itself, and what is in them.
const OWN: std::ops::Range<u64> = 0x20..0x23;
const SECRET: [u8; 8] = *b"a secret";
/// Devices by number.
const DISK: usize = 0;
const OTHER_DISK: usize = 1;
const CARD: usize = 2;
const CONSOLE: usize = 3;
const SOURCE: usize = 4;

/// What a device does when it is notified.
#[derive(Clone, Debug)]
enum Act {
    /// Its work.
    Serve,
    /// Puts a chain into the used ring.
    Use {
        id: u32,
        length: u32,
    },
    /// Adds to the index of the used ring.
    Jump(u16),
    /// Sets the flags of the used ring.
    Flags(u16),
    /// Each descriptor is followed by itself.
    Circle,
    Scribble {
        place: Place,
        offset: u64,
        bytes: Vec<u8>,
    },
    Host {
        place: Place,
        offset: u64,
        what: Host,
    },
    GiveUp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Table,
    Available,
    Used,
    Pool,
    Anywhere,
}

/// What the host does to a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Host {
    Export,
    PageOut,
    PageIn,
    Unpin,
    UnshareAll,
}

/// A device that does what it is told, and else its work.
struct Liar {
    inner: Hosted,
    acts: VecDeque<Vec<Act>>,
    sizes: Option<Vec<u16>>,
    config: Option<Vec<u8>>,
}

impl Liar {
    fn new(device: AnyDevice, acts: Vec<Vec<Act>>) -> Self {
        Self { inner: Hosted::loop_back(device), acts: acts.into(), sizes: None, config: None }
    }

    fn disk(acts: Vec<Vec<Act>>) -> Self {
        Self::new(AnyDevice::Block(Block::of_memory(vec![5; SECTORS * 512], false, "d").unwrap()), acts)
    }
}

impl HostDevice for Liar {
    fn device_type(&self) -> u32 {
        self.inner.device_type()
    }

    fn features(&self) -> u64 {
        self.inner.features()
    }

    fn config(&self) -> &[u8] {
        self.config.as_deref().unwrap_or(self.inner.config())
    }

    fn queue_sizes(&self) -> &[u16] {
        self.sizes.as_deref().unwrap_or(self.inner.queue_sizes())
    }

    fn serve(&mut self, kernel: &mut Kernel<'_>, at: IoAt, queue: u16, queues: &mut [Queue]) -> Result<Service, Stop> {
        let acts = self.acts.pop_front().unwrap_or_else(|| vec![Act::Serve]);
        // It knows for sure that there is less on its disk than it has said.
        self.config = Some(vec![0; 64]);
        let mut service = Service::default();
        for act in acts {
            let ring = &queues[usize::from(queue)];
            match act {
                Act::Serve => service = self.inner.serve(kernel, at, queue, queues)?,
                Act::Use { id, length } => {
                    let index = peek(kernel, ring.used_ring() + 2);
                    let element = [id.to_le_bytes(), length.to_le_bytes()].concat();
                    poke(kernel, ring.used_ring() + 4 + 8 * u64::from(index % ring.size()), &element);
                    poke(kernel, ring.used_ring() + 2, &index.wrapping_add(1).to_le_bytes());
                }
                Act::Jump(by) => {
                    let index = peek(kernel, ring.used_ring() + 2).wrapping_add(by);
                    poke(kernel, ring.used_ring() + 2, &index.to_le_bytes());
                }
                Act::Flags(flags) => poke(kernel, ring.used_ring(), &flags.to_le_bytes()),
                Act::Circle => (0..ring.size()).for_each(|at| {
                    let [low, high] = at.to_le_bytes();
                    poke(kernel, ring.desc_table() + 16 * u64::from(at) + 12, &[1, 0, low, high]);
                }),
                Act::Scribble { place, offset, bytes } => poke(kernel, place.address(ring, offset), &bytes),
                Act::Host { place, offset, what } => what.attempt(kernel, place.address(ring, offset) / PAGE_SIZE),
                Act::GiveUp => service.error = Some("no more".into()),
            }
        }
        Ok(service)
    }
}

impl Place {
    fn address(self, ring: &Queue, offset: u64) -> u64 {
        match self {
            Self::Table => ring.desc_table() + offset % 512,
            Self::Available => ring.avail_ring() + offset % 64,
            Self::Used => ring.used_ring() + offset % 256,
            Self::Pool => MEMORY - SLOTS * 2048 + offset % (SLOTS * 2048),
            Self::Anywhere => offset % MEMORY,
        }
    }
}

impl Host {
    /// That it is refused is one of the answers.
    fn attempt(self, kernel: &mut Kernel<'_>, page: u64) {
        let _ = match self {
            Self::Export => kernel.export(0, 0, page),
            Self::PageOut => kernel.page_out(0, 0, page),
            Self::PageIn => kernel.page_in(0, 0, page),
            Self::Unpin => kernel.unpin(0, 0, page),
            Self::UnshareAll => kernel.unshare_all(0, 0),
        };
    }
}

/// The host stores bytes where it may.
fn poke(kernel: &mut Kernel<'_>, address: u64, bytes: &[u8]) {
    for (at, byte) in (address..).zip(bytes).take_while(|&(at, _)| at < MEMORY) {
        let _ = kernel.write(0, 0, at / PAGE_SIZE, at % PAGE_SIZE, &[*byte]);
    }
}

fn peek(kernel: &mut Kernel<'_>, address: u64) -> u16 {
    let mut bytes = [0; 2];
    let _ = kernel.read(0, 0, address / PAGE_SIZE, address % PAGE_SIZE, &mut bytes);
    u16::from_le_bytes(bytes)
}

/// A request of the guest.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Read(usize, u64, u32),
    Write(usize, u64, usize),
    Send(usize),
    Receive,
    Print(usize),
    Listen,
    Draw(usize),
}

impl Ask {
    /// What it came to, and what the guest has got.
    fn put(self, board: &mut Board<Liar>, kernel: &mut Kernel<'_>) -> Result<(IoOutcome, Vec<u8>), Stop> {
        match self {
            Self::Read(disk, sector, count) => board.disk_read(kernel, AT, disk, sector, count),
            Self::Write(disk, sector, len) => {
                board.disk_write(kernel, AT, disk, sector, &vec![3; len]).map(|outcome| (outcome, Vec::new()))
            }
            Self::Send(len) => board.send(kernel, AT, CARD, &vec![3; len]).map(|outcome| (outcome, Vec::new())),
            Self::Receive => {
                board.receive(kernel, AT, CARD).map(|(outcome, frame)| (outcome, frame.unwrap_or_default()))
            }
            Self::Print(len) => {
                board.console_write(kernel, AT, CONSOLE, &vec![3; len]).map(|outcome| (outcome, Vec::new()))
            }
            Self::Listen => board.console_read(kernel, AT, CONSOLE),
            Self::Draw(len) => board.entropy(kernel, AT, SOURCE, len),
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    let place = || {
        prop_oneof![
            1 => Just(Place::Table),
            1 => Just(Place::Available),
            3 => Just(Place::Used),
            1 => Just(Place::Pool),
            1 => Just(Place::Anywhere),
        ]
    };
    let host = prop_oneof![
        Just(Host::Export),
        Just(Host::PageOut),
        Just(Host::PageIn),
        Just(Host::Unpin),
        Just(Host::UnshareAll)
    ];
    let id = prop_oneof![4 => 0..16u32, 1 => 0x10000..0x10010u32, 1 => any::<u32>()];
    let length = prop_oneof![0..20u32, 0..5000u32, any::<u32>()];
    prop_oneof![
        6 => Just(Act::Serve),
        4 => (id, length).prop_map(|(id, length)| Act::Use { id, length }),
        1 => any::<u16>().prop_map(Act::Jump),
        1 => (0..3u16).prop_map(Act::Flags),
        1 => Just(Act::Circle),
        3 => (place(), any::<u64>(), vec(any::<u8>(), 1..40))
            .prop_map(|(place, offset, bytes)| Act::Scribble { place, offset, bytes }),
        2 => (place(), any::<u64>(), host).prop_map(|(place, offset, what)| Act::Host { place, offset, what }),
        1 => Just(Act::GiveUp),
    ]
}

fn acts() -> VecStrategy<VecStrategy<BoxedStrategy<Act>>> {
    vec(vec(prop_oneof![2 => Just(Act::Serve), 3 => act()].boxed(), 0..4), 0..5)
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        (0..2usize, 0..130u64, 1..9u32).prop_map(|(disk, sector, count)| Ask::Read(disk, sector, count)),
        (0..2usize, 0..130u64, 1..3000usize).prop_map(|(disk, sector, len)| Ask::Write(disk, sector, len)),
        (0..1600usize).prop_map(Ask::Send),
        Just(Ask::Receive),
        (1..5000usize).prop_map(Ask::Print),
        Just(Ask::Listen),
        (1..5000usize).prop_map(Ask::Draw),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_device_gets_the_better_of_a_driver(
        acts in [acts(), acts(), acts(), acts(), acts()],
        asks in vec(ask(), 1..10),
    ) {
        on_guest(|kernel| play(kernel, acts, &asks))?;
    }
}

fn play(kernel: &mut Kernel<'_>, acts: [Vec<Vec<Act>>; 5], asks: &[Ask]) -> Result<(), TestCaseError> {
    let [disk, other, card, console, source] = acts;
    let mut talkative = Console::new(1 << 16);
    talkative.push(&[b'i'; 300]);
    let devices = vec![
        Liar::disk(disk),
        Liar::disk(other),
        Liar::new(AnyDevice::Network(Network::new([2; 6], 8)), card),
        Liar::new(AnyDevice::Console(talkative), console),
        Liar::new(AnyDevice::Entropy(Entropy::new(Seed(1).stream(Purpose::Workload))), source),
    ];
    let secret: [u8; PAGE_SIZE as usize] = std::array::from_fn(|at| SECRET[at % 8]);
    OWN.for_each(|page| store(kernel, page * PAGE_SIZE, &secret));
    let mut board = board(devices);
    let stopped = |stop: Stop| TestCaseError::fail(format!("{stop:?}"));
    board.boot(kernel, AT).map_err(stopped)?;
    for ask in asks {
        let (_, bytes) = ask.put(&mut board, kernel).map_err(stopped)?;
        prop_assert!(bytes.windows(8).all(|window| window != SECRET), "{ask:?} has got a page of the guest");
    }
    for page in OWN {
        prop_assert!(load(kernel, page * PAGE_SIZE) == secret, "page {page:#x} has been written to");
    }
    // At any time there are the slots of one request, and those of waiting receive buffers and of a console's.
    for (number, slots) in board.statistics(0).slot_series {
        prop_assert!(slots <= 4 + 8 + 2, "request {number} finds {slots} slots in use");
    }
    board.shutdown(kernel, AT).map_err(stopped)?;
    Ok(())
}

fn board(devices: Vec<Liar>) -> Board<Liar> {
    let attach = |(at, device)| Attachment { name: format!("d{at}"), iommu: true, device };
    let devices = devices.into_iter().enumerate().map(attach).collect();
    Board::new(vec![GuestDevices { memory: MEMORY, swiotlb: SLOTS, devices }])
}

fn refused(outcome: IoOutcome) -> String {
    let IoOutcome::IoRefused { message, .. } = outcome else { panic!("{outcome:?}") };
    message
}

/// A read from a disk that does these things, and the words that it is refused with.
fn refuses(acts: Vec<Act>, words: &str) {
    on_guest(|kernel| {
        let mut board = board(vec![Liar::disk(vec![vec![Act::Serve], acts.clone()])]);
        board.boot(kernel, AT).unwrap();
        assert_eq!(board.disk_read(kernel, AT, DISK, 0, 1).unwrap().0, IoOutcome::Done);
        let message = refused(board.disk_read(kernel, AT, DISK, 0, 2).unwrap().0);
        assert!(message.contains(words), "{acts:?}: {message}");
        let message = refused(board.disk_read(kernel, AT, DISK, 0, 2).unwrap().0);
        assert!(message.contains("given the device up"), "{acts:?}: {message}");
    });
}

#[test]
fn each_lie_about_a_ring_is_told() {
    let serve_and = |act| vec![Act::Serve, act];
    let used = |id, length| Act::Use { id, length };
    refuses(vec![], "does not answer");
    refuses(vec![used(16, 0)], "chain 16, which it was not given");
    refuses(vec![used(1, 0)], "chain 1, which it was not given");
    refuses(vec![used(u32::MAX, 0)], "chain 4294967295, which it was not given");
    refuses(vec![used(0x1_0000, 0)], "chain 65536, which it was not given");
    refuses(vec![used(0, 1026)], "written 1026 bytes to chain 0, which has room for 1025");
    refuses(vec![used(0, u32::MAX)], "room for 1025");
    refuses(serve_and(used(0, 1025)), "used 2 chains and was given 1");
    refuses(serve_and(Act::Jump(0x8000)), "used 32769 chains and was given 1");
    refuses(serve_and(Act::Jump(u16::MAX)), "does not answer");
    refuses(serve_and(Act::GiveUp), "no more");
}

#[test]
fn a_device_that_changes_what_the_driver_owns_changes_nothing() {
    on_guest(|kernel| {
        let noise = |place| Act::Scribble { place, offset: 0, bytes: vec![0xff; 256] };
        let wreck = vec![Act::Serve, Act::Circle, noise(Place::Table), noise(Place::Available)];
        let mut board = board(vec![Liar::disk(vec![wreck.clone(), wreck])]);
        board.boot(kernel, AT).unwrap();
        for _ in 0..3 {
            assert_eq!(board.disk_read(kernel, AT, DISK, 9, 2).unwrap(), (IoOutcome::Done, vec![5; 1024]));
        }
    });
}

#[test]
fn a_device_that_has_been_given_up_keeps_no_slots() {
    on_guest(|kernel| {
        let mut board = board(vec![Liar::disk(vec![vec![]]), Liar::disk(vec![])]);
        board.boot(kernel, AT).unwrap();
        // 34 slots of 64, and so for the other disk.
        let message = refused(board.disk_read(kernel, AT, DISK, 0, 128).unwrap().0);
        assert!(message.contains("does not answer"));
        let outcome = board.disk_read(kernel, AT, OTHER_DISK, 0, 128).unwrap().0;
        assert_eq!(outcome, IoOutcome::Done);
        let outcome = board.disk_write(kernel, AT, OTHER_DISK, 0, &[1; SECTORS * 512]).unwrap();
        assert_eq!(outcome, IoOutcome::Done);
    });
}

#[test]
fn a_request_that_was_interrupted_answers_no_other() {
    on_guest(|kernel| {
        let content = (0..SECTORS * 512).map(|at| (at / 512) as u8).collect();
        let disk = AnyDevice::Block(Block::of_memory(content, false, "d").unwrap());
        let mut board = board(vec![Liar::new(disk, vec![])]);
        board.boot(kernel, AT).unwrap();
        // The page of descriptors and available ring; what goes into the slots has been stored by then.
        kernel.page_out(0, 0, (MEMORY - SLOTS * 2048) / PAGE_SIZE - 1).unwrap();
        let stopped = board.disk_read(kernel, IoAt { faults: FaultAnswers::Stop, ..AT }, DISK, 7, 1);
        assert!(matches!(stopped, Err(Stop::Outcome(_))), "{stopped:?}");
        let message = refused(board.disk_read(kernel, AT, DISK, 9, 1).unwrap().0);
        assert!(message.contains("a request was interrupted"), "{message}");
    });
}

#[test]
fn registers_that_make_no_sense_leave_a_device_unbound() {
    on_guest(|kernel| {
        let unbound = |kernel: &mut Kernel<'_>, liar: Liar| {
            let mut board = board(vec![liar]);
            board.boot(kernel, AT).unwrap();
            let (outcome, _) = board.disk_read(kernel, AT, DISK, 0, 1).unwrap();
            board.shutdown(kernel, AT).unwrap();
            let IoOutcome::NoDevice { message, .. } = outcome else { panic!("{outcome:?}") };
            message
        };
        for sizes in [vec![], vec![0], vec![1], vec![15]] {
            let liar = Liar { sizes: Some(sizes.clone()), ..Liar::disk(vec![]) };
            let message = unbound(kernel, liar);
            assert!(message.contains("gives up"), "{sizes:?}: {message}");
        }
        for sizes in [vec![17], vec![0x8001], vec![u16::MAX]] {
            let liar = Liar { sizes: Some(sizes.clone()), ..Liar::disk(vec![]) };
            let message = unbound(kernel, liar);
            assert!(message.contains("impossible size"), "{sizes:?}: {message}");
        }
        let message = unbound(kernel, Liar { config: Some(vec![0; 7]), ..Liar::disk(vec![]) });
        assert!(message.contains("gives up"), "{message}");
        // The largest capacity overflows nothing.
        let mut board = board(vec![Liar { config: Some(vec![0xff; 64]), ..Liar::disk(vec![]) }]);
        board.boot(kernel, AT).unwrap();
        let (outcome, _) = board.disk_read(kernel, AT, DISK, u64::MAX - 1, 1).unwrap();
        assert_eq!(outcome, IoOutcome::IoError { status: 1 });
    });
}
