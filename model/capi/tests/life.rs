//! A guest is booted, paged, shared and torn down through the C functions; the machine goes back to a snapshot, a
//! translator stands in for tables, events are told.

#![allow(unsafe_code, reason = "it stands where C code stands")]

mod host;

use host::{DONE, Guest, Host, PAGE, enter, guest_load, guest_store, leave, load};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;
use uvsim_capi::absolute::{uvsim_absolute_load, uvsim_absolute_store};
use uvsim_capi::channel::{uvsim_channel_read, uvsim_channel_write};
use uvsim_capi::cpu::{uvsim_cpu, uvsim_interruption, uvsim_set_prefix};
use uvsim_capi::event::{UVSIM_EVENT_CALL, UVSIM_EVENT_TRANSITION, uvsim_event, uvsim_on_event};
use uvsim_capi::guest::{uvsim_guest_diagnose, uvsim_guest_registers, uvsim_guest_set_general};
use uvsim_capi::inject::{UVSIM_INJECT_BUSY, uvsim_inject};
use uvsim_capi::inspect::{
    UVSIM_FRAME_NON_SECURE, UVSIM_FRAME_SECURE, UVSIM_FRAME_SHARED, UVSIM_NO_BLOCK, UVSIM_PAGE_EXPORTED,
    UVSIM_PAGE_SHARED, uvsim_check_invariants, uvsim_frame, uvsim_frame_state, uvsim_page, uvsim_page_state,
    uvsim_state_digest,
};
use uvsim_capi::result::{
    UVSIM_CC2, UVSIM_E_NO_SNAPSHOT, UVSIM_E_OPERATING, UVSIM_EXIT, UVSIM_INTERRUPTED, UVSIM_OK, UVSIM_OUTSIDE,
    UVSIM_REFUSED,
};
use uvsim_capi::sie::{UVSIM_EXIT_INTERCEPTION, UVSIM_EXIT_INTERRUPTION, uvsim_exit, uvsim_sie};
use uvsim_capi::snapshot::{uvsim_restore, uvsim_snapshot};
use uvsim_capi::storage::{uvsim_load32, uvsim_load64, uvsim_store16};
use uvsim_capi::translator::{uvsim_mapping, uvsim_set_translator};

const CONFIG: &str = "storage \"4GiB\"; cpus 2; seed 5";

fn booted(host: &mut Host) -> Guest {
    let guest = host.create_guest();
    host.boot(&guest, &mut [[0x11; PAGE as usize], [0x22; PAGE as usize]]);
    guest
}

fn frame_state(host: &Host, frame: u64) -> uvsim_frame {
    let mut found = uvsim_frame::default();
    // SAFETY: the place is there.
    assert_eq!(unsafe { uvsim_frame_state(host.machine, frame, &mut found) }, UVSIM_OK);
    found
}

fn page_state(host: &Host, guest: &Guest, page: u64) -> uvsim_page {
    let mut found = uvsim_page::default();
    // SAFETY: the place is there.
    assert_eq!(unsafe { uvsim_page_state(host.machine, guest.handle, page, &mut found) }, UVSIM_OK);
    found
}

fn digest(host: &Host) -> [u64; 4] {
    let mut found = [0; 4];
    // SAFETY: the place is there.
    assert_eq!(unsafe { uvsim_state_digest(host.machine, UVSIM_NO_BLOCK, found.as_mut_ptr()) }, UVSIM_OK);
    found
}

