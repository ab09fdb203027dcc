//! The devices on plain memory, and with rings that a protected guest keeps to itself.

use uvsim_model::address::PAGE_SIZE;
use uvsim_model::seed::{Purpose, Seed};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Descriptor, INDIRECT, NEXT, USED, WRITE, on_guest, queue, ring_page, share, store};
use crate::virtio::device::{AnyDevice, Block, BlockError, Console, Device, DeviceError, Entropy, Network, Served};
use crate::virtio::view::{Copies, HostView};

const RING: u64 = 0x1000;
const HEADER: u64 = 0x2000;
const DATA: u64 = 0x3000;
const STATUS: u64 = 0x5000;

/// Serves one queue once on plain memory; the descriptors make one chain.
fn serve(
    device: &mut impl Device,
    memory: &GuestMemoryMmap,
    number: u16,
    chain: &[Descriptor],
) -> Result<Served, DeviceError> {
    memory.write_slice(&ring_page(chain, &[0]), GuestAddress(RING)).unwrap();
    let mut queues = vec![queue(RING), queue(RING)];
    device.notify(number, &mut queues, memory)
}

fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap()
}

fn used_length(memory: &GuestMemoryMmap) -> u32 {
    memory.read_obj(GuestAddress(RING + USED + 8)).unwrap()
}

/// A disk request; the status that it ends with.
fn request(disk: &mut Block, memory: &GuestMemoryMmap, kind: u32, sector: u64, data: (u32, u16)) -> u8 {
    memory.write_obj(kind, GuestAddress(HEADER)).unwrap();
    memory.write_obj(sector, GuestAddress(HEADER + 8)).unwrap();
    memory.write_obj(0xffu8, GuestAddress(STATUS)).unwrap();
    let chain = [(HEADER, 16, NEXT, 1), (DATA, data.0, NEXT | data.1, 2), (STATUS, 1, WRITE, 0)];
    serve(disk, memory, 0, &chain).unwrap();
    memory.read_obj(GuestAddress(STATUS)).unwrap()
}

#[test]
fn a_disk_reads_writes_names_itself_and_knows_its_end() {
    let memory = memory();
    let mut disk = Block::of_memory((0..1500).map(|at| (at / 512) as u8).collect(), false, "disk-0").unwrap();
    assert_eq!((disk.sectors(), &disk.config()[..8]), (2, &2u64.to_le_bytes()[..]));
    memory.write_slice(&[7; 512], GuestAddress(DATA)).unwrap();
    assert_eq!(request(&mut disk, &memory, 1, 1, (512, 0)), 0);
    assert_eq!(used_length(&memory), 1);
    assert_eq!(&disk.content().unwrap()[508..516], [0, 0, 0, 0, 7, 7, 7, 7]);
    assert_eq!(request(&mut disk, &memory, 0, 0, (1024, WRITE)), 0);
    assert_eq!(used_length(&memory), 1025);
    let mut read = [9; 1024];
    memory.read_slice(&mut read, GuestAddress(DATA)).unwrap();
    assert_eq!(read[..], disk.content().unwrap()[..1024]);
    for (kind, sector, data, status) in [
        (0, 1, (1024, WRITE), 1),
        (0, 2, (512, WRITE), 1),
        (0, u64::MAX, (512, WRITE), 1),
        (0, 0, (511, WRITE), 1),
        (1, 2, (512, 0), 1),
        (1, 0, (100, 0), 1),
        (4, 0, (0, 0), 0),
        (8, 0, (20, WRITE), 0),
        (77, 0, (512, WRITE), 2),
    ] {
        assert_eq!(request(&mut disk, &memory, kind, sector, data), status, "{kind} {sector:#x} {data:?}");
    }
    request(&mut disk, &memory, 8, 0, (20, WRITE));
    assert_eq!(memory.read_obj::<[u8; 8]>(GuestAddress(DATA)).unwrap(), *b"disk-0\0\0");
    assert_eq!(disk.content().unwrap()[1024..], [[2; 476]].concat()[..], "what is left over cannot be reached");
}

#[test]
fn a_disk_on_a_file_keeps_what_is_written_and_may_be_read_only() {
    let path = std::env::temp_dir().join(format!("uvsim-virtio-disk-{}", std::process::id()));
    std::fs::write(&path, [1; 1025]).unwrap();
    let open = || std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let memory = memory();
    memory.write_slice(&[7; 512], GuestAddress(DATA)).unwrap();
    let mut disk = Block::of_file(open(), false, "d").unwrap();
    assert_eq!(disk.features(), 1 << 9);
    assert_eq!(request(&mut disk, &memory, 1, 1, (512, 0)), 0);
    assert_eq!(request(&mut disk, &memory, 4, 0, (0, 0)), 0);
    let mut locked = Block::of_file(open(), true, "d").unwrap();
    assert_eq!(locked.features(), 1 << 9 | 1 << 5);
    assert_eq!(request(&mut locked, &memory, 1, 0, (512, 0)), 1);
    assert_eq!(request(&mut locked, &memory, 0, 1, (512, WRITE)), 0);
    assert_eq!(memory.read_obj::<u8>(GuestAddress(DATA)).unwrap(), 7);
    std::fs::write(&path, [1; 511]).unwrap();
    let small = Block::of_file(open(), false, "d");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(small, Err(BlockError::TooSmall(511))));
}

