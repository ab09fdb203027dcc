//! Calls of a guest: the order of the checks, and sharing.

mod guest_machine;

use guest_machine::*;
use uvsim_oracle::Outcome;
use uvsim_oracle::ids::{FrameNumber, PageIndex};
use uvsim_oracle::state::{Record, Registered};
use uvsim_oracle::step::{GuestStep, Injection, Uvc};
use uvsim_oracle::{State, Step};

const SHARE: u16 = 0x1000;
const UNSHARE: u16 = 0x1001;
const STORE: u64 = 0x400;
const FETCH: u64 = 0x800;

fn kind(state: &State, page: u64) -> Option<Registered> {
    state.registered.get(&FrameNumber(FIRST + page)).map(|registration| registration.kind)
}

fn record(machine: &mut Machine, page: u64) -> Record {
    machine.alpha().pages[&PageIndex(page)].record
}

fn uvc(r2: u64) -> GuestStep {
    GuestStep::Uvc(Uvc { r1: 0, r2, m3: 0, m4: 0 })
}

#[test]
fn t56_c83_a_secure_page_is_shared_with_its_contents() {
    let mut machine = Machine::running();
    assert_eq!(machine.store(SECURE << 12, b"hello"), Outcome::Done);
    assert!(matches!(machine.host_load((FIRST + SECURE) << 12, 5), Outcome::Program(stop) if stop.code == 0x3d));
    assert_eq!(machine.sharing_call(SHARE, SECURE << 12), (Outcome::Condition(0), 1));
    assert_eq!(kind(&machine.state, SECURE), Some(Registered::Shared));
    assert_eq!(record(&mut machine, SECURE), Record::Shared(Some(FrameNumber(FIRST + SECURE))));
    assert_eq!(machine.host_load((FIRST + SECURE) << 12, 5), Outcome::Loaded(b"hello".to_vec()));
    assert_eq!(machine.load(SECURE << 12, 5), Outcome::Loaded(b"hello".to_vec()));
}

#[test]
fn t57_d22_sharing_a_shared_or_pinned_page_has_no_effect() {
    for (page, then) in [(SHARED, Registered::Shared), (PINNED, Registered::Pinned)] {
        let mut machine = Machine::running();
        assert_eq!(machine.sharing_call(SHARE, page << 12), (Outcome::Condition(0), 1));
        assert_eq!(kind(&machine.state, page), Some(then));
    }
}

#[test]
fn t58_q11_a_page_that_is_not_there_is_the_hosts_to_bring_and_the_call_repeats() {
    let mut machine = Machine::running();
    let block = sharing_block(SHARE, 0x30, PLAIN << 12);
    assert_eq!(machine.call(&block).0, host_takes(0x3e, PLAIN << 12 | FETCH));
    machine.leave();
    machine.register(PLAIN, FIRST + PLAIN, Registered::Secure);
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.act(uvc(0x1e00)), Outcome::Condition(0));
    assert_eq!(kind(&machine.state, PLAIN), Some(Registered::Shared));

    let mut machine = Machine::running();
    assert_eq!(machine.sharing_call(SHARE, UNMAPPED << 12).0, host_takes(0x11, UNMAPPED << 12 | FETCH));
}

#[test]
fn t59_c86_q10_unsharing_keeps_the_contents_and_shuts_the_host_out() {
    let mut machine = Machine::running();
    machine.poke((FIRST + SHARED) << 12, b"from the host");
    assert_eq!(machine.sharing_call(UNSHARE, (SHARED << 12) + 0xfff), (Outcome::Condition(0), 1));
    assert_eq!(kind(&machine.state, SHARED), Some(Registered::Secure));
    assert_eq!(machine.load(SHARED << 12, 13), Outcome::Loaded(b"from the host".to_vec()));
    assert!(matches!(machine.host_load((FIRST + SHARED) << 12, 1), Outcome::Program(stop) if stop.code == 0x3d));
}

#[test]
fn t60_c88_d32_unsharing_a_pinned_page_is_108_with_the_block_in_the_data_area() {
    let mut machine = Machine::running();
    let block = sharing_block(UNSHARE, 0x30, PINNED << 12);
    assert_eq!(machine.call(&block), (intercepted(108, 0xb9a4, 0), 0));
    assert_eq!(machine.shown_interception().code, 108);
    assert_eq!(machine.peek(DATA_AREA, 0x30), block);
    assert_eq!(kind(&machine.state, PINNED), Some(Registered::Pinned));
}

