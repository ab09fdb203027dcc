//! What a program must not do, and the documented answer to each.

#![allow(unsafe_code, reason = "it stands where C code stands")]

mod host;

use host::{Host, PAGE, create, enter, guest_load, last_error, load, start, store};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{null, null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use uvsim_capi::call::uvsim_uvc;
use uvsim_capi::channel::uvsim_channel_read;
use uvsim_capi::cpu::{
    uvsim_cpu, uvsim_cpu_start, uvsim_cpu_stop, uvsim_interruption, uvsim_registers, uvsim_set_translation,
};
use uvsim_capi::event::{uvsim_event, uvsim_on_event};
use uvsim_capi::image::{UVSIM_IMAGE_HEADER_LENGTH, uvsim_component, uvsim_image_build, uvsim_image_plan};
use uvsim_capi::inject::uvsim_inject;
use uvsim_capi::machine::{
    uvsim_clock_advance, uvsim_machine, uvsim_machine_create, uvsim_machine_destroy, uvsim_storage_size,
};
use uvsim_capi::purge::uvsim_reset;
use uvsim_capi::raw::{UVSIM_HOST_VIEW, uvsim_va};
use uvsim_capi::result::*;
use uvsim_capi::sie::{uvsim_sie, uvsim_sie_leave};
use uvsim_capi::storage::{uvsim_load, uvsim_load64, uvsim_store64};
use uvsim_capi::translator::{uvsim_mapping, uvsim_set_translator};

const SMALL: &str = "storage \"1MiB\"; cpus 4; seed 1";
const LARGE: &str = "storage \"4GiB\"; cpus 2; seed 1";

fn load_one(cpu: *mut uvsim_cpu) -> c_int {
    load(cpu, 0x5000, &mut [0]).0
}

fn tick(machine: *mut uvsim_machine) -> c_int {
    uvsim_clock_advance(machine, 1)
}

#[test]
fn what_is_no_handle_is_told() {
    let (machine, other) = (create(SMALL), create(SMALL));
    let cpu = start(machine, 0);
    assert_eq!((tick(null_mut()), load_one(null_mut())), (UVSIM_E_NULL, UVSIM_E_NULL));
    assert_eq!((tick(cpu.cast()), load_one(machine.cast())), (UVSIM_E_HANDLE, UVSIM_E_HANDLE));
    assert!(last_error().contains("it looks like one of a machine"), "{}", last_error());
    let local = 0u64;
    let real = (&raw const local).addr();
    for number in [1, 8, real, machine.addr() + 1, machine.addr() + (1 << 20), machine.addr() | 0xffff << 4, usize::MAX]
    {
        assert_eq!(tick(without_provenance_mut(number)), UVSIM_E_HANDLE, "{number:#x}");
        assert_eq!(load_one(without_provenance_mut(number)), UVSIM_E_HANDLE, "{number:#x}");
    }

    assert_eq!(uvsim_machine_destroy(machine), UVSIM_E_OPERATING);
    assert_eq!(uvsim_cpu_stop(cpu), UVSIM_OK);
    assert_eq!((uvsim_cpu_stop(cpu), load_one(cpu)), (UVSIM_E_DESTROYED, UVSIM_E_DESTROYED));
    let again = start(machine, 0);
    assert_ne!(again, cpu);
    assert_eq!((load_one(cpu), load_one(again)), (UVSIM_E_DESTROYED, UVSIM_OK));
    assert_eq!(uvsim_cpu_stop(again), UVSIM_OK);
    assert_eq!(uvsim_machine_destroy(machine), UVSIM_OK);
    assert_eq!((uvsim_machine_destroy(machine), tick(machine)), (UVSIM_E_DESTROYED, UVSIM_E_DESTROYED));
    let third = create(SMALL);
    assert_eq!((tick(machine), tick(other), tick(third)), (UVSIM_E_DESTROYED, UVSIM_OK, UVSIM_OK));
    assert_eq!((uvsim_machine_destroy(other), uvsim_machine_destroy(third)), (UVSIM_OK, UVSIM_OK));
}

#[test]
fn arguments_that_mean_nothing_are_told() {
    let made = |config: &[u8], flags| {
        let mut machine = null_mut();
        let config = CStr::from_bytes_until_nul(config).unwrap();
        // SAFETY: the text ends with a zero byte, the place is there.
        let answer = unsafe { uvsim_machine_create(config.as_ptr(), flags, &mut machine) };
        assert!(machine.is_null(), "{config:?}");
        answer
    };
    assert_eq!(made(b"cpus \xff\0", 0), UVSIM_E_ARGUMENT);
    assert_eq!(made(b"\0", 0x8000_0000), UVSIM_E_ARGUMENT);
    for text in [
        &b"storage 17\0"[..],
        b"cpus 65\0",
        b"wheels 4\0",
        b"{{{\0",
        b"machine { }; machine { }\0",
        b"cpus 1; cpus 2\0",
    ] {
        assert_eq!(made(text, 0), UVSIM_E_CONFIG, "{text:?}");
        assert!(last_error().contains("line 1"), "{}", last_error());
    }
    // SAFETY: there is no place for a handle, and the function says that it looks.
    assert_eq!(unsafe { uvsim_machine_create(null(), 0, null_mut()) }, UVSIM_E_NULL);

    let machine = create("machine { storage \"1MiB\"; cpus 1; byte-order \"native\" }");
    let mut cpu = null_mut();
    // SAFETY: the place is there, or null.
    unsafe {
        assert_eq!(uvsim_cpu_start(machine, 0, null_mut()), UVSIM_E_NULL);
        assert_eq!(uvsim_cpu_start(machine, 1, &mut cpu), UVSIM_E_ARGUMENT);
        assert_eq!(uvsim_cpu_start(machine, 0, &mut cpu), UVSIM_OK);
        assert_eq!(uvsim_cpu_start(machine, 0, &mut null_mut()), UVSIM_E_OPERATING);
    }
    // SAFETY: places are there or null, buffers null or never touched.
    unsafe {
        assert_eq!(uvsim_load(cpu, 0, null_mut(), 1, null_mut()), UVSIM_E_NULL);
        assert_eq!(uvsim_load(cpu, 0, null_mut(), 0, null_mut()), UVSIM_OK);
        assert_eq!(uvsim_load(cpu, 0, without_provenance_mut(8), usize::MAX, null_mut()), UVSIM_E_ARGUMENT);
        assert_eq!(uvsim_channel_read(machine, 0, null_mut(), 1, null_mut()), UVSIM_E_NULL);
        assert_eq!(uvsim_channel_read(machine, 1 << 20, [0u8; 1].as_mut_ptr().cast(), 1, null_mut()), UVSIM_OUTSIDE);
        assert_eq!(uvsim_registers(cpu, null_mut()), UVSIM_E_NULL);
        assert_eq!(uvsim_sie(cpu, 0, None, null_mut(), null_mut()), UVSIM_E_NULL);
        assert_eq!(uvsim_sie_leave(cpu, null_mut()), UVSIM_E_NOT_IN_SIE);
        assert_eq!(uvsim_storage_size(machine, null_mut()), UVSIM_OK);
    }
    assert_eq!(uvsim_inject(machine, 0xffff, 1, 1), UVSIM_E_ARGUMENT);
    assert_eq!(uvsim_inject(machine, 0x0001, 9, 1), UVSIM_E_ARGUMENT);
    assert_eq!(uvsim_reset(cpu, 2), UVSIM_E_ARGUMENT);
    assert_eq!(uvsim_cpu_stop(cpu), UVSIM_OK);
    assert_eq!(uvsim_machine_destroy(machine), UVSIM_OK);
}

#[test]
fn images_of_nonsense_are_told_and_nothing_is_written() {
    let machine = create(SMALL);
    let mut pages = [[5u8; PAGE as usize]; 2];
    let data: *mut c_void = pages.as_mut_ptr().cast();
    let whole = uvsim_component { address: 0x1000, prefix: 1, data, length: 0x2000 };
    let mut header = [6u8; UVSIM_IMAGE_HEADER_LENGTH];
    let mut build = |plan: uvsim_image_plan, parts: &[uvsim_component], space: usize| {
        // SAFETY: all of it is there, or null, or too short and said to be.
        unsafe { uvsim_image_build(machine, &plan, parts.as_ptr(), parts.len(), header.as_mut_ptr().cast(), space) }
    };
    let usual = uvsim_image_plan::default();
    for (plan, parts, space, expected) in [
        (uvsim_image_plan { reserved: [0, 1, 0], ..usual }, vec![whole], 640, UVSIM_E_ARGUMENT),
        (usual, vec![whole], 639, UVSIM_E_ARGUMENT),
        (usual, vec![uvsim_component { data: null_mut(), ..whole }], 640, UVSIM_E_NULL),
        (usual, vec![uvsim_component { length: 0x1001, ..whole }], 640, UVSIM_E_ARGUMENT),
        (usual, vec![uvsim_component { length: 0, ..whole }], 640, UVSIM_E_ARGUMENT),
        (usual, vec![uvsim_component { address: 0x1008, ..whole }], 640, UVSIM_E_ARGUMENT),
        (usual, vec![whole, uvsim_component { address: 0x9000, length: 0x1000, ..whole }], 640, UVSIM_E_ARGUMENT),
    ] {
        assert_eq!(build(plan, &parts, space), expected, "{parts:?}");
    }
    assert_eq!((header, pages), ([6; UVSIM_IMAGE_HEADER_LENGTH], [[5; PAGE as usize]; 2]));
    // SAFETY: there are no components and no plan; the header is there.
    let answer = unsafe { uvsim_image_build(machine, null(), null(), 0, header.as_mut_ptr().cast(), 640) };
    assert_eq!((answer, &header[..8]), (UVSIM_OK, &b"IBMSecEx"[..]));
    assert_eq!(uvsim_machine_destroy(machine), UVSIM_OK);
}

#[test]
fn places_for_results_need_no_alignment_and_may_overlap() {
    let machine = create(SMALL);
    let cpu = start(machine, 0);
    assert_eq!(store(cpu, 0x5000, &[1, 2, 3, 4, 5, 6, 7, 8]).0, UVSIM_OK);
    let mut bytes = [0u8; 64];
    let odd = bytes[1..].as_mut_ptr();
    // SAFETY: the places are there, without alignment.
    unsafe {
        assert_eq!(uvsim_load64(cpu, 0x5000, odd.cast(), odd.cast()), UVSIM_OK);
        assert_eq!(odd.cast::<u64>().read_unaligned(), 0x0102_0304_0506_0708);
        assert_eq!(uvsim_load64(cpu, 1 << 40, odd.cast(), odd.cast()), UVSIM_INTERRUPTED);
        assert_eq!(odd.cast::<uvsim_interruption>().read_unaligned().code, 0x05);
        assert_eq!(uvsim_registers(cpu, odd.cast()), UVSIM_OK);
    }
    assert_eq!(uvsim_cpu_stop(cpu), UVSIM_OK);
    assert_eq!(uvsim_machine_destroy(machine), UVSIM_OK);
}

/// A handle is a number, so it may go to another thread.
fn handle<T>(number: usize) -> *mut T {
    without_provenance_mut(number)
}

#[test]
fn a_cpu_belongs_to_its_thread_and_ends_with_it() {
    let machine = create(SMALL);
    let cpu = start(machine, 0);
    let (machine_number, cpu_number) = (machine.addr(), cpu.addr());
    let elsewhere = thread::spawn(move || {
        let (machine, cpu) = (handle(machine_number), handle(cpu_number));
        assert_eq!((load_one(cpu), uvsim_cpu_stop(cpu)), (UVSIM_E_THREAD, UVSIM_E_THREAD));
        assert_eq!((tick(machine), uvsim_machine_destroy(machine)), (UVSIM_OK, UVSIM_E_OPERATING));
        start(machine, 1).addr()
    });
    let other = handle(elsewhere.join().unwrap());
    assert_eq!((load_one(other), uvsim_cpu_stop(other)), (UVSIM_E_DESTROYED, UVSIM_E_DESTROYED));
    let again = start(machine, 1);
    assert_eq!((uvsim_cpu_stop(again), uvsim_cpu_stop(cpu)), (UVSIM_OK, UVSIM_OK));
    assert_eq!(uvsim_machine_destroy(machine), UVSIM_OK);
}

#[test]
fn a_thread_that_ends_in_sie_takes_the_guest_out() {
    let mut host = Host::new(LARGE);
    let guest = host.create_guest();
    host.boot(&guest, &mut [[1; PAGE as usize]]);
    let (machine, description, asce) = (host.machine.addr(), guest.description, guest.asce);
    thread::spawn(move || {
        let cpu = start(handle(machine), 1);
        assert_eq!(uvsim_capi::cpu::uvsim_set_primary(cpu, asce), UVSIM_OK);
        assert_eq!(enter(cpu, description).0, UVSIM_OK);
    })
    .join()
    .unwrap();
    assert_eq!(enter(host.cpu, guest.description).0, UVSIM_OK);
    host.leave_and_close();
}

#[test]
fn threads_create_use_and_destroy_at_the_same_time() {
    static CURRENT: AtomicU64 = AtomicU64::new(0);
    let of = |number: u64| without_provenance_mut::<uvsim_machine>(number as usize);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200 {
                let machine = create(SMALL);
                CURRENT.store(machine.addr() as u64, Ordering::SeqCst);
                while uvsim_machine_destroy(machine) != UVSIM_OK {
                    assert!(round < 200);
                    thread::yield_now();
                }
                assert_eq!(uvsim_machine_destroy(machine), UVSIM_E_DESTROYED);
            }
            CURRENT.store(u64::MAX, Ordering::SeqCst);
        });
        for number in 0..2 {
            scope.spawn(move || {
                let mut used = 0u64;
                loop {
                    let found = CURRENT.load(Ordering::SeqCst);
                    if found == u64::MAX {
                        break;
                    }
                    let machine = of(found);
                    let mut cpu = null_mut();
                    // SAFETY: the place is there.
                    let answer = unsafe { uvsim_cpu_start(machine, number, &mut cpu) };
                    if answer == UVSIM_OK {
                        // SAFETY: nobody wants the interruption.
                        unsafe {
                            assert_eq!(uvsim_store64(cpu, 0x1_0000, 0x00a8_0001_0000_0000, null_mut()), UVSIM_OK);
                            let cc = uvsim_uvc(cpu, 0, 0x1_0000, null_mut());
                            assert!((0..=3).contains(&cc), "{cc}");
                        }
                        assert_eq!(tick(machine), UVSIM_OK);
                        assert_eq!(uvsim_cpu_stop(cpu), UVSIM_OK);
                        used += 1;
                    } else {
                        assert!(matches!(answer, UVSIM_E_DESTROYED | UVSIM_E_NULL), "{answer}");
                        assert!(matches!(tick(machine), UVSIM_OK | UVSIM_E_DESTROYED | UVSIM_E_NULL));
                    }
                }
                used
            });
        }
    });
}

