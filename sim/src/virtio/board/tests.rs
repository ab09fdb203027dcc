//! The board with a protected guest, and with devices that mean well and others that do not.

use super::*;
use crate::scenario::Scenario;
use crate::virtio::device::{AnyDevice, Block, Console, Entropy, Network, Served};
use crate::virtio::view::Refusal;
use std::path::Path;
use uvsim_model::Machine;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::seed::{Purpose, Seed};
use uvsim_model::storage::FrameState;
use virtio_queue::QueueT;

const AT: IoAt = IoAt { guest: 0, vcpu: 0, faults: FaultAnswers::Linux };
/// A guest, and a statement that is never run: files check something.
const TEXT: &str = "scenario s\nguest a memory=\"1MiB\"\nstep s { host import a:9 expect=refused; }";
const MEMORY: u64 = 1 << 20;
/// Slots of the bounce buffer.
const SLOTS: u64 = 64;

/// How a disk behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    Good,
    /// Pins what it uses.
    Pins,
    Silent,
    /// Adds this to the ids that it uses.
    WrongId(u32),
    /// Adds this to the length that it says it has written.
    TooLong(u32),
    /// Adds this to the index of the used ring.
    Index(u16),
    /// Writes over the end of the buffers that it may write.
    Beyond,
    /// Reports this status.
    Status(u8),
    NeedsReset,
    /// Its last store is refused, and it does not hear of it.
    LastStore,
}

/// What it is refused.
const REFUSAL: Refusal = Refusal { address: 0xdf002, page: 0xdf, write: true, rule: "T11" };

/// A disk on a queue of our own: it reads and writes what the guest has shared as the host does.
struct Disk {
    config: [u8; 8],
    content: Vec<u8>,
    manner: Manner,
    seen: u16,
}

impl Disk {
    fn new(sectors: u64, manner: Manner) -> Self {
        let content = (0..sectors * 512).map(|at| (at % 251) as u8).collect();
        Self { config: sectors.to_le_bytes(), content, manner, seen: 0 }
    }

    fn load(&self, kernel: &mut Kernel<'_>, mut address: u64, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = rest.len().min((PAGE_SIZE - address % PAGE_SIZE) as usize);
            let (part, tail) = rest.split_at_mut(length);
            self.touch(kernel, address);
            kernel.read(0, 0, address / PAGE_SIZE, address % PAGE_SIZE, part).unwrap();
            address += length as u64;
            rest = tail;
        }
    }

    fn store(&self, kernel: &mut Kernel<'_>, mut address: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (part, tail) = bytes.split_at(bytes.len().min((PAGE_SIZE - address % PAGE_SIZE) as usize));
            self.touch(kernel, address);
            kernel.write(0, 0, address / PAGE_SIZE, address % PAGE_SIZE, part).unwrap();
            address += part.len() as u64;
            bytes = tail;
        }
    }

    fn touch(&self, kernel: &mut Kernel<'_>, address: u64) {
        let frame = kernel.mapped(0, address / PAGE_SIZE).unwrap();
        if self.manner == Manner::Pins && !matches!(kernel.machine().frame_state(frame), FrameState::Pinned(..)) {
            kernel.pin(0, 0, address / PAGE_SIZE).unwrap();
        }
    }

    fn word<const N: usize>(&self, kernel: &mut Kernel<'_>, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.load(kernel, address, &mut bytes);
        bytes
    }

    /// Serves one chain; bytes written.
    fn chain(&mut self, kernel: &mut Kernel<'_>, queue: &Queue, head: u16) -> u32 {
        let mut parts = Vec::new();
        let mut next = Some(head);
        while let Some(at) = next {
            let descriptor: [u8; 16] = self.word(kernel, queue.desc_table() + 16 * u64::from(at));
            let address = u64::from_le_bytes(descriptor[..8].try_into().unwrap());
            let length = u32::from_le_bytes(descriptor[8..12].try_into().unwrap());
            let flags = u16::from_le_bytes([descriptor[12], descriptor[13]]);
            parts.push((address, length));
            next = (flags & 1 != 0).then(|| u16::from_le_bytes([descriptor[14], descriptor[15]]));
        }
        let [(header, _), (data, length), (status, _)] = parts[..] else { panic!("no request: {parts:?}") };
        let header: [u8; 16] = self.word(kernel, header);
        let at = u64::from_le_bytes(header[8..].try_into().unwrap()) as usize * 512;
        let range = at..at + length as usize;
        let mut written = 1;
        if header[0] == 0 {
            let mut bytes = self.content[range].to_vec();
            if self.manner == Manner::Beyond {
                bytes.resize(bytes.len().next_multiple_of(2048) + 2048, 0xee);
            }
            self.store(kernel, data, &bytes);
            written += length;
        } else {
            let mut bytes = vec![0; length as usize];
            self.load(kernel, data, &mut bytes);
            self.content[range].copy_from_slice(&bytes);
        }
        let answer = if let Manner::Status(status) = self.manner { status } else { 0 };
        self.store(kernel, status, &[answer]);
        written
    }
}

