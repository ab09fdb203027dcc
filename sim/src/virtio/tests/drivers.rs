//! Drivers that mean harm, against the devices: whatever lies in rings and buffers, a device does not panic, its work is
//! bounded, and what it was refused is told.

use proptest::collection::vec;
use proptest::prelude::*;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::seed::{Purpose, Seed};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{AVAILABLE, Descriptor, ENTRIES, INDIRECT, NEXT, USED, WRITE, on_guest, queue, queue_at, ring_page};
use super::{load, share, store};
use crate::kernel::Kernel;
use crate::virtio::device::{AnyDevice, Block, Console, Device, DeviceError, Entropy, Network, Served};
use crate::virtio::view::{Copies, HostView, Refusal};

const PAGE: u64 = 0x20;
const AT: u64 = PAGE * PAGE_SIZE;
const DATA: u64 = AT + PAGE_SIZE;
/// Where the guest's storage ends.
const END: u64 = 1 << 20;
const KEPT: usize = 1 << 14;

/// One device of each kind, with something to deliver.
fn devices() -> [AnyDevice; 4] {
    let mut card = Network::new([2; 6], 8);
    (0..8).for_each(|_| assert!(card.push(vec![1; 100])));
    let mut console = Console::new(KEPT);
    console.push(&[2; 5000]);
    [
        AnyDevice::Block(Block::of_memory(vec![5; 8192], false, "d").unwrap()),
        AnyDevice::Network(card),
        AnyDevice::Console(console),
        AnyDevice::Entropy(Entropy::new(Seed(1).stream(Purpose::Workload))),
    ]
}

/// Both queues, and one that no device has.
fn notify_all(device: &mut AnyDevice, ring: impl Fn() -> Queue, memory: &impl vm_memory::GuestMemory) -> u64 {
    let mut queues = [ring(), ring()];
    let served = [0, 1, 2, u16::MAX].map(|number| device.notify(number, &mut queues, memory));
    assert!(matches!(served[2..], [Err(DeviceError::Ring { .. }), Err(DeviceError::Ring { .. })]));
    let requests = served.into_iter().flatten().map(|served| served.requests).max().unwrap_or(0);
    assert!(requests <= u64::from(ENTRIES), "a ring has {ENTRIES} entries, and {requests} requests were served");
    match device {
        AnyDevice::Network(card) => assert!(card.outbox().len() <= 8),
        AnyDevice::Console(console) => assert!(console.output().len() <= KEPT),
        AnyDevice::Block(_) | AnyDevice::Entropy(_) => {}
    }
    requests
}

/// Values that rings are made of, and others.
fn word() -> impl Strategy<Value = u64> {
    let address = prop_oneof![0..0x8000u64, Just(0x7ff0), Just(0x8000), any::<u64>(), Just(u64::MAX)];
    let len = prop_oneof![0..4u64, 0..0x1000u64, 0xffff_fff0..0x1_0000_0000u64];
    let rest = (len, 0..8u64, 0..18u64).prop_map(|(len, flags, next)| len | flags << 32 | next << 48);
    prop_oneof![3 => address, 3 => rest, 1 => any::<u64>()]
}

/// An address of a ring, mostly where the words are.
fn ring_address() -> impl Strategy<Value = u64> {
    prop_oneof![8 => (0..0x800u64).prop_map(|at| at * 16), 1 => any::<u64>(), 1 => 0xffff_ffff_ffff_ff00..=u64::MAX]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn whatever_is_in_memory_no_device_falls_over(
        words in vec(word(), 64..512),
        (table, available, used) in (ring_address(), ring_address(), ring_address()),
        heads in vec(0..20u16, 0..20),
        position in any::<u16>(),
    ) {
        let bytes: Vec<u8> = words.iter().cycle().flat_map(|word| word.to_le_bytes()).take(0x8000).collect();
        // A view, too, as its slices end with their pages.
        on_guest(|kernel| {
            (0..8).for_each(|page| share(kernel, PAGE + page));
            for mut device in devices() {
                let mut copies = Copies::default();
                let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x8000)]).unwrap();
                memory.write_slice(&bytes, GuestAddress(0)).unwrap();
                let ring = |base: u64| move || {
                    let mut queue = queue_at(base.wrapping_add(table), base.wrapping_add(available), base.wrapping_add(used));
                    queue.set_next_avail(position);
                    queue
                };
                let index = position.wrapping_add(heads.len() as u16);
                let _ = memory.write_obj(index, GuestAddress(available.wrapping_add(2)));
                for (at, head) in (0..).zip(&heads) {
                    let at = available.wrapping_add(4 + 2 * u64::from(position.wrapping_add(at) % ENTRIES));
                    let _ = memory.write_obj(*head, GuestAddress(at));
                }
                let mut made = vec![0; 0x8000];
                memory.read_slice(&mut made, GuestAddress(0)).unwrap();
                notify_all(&mut device, ring(0), &memory);
                store_all(kernel, &made);
                let view = HostView::new(kernel, 0, 0, &mut copies);
                notify_all(&mut device, ring(AT), &view);
            }
        });
    }
}

