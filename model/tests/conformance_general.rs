//! Conformance, general checks and queries: C1–C22 (C4, C5 with translation on), D2, D3, D14, D15.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Home, generation, guest_block, own_interruption};
use support::{Answer, BLOCK, DONE, Host, UV_BASE, config, refused};
use uvsim_model::address::{GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::cpu::Uvc;
use uvsim_model::storage::ProgramCode;
use uvsim_model::uvc::{Command, Issuer};
use uvsim_model::{Injection, Machine, UV_BASE_LENGTH};

const MORE_DATA: Answer = Answer { cc: 1, rc: 0x100, rrc: 0 };
const GENERATIONS: [Generation; 3] = [Generation::Z15, Generation::Z16, Generation::Z17];

/// Codes and lengths of the calls that a host of the z17 preset finds installed.
const HOST_CALLS: [(u16, u16); 22] = [
    (0x0001, 0x120),
    (0x0002, 0x200),
    (0x000f, 0x48),
    (0x0100, 0x80),
    (0x0101, 0x40),
    (0x0102, 0x48),
    (0x0120, 0x60),
    (0x0121, 0x40),
    (0x0200, 0x28),
    (0x0201, 0x20),
    (0x0202, 0x20),
    (0x0300, 0x50),
    (0x0301, 0x50),
    (0x0302, 0x40),
    (0x0310, 0x40),
    (0x0311, 0x40),
    (0x0320, 0x40),
    (0x0321, 0x40),
    (0x0330, 0x50),
    (0x0340, 0x40),
    (0x0341, 0x20),
    (0x0342, 0x28),
];

fn host_commands() -> impl Iterator<Item = Command> {
    Command::ALL.iter().copied().filter(|command| command.row().issuer != Issuer::Guest)
}

#[test]
fn c01_immediate_fields_are_a_specification_exception() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    host.block(BLOCK, 0x000f, 0x48, &[(0x18, 8, UV_BASE), (0x20, 8, UV_BASE_LENGTH)]);
    for (m3, m4) in [(4, 0), (0, 2), (4, 2), (1, 0), (0, 0xf)] {
        let interruption = host.interrupted_unchanged(Uvc { m3, m4, ..Uvc::at(VirtualAddress(BLOCK)) });
        assert_eq!(interruption.code, ProgramCode::Specification);
    }
    assert!(!machine.is_initialised());
    assert_eq!(host.issue(BLOCK), Ok(DONE));
}

#[test]
fn c02_problem_state_is_a_privileged_operation_for_every_command() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    for &command in Command::ALL {
        host.block(BLOCK, command.code(), command.usual_length(), &[]);
        host.cpu.set_problem_state(true);
        // Privilege comes before the immediate fields, the alignment and the access (D2).
        for (r2, m3) in [(BLOCK, 0), (BLOCK, 4), (BLOCK + 4, 0), (UV_BASE, 0), (u64::MAX, 1)] {
            let interruption = host.interrupted_unchanged(Uvc { r1: 0, r2, m3, m4: 0 });
            assert_eq!(interruption.code, ProgramCode::PrivilegedOperation, "{}", command.name());
        }
        host.cpu.set_problem_state(false);
    }
}

#[test]
fn c03_problem_state_in_a_guest() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut cpu = host.enter(&guest).unwrap();
    for &command in Command::ALL {
        cpu.store(GuestAddress(0x1e00), &guest_block(command.code(), command.usual_length(), 0)).unwrap();
        cpu.set_problem_state(true);
        let before = machine.state_digest(None);
        for m3 in [0, 1] {
            let result = cpu.uvc(Uvc { m3, ..Uvc::at(VirtualAddress(0x1e00)) });
            assert_eq!(own_interruption(result), ProgramCode::PrivilegedOperation);
        }
        assert_eq!(before, machine.state_digest(None));
        cpu.set_problem_state(false);
    }
}

#[test]
fn c04_a_block_on_an_invalid_page_is_a_translation_exception() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let Home { window, .. } = host.home_space();
    // Nothing can be read from the block, so no command makes a difference; the space does.
    let interruption = host.interrupted_unchanged(Uvc::at(VirtualAddress(window)));
    assert_eq!(interruption.code, ProgramCode::PageTranslation);
    assert_eq!(interruption.teid.address(), window);
    let beyond = host.interrupted_unchanged(Uvc::at(VirtualAddress(2 << 30)));
    assert_eq!(beyond.code, ProgramCode::AsceType);
    host.cpu.set_translation(false);
    assert!(host.cpu.load(VirtualAddress(window), &mut [0; 8]).is_ok(), "the hole is one of translation only");
}

