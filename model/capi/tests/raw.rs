//! Raw mode through the C interface: touches of secure frames, their callbacks, and what is said when nobody repairs.

#![cfg(all(target_os = "linux", target_endian = "little", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![allow(unsafe_code, reason = "functions of the C interface, and plain accesses to storage")]

mod kernel;

use core::ffi::{c_int, c_void};
use core::ptr::{null, null_mut, without_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use kernel::{Kernel, NOTHING, UV_BASE, call, export, make_accessible};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command as Process, Output};
use std::thread;
use uvsim_capi::cpu::{uvsim_cpu, uvsim_cpu_stop, uvsim_interruption};
use uvsim_capi::machine::{uvsim_machine_create, uvsim_machine_destroy, uvsim_storage_size};
use uvsim_capi::raw::{
    UVSIM_DELIVER, UVSIM_HOST_VIEW, uvsim_fault, uvsim_landing_pop, uvsim_on_secure_access, uvsim_pa, uvsim_try_copy,
    uvsim_va, uvsim_view_status,
};
use uvsim_capi::result::{
    UVSIM_E_ARGUMENT, UVSIM_E_DESTROYED, UVSIM_E_NO_VIEW, UVSIM_E_NULL, UVSIM_E_SYSTEM, UVSIM_E_THREAD,
    UVSIM_INTERRUPTED, UVSIM_OK,
};
use uvsim_capi::storage::{uvsim_load, uvsim_store};
use uvsim_model::uvc::Command;

/// Where configurations of these tests begin.
const HERE: u64 = 16 << 20;

/// A copy out of storage.
fn fetch(cpu: *mut uvsim_cpu, from: *const u8, to: &mut [u8]) -> (c_int, uvsim_interruption) {
    let mut said = NOTHING;
    // SAFETY: the slice is long enough; the copy survives the rest.
    let rc = unsafe { uvsim_try_copy(cpu, to.as_mut_ptr().cast(), from.cast(), to.len(), &raw mut said) };
    (rc, said)
}

/// A copy into storage.
fn put(cpu: *mut uvsim_cpu, to: *mut u8, from: &[u8]) -> (c_int, uvsim_interruption) {
    let mut said = NOTHING;
    // SAFETY: as above.
    let rc = unsafe { uvsim_try_copy(cpu, to.cast(), from.as_ptr().cast(), from.len(), &raw mut said) };
    (rc, said)
}

fn ask(kernel: &Kernel, callback: unsafe extern "C" fn(*mut c_void, *const uvsim_fault) -> c_int) {
    // SAFETY: the callbacks of these tests make do with a null pointer.
    assert_eq!(unsafe { uvsim_on_secure_access(kernel.machine(), Some(callback), null_mut()) }, UVSIM_OK);
}

#[test]
fn a_touch_gives_what_a_simulated_access_gives() {
    let (kernel, cpu) = Kernel::ready(1);
    let guest = kernel.guest(cpu, HERE, 1, 1);
    assert_eq!(guest.import(cpu, 3), 0);
    for at in [guest.frames + 0x3123, UV_BASE, UV_BASE + 0x5000] {
        let (pointer, mut bytes, mut said) = (kernel.at(at), [0xee; 16], NOTHING);
        let address = pointer.addr() as u64;
        // SAFETY: the buffers are long enough.
        unsafe {
            let (buffer, place) = (bytes.as_mut_ptr().cast::<c_void>(), &raw mut said);
            assert_eq!(uvsim_load(cpu, address, buffer, 16, place), UVSIM_INTERRUPTED);
            assert_eq!(fetch(cpu, pointer, &mut [0; 16]), (UVSIM_INTERRUPTED, said));
            assert_eq!((said.code, said.teid & !0xfff), (0x3d, address & !0xfff));
            assert_eq!(uvsim_store(cpu, address, buffer, 16, place), UVSIM_INTERRUPTED);
            assert_eq!(put(null_mut(), pointer, &[0; 16]), (UVSIM_INTERRUPTED, said));
        }
    }
    kernel.end(cpu);
}

