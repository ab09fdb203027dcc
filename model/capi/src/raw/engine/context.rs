//! The interrupted context: what differs between processors. The offsets are those of the kernel's signal frame.

#![allow(unsafe_code, reason = "the kernel's signal frame is reached through a pointer; see the SAFETY comments")]

use libc::{c_void, stack_t, ucontext_t};
use uvsim_model::storage::AccessKind;

/// What a handler finds, and may change, of the code that was interrupted.
#[derive(Debug)]
pub(super) struct Context<'a>(&'a mut ucontext_t);

impl Context<'_> {
    /// Wraps the third argument of a signal handler.
    ///
    /// # Safety
    /// `context` is that argument, of the handler call that is running.
    pub(super) unsafe fn new(context: *mut c_void) -> Self {
        // SAFETY: the caller vouches that the kernel made this for the running call; nobody else knows of it.
        Self(unsafe { &mut *context.cast::<ucontext_t>() })
    }

    /// The alternate signal stack of the thread as it was before the signal.
    pub(super) fn alternate_stack(&self) -> stack_t {
        self.0.uc_stack
    }

    /// What it is going to be when the handler returns.
    pub(super) fn set_alternate_stack(&mut self, stack: stack_t) {
        self.0.uc_stack = stack;
    }

    /// Makes the signal mask of the thread that of the interrupted code again. The library's handler blocks nothing, but
    /// the kernel may have started another's, which called this one: ThreadSanitizer's blocks all signals, and that of a
    /// program its own.
    pub(super) fn restore_signal_mask(&self) {
        // SAFETY: the mask is plain data; a failure leaves things as they were.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0.uc_sigmask, core::ptr::null_mut()) };
    }
}

#[cfg(target_arch = "x86_64")]
impl Context<'_> {
    /// Bytes below the stack pointer that belong to the interrupted function.
    pub(super) const RED_ZONE: usize = 128;

    pub(super) fn pc(&self) -> usize {
        self.0.uc_mcontext.gregs[libc::REG_RIP as usize] as usize
    }

    pub(super) fn set_pc(&mut self, pc: usize) {
        self.0.uc_mcontext.gregs[libc::REG_RIP as usize] = pc as i64;
    }

    pub(super) fn stack_pointer(&self) -> usize {
        self.0.uc_mcontext.gregs[libc::REG_RSP as usize] as usize
    }

    /// From the error code of the page fault: bit 1 is a write, bit 4 an instruction fetch.
    pub(super) fn access(&self) -> AccessKind {
        let code = self.0.uc_mcontext.gregs[libc::REG_ERR as usize];
        if code & 0x10 != 0 {
            AccessKind::Instruction
        } else if code & 0x2 != 0 {
            AccessKind::Store
        } else {
            AccessKind::Fetch
        }
    }
}

#[cfg(target_arch = "aarch64")]
impl Context<'_> {
    /// The procedure call standard of aarch64 has none.
    pub(super) const RED_ZONE: usize = 0;

    pub(super) fn pc(&self) -> usize {
        self.0.uc_mcontext.pc as usize
    }

    pub(super) fn set_pc(&mut self, pc: usize) {
        self.0.uc_mcontext.pc = pc as u64;
    }

    pub(super) fn stack_pointer(&self) -> usize {
        self.0.uc_mcontext.sp as usize
    }

    /// From the syndrome: exception class 0x20 is an instruction abort; bit 6 (WnR) of a data abort is a write.
    /// An atomic read-modify-write counts as a read here if reading fails as well.
    pub(super) fn access(&self) -> AccessKind {
        let syndrome = self.syndrome();
        if syndrome >> 26 & 0x3f == 0x20 {
            AccessKind::Instruction
        } else if syndrome & 0x40 != 0 {
            AccessKind::Store
        } else {
            AccessKind::Fetch
        }
    }

    /// The kernel appends records of a magic number and a length to the registers; that of the syndrome holds
    /// one doubleword more. No record: 0, which reads as a fetch.
    fn syndrome(&self) -> u64 {
        const RECORDS: usize = 288;
        const RECORDS_END: usize = RECORDS + 4096;
        const SYNDROME: u32 = 0x4553_5201;
        let start = (&raw const self.0.uc_mcontext).cast::<u8>();
        let mut at = RECORDS;
        while at + 16 <= RECORDS_END {
            // SAFETY: the registers and the 4096 bytes of records behind them are one mcontext_t; `at` is a
            // multiple of 16 and stays inside.
            let (magic, length) = unsafe { start.add(at).cast::<(u32, u32)>().read_unaligned() };
            if magic == SYNDROME {
                // SAFETY: as above: this record is 16 bytes.
                return unsafe { start.add(at + 8).cast::<u64>().read_unaligned() };
            }
            if magic == 0 || length < 16 {
                return 0;
            }
            at += (length as usize).next_multiple_of(16);
        }
        0
    }
}

// Runs a function on another stack. `rbp` and `x29` keep the old one, which unwinders and debuggers are told.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl uvsim_raw_call_on",
    ".hidden uvsim_raw_call_on",
    ".type uvsim_raw_call_on, @function",
    "uvsim_raw_call_on:",
    ".cfi_startproc",
    "push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "mov rbp, rsp",
    ".cfi_def_cfa_register rbp",
    "mov rsp, rdx",
    "call rsi",
    "mov rsp, rbp",
    "pop rbp",
    ".cfi_def_cfa rsp, 8",
    "ret",
    ".cfi_endproc",
    ".size uvsim_raw_call_on, . - uvsim_raw_call_on",
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl uvsim_raw_call_on",
    ".hidden uvsim_raw_call_on",
    ".type uvsim_raw_call_on, @function",
    "uvsim_raw_call_on:",
    ".cfi_startproc",
    "stp x29, x30, [sp, #-16]!",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset x29, -16",
    ".cfi_offset x30, -8",
    "mov x29, sp",
    ".cfi_def_cfa_register x29",
    "mov sp, x2",
    "blr x1",
    "mov sp, x29",
    "ldp x29, x30, [sp], #16",
    ".cfi_def_cfa sp, 0",
    "ret",
    ".cfi_endproc",
    ".size uvsim_raw_call_on, . - uvsim_raw_call_on",
);

unsafe extern "C" {
    /// Calls `function(argument)` with the stack pointer at `stack`, a multiple of 16 with room below.
    pub(super) fn uvsim_raw_call_on(
        argument: *mut c_void,
        function: unsafe extern "C" fn(*mut c_void),
        stack: *mut c_void,
    );
}
