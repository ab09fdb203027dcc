//! Home space is the process: operands are its own pointers.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "set_native; all pointers that are stored to are ours, or refused")]

#[path = "support/scene.rs"]
mod scene;
mod support;

use support::image;
use support::{DONE, Guest, Host, config, refused};
use uvsim_model::address::{AbsoluteAddress, PageIndex, VirtualAddress};
use uvsim_model::config::{ByteOrder, MachineConfig};
use uvsim_model::cpu::{SieExit, Uvc};
use uvsim_model::storage::{ProgramCode, Teid};
use uvsim_model::uvc::{Command, ConditionCode};
use uvsim_model::{Machine, UV_BASE_LENGTH};

const P: PageIndex = PageIndex(5);
const STORE_AT_HOME: u64 = 0x403;
const FETCH_AT_HOME: u64 = 0x803;

fn machine(host_view: bool) -> Machine {
    Machine::new(MachineConfig { host_view, ..config() }).unwrap()
}

/// A host whose operands are pointers from now on.
fn native<'m>(host: Host<'m>) -> Host<'m> {
    let mut host = host;
    // SAFETY: the tests below store to their own buffers only.
    unsafe { host.cpu.set_native(true) };
    host
}

fn in_view(machine: &Machine, address: u64) -> u64 {
    machine.host_view().unwrap().pointer(AbsoluteAddress(address)).unwrap().as_ptr() as u64
}

/// Memory of the process, 8-byte aligned, within one page.
fn buffer() -> u64 {
    let page = Box::leak(Box::new(Page([0; 4096])));
    page.0.as_mut_ptr().expose_provenance() as u64
}

#[repr(align(4096))]
struct Page([u8; 4096]);

#[repr(align(8))]
struct Aligned([u8; 64]);
static READ_ONLY: Aligned = Aligned([0; 64]);

#[test]
fn a_block_of_the_process_serves_a_call() {
    for host_view in [false, true] {
        let machine = machine(host_view);
        let mut host = native(Host::new(&machine));
        let at = buffer();
        host.block(at, Command::InitUv.code(), 0x48, &[(0x18, 8, support::UV_BASE), (0x20, 8, UV_BASE_LENGTH)]);
        assert_eq!(host.issue(at), Ok(DONE));
        let length = Command::QueryUvInformation.usual_length();
        host.block(at, Command::QueryUvInformation.code(), length, &[]);
        assert_eq!(host.issue(at), Ok(DONE));
        assert_eq!(host.cpu.load_u64(VirtualAddress(at + 0x40)).unwrap(), UV_BASE_LENGTH);
        // The same on a stack, and without help of the CPU.
        let mut block = [0u64; 0x100 / 8];
        let [high, low] = length.to_be_bytes();
        block[0] = u64::from_ne_bytes([high, low, 0, 1, 0, 0, 0, 0]);
        let pointer = block.as_mut_ptr().expose_provenance() as u64;
        assert_eq!(host.cpu.uvc(Uvc::at(VirtualAddress(pointer))), Ok(ConditionCode::Done));
        assert_eq!(u64::from_be(block[8]), UV_BASE_LENGTH);
        machine.check_invariants().unwrap();
    }
}

#[test]
fn structures_may_have_the_byte_order_of_the_process() {
    let config = MachineConfig { byte_order: ByteOrder::Native, host_view: true, ..config() };
    let machine = Machine::new(config).unwrap();
    let mut host = native(Host::new(&machine));
    let mut block = [0u64; 9];
    block[0] = u64::from_ne_bytes({
        let (length, command) = (0x48u16.to_ne_bytes(), 0x0fu16.to_ne_bytes());
        [length[0], length[1], command[0], command[1], 0, 0, 0, 0]
    });
    (block[3], block[4]) = (support::UV_BASE, UV_BASE_LENGTH);
    let pointer = block.as_mut_ptr().expose_provenance() as u64;
    assert_eq!(host.cpu.uvc(Uvc::at(VirtualAddress(pointer))), Ok(ConditionCode::Done));
    assert!(machine.is_initialised());
    assert_eq!(block[0].to_ne_bytes()[4..6], 1u16.to_ne_bytes());
}

#[test]
fn a_bad_pointer_is_an_interruption() {
    let machine = machine(true);
    let mut host = native(Host::ready(&machine));
    for bad in [0, 0x1000, 0x7fff_ffff_f000, 0x8000_0000_0000_0000, u64::MAX - 7] {
        let interruption = host.cpu.uvc(Uvc::at(VirtualAddress(bad))).unwrap_err();
        assert_eq!(interruption.code, ProgramCode::PageTranslation, "{bad:#x}");
        assert_eq!(interruption.teid, Teid(bad & !0xfff | STORE_AT_HOME));
        let interruption = host.cpu.load(VirtualAddress(bad), &mut [0; 4]).unwrap_err();
        assert_eq!(
            (interruption.code, interruption.teid),
            (ProgramCode::PageTranslation, Teid(bad & !0xfff | FETCH_AT_HOME))
        );
        assert_eq!(host.cpu.store(VirtualAddress(bad), &[0; 4]).unwrap_err().code, ProgramCode::PageTranslation);
    }
    let constant = READ_ONLY.0.as_ptr() as u64;
    host.cpu.load(VirtualAddress(constant), &mut [0; 4]).unwrap();
    for interruption in [
        host.cpu.uvc(Uvc::at(VirtualAddress(constant))).unwrap_err(),
        host.cpu.store(VirtualAddress(constant), &[1]).unwrap_err(),
    ] {
        assert_eq!(interruption.code, ProgramCode::Protection);
        assert_eq!(interruption.teid, Teid(constant & !0xfff | STORE_AT_HOME | 4));
    }
}