#[test]
fn what_the_callback_exports_is_loaded_as_ciphertext() {
    let (kernel, cpu) = Kernel::ready(1);
    let guest = kernel.guest(cpu, HERE, 1, 1);
    ask(&kernel, make_accessible);
    kernel.store_u64(guest.frames + 0x5000, 0x1234);
    assert_eq!(guest.import(cpu, 5), 0);
    // The first import clears the frame; what the host finds then is the page under the cipher.
    let cipher = kernel.load_u64(guest.frames + 0x5000);
    assert!(cipher != 0 && cipher != 0x1234);
    let (mut simulated, mut raw) = ([0; 4096], [0; 4096]);
    let at = kernel.at(guest.frames + 0x5000);
    // SAFETY: the buffer is long enough.
    assert_eq!(unsafe { uvsim_load(cpu, at.addr() as u64, simulated.as_mut_ptr().cast(), 4096, null_mut()) }, UVSIM_OK);
    assert_eq!((fetch(cpu, at, &mut raw).0, raw), (UVSIM_OK, simulated));
    assert_eq!(guest.import(cpu, 5), 0, "what was exported can be imported");
    // A store comes through as well, and spoils the page.
    kernel.store_u64(guest.frames + 0x5000, !cipher);
    assert_eq!(kernel.load_u64(guest.frames + 0x5000), !cipher);
    assert_eq!(guest.import(cpu, 5), 1);
    kernel.end(cpu);
}

#[test]
fn hundreds_of_frames() {
    let (kernel, cpu) = Kernel::ready(1);
    let guest = kernel.guest(cpu, HERE, 4, 2);
    ask(&kernel, make_accessible);
    for page in 0..700 {
        assert_eq!(guest.import(cpu, page), 0);
    }
    for page in (0..700).rev() {
        let at = guest.frames + page * 0x2000;
        assert_ne!(kernel.load_u64(at), 0);
        assert_eq!(kernel.load_u64(at + 0x1000), 0, "the frame in between was never secure");
    }
    assert_eq!(uvsim_view_status(kernel.machine()), UVSIM_OK);
    kernel.end(cpu);
}

#[test]
fn two_threads_and_two_machines() {
    let machines = [Kernel::ready(3), Kernel::ready(3)];
    let guests = machines.map(|(kernel, cpu)| (kernel, kernel.guest(cpu, HERE, 1, 1), cpu));
    guests.iter().for_each(|(kernel, ..)| ask(kernel, make_accessible));
    thread::scope(|scope| {
        for number in 1..3 {
            let [first, second] = guests.each_ref().map(|(kernel, guest, _)| (kernel, guest));
            scope.spawn(move || {
                let cpus = [first.0.cpu(number), second.0.cpu(number)];
                for turn in 0..400 {
                    let page = u64::from(number) * 100 + turn % 50;
                    for ((kernel, guest), cpu) in [first, second].into_iter().zip(cpus) {
                        assert_eq!(guest.import(cpu, page), 0);
                        assert_ne!(kernel.load_u64(guest.frames + page * 0x1000), 0);
                    }
                }
                assert_eq!(cpus.map(|cpu| uvsim_cpu_stop(cpu)), [UVSIM_OK; 2]);
            });
        }
    });
    for (kernel, _, cpu) in guests {
        kernel.end(cpu);
    }
}

#[test]
fn two_threads_fight_for_one_page() {
    static EXPORTS: AtomicU64 = AtomicU64::new(0);
    unsafe extern "C" fn count(user: *mut c_void, fault: *const uvsim_fault) -> c_int {
        EXPORTS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as it came.
        unsafe { make_accessible(user, fault) }
    }
    let (kernel, cpu) = Kernel::ready(2);
    let guest = kernel.guest(cpu, HERE, 1, 1);
    ask(&kernel, count);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let cpu = kernel.cpu(1);
            while !over.load(Ordering::Relaxed) {
                kernel.load_u64(guest.frames);
            }
            assert_eq!(uvsim_cpu_stop(cpu), UVSIM_OK);
        });
        // How long it takes until the two meet so often is for the scheduler to say.
        let enough = || EXPORTS.load(Ordering::Relaxed) >= 1000;
        let refused = (0..10_000_000).take_while(|_| !enough()).map(|_| guest.import(cpu, 0)).find(|code| *code != 0);
        over.store(true, Ordering::Relaxed);
        assert_eq!(refused, None);
    });
    assert!(EXPORTS.load(Ordering::Relaxed) >= 1000);
    assert_eq!(export(cpu, guest.frames), 0);
    kernel.end(cpu);
}

