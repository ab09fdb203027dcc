//! Translation by real tables: what a buffered translation may still do, and what it never may.

mod guest_space;
mod host_space;
mod interruptions;
mod operands;
#[path = "../support/mod.rs"]
mod support;

use support::{BLOCK, DONE, Guest, Host, config, refused};
use uvsim_model::Machine;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::cpu::{GuestEvent, HostCpu, SieExit};
use uvsim_model::storage::{Asce, FrameState, ProgramCode, ProgramInterruption};
use uvsim_model::uvc::Command;

const P: PageIndex = PageIndex(5);
const Q: PageIndex = PageIndex(6);
/// A segment of the host's space that a test maps page by page.
const WINDOW: u64 = 1 << 30;

/// A space of the host: virtual = real in the low 2 GiB but for the window.
struct Space {
    asce: Asce,
    segments: u64,
    window: u64,
}

impl Space {
    /// Builds the tables. `depth` counts the levels of region tables.
    fn new(host: &mut Host<'_>, depth: u64) -> Self {
        let segments = host.allocate_aligned(0x4000, 0x4000);
        for segment in 0..2048 {
            host.store_u64(segments + segment * 8, segment << 20 | 0x400);
        }
        let window = host.allocate(0x1000);
        for page in 0..256 {
            host.store_u64(window + page * 8, 0x400);
        }
        let space = Self { asce: Asce(0), segments, window };
        host.store_u64(segments + (WINDOW >> 20) * 8, window);
        let mut top = segments;
        for level in 1..=depth {
            let table = host.allocate_aligned(0x4000, 0x4000);
            for entry in 0..2048 {
                host.store_u64(table + entry * 8, 0x20 | level << 2);
            }
            host.store_u64(table, top | level << 2 | 3);
            top = table;
        }
        Self { asce: Asce(top | depth << 2 | 3), ..space }
    }

    fn map(&self, host: &mut Host<'_>, page: u64, entry: u64) {
        host.store_u64(self.window + page * 8, entry);
    }
}

fn machine() -> support::beside::Beside {
    support::machine(config())
}

fn translating<'m>(machine: &'m Machine, depth: u64) -> (Host<'m>, Space) {
    let mut host = Host::ready(machine);
    let space = Space::new(&mut host, depth);
    host.cpu.set_home(space.asce);
    host.cpu.set_translation(true);
    (host, space)
}

fn byte(cpu: &mut HostCpu<'_>, address: u64) -> Result<u8, ProgramInterruption> {
    let mut byte = [0];
    cpu.load(VirtualAddress(address), &mut byte).map(|()| byte[0])
}

/// A frame filled with one byte.
fn filled(host: &mut Host<'_>, byte: u8) -> FrameNumber {
    let frame = host.frame();
    host.store(frame.address().0, &[byte; 4096]);
    frame
}

fn exit(result: Result<impl std::fmt::Debug, GuestEvent>) -> ProgramInterruption {
    match result {
        Err(GuestEvent::Exit(SieExit::HostInterruption(interruption))) => interruption,
        other => panic!("no interruption of the host: {other:?}"),
    }
}

fn guest_byte(host: &mut Host<'_>, guest: &Guest, page: PageIndex) -> Result<u8, GuestEvent> {
    host.guest_load(guest, page.0 * 4096, 1).map(|bytes| bytes[0])
}