#[test]
fn a_guest_runs_from_its_image_to_its_end() {
    let mut host = Host::new(CONFIG);
    let guest = booted(&mut host);
    let frame = page_state(&host, &guest, 2).frame;
    let state = frame_state(&host, frame);
    assert_eq!((state.state, state.configuration, state.page), (UVSIM_FRAME_SECURE, guest.handle, 2));

    assert_eq!(enter(host.cpu, guest.description).0, UVSIM_OK);
    let mut bytes = [0; 8];
    assert_eq!(guest_load(host.cpu, 0x2000, &mut bytes).0, UVSIM_OK);
    assert_eq!(bytes, [0x11; 8]);
    assert_eq!(guest_store(host.cpu, 0x2ffc, &[0x33; 8]).0, UVSIM_OK);
    let mut registers = uvsim_guest_registers::default();
    // SAFETY: the place is there.
    assert_eq!(unsafe { uvsim_guest_registers(host.cpu, &mut registers) }, UVSIM_OK);
    assert_eq!((registers.psw_mask, registers.psw_address, registers.number), (0x1_8000_0000, 0x2000, 0));
    assert_eq!(leave(host.cpu), (UVSIM_OK, uvsim_exit::default()));

    // The host may not look, a device may not either; it takes the page out, and it comes back elsewhere.
    let (answer, found) = load(host.cpu, frame, &mut bytes);
    assert_eq!((answer, found.code, found.teid & !0xfff), (UVSIM_INTERRUPTED, 0x3d, frame));
    let mut failing = 0;
    // SAFETY: the places are there.
    let answer = unsafe { uvsim_channel_read(host.machine, frame - 4, bytes.as_mut_ptr().cast(), 8, &mut failing) };
    assert_eq!((answer, failing), (UVSIM_REFUSED, frame));
    assert_eq!(host.export(frame), DONE);
    let state = page_state(&host, &guest, 2);
    assert_eq!((state.state, state.counter), (UVSIM_PAGE_EXPORTED, 1));
    let page: [u8; PAGE as usize] = host.load(frame);
    assert_ne!(page[..8], [0x11; 8]);
    host.unmap(&guest, 2);
    assert_eq!(enter(host.cpu, guest.description).0, UVSIM_OK);
    let (answer, exit) = guest_load(host.cpu, 0x2000, &mut bytes);
    assert_eq!((answer, exit.kind, exit.interruption.code), (UVSIM_EXIT, UVSIM_EXIT_INTERRUPTION, 0x11));
    assert_eq!(guest_load(host.cpu, 0x3000, &mut bytes), (answer, exit));
    assert_eq!(leave(host.cpu), (answer, exit));
    let elsewhere = host.map(&guest, 2);
    host.store(elsewhere, &page);
    assert_eq!(host.import(&guest, 2), DONE);

    // It shares the page: host and device may look now.
    assert_eq!(enter(host.cpu, guest.description).0, UVSIM_OK);
    assert_eq!(guest_load(host.cpu, 0x2ff8, &mut bytes).0, UVSIM_OK);
    assert_eq!(bytes, [0x11, 0x11, 0x11, 0x11, 0x33, 0x33, 0x33, 0x33]);
    assert_eq!(host.guest_share(2), UVSIM_OK);
    assert_eq!(leave(host.cpu).0, UVSIM_OK);
    assert_eq!(frame_state(&host, elsewhere).state, UVSIM_FRAME_SHARED);
    assert_eq!(page_state(&host, &guest, 2).state, UVSIM_PAGE_SHARED);
    // SAFETY: the buffer is there; nobody wants the address.
    let answer = unsafe { uvsim_channel_write(host.machine, elsewhere, [9u8; 4].as_ptr().cast(), 4, null_mut()) };
    assert_eq!(answer, UVSIM_OK);
    assert_eq!(host.load::<4>(elsewhere), [9; 4]);

    host.end(&guest);
    assert_eq!(frame_state(&host, elsewhere).state, UVSIM_FRAME_NON_SECURE);
    assert_eq!(uvsim_check_invariants(host.machine), UVSIM_OK);
    host.close();
}

#[test]
fn instructions_leave_sie_and_registers_reach_the_host() {
    let mut host = Host::new(CONFIG);
    let guest = booted(&mut host);
    assert_eq!(enter(host.cpu, guest.description).0, UVSIM_OK);
    assert_eq!(uvsim_guest_set_general(host.cpu, 1, 0xabcd), UVSIM_OK);
    let mut exit = uvsim_exit::default();
    // SAFETY: the place is there.
    let answer = unsafe { uvsim_guest_diagnose(host.cpu, 0x500, 0, 2, &mut exit) };
    assert_eq!((answer, exit.kind, exit.code, exit.ipa), (UVSIM_EXIT, UVSIM_EXIT_INTERCEPTION, 104, 0x8302));
    assert_eq!(leave(host.cpu), (UVSIM_EXIT, exit));
    assert_eq!(u64::from_be_bytes(host.load(guest.description + 0x388)), 0xabcd);
    // The guest's own interruption is no exit.
    assert_eq!(enter(host.cpu, guest.description).0, UVSIM_OK);
    let (answer, found) = guest_store(host.cpu, 1 << 20, &[0]);
    assert_eq!((answer, found.kind, found.interruption.code), (UVSIM_INTERRUPTED, 0, 0x05));
    assert_eq!(leave(host.cpu).0, UVSIM_OK);
    host.close();
}

unsafe extern "C-unwind" fn writes(cpu: *mut uvsim_cpu, user: *mut c_void) -> c_int {
    // SAFETY: it is the address of a number.
    let page = unsafe { user.cast::<u64>().read() };
    let (answer, _) = guest_store(cpu, page * PAGE, &[7]);
    if answer == UVSIM_OK { 40 } else { answer }
}