#[test]
fn a_thread_without_a_cpu_is_told_so() {
    static SEEN: AtomicU64 = AtomicU64::new(1);
    unsafe extern "C" fn look(_: *mut c_void, fault: *const uvsim_fault) -> c_int {
        // SAFETY: the library passes a fault.
        SEEN.store(unsafe { (*fault).cpu.addr() as u64 }, Ordering::Relaxed);
        UVSIM_DELIVER
    }
    let (kernel, cpu) = Kernel::ready(1);
    ask(&kernel, look);
    assert_eq!(fetch(cpu, kernel.at(UV_BASE), &mut [0; 8]).0, UVSIM_INTERRUPTED);
    assert_eq!(SEEN.load(Ordering::Relaxed), cpu.addr() as u64);
    let number = cpu.addr();
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(fetch(null_mut(), kernel.at(UV_BASE), &mut [0; 8]).0, UVSIM_INTERRUPTED);
            assert_eq!(fetch(without_provenance_mut(number), kernel.at(0), &mut [0; 8]).0, UVSIM_E_THREAD);
        });
    });
    assert_eq!(SEEN.load(Ordering::Relaxed), 0);
    kernel.end(cpu);
}

#[test]
fn misuse() {
    let kernel = Kernel::new(1);
    let (machine, mut absolute) = (kernel.machine(), 0);
    // SAFETY: places are there or null.
    unsafe {
        assert!(uvsim_va(machine, 4 << 30).is_null() && uvsim_va(null_mut(), 0).is_null());
        assert_eq!(uvsim_pa(machine, kernel.at(0x1234).cast(), &raw mut absolute), UVSIM_OK);
        assert_eq!(absolute, 0x1234);
        assert_eq!(uvsim_pa(machine, kernel.at(0x1234).cast(), null_mut()), UVSIM_OK);
        assert_eq!(uvsim_pa(machine, (&raw const absolute).cast(), null_mut()), UVSIM_E_ARGUMENT);
        assert_eq!(uvsim_pa(machine, null(), null_mut()), UVSIM_E_ARGUMENT);
        assert_eq!(uvsim_pa(null_mut(), null(), null_mut()), UVSIM_E_NULL);
        assert_eq!(uvsim_landing_pop(null_mut()), UVSIM_E_ARGUMENT);
        let bad = [null_mut::<u8>(), without_provenance_mut(1 << 46), without_provenance_mut(usize::MAX - 3)];
        for pointer in bad {
            assert_eq!(fetch(null_mut(), pointer, &mut [0; 8]).0, UVSIM_E_ARGUMENT);
            assert_eq!(put(null_mut(), pointer, &[0; 8]).0, UVSIM_E_ARGUMENT);
        }
        assert_eq!(uvsim_try_copy(null_mut(), null_mut(), null(), 0, null_mut()), UVSIM_OK);
        assert_eq!(uvsim_machine_destroy(machine), UVSIM_OK);
        assert_eq!(uvsim_view_status(machine), UVSIM_E_DESTROYED);
        assert_eq!(uvsim_on_secure_access(machine, None, null_mut()), UVSIM_E_DESTROYED);
        let mut plain = null_mut();
        assert_eq!(uvsim_machine_create(null(), UVSIM_HOST_VIEW << 1, &raw mut plain), UVSIM_E_ARGUMENT);
        assert_eq!(uvsim_machine_create(null(), 0, &raw mut plain), UVSIM_OK);
        assert!(uvsim_va(plain, 0).is_null());
        assert_eq!(uvsim_pa(plain, null(), null_mut()), UVSIM_E_NO_VIEW);
        assert_eq!(uvsim_view_status(plain), UVSIM_E_NO_VIEW);
        assert_eq!(uvsim_on_secure_access(plain, None, null_mut()), UVSIM_E_NO_VIEW);
        assert_eq!(uvsim_machine_destroy(plain), UVSIM_OK);
    }
}