/// What a callback does, and has found.
struct Called {
    host: *const Host,
    description: u64,
    answers: Vec<c_int>,
}

impl Called {
    fn by(host: &Host, description: u64) -> Self {
        Self { host, description, answers: Vec::new() }
    }

    fn user(&mut self) -> *mut c_void {
        (&raw mut *self).cast()
    }
}

unsafe extern "C-unwind" fn guest_calls_host(cpu: *mut uvsim_cpu, user: *mut c_void) -> c_int {
    // SAFETY: `user` is the address of a `Called`, nobody else uses it now.
    let called = unsafe { &mut *user.cast::<Called>() };
    called.answers.extend([load_one(cpu), uvsim_set_translation(cpu, 1), enter(cpu, called.description).0]);
    called.answers.push(guest_load(cpu, 0x2000, &mut [0]).0);
    17
}

unsafe extern "C-unwind" fn guest_leaves(cpu: *mut uvsim_cpu, _: *mut c_void) -> c_int {
    // SAFETY: nobody wants the exit.
    unsafe { uvsim_sie_leave(cpu, null_mut()) + 30 }
}

unsafe extern "C-unwind" fn guest_enters_anew(cpu: *mut uvsim_cpu, user: *mut c_void) -> c_int {
    // SAFETY: `user` is the address of a `Called`; nobody wants the exit.
    unsafe { uvsim_sie_leave(cpu, null_mut()) + enter(cpu, (*user.cast::<Called>()).description).0 }
}