impl HostDevice for Disk {
    fn device_type(&self) -> u32 {
        2
    }

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn queue_sizes(&self) -> &[u16] {
        &[32]
    }

    fn serve(&mut self, kernel: &mut Kernel<'_>, _: IoAt, queue: u16, queues: &mut [Queue]) -> Result<Service, Stop> {
        let queue = &queues[usize::from(queue)];
        let mut service = Service::default();
        match self.manner {
            Manner::Silent => return Ok(service),
            Manner::NeedsReset => return Ok(Service { error: Some("no use".into()), ..service }),
            _ => {}
        }
        let available = u16::from_le_bytes(self.word(kernel, queue.avail_ring() + 2));
        while self.seen != available {
            let slot = u64::from(self.seen % queue.size());
            let head = u16::from_le_bytes(self.word(kernel, queue.avail_ring() + 4 + 2 * slot));
            let mut length = self.chain(kernel, queue, head);
            let mut id = u32::from(head);
            self.seen = self.seen.wrapping_add(1);
            let mut index = self.seen;
            match self.manner {
                Manner::WrongId(by) => id = id.wrapping_add(by),
                Manner::TooLong(by) => length += by,
                Manner::Index(by) => index = index.wrapping_add(by),
                _ => {}
            }
            let element = [id.to_le_bytes(), length.to_le_bytes()].concat();
            self.store(kernel, queue.used_ring() + 4 + 8 * slot, &element);
            self.store(kernel, queue.used_ring() + 2, &index.to_le_bytes());
            if self.manner == Manner::LastStore {
                service.refusals.push(REFUSAL);
            }
            service.served = Served { requests: service.served.requests + 1, ..service.served };
        }
        Ok(service)
    }
}