#[test]
fn a_callback_plays_the_guest() {
    let mut host = Host::new(CONFIG);
    let guest = booted(&mut host);
    let run = |page: u64| {
        let (mut page, mut exit) = (page, uvsim_exit::default());
        let user = (&raw mut page).cast();
        // SAFETY: the callback takes the address of a number; the place is there.
        let answer = unsafe { uvsim_sie(host.cpu, guest.description, Some(writes), user, &mut exit) };
        (answer, exit.interruption.code)
    };
    assert_eq!(run(2), (40, 0));
    assert_eq!(run(9), (UVSIM_EXIT, 0x11));
    assert_eq!(leave(host.cpu).0, uvsim_capi::result::UVSIM_E_NOT_IN_SIE);
    host.close();
}

#[test]
fn a_machine_goes_back_as_often_as_one_likes() {
    let mut host = Host::new(CONFIG);
    assert_eq!(uvsim_restore(host.cpu), UVSIM_E_NO_SNAPSHOT);
    let guest = booted(&mut host);
    let frame = page_state(&host, &guest, 2).frame;
    let other = host::start(host.machine, 1);
    assert_eq!(uvsim_snapshot(host.cpu), UVSIM_E_OPERATING);
    assert_eq!(uvsim_capi::cpu::uvsim_cpu_stop(other), UVSIM_OK);
    assert_eq!(uvsim_snapshot(host.cpu), UVSIM_OK);
    let before = digest(&host);
    for _ in 0..3 {
        assert_eq!(host.export(frame), DONE);
        host.store(frame, &[1; 16]);
        assert_ne!(digest(&host), before);
        assert_eq!(uvsim_restore(host.cpu), UVSIM_OK);
        assert_eq!(digest(&host), before);
        assert_eq!(load(host.cpu, frame, &mut [0]).1.code, 0x3d);
    }
    host.end(&guest);
    host.close();
}

unsafe extern "C-unwind" fn translates(user: *mut c_void, asce: u64, address: u64, to: *mut uvsim_mapping) -> c_int {
    // SAFETY: `user` is the address of the pages of a guest, `to` a place of the library.
    unsafe {
        let frames = &mut *user.cast::<(u64, Vec<u64>)>();
        assert_eq!(asce, frames.0);
        match frames.1.get((address / PAGE) as usize) {
            Some(&frame) if frame != 0 => {
                *to = uvsim_mapping { absolute: frame, flags: 0, reserved: 0 };
                0
            }
            _ => 0x11,
        }
    }
}

#[test]
fn a_translator_stands_in_for_tables() {
    let mut host = Host::new(CONFIG);
    let guest = booted(&mut host);
    let mut pages: (u64, Vec<u64>) = (guest.asce, (0..4).map(|page| page_state(&host, &guest, page).frame).collect());
    let user = (&raw mut pages).cast();
    // SAFETY: the translator takes the address of the pages, which outlive its use.
    assert_eq!(unsafe { uvsim_set_translator(host.machine, guest.asce, Some(translates), user) }, UVSIM_OK);
    // What the tables say does not matter any more.
    (0..4).for_each(|page| host.unmap(&guest, page));
    let purge = |page: u64| {
        // SAFETY: nobody wants the interruption.
        unsafe { uvsim_capi::purge::uvsim_purge_page(host.cpu, guest.asce, page * PAGE, null_mut()) }
    };
    (0..4).for_each(|page| assert_eq!(purge(page), UVSIM_OK));
    assert_eq!(enter(host.cpu, guest.description).0, UVSIM_OK);
    let mut bytes = [0];
    assert_eq!(guest_load(host.cpu, 0x3000, &mut bytes).0, UVSIM_OK);
    assert_eq!(bytes, [0x22]);
    let (answer, exit) = guest_load(host.cpu, 0x9000, &mut bytes);
    assert_eq!((answer, exit.interruption.code), (UVSIM_EXIT, 0x11));
    assert_eq!(leave(host.cpu).0, UVSIM_EXIT);
    // SAFETY: there is no translator any more.
    assert_eq!(unsafe { uvsim_set_translator(host.machine, guest.asce, None, null_mut()) }, UVSIM_OK);
    assert_eq!(purge(3), UVSIM_OK);
    // What is buffered goes on.
    assert_eq!(enter(host.cpu, guest.description), (UVSIM_OK, uvsim_exit::default()));
    assert_eq!(guest_load(host.cpu, 0x1000, &mut bytes).0, UVSIM_OK);
    let (answer, exit) = guest_load(host.cpu, 0x3000, &mut bytes);
    assert_eq!((answer, exit.interruption.code), (UVSIM_EXIT, 0x11));
    host.leave_and_close();
}

