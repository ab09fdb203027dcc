//! What a guest CPU may touch, and who takes the interruption.

mod guest_machine;

use guest_machine::*;
use uvsim_oracle::Outcome;
use uvsim_oracle::ids::{FrameNumber, GuestAddress, PageIndex};
use uvsim_oracle::state::{Donated, Purpose, Registered, Registration};
use uvsim_oracle::step::GuestStep;

/// TEID of a guest's load without bit 61 (D19).
const FETCH: u64 = 0x800;
const STORE: u64 = 0x400;
const RIGHT: u64 = 4;

#[test]
fn t12_a_guest_reads_back_what_it_stored_in_secure_shared_and_pinned_pages() {
    let mut machine = Machine::running();
    for page in [SECURE, SHARED, PINNED] {
        assert_eq!(machine.store(page * 4096 + 16, b"uvsim"), Outcome::Done);
        assert_eq!(machine.load(page * 4096 + 16, 5), Outcome::Loaded(b"uvsim".to_vec()));
        assert_eq!(machine.peek(((FIRST + page) << 12) + 16, 5), b"uvsim");
    }
}

#[test]
fn t13_a_page_without_a_mapping_is_the_hosts_translation_exception() {
    let mut machine = Machine::running();
    assert_eq!(machine.load(UNMAPPED << 12, 1), host_takes(0x11, UNMAPPED << 12 | FETCH));
}

#[test]
fn t14_d19_c82_a_page_that_is_not_secure_is_3e_with_its_address_and_bit_61_off() {
    let mut machine = Machine::running();
    assert_eq!(machine.store((PLAIN << 12) + 8, &[1]), host_takes(0x3e, PLAIN << 12 | STORE));
    assert_eq!(machine.peek(((FIRST + PLAIN) << 12) + 8, 1), [0]);
}

#[test]
fn t15_t16_t17_d19_secure_frames_of_others_are_3f_with_bit_61_on() {
    let secure = |configuration, page| Registration { kind: Registered::Secure, configuration, page: PageIndex(page) };
    for (registration, rule) in [(secure(ALPHA, 9), "T16"), (secure(BETA, PLAIN), "T15"), (secure(BETA, 9), "T17")] {
        let mut machine = Machine::running();
        if rule == "T15" {
            machine.configuration(BETA, BETA_VCPU, 0x100, 0x1_4000);
        }
        machine.state.registered.insert(FrameNumber(FIRST + PLAIN), registration);
        let step = GuestStep::Load { address: GuestAddress(PLAIN << 12), length: 1 };
        let after = machine.step(uvsim_oracle::Step::Guest(CPU, step));
        assert_eq!(after.outcome, host_takes(0x3f, PLAIN << 12 | FETCH | RIGHT));
        assert_eq!(after.rules, [rule]);
    }
}

#[test]
fn t17_donated_frames_are_3f() {
    let mut machine = Machine::running();
    let donated = Donated { count: 1, purpose: Purpose::Base };
    machine.state.donated.insert(FrameNumber(FIRST + PLAIN), donated);
    assert_eq!(machine.load(PLAIN << 12, 1), host_takes(0x3f, PLAIN << 12 | FETCH | RIGHT));
}

#[test]
fn d15_without_misc_bit_61_is_never_on() {
    let mut machine = Machine::running();
    std::sync::Arc::make_mut(&mut machine.state.setup).misc = false;
    machine.state.donated.insert(FrameNumber(FIRST + PLAIN), Donated { count: 1, purpose: Purpose::Base });
    assert_eq!(machine.load(PLAIN << 12, 1), host_takes(0x3f, PLAIN << 12 | FETCH));
}

#[test]
fn d21_d22_shared_frames_of_others_are_3e() {
    for configuration in [ALPHA, BETA] {
        for kind in [Registered::Shared, Registered::Pinned] {
            let mut machine = Machine::running();
            let registration = Registration { kind, configuration, page: PageIndex(9) };
            machine.state.registered.insert(FrameNumber(FIRST + PLAIN), registration);
            assert_eq!(machine.load(PLAIN << 12, 1), host_takes(0x3e, PLAIN << 12 | FETCH));
        }
    }
}