unsafe extern "C-unwind" fn guest_stops_the_cpu(cpu: *mut uvsim_cpu, _: *mut c_void) -> c_int {
    uvsim_cpu_stop(cpu)
}

#[test]
fn a_callback_that_plays_a_guest_may_do_anything() {
    let mut host = Host::new(LARGE);
    let guest = host.create_guest();
    host.boot(&guest, &mut [[1; PAGE as usize]]);
    let mut called = Called::by(&host, guest.description);
    let user = called.user();
    let run = |play: unsafe extern "C-unwind" fn(*mut uvsim_cpu, *mut c_void) -> c_int| {
        // SAFETY: the callbacks take the address of a `Called`; nobody wants the exit.
        unsafe { uvsim_sie(host.cpu, guest.description, Some(play), user, null_mut()) }
    };
    assert_eq!(run(guest_calls_host), 17);
    assert_eq!(run(guest_leaves), 30);
    assert_eq!(load_one(host.cpu), UVSIM_OK);
    assert_eq!(run(guest_enters_anew), UVSIM_E_IN_SIE);
    // SAFETY: nobody wants the exit.
    assert_eq!(unsafe { uvsim_sie_leave(host.cpu, null_mut()) }, UVSIM_OK);
    assert_eq!(run(guest_stops_the_cpu), UVSIM_E_DESTROYED);
    assert_eq!(called.answers, [UVSIM_E_IN_SIE, UVSIM_E_IN_SIE, UVSIM_E_IN_SIE, UVSIM_OK]);
    assert_eq!(uvsim_machine_destroy(host.machine), UVSIM_OK);
}