#[test]
fn t66_c89_after_the_unpin_the_repeated_call_succeeds() {
    let mut machine = Machine::running();
    assert!(matches!(machine.sharing_call(UNSHARE, PINNED << 12).0, Outcome::Interception(_)));
    machine.leave();
    machine.register(PINNED, FIRST + PINNED, Registered::Shared);
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.act(uvc(0x1e00)), Outcome::Condition(0));
    assert_eq!(kind(&machine.state, PINNED), Some(Registered::Secure));
}

#[test]
fn t61_unsharing_a_secure_page_has_no_effect() {
    let mut machine = Machine::running();
    assert_eq!(machine.sharing_call(UNSHARE, SECURE << 12), (Outcome::Condition(0), 1));
    assert_eq!(kind(&machine.state, SECURE), Some(Registered::Secure));
}

#[test]
fn t62_d31_unsharing_a_shared_page_without_a_frame_is_3e_first() {
    let mut machine = Machine::running();
    machine.state.registered.remove(&FrameNumber(FIRST + SHARED));
    machine.alpha().pages[&PageIndex(SHARED)].record = Record::Shared(None);
    assert_eq!(machine.sharing_call(UNSHARE, SHARED << 12).0, host_takes(0x3e, SHARED << 12 | FETCH));
    machine.leave();
    machine.register(SHARED, FIRST + SHARED, Registered::Shared);
    assert_eq!(machine.enter(), Outcome::Done);
    assert_eq!(machine.act(uvc(0x1e00)), Outcome::Condition(0));
    assert_eq!(kind(&machine.state, SHARED), Some(Registered::Secure));
}

#[test]
fn t63_c85_d32_beyond_guest_storage_is_0x101_before_the_page_is_looked_at() {
    let mut machine = Machine::running();
    for command in [SHARE, UNSHARE] {
        for address in [SIZE, SIZE + 4096, u64::MAX] {
            assert_eq!(machine.sharing_call(command, address), (Outcome::Condition(1), 0x101));
        }
    }
}

#[test]
fn c84_q16_a_wrong_length_is_refused_and_nothing_is_shared() {
    for length in [0x28, 0x2f, 0x31, 0x38] {
        let mut machine = Machine::running();
        let block = sharing_block(SHARE, length, SECURE << 12);
        assert_eq!(machine.call(&block), (Outcome::Condition(1), 0x0005));
        assert_eq!(kind(&machine.state, SECURE), Some(Registered::Secure));
    }
}

#[test]
fn c8_c10_d14_unknown_calls_and_those_of_a_host_are_0x2() {
    for command in [0x4242, 0x000f, 0x0100, 0x0200, 0x0342, 0x1020] {
        let mut machine = Machine::running();
        assert_eq!(machine.call(&sharing_block(command, 8, 0)), (Outcome::Condition(1), 0x0002));
    }
}

#[test]
fn c1_c3_q17_d2_privilege_then_immediate_then_alignment_are_the_guests_own() {
    let mut machine = Machine::running();
    let spoilt = |r2, m3, m4| GuestStep::Uvc(Uvc { r1: 9, r2, m3, m4 });
    assert_eq!(machine.act(spoilt(0x1e04, 0, 0)), guest_takes(0x06));
    assert_eq!(machine.act(spoilt(0x1e00, 4, 0)), guest_takes(0x06));
    assert_eq!(machine.act(spoilt(0x1e00, 0, 2)), guest_takes(0x06));
    assert_eq!(machine.act(GuestStep::ProblemState(true)), Outcome::Done);
    assert_eq!(machine.act(spoilt(0x1e04, 4, 2)), guest_takes(0x02));
    assert_eq!(machine.act(GuestStep::ProblemState(false)), Outcome::Done);
    assert_eq!(machine.sharing_call(SHARE, SECURE << 12), (Outcome::Condition(0), 1));
}