#[derive(Default)]
struct Heard(Vec<(u32, u16, String)>);

unsafe extern "C-unwind" fn hears(user: *mut c_void, event: *const uvsim_event) {
    // SAFETY: `user` is the address of a log, the event is there, its rule ends with a zero byte.
    unsafe {
        let (heard, event) = (&mut *user.cast::<Heard>(), *event);
        heard.0.push((event.kind, event.command, CStr::from_ptr(event.rule).to_str().unwrap().to_owned()));
        assert!(event.kind == UVSIM_EVENT_CALL || event.from != event.to);
    }
}

#[test]
fn events_are_told_in_order_when_the_call_is_over() {
    let mut host = Host::new(CONFIG);
    let guest = booted(&mut host);
    let frame = page_state(&host, &guest, 2).frame;
    let mut heard = Heard::default();
    // SAFETY: the listener takes the address of a log, which outlives its use.
    assert_eq!(unsafe { uvsim_on_event(host.machine, Some(hears), (&raw mut heard).cast()) }, UVSIM_OK);
    assert_eq!(host.export(frame), DONE);
    assert_eq!(uvsim_inject(host.machine, 0x0202, UVSIM_INJECT_BUSY, 1), UVSIM_OK);
    assert_eq!(host.call(0x0202, 0x20, &[(0x18, 8, frame)]).0, UVSIM_CC2);
    // SAFETY: nobody listens any more.
    assert_eq!(unsafe { uvsim_on_event(host.machine, None, null_mut()) }, UVSIM_OK);
    assert_eq!(host.import(&guest, 2), DONE);
    let kinds: Vec<_> = heard.0.iter().map(|(kind, command, _)| (*kind, *command)).collect();
    assert_eq!(kinds, [(UVSIM_EVENT_TRANSITION, 0), (UVSIM_EVENT_CALL, 0x0201), (UVSIM_EVENT_CALL, 0x0202)]);
    assert_eq!(heard.0[2].2, "Q19");
    assert!(heard.0[0].2.starts_with('T'), "{:?}", heard.0);
    host.close();
}

#[test]
fn accesses_by_size_have_the_byte_order_of_the_machine_and_absolute_ones_no_prefix() {
    let host = Host::new(CONFIG);
    let (mut word, mut double) = (0, 0);
    host.store(0x5000, &[1, 2, 3, 4, 5, 6, 7, 8]);
    // SAFETY: the places are there, or nobody wants the result.
    unsafe {
        assert_eq!(uvsim_load32(host.cpu, 0x5000, &mut word, null_mut()), UVSIM_OK);
        assert_eq!(uvsim_load64(host.cpu, 0x5000, &mut double, null_mut()), UVSIM_OK);
        assert_eq!(uvsim_store16(host.cpu, 0x5002, 0xaabb, null_mut()), UVSIM_OK);
        assert_eq!(uvsim_set_prefix(host.cpu, 0x6000, null_mut()), UVSIM_OK);
    }
    assert_eq!((word, double), (0x0102_0304, 0x0102_0304_0506_0708));
    assert_eq!(host.load::<4>(0x5000), [1, 2, 0xaa, 0xbb]);
    let absolute = |at: u64, bytes: &[u8]| {
        let mut found = uvsim_interruption::default();
        // SAFETY: the buffer and the place are there.
        let answer = unsafe { uvsim_absolute_store(host.cpu, at, bytes.as_ptr().cast(), bytes.len(), &mut found) };
        (answer, found.code, found.teid & !0xfff)
    };
    assert_eq!(absolute(0x5ffe, &[1, 2, 3, 4]).0, UVSIM_OK);
    assert_eq!(host.load::<2>(0x5ffe), [1, 2]);
    assert_eq!(host.load::<2>(0), [3, 4]);
    let mut back = [0u8; 4];
    // SAFETY: the buffer is there, nobody wants the interruption.
    let answer = unsafe { uvsim_absolute_load(host.cpu, 0x5ffe, back.as_mut_ptr().cast(), 4, null_mut()) };
    assert_eq!((answer, back), (UVSIM_OK, [1, 2, 3, 4]));
    // Nothing is stored where the second page refuses.
    let base = 2 << 30;
    assert_eq!(absolute(base - 2, &[1; 4]), (UVSIM_INTERRUPTED, 0x3d, base));
    assert_eq!(host.load::<2>(base - 2), [0; 2]);
    assert_eq!(absolute((4 << 30) - 1, &[1; 2]).1, 0x05);
    // SAFETY: nobody wants the state.
    assert_eq!(unsafe { uvsim_frame_state(host.machine, 4 << 30, null_mut()) }, UVSIM_OUTSIDE);
    host.close();
}