#[test]
fn c05_a_block_that_runs_into_an_invalid_page_is_found_after_the_header() {
    let machine = support::machine(generation(Generation::Z17));
    let mut host = Host::ready(&machine);
    let home = host.home_space();
    let frame = host.frame();
    let block = home.map(&mut host, 3, frame, 0) + 0xff8;
    for command in host_commands() {
        let (code, length) = (command.code(), command.usual_length());
        let header = [length.to_be_bytes(), code.to_be_bytes(), [0; 2], [0; 2]].concat();
        host.store(block, &header);
        if HOST_CALLS.contains(&(code, length)) {
            let interruption = host.interrupted_unchanged(Uvc::at(VirtualAddress(block)));
            assert_eq!((interruption.code, interruption.teid.address()), (ProgramCode::PageTranslation, block + 8));
            // The general codes come before the rest of the block is touched (D2).
            host.store(block, &[0x00, 0x09]);
            assert_eq!(host.issue(block), Ok(refused(5)), "{}", command.name());
        } else {
            assert_eq!(host.issue(block), Ok(refused(2)), "{}", command.name());
        }
    }
}

#[test]
fn c06_a_block_off_the_doubleword_is_a_specification_exception() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    for offset in 1..8 {
        // Alignment comes before access: the second one lies in donated storage, the third outside.
        for base in [BLOCK, UV_BASE, 4 << 30] {
            let interruption = host.interrupted_unchanged(Uvc::at(VirtualAddress(base + offset)));
            assert_eq!(interruption.code, ProgramCode::Specification);
        }
    }
}

#[test]
fn c07_an_unknown_command_comes_before_the_state() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    host.refuse_raw(0x4242, 8, &[], refused(2));
    for length in [0, 7, 0x20, 0xffff] {
        host.refuse_raw(0x4242, length, &[], refused(2));
    }
}

#[test]
fn c08_an_unknown_command_of_a_guest() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for length in [8, 0, 0x30] {
        host.guest_refuse_unchanged(&guest, 0x4242, length, 0, refused(2));
    }
}

#[test]
fn c09_guest_commands_are_not_for_hosts() {
    let machine = support::machine(generation(Generation::Z17));
    let mut host = Host::ready(&machine);
    for &command in Command::ALL.iter().filter(|command| command.row().issuer == Issuer::Guest) {
        host.refuse_unchanged(command, &[], refused(2));
    }
    assert_eq!(host.call(Command::QueryUvInformation, &[]), DONE);
    assert_eq!(host.output(0x10) & (0b11 << 54), 0, "bits 8 and 9");
    assert_eq!(host.output(0x10) & (0xf << 32), 0, "bits 28 to 31");
}

#[test]
fn c10_host_commands_are_not_for_guests() {
    let machine = support::machine(generation(Generation::Z17));
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for command in host_commands().filter(|command| command.row().issuer == Issuer::Host) {
        host.guest_refuse_unchanged(&guest, command.code(), command.usual_length(), 0, refused(2));
    }
    let bits = guest_query(&mut host, &guest, 0x120).1;
    let words = u64::from_be_bytes(bits[..8].try_into().unwrap());
    for command in host_commands().filter(|command| command.row().issuer == Issuer::Host) {
        assert_eq!(words >> (63 - command.row().bit) & 1, 0, "{}", command.name());
    }
}

#[test]
fn c11_a_command_taken_from_the_preset_is_invalid() {
    let machine =
        Machine::new(MachineConfig { without: vec![Command::DestrSecStor, Command::SetSharedAccess], ..config() })
            .unwrap();
    let mut host = Host::ready(&machine);
    let frame = host.frame().address().0;
    host.refuse_unchanged(Command::DestrSecStor, &[(0x18, 8, frame)], refused(2));
    assert_eq!(host.call(Command::QueryUvInformation, &[]), DONE);
    assert_eq!(host.output(0x10) >> 51 & 1, 0, "bit 12");
    let guest = host.start(1);
    host.guest_refuse_unchanged(&guest, 0x1000, 0x30, 0x3000, refused(2));
    host.guest_refuse_unchanged(&guest, 0x1000, 0x28, 0x3000, refused(2));
}