#[test]
fn chains_that_make_no_request_are_refused() {
    let memory = memory();
    let mut disk = Block::of_memory(vec![0; 512], false, "").unwrap();
    let circle = [(HEADER, 16, NEXT, 0)];
    let indirect = [(HEADER, 32, INDIRECT | NEXT, 0)];
    let odd_table = [(HEADER, 17, INDIRECT, 0)];
    for (chain, reason) in [
        (&[(HEADER, 16, 0, 0)][..], "no room for a status"),
        (&[(HEADER, 15, NEXT, 1), (STATUS, 1, WRITE, 0)], "shorter than 16"),
        (&[(HEADER, 0, NEXT, 1), (STATUS, 0, WRITE, 0)], "shorter than 16"),
        (&[(HEADER, 16, NEXT, 99)], "breaks off"),
        (&circle, "breaks off"),
        (&indirect, "shorter than 16"),
        (&odd_table, "breaks off"),
    ] {
        let error = serve(&mut disk, &memory, 0, chain).unwrap_err();
        assert!(matches!(error, DeviceError::Malformed { queue: 0, .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{chain:?}: {error}");
    }
    let outside = [(1 << 40, 16, NEXT, 1), (STATUS, 1, WRITE, 0)];
    assert!(matches!(serve(&mut disk, &memory, 0, &outside), Err(DeviceError::Buffer { queue: 0, .. })));
    assert!(matches!(serve(&mut disk, &memory, 9, &outside), Err(DeviceError::Ring { queue: 9, .. })));
}

#[test]
fn a_network_card_sends_receives_and_drops() {
    let memory = memory();
    let mut card = Network::new([2, 0, 0, 0, 0, 1], 1);
    assert_eq!(card.config()[..8], [2, 0, 0, 0, 0, 1, 1, 0]);
    memory.write_slice(b"the frame", GuestAddress(DATA)).unwrap();
    let sent = [(HEADER, 12, NEXT, 1), (DATA, 9, 0, 0)];
    let served = serve(&mut card, &memory, 1, &sent).unwrap();
    assert_eq!(served, Served { requests: 1, bytes_read: 21, bytes_written: 0 });
    serve(&mut card, &memory, 1, &sent).unwrap();
    assert_eq!((card.outbox().len(), card.dropped()), (1, 1));
    assert!(card.push(b"answer".to_vec()) && !card.push(vec![]));
    let served = serve(&mut card, &memory, 0, &[(DATA, 18, WRITE, 0)]).unwrap();
    assert_eq!((served.requests, served.bytes_written, card.inbox().len()), (1, 18, 0));
    assert_eq!(memory.read_obj::<[u8; 18]>(GuestAddress(DATA)).unwrap(), *b"\0\0\0\0\0\0\0\0\0\0\x01\0answer");
    assert!(card.push(b"answer".to_vec()));
    let served = serve(&mut card, &memory, 0, &[(DATA, 17, WRITE, 0)]).unwrap();
    assert_eq!((served.requests, card.dropped()), (0, 3), "the buffer is too short, and stays");
    assert_eq!(card.pop().unwrap(), b"the frame");
}

#[test]
fn a_console_and_a_source_of_random_numbers() {
    let memory = memory();
    let mut console = AnyDevice::Console(Console::new(6));
    memory.write_slice(b"hello all", GuestAddress(DATA)).unwrap();
    serve(&mut console, &memory, 1, &[(DATA, 9, 0, 0)]).unwrap();
    let AnyDevice::Console(inner) = &mut console else { panic!() };
    assert_eq!((inner.output(), inner.lost()), (&b"hello "[..], 3));
    inner.push(b"input");
    serve(&mut console, &memory, 0, &[(DATA, 3, WRITE, 0)]).unwrap();
    assert_eq!(memory.read_obj::<[u8; 4]>(GuestAddress(DATA)).unwrap(), *b"inpl");

    let mut source = Entropy::new(Seed(1).stream(Purpose::Workload));
    let served = serve(&mut source, &memory, 0, &[(DATA, 8, WRITE, 0)]).unwrap();
    assert_eq!(served.bytes_written, 8);
    let mut expected = [0; 8];
    Seed(1).stream(Purpose::Workload).fill(&mut expected);
    assert_eq!(memory.read_obj::<[u8; 8]>(GuestAddress(DATA)).unwrap(), expected);
}

#[test]
fn a_ring_that_is_not_shared_stops_the_device() {
    on_guest(|kernel| {
        let (ring, data) = (0x20, 0x21);
        let mut copies = Copies::default();
        let mut console = Console::new(100);
        store(kernel, ring * PAGE_SIZE, &ring_page(&[(data * PAGE_SIZE, 4, 0, 0)], &[0]));
        share(kernel, data);
        let mut notify = |kernel: &mut _| {
            let view = HostView::new(kernel, 0, 0, &mut copies);
            let mut queues = [queue(ring * PAGE_SIZE), queue(ring * PAGE_SIZE)];
            let done = console.notify(1, &mut queues, &view);
            (done, view.take_refusals())
        };
        let (done, refusals) = notify(kernel);
        let error = done.unwrap_err().to_string();
        assert!(error.contains("ring 1: page 0x20 cannot be read") && error.contains("T69"), "{error}");
        assert_eq!((refusals.len(), refusals[0].page), (1, ring));
        share(kernel, ring);
        store(kernel, ring * PAGE_SIZE, &ring_page(&[(data * PAGE_SIZE, 4, 0, 0)], &[0]));
        let (done, refusals) = notify(kernel);
        assert_eq!((done.unwrap().requests, refusals.len()), (1, 0));
    });
}