#[test]
fn nothing_is_stored_if_a_later_page_refuses() {
    let machine = machine(true);
    let mut host = native(Host::ready(&machine));
    let end = in_view(&machine, machine.storage_size() - 4096) + 4096;
    let interruption = host.cpu.store(VirtualAddress(end - 4), &[1; 8]).unwrap_err();
    assert_eq!((interruption.code, interruption.teid.address()), (ProgramCode::PageTranslation, end));
    assert_eq!(host.load(end - 4, 4).unwrap(), [0; 4]);
    // A block that begins in the view and ends outside of it.
    host.store(end - 8, &[0, 0x20, 0x02, 0x01, 0, 0, 0, 0]);
    let interruption = host.cpu.uvc(Uvc::at(VirtualAddress(end - 8))).unwrap_err();
    assert_eq!((interruption.code, interruption.teid.address()), (ProgramCode::PageTranslation, end));
}

#[test]
fn pointers_into_the_view_are_checked() {
    let machine = machine(true);
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    let mut host = native(host);
    let at = in_view(&machine, frame.address().0);
    let interruption = host.load(at, 8).unwrap_err();
    assert_eq!(interruption.code, ProgramCode::SecureStorageAccess);
    assert_eq!(interruption.teid, Teid(at | FETCH_AT_HOME | 4));
    assert_eq!(host.cpu.store(VirtualAddress(at), &[1]).unwrap_err().code, ProgramCode::SecureStorageAccess);
    assert_eq!(host.cpu.uvc(Uvc::at(VirtualAddress(at))).unwrap_err().code, ProgramCode::SecureStorageAccess);
    let block = buffer();
    host.block(block, Command::ConvFromSecStor.code(), 0x20, &[(0x18, 8, frame.address().0)]);
    assert_eq!(host.issue(block), Ok(DONE));
    assert_eq!(host.load(at, 4096).unwrap().len(), 4096);
    assert_eq!(host.cpu.translate(VirtualAddress(at + 5)), Ok(AbsoluteAddress(frame.address().0 + 5)));
    assert_eq!(host.cpu.translate(VirtualAddress(block)).unwrap_err().code, ProgramCode::PageTranslation);
    // A block in storage is one of the host's frames (D5): it cannot be donated under its own call.
    let inside = in_view(&machine, support::BLOCK);
    host.block(inside, Command::ConvToSecStor.code(), 0x28, &[(0x18, 8, guest.handle), (0x20, 8, P.0 * 4096)]);
    assert_eq!(host.issue(inside), Ok(DONE));
}

#[test]
fn only_storage_can_be_donated() {
    let machine = machine(true);
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    let mut host = native(host);
    let block = buffer();
    let mut create = |fields: &Guest| {
        let (code, length) = (Command::CreateSecConf.code(), Command::CreateSecConf.usual_length());
        host.block(block, code, length, &Host::create_fields(fields));
        host.issue(block).unwrap()
    };
    assert_eq!(create(&Guest { variable: buffer(), ..guest.clone() }), refused(0x31));
    assert_eq!(create(&Guest { variable: guest.variable, ..guest.clone() }), refused(0x31), "an absolute address");
    assert_eq!(create(&Guest { variable: in_view(&machine, guest.variable), ..guest.clone() }), DONE);
    machine.check_invariants().unwrap();
}

#[test]
fn a_guest_boots_with_its_header_in_the_process() {
    let machine = machine(true);
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let header = Box::leak(image::empty_header(&machine).into_boxed_slice());
    let (at, len) = (header.as_mut_ptr().expose_provenance() as u64, header.len() as u64);
    let mut host = native(host);
    let block = buffer();
    let mut call = |command: Command, fields: &[(u64, u8, u64)]| {
        host.block(block, command.code(), command.usual_length(), fields);
        assert_eq!(host.issue(block), Ok(DONE), "{command:?}");
    };
    call(Command::SetSecConfParams, &[(0x18, 8, guest.handle), (0x20, 8, at), (0x28, 4, len)]);
    call(Command::VerifyImg, &[(0x18, 8, guest.handle)]);
    call(Command::CpuSetState, &[(0x18, 8, guest.cpu), (0x27, 1, 5)]);
    host.cpu.set_primary(guest.asce);
    let description = VirtualAddress(in_view(&machine, guest.state_description));
    let exit = host.cpu.enter(description).map(|_| ()).unwrap_err();
    // Its prefix pages are not mapped: the entry got that far.
    let SieExit::Interception(interception) = exit else { panic!("{exit:?}") };
    assert_eq!(interception.code, 112);
    let stranger = host.cpu.enter(VirtualAddress(block)).map(|_| ()).unwrap_err();
    let SieExit::HostInterruption(interruption) = stranger else { panic!("{stranger:?}") };
    assert_eq!((interruption.code, interruption.teid), (ProgramCode::PageTranslation, Teid(block | FETCH_AT_HOME)));
}

#[test]
fn a_header_out_of_reach_is_refused() {
    let machine = machine(true);
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let mut host = native(host);
    let block = buffer();
    host.block(
        block,
        Command::SetSecConfParams.code(),
        Command::SetSecConfParams.usual_length(),
        &[(0x18, 8, guest.handle), (0x20, 8, 0x1000), (0x28, 4, 0x280)],
    );
    assert_eq!(host.issue(block), Ok(refused(0x103)));
}

#[test]
fn a_cpu_starts_without() {
    let machine = machine(true);
    let host = native(Host::ready(&machine));
    drop(host);
    let mut host = Host::new(&machine);
    host.store(support::BLOCK, &[1]);
    assert_eq!(host.load(support::BLOCK, 1).unwrap(), [1]);
}