#[test]
fn c12_before_init_every_command_but_the_queries_is_in_an_invalid_state() {
    for preset in GENERATIONS {
        let machine = support::machine(generation(preset));
        let mut host = Host::new(&machine);
        let installed = installed_bits(&mut host);
        for command in host_commands() {
            if matches!(command, Command::QueryUvInformation | Command::QueryKeys | Command::InitUv) {
                continue;
            }
            let rubbish: Vec<_> =
                (0..u64::from(command.usual_length()) / 8 - 1).map(|word| (8 + word * 8, 8, u64::MAX)).collect();
            let expected = if installed(command) { refused(3) } else { refused(2) };
            host.refuse_unchanged(command, &rubbish, expected);
            // State before length (Q18).
            host.refuse_raw(command.code(), 8, &[], expected);
        }
    }
}

#[test]
fn c13_busy_twice_and_then_one_transition() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PageIndex(3));
    let log = scene::Log::of(&machine);
    machine.inject(Command::ConvFromSecStor, Injection::Busy(2));
    host.block(BLOCK, 0x0201, 0x20, &[(0x18, 8, frame.address().0)]);
    for _ in 0..2 {
        let before = machine.state_digest(None);
        assert_eq!(host.issue(BLOCK), Ok(Answer { cc: 2, rc: 0, rrc: 0 }));
        assert_eq!(before, machine.state_digest(None), "cc 2 stores nothing (D3)");
    }
    assert_eq!(log.transitions(), Vec::<&str>::new());
    assert_eq!(host.issue(BLOCK), Ok(DONE));
    assert_eq!(log.transitions(), ["T44"]);
}

#[test]
fn c14_a_partial_destroy_ends_with_the_same_block() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.destroy_cpu(&guest), DONE);
    machine.inject(Command::DestroySecConf, Injection::Partial(1));
    host.block(BLOCK, 0x0101, 0x40, &[(0x18, 8, guest.handle)]);
    let before = machine.state_digest(None);
    assert_eq!(host.issue(BLOCK), Ok(Answer { cc: 3, rc: 0, rrc: 0 }));
    assert_eq!(before, machine.state_digest(None), "an injected cc 3 changes nothing (D17)");
    assert_eq!(host.issue(BLOCK), Ok(DONE));
    assert!(machine.domain(guest.handle).is_none());
}

#[test]
fn d02_a_bad_handle_wins_over_an_injected_answer() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    machine.inject(Command::DestroySecConf, Injection::Busy(1));
    host.refuse_unchanged(Command::DestroySecConf, &[(0x18, 8, 1)], refused(0x20));
    let guest = host.create(1);
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, guest.handle)]).cc, 2, "it still waits");
}

#[test]
fn c15_a_short_query_of_a_host() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    for length in [0xa0, 0, 8, 0xa7] {
        host.refuse_raw(0x0001, length, &[], refused(5));
    }
}

#[test]
fn c16_a_short_query_of_a_guest() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for length in [0xa0, 0, 8, 0xa7] {
        host.guest_refuse_unchanged(&guest, 0x0001, length, 0, refused(5));
    }
}

#[test]
fn c17_the_shortest_query_is_filled_to_its_end() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    host.store(BLOCK, &[0xa5; 0x200]);
    host.store(BLOCK, &[0x00, 0xa8, 0x00, 0x01]);
    assert_eq!(host.issue(BLOCK), Ok(MORE_DATA));
    assert_ne!(host.output(0x10), 0xa5a5_a5a5_a5a5_a5a5);
    assert_eq!(host.output(0xa0), 1 << 63, "features: misc");
    for reserved in [0x08, 0x30, 0x38, 0x48, 0x70, 0x88] {
        assert_eq!(host.output(reserved), 0xa5a5_a5a5_a5a5_a5a5, "{reserved:#x} is reserved (D3)");
    }
    assert_eq!(host.load(BLOCK + 0xa8, 0x158).unwrap(), [0xa5; 0x158]);
}

#[test]
fn c18_a_host_sees_the_bits_of_its_preset() {
    // Bits 0–7 and 11–22; z16 adds 23, z17 adds 34 (Q32, D14).
    for (preset, bits) in [
        (Generation::Z15, 0xff1f_fe00_0000_0000u64),
        (Generation::Z16, 0xff1f_ff00_0000_0000),
        (Generation::Z17, 0xff1f_ff00_2000_0000),
    ] {
        let machine = support::machine(generation(preset));
        let mut host = Host::new(&machine);
        host.block(BLOCK, 0x0001, 0x100, &[]);
        assert_eq!(host.issue(BLOCK), Ok(MORE_DATA));
        assert_eq!(host.output(0x10), bits, "{preset:?}");
        assert_eq!((host.output(0x18), host.output(0x20), host.output(0x28)), (0, 0, 0));
    }
}