unsafe extern "C-unwind" fn listener_calls_in(user: *mut c_void, _: *const uvsim_event) {
    let called = user.cast::<Called>();
    // SAFETY: `user` is the address of a `Called`, and that has the address of its host.
    let (machine, cpu) = unsafe { ((*(*called).host).machine, (*(*called).host).cpu) };
    // What it has called may call this again, so nothing is borrowed meanwhile.
    let push = |answer: c_int| {
        // SAFETY: as above.
        let answers = unsafe { &mut (*called).answers };
        answers.push(answer);
        answers.len()
    };
    match push(load_one(cpu)) {
        1 => {
            // SAFETY: nobody wants the interruption.
            push(unsafe { uvsim_uvc(cpu, 0, 0x1_0000, null_mut()) });
        }
        4 => {
            push(uvsim_machine_destroy(machine));
            push(uvsim_cpu_stop(cpu));
            push(uvsim_machine_destroy(machine));
        }
        _ => {}
    }
}

#[test]
fn a_listener_may_call_in_and_end_the_machine() {
    let host = Host::new(LARGE);
    let mut called = Called::by(&host, 0);
    // SAFETY: the listener takes the address of a `Called`.
    assert_eq!(unsafe { uvsim_on_event(host.machine, Some(listener_calls_in), called.user()) }, UVSIM_OK);
    assert_eq!(store(host.cpu, 0x1_0000, &[1, 0x20, 0, 1]).0, UVSIM_OK);
    // SAFETY: nobody wants the interruption.
    assert_eq!(unsafe { uvsim_uvc(host.cpu, 0, 0x1_0000, null_mut()) }, 0);
    // The first event; in it a call, with an event of its own; that is all.
    assert_eq!(called.answers, [UVSIM_OK, UVSIM_OK, UVSIM_OK]);
    // SAFETY: nobody wants the interruption.
    assert_eq!(unsafe { uvsim_uvc(host.cpu, 0, 0x1_0000, null_mut()) }, 0);
    assert_eq!(called.answers[3..], [UVSIM_OK, UVSIM_E_OPERATING, UVSIM_OK, UVSIM_OK]);
    assert_eq!((load_one(host.cpu), tick(host.machine)), (UVSIM_E_DESTROYED, UVSIM_E_DESTROYED));
}