fn store_all(kernel: &mut Kernel<'_>, bytes: &[u8]) {
    for (page, part) in (PAGE..).zip(bytes.chunks(PAGE_SIZE as usize)) {
        store(kernel, page * PAGE_SIZE, part);
    }
}

/// What a disk makes of a ring on a guest that shares two pages: one for it, one for buffers.
fn serve(
    kernel: &mut Kernel<'_>,
    disk: &mut Block,
    queue: Queue,
) -> (Result<Served, DeviceError>, Vec<Refusal>, usize) {
    let mut copies = Copies::default();
    let view = HostView::new(kernel, 0, 0, &mut copies);
    let done = disk.notify(0, &mut [queue], &view);
    let refusals = view.take_refusals();
    drop(view);
    (done, refusals, copies.bytes())
}

/// As [`serve`], of chains in the shared page; what the device says, and what it was refused.
fn refuses(kernel: &mut Kernel<'_>, chain: &[Descriptor], words: &str) -> Vec<Refusal> {
    let mut disk = Block::of_memory(vec![5; 8192], false, "").unwrap();
    store(kernel, AT, &ring_page(chain, &[0]));
    let (done, refusals, _) = serve(kernel, &mut disk, queue(AT));
    let error = done.unwrap_err().to_string();
    assert!(error.contains(words), "{chain:?}: {error}");
    refusals
}