#[test]
fn c18_every_word_of_a_host_query() {
    for (preset, feature, flags) in [
        (Generation::Z15, 0, 0x3000_00e2),
        (Generation::Z16, 1 << 63, 0x3000_00e2),
        (Generation::Z17, 1 << 63, 0x3000_00f2u64),
    ] {
        let machine = support::machine(generation(preset));
        let mut host = Host::new(&machine);
        assert_eq!(host.call(Command::QueryUvInformation, &[]), DONE);
        let words = [
            (0x40, UV_BASE_LENGTH),
            (0x50, 0x1_0000),
            (0x58, 0x1_0000),
            (0x60, 0x1000),
            (0x68, 0x1000),
            (0x78, 0x7f_ffff),
            (0x80, 0x8000_0000_0000),
            (0x98, 0x100),
            (0xa0, feature),
            (0xb0, 1 << 63),
            (0xb8, flags),
            (0xc8, 0),
            (0xd0, 0),
            (0xe0, 0),
            (0xe8, 0),
            (0xf8, 0),
            (0x100, 0),
            (0x108, 0),
            (0x110, 0),
        ];
        for (offset, value) in words {
            assert_eq!(host.output(offset), value, "{preset:?}, offset {offset:#x}");
        }
    }
}

#[test]
fn d15_the_misc_feature_can_be_overridden() {
    for (preset, misc) in [(Generation::Z15, true), (Generation::Z17, false)] {
        let machine = support::machine(MachineConfig { feature_misc: Some(misc), ..generation(preset) });
        let mut host = Host::new(&machine);
        assert_eq!(host.call(Command::QueryUvInformation, &[]), DONE);
        assert_eq!(host.output(0xa0), u64::from(misc) << 63);
    }
}

#[test]
fn c19_a_long_query_leaves_the_excess_alone() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    for length in [0x120u16, 0x160, 0x400, 0xfff8] {
        let at = host.allocate(0x1_0000);
        host.store(at, &vec![0xa5; 0x1_0000]);
        host.store(at, &[length.to_be_bytes(), [0, 1]].concat());
        assert_eq!(host.issue(at), Ok(DONE), "length {length:#x}");
        assert_eq!(host.load(at + 0x120, 0xfee0).unwrap(), vec![0xa5; 0xfee0]);
    }
}

#[test]
fn c20_a_guest_sees_sharing_and_no_init() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let (answer, bytes) = guest_query(&mut host, &guest, 0x120);
    assert_eq!(answer, DONE);
    assert_eq!(bytes[..8], 0x80c0_0000_0000_0000u64.to_be_bytes());
    // What concerns hosts only is zero.
    assert_eq!(bytes[0x30..0x90], [0; 0x60]);
    assert_eq!(guest_query(&mut host, &guest, 0xa8).0, MORE_DATA);
}

#[test]
fn c21_sharing_bits_are_equal_on_both_sides() {
    for without in [vec![], vec![Command::SetSharedAccess, Command::RemoveSharedAccess]] {
        let machine = support::machine(MachineConfig { without, ..config() });
        let mut host = Host::ready(&machine);
        let guest = host.start(1);
        assert_eq!(host.call(Command::QueryUvInformation, &[]), DONE);
        let host_word = host.output(0x10);
        let guest_word = u64::from_be_bytes(guest_query(&mut host, &guest, 0x120).1[..8].try_into().unwrap());
        for word in [host_word, guest_word] {
            assert_eq!(word >> 55 & 1, word >> 54 & 1, "bits 8 and 9");
        }
    }
}