/// What a translator tries.
struct Tried {
    machine: *mut uvsim_machine,
    cpus: [*mut uvsim_cpu; 2],
    elsewhere: (*mut uvsim_machine, *mut uvsim_cpu),
    answers: Vec<c_int>,
}

unsafe extern "C-unwind" fn translator_calls_in(
    user: *mut c_void,
    _: u64,
    address: u64,
    mapping: *mut uvsim_mapping,
) -> c_int {
    // SAFETY: `user` is the address of a `Tried`, `mapping` a place of the library.
    let (tried, mapping) = unsafe { (&mut *user.cast::<Tried>(), &mut *mapping) };
    let [cpu, other] = tried.cpus;
    tried.answers.extend([load_one(cpu), load_one(other), tick(tried.machine)]);
    tried.answers.extend([uvsim_cpu_stop(cpu), uvsim_cpu_stop(other), uvsim_machine_destroy(tried.machine)]);
    tried.answers.extend([tick(tried.elsewhere.0), load_one(tried.elsewhere.1)]);
    mapping.absolute = address;
    0
}

#[test]
fn a_translator_that_calls_in_is_told_so_and_does_no_harm() {
    let (machine, elsewhere) = (create(SMALL), create(SMALL));
    let cpus = [start(machine, 0), start(machine, 1)];
    let mut tried = Tried { machine, cpus, elsewhere: (elsewhere, start(elsewhere, 0)), answers: Vec::new() };
    let (asce, user) = (0x8003, (&raw mut tried).cast());
    // SAFETY: the translator takes the address of a `Tried`.
    assert_eq!(unsafe { uvsim_set_translator(machine, asce, Some(translator_calls_in), user) }, UVSIM_OK);
    assert_eq!(uvsim_capi::cpu::uvsim_set_home(cpus[0], asce), UVSIM_OK);
    assert_eq!(uvsim_set_translation(cpus[0], 1), UVSIM_OK);
    assert_eq!(store(cpus[0], 0x7000, &[4]).0, UVSIM_OK);
    let mut expected = vec![UVSIM_E_REENTERED; 6];
    expected.extend([UVSIM_OK, UVSIM_OK]);
    assert_eq!(tried.answers, expected);
    assert_eq!((load_one(cpus[1]), tick(machine)), (UVSIM_OK, UVSIM_OK));
    assert_eq!((uvsim_cpu_stop(cpus[0]), uvsim_cpu_stop(cpus[1])), (UVSIM_OK, UVSIM_OK));
    assert_eq!(uvsim_machine_destroy(machine), UVSIM_OK);
    assert_eq!(uvsim_cpu_stop(tried.elsewhere.1), UVSIM_OK);
    assert_eq!(uvsim_machine_destroy(elsewhere), UVSIM_OK);
}

#[test]
fn a_buffer_in_a_host_view_is_told() {
    let mut machine = null_mut();
    // SAFETY: the text ends with a zero byte, the place is there.
    let answer = unsafe { uvsim_machine_create(c"storage \"1MiB\"".as_ptr(), UVSIM_HOST_VIEW, &mut machine) };
    assert_eq!(answer, UVSIM_OK, "{}", last_error());
    let cpu = start(machine, 0);
    let inside = uvsim_va(machine, 0x5000);
    assert!(!inside.is_null());
    // SAFETY: the library says that it looks where the buffer lies.
    unsafe {
        assert_eq!(uvsim_load(cpu, 0, inside, 8, null_mut()), UVSIM_E_ARGUMENT);
        assert_eq!(uvsim_channel_read(machine, 0, inside.wrapping_sub(0x5004), 8, null_mut()), UVSIM_E_ARGUMENT);
        assert_eq!(uvsim_load(cpu, 0, inside, 0, null_mut()), UVSIM_OK);
    }
    assert_eq!(uvsim_cpu_stop(cpu), UVSIM_OK);
    assert_eq!(uvsim_machine_destroy(machine), UVSIM_OK);
}
