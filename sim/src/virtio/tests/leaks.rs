//! Whatever a driver puts into its rings, and whatever guest and host do meanwhile: devices get bytes of shared pages
//! and nothing else (I-09, I-13), and what they write lands in no page that is private then (I-14).

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::seed::{Purpose, Seed};
use vm_memory::{Bytes, GuestAddress};

use super::watched::{Event, FIRST, PAGES, Pages, Watched};
use super::{Descriptor, ENTRIES, INDIRECT, NEXT, WRITE, on_guest, queue_at};
use crate::kernel::Kernel;
use crate::virtio::device::{AnyDevice, Block, Console, Device, Entropy, Network};
use crate::virtio::view::{Copies, HostView};

const DISK: u64 = 16 * 512;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]
    #[test]
    fn devices_get_what_is_shared_and_nothing_else(
        start in vec(start(), PAGES as usize),
        steps in vec(step(), 1..24),
    ) {
        on_guest(|kernel| play(kernel, &start, &steps))?;
    }
}

/// What a page is before the first step.
#[derive(Clone, Copy, Debug)]
enum Start {
    Private,
    Shared,
    Exported,
    TakenBack,
}

#[derive(Clone, Debug)]
enum Step {
    Do(Event),
    /// A driver fills its rings and notifies a device: disk, network card, console, source of random numbers.
    Serve {
        device: usize,
        ring: Rings,
        chains: Vec<Chain>,
        meanwhile: Vec<(u8, Event)>,
    },
    /// A device of another kind reads or writes a range.
    Touch {
        at: Place,
        len: usize,
        write: bool,
        meanwhile: Vec<(u8, Event)>,
    },
}

/// A guest absolute address: a page, counted from the first that is played with, and an offset; or anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    In(u64, u64),
    Any(u64),
}