#[test]
fn t20_t21_d35_a_large_mapping_is_3c_and_at_the_prefix_112() {
    let mut machine = Machine::running();
    machine.poke(SEGMENTS, &(FIRST << 12 | 0x400).to_be_bytes());
    assert_eq!(machine.load(SECURE << 12, 1), host_takes(0x3c, SECURE << 12 | FETCH));
    machine.leave();
    machine.state.host.get_mut(&CPU).expect("CPU 0").buffer.clear();
    assert_eq!(machine.enter(), intercepted(112, 0, 0));
}

#[test]
fn t22_d71_beyond_its_storage_the_guest_takes_addressing_and_stays() {
    let mut machine = Machine::running();
    assert_eq!(machine.load(SIZE, 1), guest_takes(0x05));
    assert_eq!(machine.store(u64::MAX, &[1, 2]), guest_takes(0x05));
    assert_eq!(machine.load(SECURE << 12, 1), Outcome::Loaded(vec![0]));
}

#[test]
fn d18_prefixing_exchanges_the_first_pages_with_the_prefix_area() {
    let mut machine = Machine::new();
    machine.vcpu().registers.prefix = 0x2000;
    machine.register(SHARED, FIRST + SHARED, Registered::Secure);
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.store(0x10, b"low"), Outcome::Done);
    assert_eq!(machine.peek(((FIRST + 2) << 12) + 0x10, 3), b"low");
    assert_eq!(machine.store(0x3010, b"high"), Outcome::Done);
    assert_eq!(machine.peek(((FIRST + 1) << 12) + 0x10, 4), b"high");
}

#[test]
fn d18_an_access_over_two_pages_does_nothing_if_the_second_refuses() {
    let mut machine = Machine::running();
    assert_eq!(machine.store(PINNED * 4096 + 4095, b"xy"), host_takes(0x3e, PLAIN << 12 | STORE));
    assert_eq!(machine.peek(((FIRST + PINNED) << 12) + 4095, 1), [0]);
}

#[test]
fn d19_d59_events_of_a_walk_are_the_hosts_interruptions() {
    let mut machine = Machine::running();
    machine.map(PLAIN, Some(machine.state.setup.storage >> 12));
    assert_eq!(machine.load(PLAIN << 12, 1), host_takes(0x05, 0));

    let mut machine = Machine::running();
    machine.poke(PAGES + 8 * SECURE, &((FIRST + SECURE) << 12 | 0x200).to_be_bytes());
    machine.state.host.get_mut(&CPU).expect("CPU 0").buffer.clear();
    assert_eq!(machine.load(SECURE << 12, 1), Outcome::Loaded(vec![0]));
    assert_eq!(machine.store(SECURE << 12, &[1]), host_takes(0x04, SECURE << 12 | STORE | RIGHT));

    let mut machine = Machine::running();
    machine.state.donated.insert(FrameNumber(PAGES >> 12), Donated { count: 1, purpose: Purpose::Base });
    assert_eq!(machine.store(PLAIN << 12, &[1]), host_takes(0x3d, PAGES | FETCH | RIGHT));
}

#[test]
fn d56_d58_a_buffered_translation_shows_the_old_frame_and_the_entry_of_today() {
    let mut machine = Machine::running();
    machine.poke((FIRST + SECURE) << 12, b"old");
    assert_eq!(machine.load(SECURE << 12, 3), Outcome::Loaded(b"old".to_vec()));
    machine.map(SECURE, Some(FIRST + PLAIN));
    assert_eq!(machine.load(SECURE << 12, 3), Outcome::Loaded(b"old".to_vec()));
    assert_eq!(machine.world.asked, 1);
    machine.state.registered.remove(&FrameNumber(FIRST + SECURE));
    assert_eq!(machine.load(SECURE << 12, 3), host_takes(0x3e, SECURE << 12 | FETCH));
}

