//! Devices and the view of the host, on a machine and on plain memory.

mod devices;
mod drivers;
mod leaks;
mod liars;
mod view;
mod watched;

use std::path::Path;

use uvsim_model::Machine;
use uvsim_model::address::{GuestAddress, PAGE_SIZE};
use uvsim_model::uvc::Command;
use virtio_queue::{Queue, QueueT};

use crate::kernel::{FaultAnswers, GuestCall, Kernel, Observed, Stop};
use crate::scenario::Scenario;

/// Descriptor flags.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Entries of the rings below.
const ENTRIES: u16 = 16;
const AVAILABLE: u64 = 0x800;
const USED: u64 = 0xc00;

/// Address, length, flags, next.
type Descriptor = (u64, u32, u16, u16);

/// Runs something on a machine with one running guest of 1 MiB.
fn on_guest<T>(test: impl FnOnce(&mut Kernel<'_>) -> T) -> T {
    let scenario = Scenario::parse(
        Path::new("s.kdl"),
        "scenario s\nguest a memory=\"1MiB\"\nstep s { host export a:0 expect=ok; }",
    )
    .unwrap();
    let machine = Machine::new(scenario.machine.clone()).unwrap();
    let Ok(mut kernel) = crate::run::boot(&machine, &scenario) else { panic!("no boot") };
    kernel.watch = false;
    test(&mut kernel)
}

/// The guest stores bytes.
fn store(kernel: &mut Kernel<'_>, address: u64, bytes: &[u8]) {
    let act = |kernel: &mut Kernel<'_>| kernel.act(0, 0, |cpu| cpu.store(GuestAddress(address), bytes));
    kernel.with_faults(0, 0, FaultAnswers::Linux, None, act).unwrap();
}

/// The guest loads bytes.
fn load<const N: usize>(kernel: &mut Kernel<'_>, address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    let act = |kernel: &mut Kernel<'_>| kernel.act(0, 0, |cpu| cpu.load(GuestAddress(address), &mut bytes));
    kernel.with_faults(0, 0, FaultAnswers::Linux, None, act).unwrap();
    bytes
}

/// The guest shares a page.
fn share(kernel: &mut Kernel<'_>, page: u64) {
    assert_eq!(change(kernel, page, Command::SetSharedAccess).unwrap().rc, Some(1));
}

/// The guest takes a page back.
fn unshare(kernel: &mut Kernel<'_>, page: u64) {
    assert_eq!(change(kernel, page, Command::RemoveSharedAccess).unwrap().rc, Some(1));
}

fn change(kernel: &mut Kernel<'_>, page: u64, command: Command) -> Result<Observed, Stop> {
    let mut block = vec![0; usize::from(command.usual_length())];
    block[..2].copy_from_slice(&command.usual_length().to_be_bytes());
    block[2..4].copy_from_slice(&command.code().to_be_bytes());
    block[0x20..0x28].copy_from_slice(&(page * PAGE_SIZE).to_be_bytes());
    let call = GuestCall { block: &block, problem_state: false, immediate: 0, skew: 0 };
    let issue = |kernel: &mut Kernel<'_>| kernel.guest_issue(0, 0, &call);
    Ok(kernel.with_faults(0, 0, FaultAnswers::Linux, Some(page), issue)?.0)
}

/// A page with descriptors and an available ring that names these heads.
fn ring_page(descriptors: &[Descriptor], heads: &[u16]) -> Vec<u8> {
    let mut page = vec![0; PAGE_SIZE as usize];
    for (at, (address, len, flags, next)) in descriptors.iter().enumerate() {
        let words = [&address.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()];
        page[at * 16..at * 16 + 16].copy_from_slice(&words.concat());
    }
    let index = heads.len() as u16;
    page[AVAILABLE as usize + 2..][..2].copy_from_slice(&index.to_le_bytes());
    for (at, head) in heads.iter().enumerate() {
        page[AVAILABLE as usize + 4 + 2 * at..][..2].copy_from_slice(&head.to_le_bytes());
    }
    page
}

/// The device's side of such a page.
fn queue(base: u64) -> Queue {
    queue_at(base, base + AVAILABLE, base + USED)
}

/// The device's side of a ring.
fn queue_at(table: u64, available: u64, used: u64) -> Queue {
    let mut queue = Queue::new(ENTRIES).unwrap();
    let halves = |at: u64| (Some(at as u32), Some((at >> 32) as u32));
    let (low, high) = halves(table);
    queue.set_desc_table_address(low, high);
    let (low, high) = halves(available);
    queue.set_avail_ring_address(low, high);
    let (low, high) = halves(used);
    queue.set_used_ring_address(low, high);
    queue.set_ready(true);
    queue
}
