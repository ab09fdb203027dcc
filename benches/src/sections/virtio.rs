//! I/O of a protected guest beside the same device on plain memory.
//!
//! Ours is a whole request: the guest's driver maps its buffers into the bounce buffer and fills its ring, which the
//! guest's CPU stores; the device reads and writes through the host's view; the guest's CPU loads the answer, and the
//! driver copies it out. The limit is the same device code on memory of vm-memory, with the least driver that there
//! could be: it fills descriptors, available ring and header in place and looks at the used ring. It has no bounce
//! buffer and no buffer to copy to.

use super::Plan;
use crate::host::machine;
use crate::order::shuffled;
use crate::samples::Samples;
use crate::stopwatch::Stopwatch;
use crate::table::{Row, Target};
use core::hint::black_box;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use uvsim::image::{Component, ImageKeys, Recipe, USUAL_FLAGS, USUAL_PSW_MASK};
use uvsim::kernel::{FaultAnswers, GuestPlan, Kernel};
use uvsim::virtio::board::{Attachment, Board, GuestDevices, Hosted, IoAt, IoOutcome};
use uvsim::virtio::device::{AnyDevice, Block, Device, Network};
use uvsim_model::address::GuestAddress as Absolute;
use uvsim_model::seed::{Purpose, Seed};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const READ: &str = "virtio-blk read, 4 KiB, file in page cache";
const PLAIN_READ: &str = "device on plain memory, read";
const WRITE: &str = "virtio-blk write, 4 KiB";
const PLAIN_WRITE: &str = "device on plain memory, write";
const FRAME: &str = "virtio-net frame of 1500 bytes, out and in";
const PLAIN_FRAME: &str = "device on plain memory, frame";
const BOUNCE: &str = "guest stores 4 KiB to a bounce slot";
const COPY: &str = "copy of 4 KiB";
const BLOCK: usize = 4096;
const SECTORS: u64 = 8;
/// Blocks of the disk.
const BLOCKS: u64 = 1024;
const FRAME_LENGTH: usize = 1500;
/// Header of a frame.
const HEADER: usize = 12;
const MEMORY: u64 = 64 << 20;
const AT: IoAt = IoAt { guest: 0, vcpu: 0, faults: FaultAnswers::Linux };
const DISK: usize = 0;
const CARD: usize = 1;

/// The rows.
///
/// # Panics
/// If a request fails.
#[must_use]
pub fn virtio(plan: &Plan) -> Vec<Row> {
    let machine = machine(MEMORY >> 20);
    let mut kernel = running_guest(&machine);
    let file = disk();
    let clone = || file.try_clone().expect("a file can be cloned");
    let mut board = board(&mut kernel, clone());
    let (mut disk, mut card) = (Plain::new(block(clone())), Plain::new(AnyDevice::Network(Network::new([2; 6], 8))));
    let (order, frame) = (shuffled(BLOCKS, 1), [7; FRAME_LENGTH]);
    let (content, mut copied) = ([3; BLOCK], [0; BLOCK]);
    let mut samples = Samples::default();
    for round in 0..=plan.rounds {
        if round == 1 {
            samples.forget();
        }
        samples.time(READ, &order, |number| {
            let (outcome, bytes) = board.disk_read(&mut kernel, AT, DISK, number * SECTORS, 8).expect("it is done");
            assert!(outcome == IoOutcome::Done && black_box(bytes).len() == BLOCK);
        });
        samples.time(PLAIN_READ, &order, |number| disk.transfer(number * SECTORS, None));
        samples.time(WRITE, &order, |number| {
            let done = board.disk_write(&mut kernel, AT, DISK, number * SECTORS, &content);
            assert!(done.expect("it is done") == IoOutcome::Done);
        });
        samples.time(PLAIN_WRITE, &order, |number| disk.transfer(number * SECTORS, Some(&content)));
        samples.time(FRAME, &order, |_| {
            assert!(board.send(&mut kernel, AT, CARD, &frame).expect("it is done") == IoOutcome::Done);
            let (_, back) = board.receive(&mut kernel, AT, CARD).expect("it is done");
            assert!(black_box(back).is_some_and(|back| back.len() == FRAME_LENGTH));
        });
        samples.time(PLAIN_FRAME, &order, |_| card.loop_back(&frame));
        samples.time(COPY, &order, |_| black_box(&mut copied).copy_from_slice(black_box(&content)));
        let start = Stopwatch::start();
        for _ in &order {
            let stored = kernel.act(0, 0, |cpu| cpu.store(Absolute(MEMORY - 4096), black_box(&content)));
            stored.expect("the slot is there");
        }
        samples.add(BOUNCE, start.elapsed(), order.len());
        samples.end_round();
    }
    let target = Some(Target::Ratio(3.0));
    vec![
        Row::of(&samples, "4 MiB", READ, PLAIN_READ, target),
        Row::of(&samples, "4 MiB", WRITE, PLAIN_WRITE, None),
        Row::of(&samples, "", FRAME, PLAIN_FRAME, None),
        Row::of(&samples, "", BOUNCE, COPY, None),
    ]
}

/// A host with one running guest.
fn running_guest(machine: &uvsim_model::Machine) -> Kernel<'_> {
    let recipe = Recipe {
        recipients: &[machine.host_public_key().clone()],
        flags: USUAL_FLAGS,
        secret_flags: 0,
        psw: [USUAL_PSW_MASK, 0],
        components: vec![Component::new(40 << 48, 0x10_0000, vec![1; 4096])],
        keys: ImageKeys::draw(&mut Seed(1).stream(Purpose::Images)),
    };
    let image = recipe.make().expect("one recipient");
    let plan = GuestPlan { name: "alpha".into(), memory: MEMORY, vcpus: 1, image };
    let mut kernel = Kernel::boot(machine, vec![plan]).expect("the host comes up");
    kernel.watch = false;
    kernel.start(0, 0).expect("the guest starts");
    kernel
}

