//! Channel I/O: what a device may reach (T10, T11, D23), and that a refused transfer does nothing.

mod support;

use support::{DONE, Host, UV_BASE, config};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::cpu::ChannelRefusal;
use uvsim_model::uvc::Command;
use uvsim_model::{Machine, Reset};

const P: PageIndex = PageIndex(5);

fn at(frame: FrameNumber, offset: u64) -> AbsoluteAddress {
    AbsoluteAddress(frame.address().0 + offset)
}

/// A transfer that must be refused at this address, either way, without a trace.
fn refused(machine: &Machine, address: AbsoluteAddress, len: usize, refusal: ChannelRefusal) {
    let before = machine.state_digest(None);
    let mut bytes = vec![0xaa; len];
    assert_eq!(machine.channel().read(address, &mut bytes), Err(refusal));
    assert!(bytes.iter().all(|&byte| byte == 0xaa), "something was read");
    assert_eq!(machine.channel().write(address, &bytes), Err(refusal));
    assert_eq!(machine.state_digest(None), before, "something was written");
}

fn works(machine: &Machine, address: AbsoluteAddress, len: usize) {
    let written: Vec<u8> = (0..len).map(|byte| (byte * 7 + 1) as u8).collect();
    machine.channel().write(address, &written).unwrap();
    let mut read = vec![0; len];
    machine.channel().read(address, &mut read).unwrap();
    assert_eq!(read, written);
}

#[test]
fn devices_reach_what_is_not_secure_t10() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let plain = host.frame();
    works(&machine, at(plain, 0), 4096);
    works(&machine, at(plain, 4095), 1);
    machine.channel().write(at(plain, 100), &[]).unwrap();
    let frame = host.resident(&guest, P);
    assert_eq!(host.share(&guest, P).unwrap(), DONE);
    works(&machine, at(frame, 13), 100);
    assert_eq!(host.pin(frame), DONE);
    works(&machine, at(frame, 13), 100);
    let mut seen = [0; 2];
    machine.channel().read(at(frame, 13), &mut seen).unwrap();
    assert_eq!(host.guest_load(&guest, P.0 * 4096 + 13, 2).unwrap(), seen);
    assert_eq!(host.export(frame), DONE);
    works(&machine, at(frame, 0), 16);
    // Addresses are absolute, whatever the prefix of a CPU.
    let prefix = host.allocate_aligned(0x2000, 0x2000);
    host.cpu.set_prefix(prefix).unwrap();
    machine.channel().write(AbsoluteAddress(0x300), b"absolute").unwrap();
    assert_eq!(host.load(prefix + 0x300, 8).unwrap(), b"absolute");
}

#[test]
fn devices_do_not_reach_secure_frames_t11() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let (guest, gone) = (host.start(1), host.start(1));
    let secure = host.resident(&guest, P);
    host.guest_store(&guest, P.0 * 4096, &[7; 4096]).unwrap();
    let discarded = host.resident(&gone, P);
    assert_eq!(host.call(Command::DestroySecCpu, &[(0x18, 8, gone.cpu)]), DONE);
    assert_eq!(host.call(Command::DestroySecConfFast, &[(0x18, 8, gone.handle)]), DONE);
    for frame in [
        secure,
        discarded,
        AbsoluteAddress(UV_BASE).frame(),
        AbsoluteAddress(guest.base).frame(),
        AbsoluteAddress(guest.variable).frame(),
        AbsoluteAddress(guest.cpu_storage).frame(),
    ] {
        for (offset, len) in [(0, 4096), (0, 1), (4095, 1), (8, 8)] {
            refused(&machine, at(frame, offset), len, ChannelRefusal::SecureFrame(at(frame, offset)));
        }
    }
    // The refusal follows the state of the frame at once.
    assert_eq!(host.export(secure), DONE);
    works(&machine, at(secure, 0), 4096);
    host.cpu.reset_machine(Reset::LoadNormal).unwrap();
    for frame in [discarded, AbsoluteAddress(UV_BASE).frame()] {
        works(&machine, at(frame, 0), 4096);
    }
}

#[test]
fn a_transfer_over_several_frames_takes_place_whole_or_not_at_all() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let plain: Vec<FrameNumber> = (0..3).map(|_| host.frame()).collect();
    let secure = host.resident(&guest, P);
    let behind = host.frame();
    assert_eq!((plain[2].0 + 1, secure.0 + 1), (secure.0, behind.0));
    works(&machine, at(plain[0], 100), 3 * 4096 - 100);
    works(&machine, at(plain[0], 4090), 4096);
    let refusal = ChannelRefusal::SecureFrame(at(secure, 0));
    refused(&machine, at(plain[0], 0), 5 * 4096, refusal);
    refused(&machine, at(plain[2], 4095), 2, refusal);
    refused(&machine, at(plain[1], 77), 2 * 4096, refusal);
    refused(&machine, at(secure, 4000), 4096, ChannelRefusal::SecureFrame(at(secure, 4000)));
}

#[test]
fn transfers_beyond_storage_are_refused_whole() {
    let machine = support::machine(config());
    let size = machine.storage_size();
    works(&machine, AbsoluteAddress(size - 10), 10);
    for (address, len) in [(size - 10, 11), (size, 1), (size - 4096, 8192), (u64::MAX, 1), (u64::MAX - 3, 8)] {
        let address = AbsoluteAddress(address);
        refused(&machine, address, len, ChannelRefusal::OutsideStorage(address));
    }
    // Both at once: the end of storage shows first, whatever lies before it.
    let refusal = ChannelRefusal::OutsideStorage(AbsoluteAddress(0));
    assert_eq!(refusal.to_string(), "I/O refused: 0x0 lies outside storage");
    let refusal = ChannelRefusal::SecureFrame(AbsoluteAddress(0x5000));
    assert_eq!(refusal.to_string(), "I/O refused: the frame at 0x5000 is secure (T11)");
}

#[test]
fn what_a_device_wrote_into_an_exported_page_is_refused() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    host.guest_store(&guest, P.0 * 4096, b"in the guest").unwrap();
    assert_eq!(host.export(frame), DONE);
    let mut swapped = [0; 4096];
    machine.channel().read(at(frame, 0), &mut swapped).unwrap();
    assert!(!swapped.windows(5).any(|window| window == b"guest"));
    machine.channel().write(at(frame, 4095), &[swapped[4095] ^ 1]).unwrap();
    assert_eq!(host.import(&guest, P), support::refused(0x106));
    // Swapped out and in again, into another frame.
    let other = host.frame();
    machine.channel().write(at(other, 0), &swapped).unwrap();
    host.map(&guest, P, other);
    assert_eq!(host.import(&guest, P), DONE);
    assert_eq!(host.guest_load(&guest, P.0 * 4096, 12).unwrap(), b"in the guest");
}