#[test]
fn i_19_a_buffer_that_has_lost_the_translation_walks_to_a_frame_that_is_not_the_pages() {
    let mut machine = Machine::running();
    assert_eq!(machine.load(SECURE << 12, 1), Outcome::Loaded(vec![0]));
    machine.map(SECURE, Some(FIRST + SHARED));
    machine.world.choice = 1;
    assert_eq!(machine.load(SECURE << 12, 1), host_takes(0x3e, SECURE << 12 | FETCH));
}

#[test]
fn d58_a_prefetch_never_fails_but_its_translation_may_be_used_later() {
    let mut machine = Machine::running();
    for page in [SECURE, PLAIN, UNMAPPED, SIZE >> 12] {
        assert_eq!(machine.act(GuestStep::Prefetch(GuestAddress(page << 12))), Outcome::Done);
    }
    machine.map(SECURE, None);
    assert_eq!(machine.load(SECURE << 12, 1), Outcome::Loaded(vec![0]));
}

#[test]
fn d32_after_an_exit_every_action_reports_it_and_does_nothing() {
    let mut machine = Machine::running();
    let exit = host_takes(0x3e, PLAIN << 12 | FETCH);
    assert_eq!(machine.load(PLAIN << 12, 1), exit);
    let before = machine.state.clone();
    assert_eq!(machine.store(SECURE << 12, b"x"), exit);
    assert_eq!(machine.act(GuestStep::SetPrefix(0x2000)), exit);
    assert_eq!(machine.sharing_exit(), exit);
    machine.act(GuestStep::General(3, 7));
    machine.act(GuestStep::AccessRegister(3, 7));
    assert_eq!(machine.state, before);
}

#[test]
fn d80_no_guest_in_sie_can_do_nothing() {
    let mut machine = Machine::new();
    let before = machine.state.clone();
    assert_eq!(machine.load(0, 1), Outcome::Impossible);
    assert_eq!(machine.act(GuestStep::Leave), Outcome::Impossible);
    assert_eq!(machine.state, before);
}

#[test]
fn d19_d62_addresses_that_the_host_gets_begin_at_the_origin_of_the_guest() {
    const ORIGIN: u64 = 0x10_0000;
    let mut machine = Machine::new();
    machine.alpha().origin = ORIGIN;
    machine.poke(SEGMENTS, &0x20_u64.to_be_bytes());
    machine.poke(SEGMENTS + 8, &PAGES.to_be_bytes());
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.load(SECURE << 12, 1), Outcome::Loaded(vec![0]));
    assert_eq!(machine.load(SIZE, 1), guest_takes(0x05));
    assert_eq!(machine.load(UNMAPPED << 12, 1), host_takes(0x11, (ORIGIN + (UNMAPPED << 12)) | FETCH));
    machine.leave();
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.load(PLAIN << 12, 1), host_takes(0x3e, (ORIGIN + (PLAIN << 12)) | FETCH));
}

#[test]
fn t13_every_level_of_the_tables_has_its_own_exception() {
    for (asce, code) in [(0x7_0104, 0x3b), (0x7_0108, 0x3a), (0x7_010c, 0x39)] {
        let mut machine = Machine::running();
        machine.alpha().asce = asce;
        machine.poke(0x7_0000, &0x20_u64.to_be_bytes());
        assert_eq!(machine.load(SECURE << 12, 1), host_takes(code, SECURE << 12 | FETCH));
    }
    let mut machine = Machine::running();
    machine.poke(SEGMENTS, &0x20_u64.to_be_bytes());
    assert_eq!(machine.load(SECURE << 12, 1), host_takes(0x10, SECURE << 12 | FETCH));
    let mut machine = Machine::running();
    machine.alpha().origin = 1 << 31;
    assert_eq!(machine.load(SECURE << 12, 1), host_takes(0x38, 1 << 31 | SECURE << 12 | FETCH));
    let mut machine = Machine::running();
    machine.poke(PAGES + 8 * PLAIN, &0x800_u64.to_be_bytes());
    assert_eq!(machine.load(PLAIN << 12, 1), host_takes(0x12, 0));
}