/// A disk whose file has no name any more, and is in the page cache.
fn disk() -> File {
    let path = std::env::temp_dir().join(format!("uvsim-benches-disk-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).expect("there is room for a disk");
    std::fs::remove_file(path).expect("the file is ours");
    file.write_all_at(&vec![5; BLOCKS as usize * BLOCK], 0).expect("there is room for a disk");
    file
}

fn block(file: File) -> AnyDevice {
    AnyDevice::Block(Block::of_file(file, false, "disk").expect("the file has sectors"))
}

fn board(kernel: &mut Kernel<'_>, file: File) -> Board<Hosted> {
    let attach = |name: &str, device| Attachment { name: name.into(), iommu: true, device };
    let card = Hosted::loop_back(AnyDevice::Network(Network::new([2; 6], 8)));
    let devices = vec![attach("disk", Hosted::new(block(file))), attach("card", card)];
    let mut board = Board::new(vec![GuestDevices { memory: MEMORY, swiotlb: 256, devices }]);
    board.boot(kernel, AT).expect("the drivers come up");
    board
}

/// A device on plain memory, with two queues of 16 entries.
struct Plain {
    device: AnyDevice,
    memory: GuestMemoryMmap,
    queues: [Queue; 2],
    /// Chains given so far, by queue.
    given: [u16; 2],
}

const ENTRIES: u16 = 16;
/// Where the rings of each queue are.
const RINGS: [u64; 2] = [0x1000, 0x2000];
const AVAILABLE: u64 = 0x800;
const USED: u64 = 0xc00;
const REQUEST: u64 = 0x3000;
const STATUS: u64 = 0x3800;
const DATA: u64 = 0x4000;
const INPUT: u64 = 0x6000;
const NEXT: u16 = 1;
const DEVICE_WRITES: u16 = 2;

impl Plain {
    fn new(device: AnyDevice) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x8000)]).expect("there is memory");
        let queues = RINGS.map(|at| {
            let mut queue = Queue::new(ENTRIES).expect("16 is a size");
            queue.set_desc_table_address(Some(at as u32), None);
            queue.set_avail_ring_address(Some((at + AVAILABLE) as u32), None);
            queue.set_used_ring_address(Some((at + USED) as u32), None);
            queue.set_ready(true);
            queue
        });
        Self { device, memory, queues, given: [0; 2] }
    }

    fn put<T: vm_memory::ByteValued>(&self, at: u64, value: T) {
        self.memory.write_obj(value, GuestAddress(at)).expect("it lies in memory");
    }

    /// Makes one chain available.
    fn give(&mut self, queue: usize, chain: &[(u64, u32, u16)]) {
        let ring = RINGS[queue];
        for (number, &(address, length, flags)) in (0u16..).zip(chain) {
            let at = ring + 16 * u64::from(number);
            self.put(at, address);
            self.put(at + 8, length);
            self.put(at + 12, flags);
            self.put(at + 14, number + 1);
        }
        self.put(ring + AVAILABLE + 4 + 2 * u64::from(self.given[queue] % ENTRIES), 0u16);
        self.given[queue] = self.given[queue].wrapping_add(1);
        let index = GuestAddress(ring + AVAILABLE + 2);
        self.memory.store(self.given[queue], index, Ordering::Release).expect("it lies in memory");
    }

    /// The device works, and has answered.
    fn notify(&mut self, queue: u16) {
        self.device.notify(queue, &mut self.queues, &self.memory).expect("the device can work");
        let index = GuestAddress(RINGS[usize::from(queue)] + USED + 2);
        let used: u16 = self.memory.load(index, Ordering::Acquire).expect("it lies in memory");
        assert_eq!(used, self.given[usize::from(queue)], "it is answered");
    }

    /// Reads a block, or writes one.
    fn transfer(&mut self, sector: u64, content: Option<&[u8; BLOCK]>) {
        self.put(REQUEST, u64::from(content.is_some()));
        self.put(REQUEST + 8, sector);
        self.put(STATUS, 0xffu8);
        if let Some(content) = content {
            self.memory.write_slice(content, GuestAddress(DATA)).expect("it lies in memory");
        }
        let way = if content.is_some() { NEXT } else { NEXT | DEVICE_WRITES };
        self.give(0, &[(REQUEST, 16, NEXT), (DATA, BLOCK as u32, way), (STATUS, 1, DEVICE_WRITES)]);
        self.notify(0);
        let status: u8 = self.memory.read_obj(GuestAddress(STATUS)).expect("it lies in memory");
        assert_eq!(status, 0);
    }

    /// Sends a frame that comes back.
    fn loop_back(&mut self, frame: &[u8]) {
        self.memory.write_slice(&[0; HEADER], GuestAddress(DATA)).expect("it lies in memory");
        self.memory.write_slice(frame, GuestAddress(DATA + HEADER as u64)).expect("it lies in memory");
        self.give(1, &[(DATA, (HEADER + frame.len()) as u32, 0)]);
        self.notify(1);
        if let AnyDevice::Network(card) = &mut self.device {
            let sent = card.pop().expect("the frame has been sent");
            card.push(sent);
        }
        self.give(0, &[(INPUT, 2048, DEVICE_WRITES)]);
        self.notify(0);
    }
}
