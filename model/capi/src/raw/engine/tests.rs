//! The handler, the copies and the callback, with the model alone: base storage of the Ultravisor is what is secure.

use super::copy::{self, Stop};
use super::handler::ATTEMPTS;
use super::view::{Callback, View};
use super::{inside, is_plain};
use crate::raw::{UVSIM_DELIVER, UVSIM_RETRY, uvsim_fault};
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::Mutex;
use std::thread;
use uvsim_model::address::{AbsoluteAddress, VirtualAddress};
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::cpu::Uvc;
use uvsim_model::storage::{HostView, ProgramCode, ProgramInterruption, Teid};
use uvsim_model::uvc::{Command, ConditionCode};
use uvsim_model::{Machine, Reset, UV_BASE_LENGTH};

const SIZE: usize = 3 << 30;
/// Base storage of the Ultravisor begins here: frames that are secure.
const SECURE: usize = 2 << 30;

/// Address, absolute address, code, TEID, whether it was a store, attempt.
type Told = (usize, u64, u16, u64, u32, u32);

/// A machine with its base storage donated.
struct Stage {
    view: View,
    base: *mut u8,
    machine: Box<Machine>,
    called: AtomicU32,
    latest: Mutex<Option<Told>>,
}

// SAFETY: the memory is plain bytes of these tests, which touch a byte from one thread at a time.
unsafe impl Sync for Stage {}

impl Stage {
    fn new(generation: Generation) -> Box<Self> {
        let config = MachineConfig { storage: SIZE as u64, generation, host_view: true, ..MachineConfig::default() };
        let machine = Box::new(Machine::new(config).unwrap());
        let mut block = [0; 0x48];
        block[..4].copy_from_slice(&[0, 0x48, 0, Command::InitUv.code() as u8]);
        block[0x18..0x20].copy_from_slice(&(SECURE as u64).to_be_bytes());
        block[0x20..0x28].copy_from_slice(&UV_BASE_LENGTH.to_be_bytes());
        let mut cpu = machine.cpu(0).unwrap();
        cpu.store(VirtualAddress(0x1000), &block).unwrap();
        assert_eq!(cpu.uvc(Uvc::at(VirtualAddress(0x1000))), Ok(ConditionCode::Done));
        drop(cpu);
        let HostView { base, size } = machine.host_view().unwrap();
        assert_eq!(size, SIZE as u64);
        // SAFETY: the machine lies in a box that lives as long as the view.
        let view = unsafe { View::open(&machine, 77, base, size) }.unwrap();
        let base = base.as_ptr();
        Box::new(Self { view, base, machine, called: AtomicU32::new(0), latest: Mutex::new(None) })
    }

    fn protect(&self, at: usize, len: usize, protection: c_int) {
        // SAFETY: the memory is that of this stage.
        assert_eq!(unsafe { libc::mprotect(self.at(at).cast(), len, protection) }, 0);
    }

    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < SIZE);
        self.base.wrapping_add(offset)
    }

    fn ask(&self, function: unsafe extern "C" fn(*mut c_void, *const uvsim_fault) -> c_int) {
        let user = ptr::from_ref(self).cast_mut().expose_provenance();
        self.view.set_callback(Some(Callback { function, user }));
    }

    /// What the callback says that it was called with.
    fn record(&self, fault: &uvsim_fault) {
        self.called.fetch_add(1, Ordering::SeqCst);
        let interruption = fault.interruption;
        let seen = (fault.address.addr(), fault.absolute, interruption.code, interruption.teid);
        *self.latest.lock().unwrap() = Some((seen.0, seen.1, seen.2, seen.3, fault.is_store, fault.attempt));
    }

    /// No frame is secure any more.
    fn open_all(&self) {
        self.machine.cpu(0).unwrap().reset_machine(Reset::Clear).unwrap();
    }

    fn load(&self, at: usize, len: usize) -> Result<Vec<u8>, Stop> {
        let mut bytes = vec![0xee; len];
        // SAFETY: the vector is long enough.
        unsafe { copy::copy(bytes.as_mut_ptr(), self.at(at), len) }.map(|()| bytes)
    }

    fn store(&self, at: usize, bytes: &[u8]) -> Result<(), Stop> {
        // SAFETY: the destination is memory of this stage, which Rust knows nothing of.
        unsafe { copy::copy(self.at(at), bytes.as_ptr(), bytes.len()) }
    }

    /// What a simulated access to the same frame says, but for the address, which is that of the pointer.
    fn expected(&self, at: usize, store: bool) -> ProgramInterruption {
        let mut cpu = self.machine.cpu(0).unwrap();
        let address = VirtualAddress(at as u64);
        let said = if store { cpu.store(address, &[1]) } else { cpu.load(address, &mut [0]) }.unwrap_err();
        assert_eq!(said.teid.address(), at as u64 & !0xfff);
        let kind = said.teid.0 & 0xfff;
        ProgramInterruption { teid: Teid(self.at(at).addr() as u64 & !0xfff | kind), ..said }
    }
}