fn with_two_pages(test: impl FnOnce(&mut Kernel<'_>)) {
    on_guest(|kernel| {
        share(kernel, PAGE);
        share(kernel, PAGE + 1);
        test(kernel);
    });
}

const GOOD: [Descriptor; 3] = [(DATA, 16, NEXT, 1), (DATA + 512, 512, NEXT | WRITE, 2), (DATA + 2048, 1, WRITE, 0)];

#[test]
fn rings_that_cannot_be_used() {
    with_two_pages(|kernel| {
        let mut disk = Block::of_memory(vec![5; 8192], false, "").unwrap();
        let mut says = |kernel: &mut _, queue: Queue| {
            store(kernel, AT, &ring_page(&GOOD, &[0]));
            let (done, refusals, _) = serve(kernel, &mut disk, queue);
            (done.map_or_else(|error| error.to_string(), |_| "good".into()), refusals)
        };
        let (table, available, used) = (AT, AT + AVAILABLE, AT + USED);
        assert_eq!(says(kernel, queue(AT)), ("good".into(), vec![]));
        let fenced = 0x30 * PAGE_SIZE;
        let refused = |page, address, write| vec![Refusal { address, page, write, rule: "T69" }];
        let (said, refusals) = says(kernel, queue_at(fenced, available, used));
        assert!(said.contains("breaks off"), "{said}");
        assert_eq!(refusals, refused(0x30, fenced, false));
        let (said, refusals) = says(kernel, queue_at(table, fenced, used));
        assert!(said.contains("page 0x30 cannot be read"), "{said}");
        assert_eq!(refusals, refused(0x30, fenced + 2, false));
        let (said, refusals) = says(kernel, queue_at(table, available, fenced));
        assert!(said.contains("page 0x30 cannot be written"), "{said}");
        assert_eq!(refusals, refused(0x30, fenced + 4, true));
        for available in [END - 2, END, u64::MAX - 1, u64::MAX - 3] {
            let (said, refusals) = says(kernel, queue_at(table, available, used));
            assert!(said.contains("cannot use ring 0") && refusals.is_empty(), "{available:#x}: {said}");
        }
        for used in [END, u64::MAX - 3] {
            let (said, refusals) = says(kernel, queue_at(table, available, used));
            assert!(said.contains("cannot use ring 0") && refusals.is_empty(), "{used:#x}: {said}");
        }
        for table in [END, u64::MAX - 15] {
            let (said, refusals) = says(kernel, queue_at(table, available, used));
            assert!(said.contains("breaks off") && refusals.is_empty(), "{table:#x}: {said}");
        }
        // What is not aligned is not taken: the ring stays where it was, which is nowhere.
        for odd in [queue_at(table, available + 1, used), queue_at(table + 8, available, used)] {
            let (said, _) = says(kernel, odd);
            assert_ne!(said, "good");
        }
        let mut unready = queue(AT);
        unready.set_ready(false);
        assert!(says(kernel, unready).0.contains("cannot use ring 0"));
        for size in [0, 3, 17, 32, u16::MAX] {
            let mut queue = queue(AT);
            queue.set_size(size);
            assert_eq!(queue.size(), ENTRIES, "a size that makes no sense is not taken");
        }
    });
}

#[test]
fn an_index_far_ahead_is_no_work() {
    with_two_pages(|kernel| {
        for (index, words) in [(ENTRIES + 1, "cannot use ring 0"), (0x8000, "cannot use ring 0"), (u16::MAX, "cannot")]
        {
            let mut disk = Block::of_memory(vec![5; 8192], false, "").unwrap();
            store(kernel, AT, &ring_page(&GOOD, &[0]));
            store(kernel, AT + AVAILABLE + 2, &index.to_le_bytes());
            let (done, _, _) = serve(kernel, &mut disk, queue(AT));
            let error = done.unwrap_err().to_string();
            assert!(error.contains(words), "{index}: {error}");
        }
        // As many as there are, all the same chain.
        let mut disk = Block::of_memory(vec![5; 8192], false, "").unwrap();
        store(kernel, AT, &ring_page(&GOOD, &[0; ENTRIES as usize]));
        assert_eq!(serve(kernel, &mut disk, queue(AT)).0.unwrap().requests, u64::from(ENTRIES));
    });
}

#[test]
fn chains_that_make_no_sense() {
    with_two_pages(|kernel| {
        let header = (DATA, 16, NEXT, 1);
        let status = (DATA + 2048, 1, WRITE, 0);
        for (chain, words) in [
            (&[(DATA, 16, NEXT, 0)][..], "runs in a circle"),
            (&[header, (DATA, 16, NEXT, 0)], "runs in a circle"),
            (&[(DATA, 16, NEXT, ENTRIES)], "breaks off"),
            (&[(DATA, 16, NEXT, u16::MAX)], "breaks off"),
            (&[(DATA, 16, WRITE | NEXT, 1), status], "header is shorter"),
            (&[(DATA, 0, NEXT, 1), status], "header is shorter"),
            (&[header, (DATA, 0, WRITE, 0)], "no room for a status"),
            (&[(DATA, u32::MAX, NEXT, 1), (DATA, u32::MAX, NEXT | WRITE, 2), status], "breaks off"),
            (&[(AT, 16, INDIRECT, 0)], "breaks off"),
            (&[(u64::MAX - 7, 16, NEXT, 1), status], "buffer of ring 0"),
            (&[(END - 8, 16, NEXT, 1), status], "buffer of ring 0"),
        ] {
            refuses(kernel, chain, words);
        }
        let fenced = 0x30 * PAGE_SIZE;
        let crossing = DATA + PAGE_SIZE - 8;
        for (chain, page, write) in [
            (&[(fenced, 16, NEXT, 1), status], 0x30, false),
            (&[(crossing, 16, NEXT, 1), status], PAGE + 2, false),
            (&[header, (fenced, 1, WRITE, 0)], 0x30, true),
        ] {
            let refusals = refuses(kernel, chain, "the guest has not shared it (T69)");
            assert_eq!((refusals.len(), refusals[0].page, refusals[0].write), (1, page, write));
            assert_eq!(refusals[0].rule, "T69");
        }
    });
}

#[test]
fn an_indirect_table_is_no_longer_than_the_ring() {
    on_guest(|kernel| {
        let pages = 16;
        (0..=pages).for_each(|page| share(kernel, PAGE + page));
        let entries = (pages * PAGE_SIZE / 16) as u32;
        for at in 0..entries {
            let next = (at as u16 + 1).to_le_bytes();
            let flags = if at + 1 < entries { NEXT } else { WRITE };
            let words = [&DATA.to_le_bytes()[..], &1u32.to_le_bytes(), &flags.to_le_bytes(), &next].concat();
            store(kernel, DATA + 16 * u64::from(at), &words);
        }
        let chain = [(DATA, 16 * entries, INDIRECT, 0)];
        assert!(refuses(kernel, &chain, "longer than the ring").is_empty());
    });
}

#[test]
fn requests_beyond_all_bounds_move_a_bounded_number_of_bytes() {
    with_two_pages(|kernel| {
        let file = super::leaks::scratch();
        file.set_len(1 << 42).unwrap();
        let mut disk = Block::of_file(file, false, "").unwrap();
        assert_eq!(disk.sectors(), 1 << 33);
        let huge = u32::MAX / 512 * 512;
        for (kind, way) in [(0u64, WRITE), (1, 0)] {
            let chain = [(DATA, 16, NEXT, 1), (DATA, huge, NEXT | way, 2), (DATA + 2048, 1, WRITE, 0)];
            store(kernel, AT, &ring_page(&chain, &[0]));
            store(kernel, DATA, &[kind.to_le_bytes(), [0; 8]].concat());
            let (done, refusals, allocated) = serve(kernel, &mut disk, queue(AT));
            assert!(matches!(done, Err(DeviceError::Buffer { .. })), "{done:?}");
            assert_eq!((refusals.len(), refusals[0].page), (1, PAGE + 2));
            assert!(allocated < 1 << 20, "{allocated} bytes of copies for two pages");
        }
        for (sector, len, status) in
            [(1 << 33, 512, 1), ((1 << 33) - 1, 512, 0), (1 << 55, 512, 1), (u64::MAX, 512, 1), (u64::MAX, 0, 1)]
        {
            let chain = [(DATA, 16, NEXT, 1), (DATA + 512, len, NEXT | WRITE, 2), (DATA + 2048, 1, WRITE, 0)];
            store(kernel, AT, &ring_page(&chain, &[0]));
            store(kernel, DATA, &[0u64.to_le_bytes(), u64::to_le_bytes(sector)].concat());
            serve(kernel, &mut disk, queue(AT)).0.unwrap();
            assert_eq!(load(kernel, DATA + 2048), [status], "{sector:#x}");
        }
    });
}