#[test]
fn d18_d19_each_byte_of_the_block_is_a_secure_store_access() {
    let mut machine = Machine::running();
    assert_eq!(machine.act(uvc(PLAIN << 12)), host_takes(0x3e, PLAIN << 12 | STORE));

    let mut machine = Machine::running();
    assert_eq!(machine.act(uvc(SIZE)), guest_takes(0x05));

    // The header is there, the rest is not: the code 0x0002 would win, the length does not.
    let mut machine = Machine::running();
    let block = sharing_block(SHARE, 0x30, SECURE << 12);
    assert_eq!(machine.store((PINNED << 12) + 0xff8, &block[..8]), Outcome::Done);
    assert_eq!(machine.act(uvc((PINNED << 12) + 0xff8)), host_takes(0x3e, PLAIN << 12 | STORE));
    assert_eq!(kind(&machine.state, SECURE), Some(Registered::Secure));
}

#[test]
fn d18_the_operand_is_guest_absolute() {
    let mut machine = Machine::new();
    machine.vcpu().registers.prefix = 0x2000;
    machine.register(SHARED, FIRST + SHARED, Registered::Secure);
    assert_eq!(machine.enter(), Outcome::Done);
    let block = sharing_block(SHARE, 0x30, 0);
    assert_eq!(machine.store(0x3e00, &block), Outcome::Done);
    assert_eq!(machine.act(uvc(0x3e00)), Outcome::Condition(0));
    assert_eq!(kind(&machine.state, 0), Some(Registered::Shared));
    assert_eq!(kind(&machine.state, 2), Some(Registered::Secure));
}

#[test]
fn q19_d17_injected_answers_change_nothing_but_their_count() {
    let mut machine = Machine::running();
    for injection in [Injection::Busy(1), Injection::Partial(1)] {
        assert_eq!(machine.step(Step::Inject { command: SHARE, injection }).outcome, Outcome::Done);
    }
    assert_eq!(machine.sharing_call(SHARE, SECURE << 12), (Outcome::Condition(2), 0));
    assert_eq!(machine.sharing_call(SHARE, SECURE << 12), (Outcome::Condition(3), 0));
    assert_eq!(kind(&machine.state, SECURE), Some(Registered::Secure));
    assert_eq!(machine.sharing_call(SHARE, SECURE << 12), (Outcome::Condition(0), 1));
}

#[test]
fn c20_q32_a_guest_is_told_of_its_own_calls() {
    let mut machine = Machine::running();
    let mut block = vec![0; 0x120];
    block[..4].copy_from_slice(&[1, 0x20, 0, 1]);
    assert_eq!(machine.call(&block), (Outcome::Condition(0), 1));
    let installed = machine.peek((FIRST << 12) + 0x1e10, 8);
    assert_eq!(installed, [0x80, 0xc0, 0, 0, 0, 0, 0, 0]);
    let sizes = machine.peek((FIRST << 12) + 0x1e40, 8);
    assert_eq!(sizes, [0; 8]);
}

#[test]
fn c16_a_query_that_is_too_short_is_0x5() {
    let mut machine = Machine::running();
    assert_eq!(machine.call(&[0, 0xa0, 0, 1, 0, 0, 0, 0]), (Outcome::Condition(1), 0x0005));
}

#[test]
fn d18_a_block_may_lie_in_two_pages() {
    let mut machine = Machine::running();
    let block = sharing_block(SHARE, 0x30, SECURE << 12);
    assert_eq!(machine.store((SHARED << 12) + 0xff0, &block), Outcome::Done);
    assert_eq!(machine.act(uvc((SHARED << 12) + 0xff0)), Outcome::Condition(0));
    assert_eq!(machine.peek(((FIRST + SHARED) << 12) + 0xff4, 4), [0, 1, 0, 0]);
    assert_eq!(kind(&machine.state, SECURE), Some(Registered::Shared));
}

#[test]
fn c22_q32_a_guest_of_a_z17_may_ask_for_the_keys() {
    let block = [&[2, 0, 0, 2][..], &[0; 0x1fc]].concat();
    let mut machine = Machine::running();
    assert_eq!(machine.store(SECURE << 12, &block), Outcome::Done);
    assert_eq!(machine.act(uvc(SECURE << 12)), Outcome::Condition(1));
    assert_eq!(machine.peek(((FIRST + SECURE) << 12) + 4, 2), [0, 2]);
    std::sync::Arc::make_mut(&mut machine.state.setup).generation = 17;
    assert_eq!(machine.act(uvc(SECURE << 12)), Outcome::Condition(0));
}