unsafe extern "C" fn repair(user: *mut c_void, fault: *const uvsim_fault) -> c_int {
    // SAFETY: `Stage::ask` passes the stage.
    let (stage, fault) = unsafe { (&*user.cast::<Stage>(), &*fault) };
    stage.record(fault);
    stage.open_all();
    UVSIM_RETRY
}

unsafe extern "C" fn refuse(user: *mut c_void, fault: *const uvsim_fault) -> c_int {
    // SAFETY: as above.
    unsafe { (*user.cast::<Stage>()).record(&*fault) };
    UVSIM_DELIVER
}

unsafe extern "C" fn procrastinate(user: *mut c_void, fault: *const uvsim_fault) -> c_int {
    // SAFETY: as above.
    unsafe { (*user.cast::<Stage>()).record(&*fault) };
    UVSIM_RETRY
}

#[test]
fn the_interruption_is_that_of_a_simulated_access() {
    for generation in [Generation::Z15, Generation::Z16] {
        let stage = Stage::new(generation);
        let at = SECURE + 0x5123;
        assert_eq!(stage.load(at, 8), Err(Stop::Interruption(stage.expected(at, false))));
        assert_eq!(stage.store(at, &[1; 8]), Err(Stop::Interruption(stage.expected(at, true))));
        assert_eq!(stage.expected(at, true).code, ProgramCode::SecureStorageAccess);
        stage.ask(refuse);
        assert_eq!(stage.store(at, &[1; 8]), Err(Stop::Interruption(stage.expected(at, true))));
        let teid = stage.expected(at, true).teid.0;
        let told = (stage.at(at).addr(), at as u64, 0x3d, teid, 1, 0);
        assert_eq!(*stage.latest.lock().unwrap(), Some(told));
        assert!(stage.load(at, 8).is_err());
        assert_eq!(stage.latest.lock().unwrap().unwrap().4, 0);
        assert_eq!(stage.called.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn what_the_callback_repairs_is_tried_again() {
    let stage = Stage::new(Generation::Z16);
    stage.ask(repair);
    // SAFETY: memory of the stage.
    unsafe { stage.at(SECURE + 0x2008).cast::<u64>().write_volatile(0x0123_4567_89ab_cdef) };
    assert_eq!(stage.called.load(Ordering::SeqCst), 1);
    assert_eq!(stage.latest.lock().unwrap().unwrap().4, 1);
    assert_eq!(stage.load(SECURE + 0x2008, 8), Ok(0x0123_4567_89ab_cdef_u64.to_ne_bytes().to_vec()));
    assert_eq!(stage.called.load(Ordering::SeqCst), 1);
}

#[test]
fn a_stopped_copy_has_stored_nothing() {
    let stage = Stage::new(Generation::Z16);
    assert!(stage.store(SECURE - 0x1800, &[0x55; 0x1801]).is_err());
    assert_eq!(stage.load(SECURE - 0x1800, 0x1800), Ok(vec![0; 0x1800]));
    assert_eq!(stage.store(SECURE - 0x1800, &[0x55; 0x1800]), Ok(()));
    let mut bytes = vec![0xee; 0x1801];
    // SAFETY: the vector is long enough.
    assert!(unsafe { copy::copy(bytes.as_mut_ptr(), stage.at(SECURE - 0x1800), 0x1801) }.is_err());
    assert!(bytes.iter().all(|&byte| byte == 0xee));
    // SAFETY: as above.
    let both = unsafe { copy::copy(stage.at(SECURE), stage.at(SECURE + 0x1000), 16) };
    assert_eq!(both, Err(Stop::Interruption(stage.expected(SECURE + 0x1000, false))), "the source comes first");
}

#[test]
fn bad_pointers_are_no_interruptions() {
    let stage = Stage::new(Generation::Z16);
    static READ_ONLY: [u8; 16] = [7; 16];
    let bad = [8, 1 << 46, 0x8000_0000_0000_0000, usize::MAX - 64];
    for address in bad {
        let pointer = ptr::without_provenance_mut::<u8>(address);
        let mut bytes = [0; 16];
        // SAFETY: the array is long enough; the other pointer is what is tested.
        assert_eq!(unsafe { copy::copy(bytes.as_mut_ptr(), pointer, 16) }, Err(Stop::BadPointer), "{address:#x}");
        // SAFETY: as above.
        assert_eq!(unsafe { copy::copy(pointer, bytes.as_ptr(), 16) }, Err(Stop::BadPointer), "{address:#x}");
    }
    // SAFETY: the handler stops it; so nothing is written.
    assert_eq!(unsafe { copy::copy(READ_ONLY.as_ptr().cast_mut(), [1; 16].as_ptr(), 16) }, Err(Stop::BadPointer));
    // SAFETY: nothing is copied.
    assert_eq!(unsafe { copy::copy(ptr::null_mut(), stage.at(SECURE), 0) }, Ok(()));
    // SAFETY: the length alone is refused.
    assert_eq!(unsafe { copy::copy(stage.at(0), stage.at(8), usize::MAX) }, Err(Stop::BadPointer));
}

#[test]
fn a_callback_that_never_repairs_is_not_asked_for_ever() {
    let stage = Stage::new(Generation::Z16);
    stage.ask(procrastinate);
    assert!(matches!(stage.load(SECURE, 1), Err(Stop::Interruption(_))));
    assert_eq!(stage.called.load(Ordering::SeqCst), ATTEMPTS);
    assert_eq!(stage.latest.lock().unwrap().unwrap().5, ATTEMPTS - 1);
}

#[test]
fn a_view_that_does_not_follow_is_given_up() {
    let stage = Stage::new(Generation::Z16);
    stage.ask(procrastinate);
    stage.protect(0x1000, 0x1000, libc::PROT_NONE);
    assert_eq!(stage.load(0x1000, 1), Err(Stop::BadPointer));
    assert_eq!(stage.called.load(Ordering::SeqCst), 0);
}

#[test]
fn a_late_change_of_protection_is_waited_for() {
    let stage = Stage::new(Generation::Z16);
    stage.protect(0x1000, 0x1000, libc::PROT_NONE);
    thread::scope(|scope| {
        let other = scope.spawn(|| stage.load(0x1000, 4));
        thread::sleep(core::time::Duration::from_millis(5));
        stage.protect(0x1000, 0x1000, libc::PROT_READ | libc::PROT_WRITE);
        assert_eq!(other.join().unwrap(), Ok(vec![0, 0x48, 0, 0x0f]), "the block of the first call");
    });
}

static DEEPEST: AtomicUsize = AtomicUsize::new(0);

/// Touches a secure frame itself.
unsafe extern "C" fn touch_again(user: *mut c_void, fault: *const uvsim_fault) -> c_int {
    // SAFETY: as above.
    let (stage, fault) = unsafe { (&*user.cast::<Stage>(), &*fault) };
    stage.record(fault);
    let depth = stage.called.load(Ordering::SeqCst);
    DEEPEST.fetch_max(depth as usize, Ordering::SeqCst);
    assert!(stage.load(SECURE + 0x1000 * depth as usize, 1).is_err());
    UVSIM_DELIVER
}

#[test]
fn a_callback_may_touch_secure_frames_but_not_for_ever() {
    let stage = Stage::new(Generation::Z16);
    stage.ask(touch_again);
    assert!(stage.load(SECURE, 1).is_err());
    assert_eq!(DEEPEST.load(Ordering::SeqCst), 8);
    stage.called.store(0, Ordering::SeqCst);
    assert!(stage.load(SECURE, 1).is_err());
    assert_eq!(stage.called.load(Ordering::SeqCst), 8, "all of them have returned");
}

/// Needs more stack than any alternate one has.
unsafe extern "C" fn dig(user: *mut c_void, fault: *const uvsim_fault) -> c_int {
    let mut room = MaybeUninit::<[u8; 1 << 20]>::uninit();
    for at in (0..1 << 20).step_by(4096).rev() {
        // SAFETY: in the array.
        unsafe { room.as_mut_ptr().cast::<u8>().add(at).write_volatile(1) };
    }
    // SAFETY: only looks.
    let off = unsafe {
        let mut stack: libc::stack_t = core::mem::zeroed();
        libc::sigaltstack(ptr::null(), &raw mut stack);
        stack.ss_flags & libc::SS_DISABLE
    };
    assert_ne!(off, 0);
    // SAFETY: as it came.
    unsafe { repair(user, fault) }
}

#[test]
fn callbacks_run_where_there_is_room() {
    let alternate = || {
        // SAFETY: only looks.
        unsafe {
            let mut stack: libc::stack_t = core::mem::zeroed();
            libc::sigaltstack(ptr::null(), &raw mut stack);
            (stack.ss_sp.addr(), stack.ss_size, stack.ss_flags)
        }
    };
    let before = alternate();
    assert_eq!(before.2 & libc::SS_DISABLE, 0, "threads of Rust have an alternate stack");
    let stage = Stage::new(Generation::Z16);
    stage.ask(dig);
    assert_eq!(stage.load(SECURE, 1), Ok(vec![0]));
    assert_eq!(alternate(), before);
}

#[test]
fn the_library_is_not_called_again_while_it_works() {
    let stage = Stage::new(Generation::Z16);
    stage.ask(repair);
    let work = inside();
    assert!(matches!(stage.load(SECURE, 1), Err(Stop::Interruption(_))));
    drop(work);
    assert_eq!(stage.called.load(Ordering::SeqCst), 0);
    assert_eq!(stage.load(SECURE, 1), Ok(vec![0]));
}

#[test]
fn two_machines_on_four_threads() {
    let stages = [Stage::new(Generation::Z15), Stage::new(Generation::Z16)];
    stages.iter().for_each(|stage| stage.ask(refuse));
    thread::scope(|scope| {
        for number in 0..4 {
            let stage = &stages[number % 2];
            scope.spawn(move || {
                for page in (number..2000).step_by(4) {
                    let at = SECURE + page * 0x1000;
                    let Err(Stop::Interruption(said)) = stage.load(at, 1) else { panic!("{at:#x} is secure") };
                    assert_eq!(said.teid.address(), stage.at(at).addr() as u64);
                    assert_eq!(stage.load(at - SECURE, 1), Ok(vec![0]));
                }
            });
        }
    });
    assert_eq!(stages.each_ref().map(|stage| stage.called.load(Ordering::SeqCst)), [1000, 1000]);
}

#[test]
fn pointers_and_addresses() {
    let stage = Stage::new(Generation::Z16);
    let view = &stage.view;
    assert_eq!(view.pointer(AbsoluteAddress(0x1234)), Some(stage.at(0x1234).cast()));
    assert_eq!(view.pointer(AbsoluteAddress(SIZE as u64)), None);
    assert_eq!(view.absolute(stage.at(SIZE - 1).cast()), Some(AbsoluteAddress(SIZE as u64 - 1)));
    assert_eq!(view.absolute(stage.base.wrapping_add(SIZE).cast()), None);
    assert_eq!(view.absolute(stage.base.wrapping_sub(1).cast()), None);
    assert!(is_plain(ptr::null(), 8) && !is_plain(stage.at(8).cast(), 1));
    assert!(!is_plain(stage.base.wrapping_sub(4).cast(), 8));
}