#[test]
fn c22_query_keys_where_installed() {
    let machine = support::machine(generation(Generation::Z17));
    let mut host = Host::new(&machine);
    host.store(BLOCK, &[0xa5; 0x210]);
    host.store(BLOCK, &[0x02, 0x00, 0x00, 0x02]);
    assert_eq!(host.issue(BLOCK), Ok(DONE), "allowed before INIT (Q34)");
    let mut hashes = [0; 480];
    hashes[..32].copy_from_slice(&machine.host_public_key().hash().0);
    hashes[32..64].copy_from_slice(&machine.backup_host_public_key().hash().0);
    assert!(host.load(BLOCK + 0x20, 480).unwrap() == hashes, "host key, backup host key, unused slots");
    assert!(hashes[..32] != hashes[32..64] && hashes[..32] != [0; 32]);
    assert_eq!(host.load(BLOCK + 8, 0x18).unwrap(), [0xa5; 0x18]);
    assert_eq!(host.load(BLOCK + 0x200, 0x10).unwrap(), [0xa5; 0x10]);
    for length in [0x1f8, 0x208] {
        host.refuse_raw(0x0002, length, &[], refused(5));
    }
    assert_eq!(host.init(), DONE);
    let guest = host.start(1);
    assert_eq!(host.guest_call(&guest, 0x0002, 0x200, 0), Ok(DONE));
    host.guest_refuse_unchanged(&guest, 0x0002, 0x1f8, 0, refused(5));
    for preset in [Generation::Z15, Generation::Z16] {
        let machine = support::machine(generation(preset));
        Host::new(&machine).refuse_unchanged(Command::QueryKeys, &[], refused(2));
    }
}

#[test]
fn presets_fast_destroy_is_absent_on_z15() {
    for (preset, expected) in [(Generation::Z15, 2), (Generation::Z16, 0x20), (Generation::Z17, 0x20)] {
        let machine = support::machine(generation(preset));
        let mut host = Host::ready(&machine);
        host.refuse_unchanged(Command::DestroySecConfFast, &[(0x18, 8, 7)], refused(expected));
    }
}

#[test]
fn d03_r1_and_reserved_bytes_are_ignored_and_never_written() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PageIndex(3)).address().0;
    host.store(BLOCK, &[0xa5; 0x28]);
    host.store(BLOCK, &[0x00, 0x20, 0x02, 0x01]);
    host.store_u64(BLOCK + 0x18, frame);
    let cc = host.cpu.uvc(Uvc { r1: u64::MAX, ..Uvc::at(VirtualAddress(BLOCK)) });
    assert_eq!(cc.map(|cc| cc as u8), Ok(0));
    assert_eq!(host.load(BLOCK, 8).unwrap(), [0, 0x20, 2, 1, 0, 1, 0, 0]);
    assert_eq!(host.load(BLOCK + 8, 0x10).unwrap(), [0xa5; 0x10]);
    assert_eq!(host.load(BLOCK + 0x20, 8).unwrap(), [0xa5; 8]);
}

#[test]
fn d06_low_bits_of_page_addresses_are_ignored() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.frame();
    host.map(&guest, PageIndex(3), frame);
    let (handle, paddr) = (guest.handle, frame.address().0 + 0xabc);
    assert_eq!(host.call(Command::ConvToSecStor, &[(0x18, 8, handle), (0x20, 8, 0x3fff)]), DONE);
    assert_eq!(host.guest_call(&guest, 0x1000, 0x30, 0x3007), Ok(DONE));
    assert_eq!(host.call(Command::PinPageShared, &[(0x18, 8, paddr)]), DONE);
    assert_eq!(machine.frame_state(frame), scene::pinned(&machine, &guest, PageIndex(3)));
    assert_eq!(host.call(Command::UnpinPageShared, &[(0x18, 8, handle), (0x20, 8, 0x3001)]), DONE);
    assert_eq!(machine.frame_state(frame), scene::shared(&machine, &guest, PageIndex(3)));
    assert_eq!(host.guest_call(&guest, 0x1001, 0x30, 0x3800), Ok(DONE));
    assert_eq!(host.call(Command::ConvFromSecStor, &[(0x18, 8, paddr)]), DONE);
    assert_eq!(machine.frame_state(frame), uvsim_model::storage::FrameState::NonSecure);
    assert_eq!(host.call(Command::DestrSecStor, &[(0x18, 8, paddr)]), DONE);
}