/// Runs a test on a running guest of 1 MiB with one disk of 1024 sectors.
fn with(manner: Manner, swiotlb: u64, iommu: bool, test: impl FnOnce(&mut Board<Disk>, &mut Kernel<'_>)) {
    let scenario = Scenario::parse(Path::new("s.kdl"), TEXT).unwrap();
    let machine = Machine::new(scenario.machine.clone()).unwrap();
    let Ok(mut kernel) = crate::run::boot(&machine, &scenario) else { panic!("no boot") };
    kernel.watch = false;
    let device = Attachment { name: "disk".into(), iommu, device: Disk::new(1024, manner) };
    let mut board = Board::new(vec![GuestDevices { memory: MEMORY, swiotlb, devices: vec![device] }]);
    board.boot(&mut kernel, AT).unwrap();
    test(&mut board, &mut kernel);
}

fn frame_state(kernel: &Kernel<'_>, address: u64) -> FrameState {
    kernel.machine().frame_state(kernel.mapped(0, address / PAGE_SIZE).unwrap())
}

fn shared(kernel: &Kernel<'_>, address: u64) -> bool {
    matches!(frame_state(kernel, address), FrameState::Shared(..))
}

/// The request is refused with these words, and the driver has done with the device.
fn refuses(manner: Manner, words: &str) {
    with(manner, SLOTS, true, |board, kernel| {
        let (outcome, bytes) = board.disk_read(kernel, AT, 0, 0, 8).unwrap();
        assert_eq!(outcome, IoOutcome::IoRefused { message: words.into(), refusal: None });
        assert!(bytes.is_empty());
        let IoOutcome::IoRefused { message, .. } = board.disk_write(kernel, AT, 0, 0, &[1]).unwrap() else { panic!() };
        assert_eq!(message, format!("the driver has given the device up: {words}"));
        board.shutdown(kernel, AT).unwrap();
    });
}

#[test]
fn what_a_guest_writes_it_reads_back_and_the_host_sees_it_in_the_slots_alone() {
    with(Manner::Good, SLOTS, true, |board, kernel| {
        let text: Vec<u8> = (0..70_000u32).map(|at| (at * 7 % 253) as u8).collect();
        assert_eq!(board.disk_write(kernel, AT, 0, 3, &text).unwrap(), IoOutcome::Done);
        let (outcome, bytes) = board.disk_read(kernel, AT, 0, 3, 137).unwrap();
        assert_eq!(outcome, IoOutcome::Done);
        assert!(bytes[..70_000] == text && bytes[70_000..].iter().all(|&byte| byte == 0) && bytes.len() == 137 * 512);
        assert_eq!(board.device(0, 0).unwrap().content[3 * 512..][..70_000], text);
        assert_eq!(board.device(0, 0).unwrap().content[..3], [0, 1, 2]);
        // The first request began in the second slot: what it carried is plain there, and the rings are shared.
        let pool = MEMORY - SLOTS * 2048;
        assert!(shared(kernel, pool) && shared(kernel, MEMORY - 1) && shared(kernel, pool - 1));
        let mut plain = [0; 100];
        kernel.read(0, 0, pool / PAGE_SIZE, 2048, &mut plain).unwrap();
        assert_eq!(plain[..], text[65536..65636], "of the last request");
        // All other pages of the guest are fenced.
        assert!(matches!(frame_state(kernel, 0), FrameState::Secure(..)));
        let statistics = board.statistics(0);
        assert_eq!((statistics.requests, statistics.bytes_read, statistics.bytes_written), (4, 70144, 70144));
        assert_eq!((statistics.slots, statistics.slots_peak), (SLOTS, 34));
        assert_eq!(statistics.slot_series, [(1, 34), (2, 5), (3, 34), (4, 5)]);
        assert_eq!((statistics.bounce_out, statistics.bounce_out_bytes), (6, 70144 + 4));
        assert_eq!(statistics.bounce_in_bytes, 2 * 70144 + 4 * 17, "Linux copies in what a device shall write, too");
        assert_eq!(statistics.share_calls, SLOTS / 2 + 2);
    });
}

#[test]
fn a_small_pool_is_full() {
    with(Manner::Good, 4, true, |board, kernel| {
        let (outcome, bytes) = board.disk_read(kernel, AT, 0, 0, 16).unwrap();
        let message = "swiotlb buffer is full (sz: 8192 bytes), total 4 (slots), used 1 (slots)";
        assert_eq!((outcome, bytes.len()), (IoOutcome::NoBounceSlot { message: message.into() }, 0));
        assert_eq!(board.disk_read(kernel, AT, 0, 0, 8).unwrap().0, IoOutcome::Done, "two slots and two");
        assert_eq!(board.statistics(0).no_slot, 1);
    });
}

#[test]
fn without_a_pool_nothing_goes() {
    with(Manner::Good, 0, true, |board, kernel| {
        let message = "swiotlb buffer is full (sz: 16 bytes), total 0 (slots), used 0 (slots)".to_owned();
        assert_eq!(board.disk_write(kernel, AT, 0, 0, &[1]).unwrap(), IoOutcome::NoBounceSlot { message });
        assert_eq!(board.statistics(0).requests, 0);
    });
}

#[test]
fn a_device_without_access_platform_stays_unbound() {
    with(Manner::Good, SLOTS, false, |board, kernel| {
        let (outcome, _) = board.disk_read(kernel, AT, 0, 0, 1).unwrap();
        let IoOutcome::NoDevice { message, help: Some(help) } = outcome else { panic!("{outcome:?}") };
        assert_eq!(message, "virtio: device must provide VIRTIO_F_ACCESS_PLATFORM");
        assert!(help.contains("iommu='on'"));
        assert_eq!(board.statistics(0).share_calls, SLOTS / 2, "no ring");
    });
}

#[test]
fn devices_that_lie_are_given_up() {
    refuses(Manner::Silent, "the device does not answer");
    refuses(Manner::NeedsReset, "the device needs a reset: no use");
    refuses(Manner::WrongId(1), "the device has used chain 1, which it was not given");
    refuses(Manner::WrongId(0x10000), "the device has used chain 65536, which it was not given");
    refuses(Manner::Index(1), "the device has used 2 chains and was given 1");
    refuses(Manner::Index(u16::MAX), "the device does not answer");
    let words = "the device says that it has written 4098 bytes to chain 0, which has room for 4097";
    refuses(Manner::TooLong(1), words);
}

#[test]
fn a_refusal_that_the_device_did_not_hear_of_is_one_all_the_same() {
    with(Manner::LastStore, SLOTS, true, |board, kernel| {
        let words = "page 0xdf cannot be written at 0xdf002: the channel reaches no secure frame (T11)";
        let message = format!("the device needs a reset: {words}");
        let refused = IoOutcome::IoRefused { message: message.clone(), refusal: Some(REFUSAL) };
        assert_eq!(board.disk_read(kernel, AT, 0, 0, 1).unwrap(), (refused, vec![]));
        assert_eq!(board.statistics(0).refusals, 1);
        let message = format!("the driver has given the device up: {message}");
        let refused = IoOutcome::IoRefused { message, refusal: Some(REFUSAL) };
        assert_eq!(board.disk_write(kernel, AT, 0, 0, &[1]).unwrap(), refused);
    });
}

#[test]
fn bytes_beyond_a_buffer_land_in_shared_slots_and_nowhere_else() {
    with(Manner::Beyond, SLOTS, true, |board, kernel| {
        // The slot behind the data is that of the status byte, which the device then sets.
        let (outcome, bytes) = board.disk_read(kernel, AT, 0, 0, 8).unwrap();
        assert_eq!((outcome, bytes.len()), (IoOutcome::Done, 4096));
        assert!(bytes.iter().zip(0u32..).all(|(&byte, at)| u32::from(byte) == at % 251));
    });
}

#[test]
fn a_status_is_told() {
    with(Manner::Status(1), SLOTS, true, |board, kernel| {
        assert_eq!(board.disk_read(kernel, AT, 0, 0, 1).unwrap().0, IoOutcome::IoError { status: 1 });
        assert_eq!(board.disk_write(kernel, AT, 0, 0, &[1]).unwrap(), IoOutcome::IoError { status: 1 });
        assert_eq!(board.statistics(0).bytes_read, 0);
    });
}

#[test]
fn a_disk_has_an_end_and_there_are_no_others() {
    with(Manner::Good, SLOTS, true, |board, kernel| {
        let beyond = IoOutcome::OutOfRange { sector: 1023, count: 2, capacity: 1024 };
        assert_eq!(board.disk_write(kernel, AT, 0, 1023, &[0; 513]).unwrap(), beyond);
        assert!(matches!(board.disk_read(kernel, AT, 0, u64::MAX, 1).unwrap().0, IoOutcome::OutOfRange { .. }));
        assert!(matches!(board.disk_read(kernel, AT, 1, 0, 1).unwrap().0, IoOutcome::NoDevice { .. }));
        assert!(matches!(board.console_write(kernel, AT, 0, b"a").unwrap(), IoOutcome::NoDevice { .. }));
        assert!(matches!(board.send(kernel, IoAt { guest: 9, ..AT }, 0, b"a").unwrap(), IoOutcome::NoDevice { .. }));
        assert_eq!(board.named(0, "disk"), Some(0));
        board.forget(0);
        assert!(matches!(board.disk_read(kernel, AT, 0, 0, 1).unwrap().0, IoOutcome::NoDevice { .. }));
    });
}

#[test]
fn rings_that_the_host_has_pinned_come_back_by_interception_108() {
    with(Manner::Pins, SLOTS, true, |board, kernel| {
        assert_eq!(board.disk_read(kernel, AT, 0, 0, 8).unwrap().0, IoOutcome::Done);
        let ring = MEMORY - SLOTS * 2048 - 1;
        assert!(matches!(frame_state(kernel, ring), FrameState::Pinned(..)));
        let stopped = board.shutdown(kernel, IoAt { faults: FaultAnswers::Stop, ..AT });
        assert!(matches!(stopped, Err(Stop::Outcome(crate::kernel::Observed { code: Some(108), .. }))), "{stopped:?}");
        board.boot(kernel, AT).unwrap();
        assert_eq!(
            board.disk_read(kernel, AT, 0, 0, 8).unwrap().0,
            IoOutcome::IoRefused { message: "the device does not answer".into(), refusal: None }
        );
        board.shutdown(kernel, AT).unwrap();
        assert!(matches!(frame_state(kernel, ring), FrameState::Secure(..)));
        let statistics = board.statistics(0);
        assert_eq!((statistics.unshare_calls, statistics.unpin_calls), (2, 2));
    });
}

#[test]
fn what_the_host_types_the_guest_reads() {
    let console = AnyDevice::Console(Console::new(1 << 16));
    hosted(vec![Hosted::new(console)], |board, kernel| {
        assert_eq!(board.console_read(kernel, AT, 0).unwrap(), (IoOutcome::Done, vec![]));
        board.console_input(0, 0, b"root\n");
        board.console_input(0, 0, b"secret\n");
        assert_eq!(board.console_read(kernel, AT, 0).unwrap(), (IoOutcome::Done, b"root\nsecret\n".to_vec()));
        let long: Vec<u8> = (0..10_000u32).map(|at| (at % 251) as u8).collect();
        board.console_input(0, 0, &long);
        assert_eq!(board.console_write(kernel, AT, 0, b"login: ").unwrap(), IoOutcome::Done, "in between");
        assert_eq!(board.console_read(kernel, AT, 0).unwrap(), (IoOutcome::Done, long));
        assert_eq!(board.console_read(kernel, AT, 0).unwrap(), (IoOutcome::Done, vec![]));
        assert_eq!(board.statistics(0).bytes_read, 10_012);
        assert!(matches!(board.console_read(kernel, AT, 1).unwrap().0, IoOutcome::NoDevice { .. }));
    });
    let disk = AnyDevice::Block(Block::of_memory(vec![5; 512], false, "disk").unwrap());
    hosted(vec![Hosted::new(disk)], |board, kernel| {
        board.console_input(0, 0, b"nobody hears it");
        assert!(matches!(board.console_read(kernel, AT, 0).unwrap().0, IoOutcome::NoDevice { .. }));
    });
}

/// A console of whose input there is no end.
struct Endless(Hosted);

impl HostDevice for Endless {
    fn device_type(&self) -> u32 {
        self.0.device_type()
    }

    fn features(&self) -> u64 {
        self.0.features()
    }

    fn config(&self) -> &[u8] {
        self.0.config()
    }

    fn queue_sizes(&self) -> &[u16] {
        self.0.queue_sizes()
    }

    fn serve(&mut self, kernel: &mut Kernel<'_>, at: IoAt, queue: u16, queues: &mut [Queue]) -> Result<Service, Stop> {
        self.0.console_input(b"y");
        self.0.serve(kernel, at, queue, queues)
    }
}

#[test]
fn a_console_without_end_does_not_keep_the_guest() {
    let console = Endless(Hosted::new(AnyDevice::Console(Console::new(1 << 16))));
    hosted_with(4, vec![console], |board, kernel| {
        let (outcome, text) = board.console_read(kernel, AT, 0).unwrap();
        assert_eq!((outcome, text.len()), (IoOutcome::Done, console::BUFFERS_A_READ));
    });
}

#[test]
fn entropy_is_that_of_the_stream() {
    let source = || Seed(7).stream(Purpose::Entropy);
    hosted(vec![Hosted::new(AnyDevice::Entropy(Entropy::new(source())))], |board, kernel| {
        let mut expected = vec![0; 5000];
        source().fill(&mut expected);
        assert_eq!(board.entropy(kernel, AT, 0, 5000).unwrap(), (IoOutcome::Done, expected), "in two requests");
        let statistics = board.statistics(0);
        assert_eq!((statistics.requests, statistics.bytes_read), (2, 5000));
    });
}

#[test]
fn frames_that_come_in_with_a_send_are_counted() {
    let card = AnyDevice::Network(Network::new([2, 0, 0, 0, 0, 1], 16));
    hosted(vec![Hosted::loop_back(card)], |board, kernel| {
        for _ in 0..3 {
            assert_eq!(board.send(kernel, AT, 0, b"ten bytes.").unwrap(), IoOutcome::Done);
        }
        let mut frames = 0;
        while let (IoOutcome::Done, Some(_)) = board.receive(kernel, AT, 0).unwrap() {
            frames += 1;
        }
        let statistics = board.statistics(0);
        assert_eq!((frames, statistics.bytes_read, statistics.bytes_written), (3, 30, 30));
    });
}

#[test]
fn without_slots_nothing_can_come_in() {
    let full = |size: u64| IoOutcome::NoBounceSlot {
        message: format!("swiotlb buffer is full (sz: {size} bytes), total 0 (slots), used 0 (slots)"),
    };
    let card = AnyDevice::Network(Network::new([2, 0, 0, 0, 0, 1], 16));
    let console = AnyDevice::Console(Console::new(1 << 16));
    hosted_with(0, vec![Hosted::loop_back(card), Hosted::new(console)], |board, kernel| {
        assert_eq!(board.receive(kernel, AT, 0).unwrap(), (full(2048), None));
        assert_eq!(board.console_read(kernel, AT, 1).unwrap(), (full(2048), vec![]));
        assert_eq!(board.console_write(kernel, AT, 1, b"x").unwrap(), full(1));
        assert_eq!(board.statistics(0).no_slot, 3);
    });
}

/// The pages of rings and bounce buffer, of which there are 128 slots.
fn page_out_all(kernel: &mut Kernel<'_>, queues: u64) {
    for page in (MEMORY - 128 * 2048) / PAGE_SIZE - 2 * queues..MEMORY / PAGE_SIZE {
        if kernel.mapped(0, page).is_some() {
            kernel.page_out(0, 0, page).unwrap();
        }
    }
}

#[test]
fn a_device_brings_in_what_the_host_has_paged_out_pinned_or_not() {
    let disk = AnyDevice::Block(Block::of_memory(vec![5; 100 * 512], false, "disk").unwrap());
    let card = AnyDevice::Network(Network::new([2, 0, 0, 0, 0, 1], 16));
    hosted(vec![Hosted::new(disk), Hosted::loop_back(card)], |board, kernel| {
        let used = (MEMORY - 128 * 2048) / PAGE_SIZE - 2;
        assert_eq!(board.disk_read(kernel, AT, 0, 0, 1).unwrap(), (IoOutcome::Done, vec![5; 512]));
        assert!(matches!(frame_state(kernel, used * PAGE_SIZE), FrameState::Pinned(..)));
        page_out_all(kernel, 3);
        assert_eq!(kernel.mapped(0, used), None);
        assert_eq!(board.disk_read(kernel, AT, 0, 0, 1).unwrap(), (IoOutcome::Done, vec![5; 512]));
        assert!(matches!(frame_state(kernel, used * PAGE_SIZE), FrameState::Pinned(..)));
        // Buffers for frames wait in the bounce buffer while it is paged out.
        assert_eq!(board.send(kernel, AT, 1, b"before").unwrap(), IoOutcome::Done);
        page_out_all(kernel, 3);
        for text in [&b"before"[..], b"after"] {
            assert_eq!(board.receive(kernel, AT, 1).unwrap(), (IoOutcome::Done, Some(text.to_vec())));
            assert_eq!(board.send(kernel, AT, 1, b"after").unwrap(), IoOutcome::Done);
            page_out_all(kernel, 3);
        }
        assert_eq!(board.statistics(0).refusals, 0);
    });
}

#[test]
fn a_secure_page_that_is_paged_out_stays_out() {
    let disk = AnyDevice::Block(Block::of_memory(vec![5; 100 * 512], false, "disk").unwrap());
    hosted(vec![Hosted::new(disk)], |board, kernel| {
        let used = (MEMORY - 128 * 2048) / PAGE_SIZE - 2;
        board.disk_read(kernel, AT, 0, 0, 1).unwrap();
        // The host makes it secure behind the guest's back.
        kernel.stop(0, 0).unwrap();
        kernel.unshare_all(0, 0).unwrap();
        kernel.start(0, 0).unwrap();
        kernel.page_out(0, 0, used).unwrap();
        let IoOutcome::IoRefused { refusal: Some(refusal), .. } = board.disk_read(kernel, AT, 0, 0, 1).unwrap().0
        else {
            panic!()
        };
        assert_eq!(refusal.rule, "T69");
    });
}

/// A board with the device models, on a running guest.
fn hosted(devices: Vec<Hosted>, test: impl FnOnce(&mut Board<Hosted>, &mut Kernel<'_>)) {
    hosted_with(128, devices, test);
}

/// The same, with so many slots.
fn hosted_with<D: HostDevice>(swiotlb: u64, devices: Vec<D>, test: impl FnOnce(&mut Board<D>, &mut Kernel<'_>)) {
    let scenario = Scenario::parse(Path::new("s.kdl"), TEXT).unwrap();
    let machine = Machine::new(scenario.machine.clone()).unwrap();
    let Ok(mut kernel) = crate::run::boot(&machine, &scenario) else { panic!("no boot") };
    kernel.watch = false;
    let attach = |device: D| Attachment { name: device.device_type().to_string(), iommu: true, device };
    let devices = devices.into_iter().map(attach).collect();
    let mut board = Board::new(vec![GuestDevices { memory: MEMORY, swiotlb, devices }]);
    board.boot(&mut kernel, AT).unwrap();
    test(&mut board, &mut kernel);
    board.shutdown(&mut kernel, AT).unwrap();
}

#[test]
fn the_device_models_serve_the_drivers() {
    let disk = AnyDevice::Block(Block::of_memory(vec![5; 100 * 512], false, "disk").unwrap());
    let card = AnyDevice::Network(Network::new([2, 0, 0, 0, 0, 1], 16));
    let console = AnyDevice::Console(Console::new(1 << 16));
    let devices = vec![Hosted::new(disk), Hosted::loop_back(card), Hosted::new(console)];
    hosted(devices, |board, kernel| {
        assert_eq!(board.disk_write(kernel, AT, 0, 1, &[7; 512]).unwrap(), IoOutcome::Done);
        let (outcome, bytes) = board.disk_read(kernel, AT, 0, 0, 3).unwrap();
        assert_eq!((outcome, bytes), (IoOutcome::Done, [[5; 512], [7; 512], [5; 512]].concat()));
        for text in [&b"a frame of some bytes"[..], &b"another"[..]] {
            assert_eq!(board.send(kernel, AT, 1, text).unwrap(), IoOutcome::Done);
            assert_eq!(board.receive(kernel, AT, 1).unwrap(), (IoOutcome::Done, Some(text.to_vec())));
        }
        assert_eq!(board.receive(kernel, AT, 1).unwrap(), (IoOutcome::Done, None));
        assert_eq!(board.console_write(kernel, AT, 2, b"hello").unwrap(), IoOutcome::Done);
        assert_eq!(board.take_console_output(0, 2), b"hello");
        assert_eq!(board.take_console_output(0, 2), b"");
        assert!(board.statistics(0).pin_calls > 0);
    });
}