impl Place {
    fn address(self) -> u64 {
        match self {
            Self::In(page, offset) => (FIRST + page) * PAGE_SIZE + offset,
            Self::Any(address) => address,
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(page, offset) => write!(f, "page {page}+{offset:#x}"),
            Self::Any(address) => write!(f, "{address:#x}"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Rings {
    table: Place,
    available: Place,
    used: Place,
}

#[derive(Clone, Debug)]
enum Chain {
    /// A write or a read, as the header at the start of this page says.
    Disk {
        header: u64,
        data: Place,
        sectors: u32,
        status: Place,
    },
    Send(Place, u32),
    Receive(Place, u32),
    Any(Vec<(Place, u32, u16, u16)>),
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        1 => Just(Start::Private),
        9 => Just(Start::Shared),
        1 => Just(Start::Exported),
        1 => Just(Start::TakenBack),
    ]
}

fn page() -> impl Strategy<Value = u64> {
    0..PAGES
}

/// Often where pages meet.
fn place() -> impl Strategy<Value = Place> {
    let offset = prop_oneof![Just(0), PAGE_SIZE - 40..PAGE_SIZE, 0..PAGE_SIZE];
    prop_oneof![
        30 => (page(), offset).prop_map(|(page, offset)| Place::In(page, offset)),
        1 => any::<u64>().prop_map(Place::Any),
        1 => Just(Place::Any((1 << 20) - 8)),
        1 => Just(Place::Any(PAGE_SIZE)),
    ]
}

fn rings() -> impl Strategy<Value = Rings> {
    let aligned = |by: u64| {
        place().prop_map(move |place| match place {
            Place::In(page, offset) => Place::In(page, offset / by * by),
            Place::Any(address) => Place::Any(address / by * by),
        })
    };
    let usual = page().prop_map(|page| Rings {
        table: Place::In(page, 0x100),
        available: Place::In(page, 0x800),
        used: Place::In(page, 0xc00),
    });
    let any = (aligned(16), aligned(2), aligned(4));
    prop_oneof![4 => usual, 1 => any.prop_map(|(table, available, used)| Rings { table, available, used })]
}

/// Mostly what a driver of the device would make.
fn chain(device: usize) -> impl Strategy<Value = Chain> {
    let len = || prop_oneof![Just(64), 1..1600u32];
    let flags = prop_oneof![Just(NEXT), Just(NEXT | WRITE), Just(WRITE), Just(0), Just(INDIRECT)];
    let any_len = prop_oneof![8 => Just(16), 8 => 0..2000u32, 1 => Just(u32::MAX)];
    let disk = (page(), place(), 1..4u32, place()).prop_map(|(header, data, sectors, status)| Chain::Disk {
        header,
        data,
        sectors,
        status,
    });
    let send = (place(), len()).prop_map(|(at, len)| Chain::Send(at, len));
    let receive = (place(), len()).prop_map(|(at, len)| Chain::Receive(at, len));
    let any = vec((place(), any_len, flags, 0..ENTRIES), 1..4).prop_map(Chain::Any);
    let [disks, sends, receives] = [[12, 1, 1], [1, 8, 4], [1, 8, 4], [1, 1, 12]][device];
    prop_oneof![disks => disk, sends => send, receives => receive, 2 => any]
}

fn event() -> impl Strategy<Value = Event> {
    let on_page = (0..12u8, page()).prop_map(|(kind, page)| match kind {
        0..4 => Event::Share(page),
        4 => Event::Unshare(page),
        5 => Event::Secret(page),
        6 => Event::Pin(page),
        7 => Event::Unpin(page),
        8 => Event::Export(page),
        9 => Event::PageOut(page),
        10 => Event::PageIn(page),
        _ => Event::Import(page),
    });
    prop_oneof![
        20 => on_page,
        1 => page().prop_map(Event::Destroy),
        1 => Just(Event::UnshareAll),
        2 => (0..6usize).prop_map(Event::ReadKept),
        2 => (0..6usize).prop_map(Event::WriteKept),
    ]
}

/// Single events, and a guest that takes a page back which the host then seals, while slices of it are out.
fn meanwhile() -> impl Strategy<Value = Vec<(u8, Event)>> {
    let singles = vec((0..6u8, event()), 0..4);
    let sealed =
        (1..12u8, page()).prop_map(|(wait, page)| vec![(wait, Event::Unshare(page)), (0, Event::Export(page))]);
    let late = vec((0..8usize, 0..3u8), 0..3).prop_map(|numbers| {
        let event = |(number, wait)| (wait, if wait == 2 { Event::ReadKept(number) } else { Event::WriteKept(number) });
        numbers.into_iter().map(event).collect()
    });
    prop_oneof![2 => Just(Vec::new()), 3 => singles, 2 => (sealed, late).prop_map(|(a, b): (_, Vec<_>)| [a, b].concat())]
}

fn step() -> impl Strategy<Value = Step> {
    let serve = (0..4usize).prop_flat_map(|device| (Just(device), rings(), vec(chain(device), 1..4), meanwhile()));
    let len = prop_oneof![1..64usize, 1..9000usize];
    let touch = (place(), len, any::<bool>(), meanwhile());
    prop_oneof![
        3 => event().prop_map(Step::Do),
        2 => page().prop_map(|page| Step::Do(Event::Share(page))),
        6 => serve.prop_map(|(device, ring, chains, meanwhile)| Step::Serve { device, ring, chains, meanwhile }),
        2 => touch.prop_map(|(at, len, write, meanwhile)| Step::Touch { at, len, write, meanwhile }),
    ]
}

/// The devices, and all that they have got.
struct Bench {
    devices: [AnyDevice; 4],
    disk: File,
    got: Vec<u8>,
    copies: Copies,
}

fn play(kernel: &mut Kernel<'_>, start: &[Start], steps: &[Step]) -> Result<(), TestCaseError> {
    let mut pages = Pages::new(kernel);
    for (page, start) in (0..).zip(start) {
        let events: &[Event] = match start {
            Start::Private => &[],
            Start::Shared => &[Event::Share(page)],
            Start::Exported => &[Event::Export(page)],
            Start::TakenBack => &[Event::Share(page), Event::Pin(page), Event::Unshare(page)],
        };
        events.iter().for_each(|event| pages.apply(kernel, *event));
    }
    let pages = RefCell::new(pages);
    let mut bench = Bench::new();
    for step in steps {
        match step {
            Step::Do(event) => pages.borrow_mut().apply(kernel, *event),
            Step::Serve { device, ring, chains, meanwhile } => {
                fill(kernel, &mut pages.borrow_mut(), ring, chains);
                bench.serve(kernel, &pages, *device, ring, meanwhile);
            }
            Step::Touch { at, len, write, meanwhile } => bench.touch(kernel, &pages, (*at, *len, *write), meanwhile),
        }
        pages.borrow_mut().check(kernel, false);
        pages.borrow().verdict().map_err(TestCaseError::fail)?;
    }
    let mut pages = pages.into_inner();
    pages.check(kernel, true);
    pages.verdict().map_err(TestCaseError::fail)?;
    prop_assert!(!pages.betrayed(&bench.received()), "a device has got a secret");
    Ok(())
}

impl Bench {
    fn new() -> Self {
        let disk = scratch();
        disk.set_len(DISK).unwrap();
        let mut card = Network::new([2; 6], 64);
        let mut console = Console::new(1 << 16);
        (0..8).for_each(|_| assert!(card.push(b"a frame from outside".to_vec())));
        console.push(&[b'i'; 4000]);
        let devices = [
            AnyDevice::Block(Block::of_file(disk.try_clone().unwrap(), false, "d").unwrap()),
            AnyDevice::Network(card),
            AnyDevice::Console(console),
            AnyDevice::Entropy(Entropy::new(Seed(1).stream(Purpose::Workload))),
        ];
        Self { devices, disk, got: Vec::new(), copies: Copies::default() }
    }

    fn serve(
        &mut self,
        kernel: &mut Kernel<'_>,
        pages: &RefCell<Pages>,
        device: usize,
        ring: &Rings,
        meanwhile: &[(u8, Event)],
    ) {
        let view = HostView::new(kernel, 0, 0, &mut self.copies);
        let watched = Watched::new(&view, pages, meanwhile);
        let queue = || queue_at(ring.table.address(), ring.available.address(), ring.used.address());
        for number in 0..2 {
            // That it stops is one of its answers.
            let _ = self.devices[device].notify(number, &mut [queue(), queue()], &watched);
        }
        watched.finish();
    }

    fn touch(
        &mut self,
        kernel: &mut Kernel<'_>,
        pages: &RefCell<Pages>,
        (at, len, write): (Place, usize, bool),
        meanwhile: &[(u8, Event)],
    ) {
        let view = HostView::new(kernel, 0, 0, &mut self.copies);
        let watched = Watched::new(&view, pages, meanwhile);
        let mut bytes = vec![0x33; len];
        // That it is refused is one of its answers.
        if write {
            let _ = watched.write_slice(&bytes, GuestAddress(at.address()));
        } else {
            let _ = watched.read_slice(&mut bytes, GuestAddress(at.address()));
            self.got.append(&mut bytes);
        }
        watched.finish();
    }

    /// All that devices have got from the guest.
    fn received(mut self) -> Vec<u8> {
        let mut disk = vec![0; DISK as usize];
        self.disk.read_exact_at(&mut disk, 0).unwrap();
        self.got.append(&mut disk);
        for device in &mut self.devices {
            match device {
                AnyDevice::Network(card) => self.got.extend(card.outbox().iter().flatten()),
                AnyDevice::Console(console) => self.got.append(&mut console.take_output()),
                AnyDevice::Block(_) | AnyDevice::Entropy(_) => {}
            }
        }
        self.got
    }
}

/// A file without a name.
pub(super) fn scratch() -> File {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("uvsim-virtio-leaks-{}-{number}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

/// The driver writes its rings, wherever they lie, with each chain made available once.
fn fill(kernel: &mut Kernel<'_>, pages: &mut Pages, ring: &Rings, chains: &[Chain]) {
    let (mut table, mut heads): (Vec<Descriptor>, Vec<u16>) = (Vec::new(), Vec::new());
    for chain in chains {
        let at = table.len() as u16;
        heads.push(at);
        let place = |place: &Place| place.address();
        match chain {
            Chain::Disk { header, data, sectors, status } => {
                let way = if header % 2 == 0 { 0 } else { WRITE };
                table.push((Place::In(*header, 0).address(), 16, NEXT, at + 1));
                table.push((place(data), sectors * 512, NEXT | way, at + 2));
                table.push((place(status), 1, WRITE, 0));
            }
            Chain::Send(data, len) => table.push((place(data), *len, 0, 0)),
            Chain::Receive(data, len) => table.push((place(data), *len, WRITE, 0)),
            Chain::Any(any) => table.extend(any.iter().map(|(at, len, flags, next)| (place(at), *len, *flags, *next))),
        }
    }
    table.truncate(usize::from(ENTRIES));
    let words = |(address, len, flags, next): &Descriptor| {
        [&address.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()].concat()
    };
    pages.store(kernel, ring.table.address(), &table.iter().flat_map(words).collect::<Vec<_>>());
    let available = [0, heads.len() as u16].into_iter().chain(heads).flat_map(u16::to_le_bytes);
    pages.store(kernel, ring.available.address(), &available.collect::<Vec<_>>());
}