/// Every 16-bit code with every length up to 0x200, a block of zeros behind the header.
#[test]
fn every_code_and_length_from_a_host() {
    // Too many steps for the oracle.
    let machine = Machine::new(generation(Generation::Z17)).unwrap();
    let mut host = Host::ready(&machine);
    let at = VirtualAddress(BLOCK);
    host.store(BLOCK, &[0; 0x200]);
    let before = machine.state_digest(None);
    for code in 0..=u16::MAX {
        let installed = HOST_CALLS.iter().find(|call| call.0 == code);
        for length in 0..=0x200u16 {
            let expected = match installed {
                None => (1, 2),
                Some(_) if code == 1 && length >= 0x120 => (0, 1),
                Some(_) if code == 1 && length >= 0xa8 => (1, 0x100),
                Some(&(_, wanted)) if length != wanted || code == 1 => (1, 5),
                Some(_) => of_zeros(code),
            };
            let header = u64::from(length) << 48 | u64::from(code) << 32;
            host.cpu.store_u64(at, header).unwrap();
            let cc = host.cpu.uvc(Uvc::at(at)).unwrap() as u8;
            let codes = host.cpu.load_u64(at).unwrap() as u32;
            let found = (cc, (codes >> 16) as u16);
            assert!(found == expected && codes as u16 == 0, "{code:#x}, length {length:#x}: {found:x?}");
        }
        if matches!(code, 1 | 2) {
            host.store(BLOCK, &[0; 0x200]);
        }
    }
    host.store(BLOCK, &[0; 8]);
    assert_eq!(before, machine.state_digest(None));
}

/// Condition code and rc of an installed host call whose block is zeros and whose length is right.
fn of_zeros(code: u16) -> (u8, u16) {
    match code {
        0x0002 | 0x0201 | 0x0202 => (0, 1),
        0x000f => (1, 0x101),
        0x0100 => (1, 0x103),
        0x0121 | 0x0310 | 0x0311 | 0x0321 | 0x0330 => (1, 0x21),
        0x0341 => (1, 0x102),
        _ => (1, 0x20),
    }
}

/// The same from a guest, for which only the queries and the sharing calls are there: every length with
/// the codes that anybody knows, with all others those where something may begin or end.
#[test]
fn every_code_and_length_from_a_guest() {
    const LENGTHS: [u16; 16] = [0, 1, 7, 8, 0x18, 0x20, 0x28, 0x2f, 0x30, 0x31, 0x40, 0x80, 0xa8, 0x120, 0x1ff, 0x200];
    // Too many steps for the oracle.
    let machine = Machine::new(generation(Generation::Z17)).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut cpu = host.enter(&guest).unwrap();
    let every: Vec<u16> = (0..=0x200).collect();
    let (at, block) = (GuestAddress(0x1e00), VirtualAddress(0x1e00));
    let zeros = [0; 0x200];
    cpu.store(at, &zeros).unwrap();
    let before = machine.state_digest(None);
    for code in 0..=u16::MAX {
        let lengths = if Command::from_code(code).is_some() { &every[..] } else { &LENGTHS };
        for &length in lengths {
            let expected = match (code, length) {
                (1, 0x120..) | (2, 0x200) => (0, 1),
                (1, 0xa8..) => (1, 0x100),
                // Page 0 is resident: opened, and taken back.
                (0x1000 | 0x1001, 0x30) => (0, 1),
                (1 | 2 | 0x1000 | 0x1001, _) => (1, 5),
                _ => (1, 2),
            };
            cpu.store(at, &(u64::from(length) << 48 | u64::from(code) << 32).to_be_bytes()).unwrap();
            let cc = cpu.uvc(Uvc::at(block)).unwrap() as u8;
            let mut codes = [0; 4];
            cpu.load(GuestAddress(0x1e04), &mut codes).unwrap();
            let found = (cc, u16::from_be_bytes([codes[0], codes[1]]));
            assert!(found == expected && codes[2..] == [0; 2], "{code:#x}, length {length:#x}: {found:x?}");
        }
        if code < 3 {
            cpu.store(at, &zeros).unwrap();
        }
    }
    cpu.store(at, &zeros).unwrap();
    assert_eq!(before, machine.state_digest(None));
}

fn installed_bits(host: &mut Host<'_>) -> impl Fn(Command) -> bool + use<> {
    assert_eq!(host.call(Command::QueryUvInformation, &[]), DONE);
    let word = host.output(0x10);
    move |command| word >> (63 - command.row().bit) & 1 != 0
}

/// A guest's query: the answer, and the bytes from offset 0x10.
fn guest_query(host: &mut Host<'_>, guest: &support::Guest, length: u16) -> (Answer, Vec<u8>) {
    let answer = host.guest_call(guest, 0x0001, length, 0).unwrap();
    (answer, host.guest_load(guest, 0x1e10, 0x110).unwrap())
}