#[test]
fn machines_come_and_go_while_others_fault() {
    let (kernel, cpu) = Kernel::ready(2);
    let guest = kernel.guest(cpu, HERE, 1, 1);
    ask(&kernel, make_accessible);
    thread::scope(|scope| {
        let other =
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(uvsim_machine_destroy(Kernel::new(1).machine()), 0)));
        while !other.is_finished() {
            assert_eq!(guest.import(cpu, 9), 0);
            assert_ne!(kernel.load_u64(guest.frames + 0x9000), 0);
        }
    });
    kernel.end(cpu);
}

/// Runs one test of this file again, in a process of its own that is going to die.
fn victim(test: &str) -> Output {
    let myself = std::env::current_exe().unwrap();
    Process::new(myself).args(["--exact", test, "--nocapture"]).env("UVSIM_VICTIM", "1").output().unwrap()
}

fn is_victim() -> bool {
    std::env::var_os("UVSIM_VICTIM").is_some()
}

#[test]
fn an_access_that_nobody_repairs_kills_and_names_the_rule() {
    if is_victim() {
        let (kernel, _cpu) = Kernel::ready(1);
        kernel.store_u64(UV_BASE + 0x3008, 1);
        return;
    }
    let died = victim("an_access_that_nobody_repairs_kills_and_names_the_rule");
    let said = String::from_utf8_lossy(&died.stderr);
    assert_eq!(died.status.signal(), Some(libc::SIGSEGV), "{said}");
    assert!(said.contains("uvsim: secure-storage access (0x3d) at 0x"), "{said}");
    assert!(said.contains("store to absolute 0x80003008; frame 0x80003 is secure"), "{said}");
    assert!(said.contains("owned by the Ultravisor (base storage) (T2, T3); there is neither a callback"), "{said}");
}

#[test]
fn a_secure_frame_is_no_place_for_an_answer() {
    if is_victim() {
        let (kernel, _cpu) = Kernel::ready(1);
        // SAFETY: the handler ends the process.
        unsafe { uvsim_storage_size(kernel.machine(), kernel.at(UV_BASE).cast()) };
        return;
    }
    let died = victim("a_secure_frame_is_no_place_for_an_answer");
    let said = String::from_utf8_lossy(&died.stderr);
    assert_eq!(died.status.signal(), Some(libc::SIGABRT), "{said}");
    assert!(said.contains("given to the library as a pointer to plain memory"), "{said}");
}

#[test]
fn a_view_that_is_gone_is_no_business_of_the_library() {
    if is_victim() {
        let (kernel, cpu) = Kernel::ready(1);
        kernel.end(cpu);
        kernel.load_u64(UV_BASE);
        return;
    }
    let died = victim("a_view_that_is_gone_is_no_business_of_the_library");
    let said = String::from_utf8_lossy(&died.stderr);
    assert_eq!(died.status.signal(), Some(libc::SIGSEGV), "{said}");
    assert!(!said.contains("uvsim:"), "{said}");
}

#[test]
fn other_faults_go_to_whoever_handled_them_before() {
    extern "C" fn theirs(_: c_int) {
        // SAFETY: may be called in a handler.
        unsafe { libc::_exit(77) };
    }
    if is_victim() {
        // SAFETY: the handler does what handlers may.
        unsafe { libc::signal(libc::SIGSEGV, theirs as *const () as usize) };
        let (kernel, cpu) = Kernel::ready(1);
        ask(&kernel, make_accessible);
        let guest = kernel.guest(cpu, HERE, 1, 1);
        assert_eq!(guest.import(cpu, 0), 0);
        assert_ne!(kernel.load_u64(guest.frames), 0, "ours are not theirs");
        // SAFETY: there is nothing at this address; the handler ends the process.
        unsafe { without_provenance_mut::<u8>(1 << 46).write_volatile(1) };
        return;
    }
    assert_eq!(victim("other_faults_go_to_whoever_handled_them_before").status.code(), Some(77));
}

#[test]
fn a_handler_in_front_may_block_signals() {
    static BEHIND: AtomicUsize = AtomicUsize::new(0);
    static ASKED: AtomicU64 = AtomicU64::new(0);
    unsafe extern "C" fn in_front(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        let behind = core::ptr::with_exposed_provenance::<()>(BEHIND.load(Ordering::Relaxed));
        // SAFETY: it was installed with SA_SIGINFO, and gets what this handler got.
        unsafe {
            let behind: unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = core::mem::transmute(behind);
            behind(signal, info, context);
        }
    }
    /// Touches the next frame first, if it is the first that is asked.
    unsafe extern "C" fn touch_another(user: *mut c_void, fault: *const uvsim_fault) -> c_int {
        // SAFETY: the library passes a fault; the frame behind its own is storage as well.
        unsafe {
            if ASKED.fetch_add(1, Ordering::Relaxed) == 0 {
                (*fault).address.byte_add(0x1000).cast::<u8>().read_volatile();
            }
            make_accessible(user, fault)
        }
    }
    if is_victim() {
        let (kernel, cpu) = Kernel::ready(1);
        ask(&kernel, touch_another);
        let guest = kernel.guest(cpu, HERE, 1, 1);
        // SAFETY: the structures are plain data; the handler does what handlers may.
        unsafe {
            let (mut new, mut old): (libc::sigaction, libc::sigaction) = (core::mem::zeroed(), core::mem::zeroed());
            new.sa_sigaction = in_front as *const () as usize;
            new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigfillset(&raw mut new.sa_mask);
            assert_eq!(libc::sigaction(libc::SIGSEGV, &raw const new, &raw mut old), 0);
            BEHIND.store(old.sa_sigaction, Ordering::Relaxed);
        }
        assert_eq!((guest.import(cpu, 0), guest.import(cpu, 1)), (0, 0));
        assert_ne!(kernel.load_u64(guest.frames), 0);
        std::process::exit(70 + ASKED.load(Ordering::Relaxed) as i32);
    }
    assert_eq!(victim("a_handler_in_front_may_block_signals").status.code(), Some(72));
}

#[test]
#[ignore = "uses up the mappings of the process: run it alone"]
fn at_the_limit_of_mappings_the_view_opens_and_says_so() {
    let (kernel, cpu) = Kernel::ready(1);
    let guest = kernel.guest(cpu, HERE, 200, 2);
    let mut imported = 0;
    while uvsim_view_status(kernel.machine()) == UVSIM_OK && imported < 200 * 256 {
        assert_eq!(guest.import(cpu, imported), 0);
        imported += 1;
    }
    println!("{imported} single frames are secure when the system refuses");
    assert_eq!(uvsim_view_status(kernel.machine()), UVSIM_E_SYSTEM);
    // Nothing is kept away from the host any more, but the machine goes on.
    let mut said = NOTHING;
    let address = kernel.at(guest.frames).addr() as u64;
    // SAFETY: the buffer is long enough.
    unsafe {
        let rc = uvsim_load(cpu, address, [0_u8; 8].as_mut_ptr().cast(), 8, &raw mut said);
        assert_eq!((rc, said.code), (UVSIM_INTERRUPTED, 0x3d));
    }
    assert_eq!(fetch(cpu, kernel.at(guest.frames), &mut [0; 8]).0, UVSIM_OK);
    assert_eq!(call(cpu, Command::ConvFromSecStor, &[(0x18, guest.frames)]), 0);
    kernel.end(cpu);
}
