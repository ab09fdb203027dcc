/* The C interface of uvsim: a machine with an Ultravisor. Generated from the sources: do not edit. */

#ifndef UVSIM_H
#define UVSIM_H



#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

/* Defined at the end: it holds a jmp_buf. */
typedef struct uvsim_landing uvsim_landing;

// Most CPUs that are started at one time, over all machines.
#define UVSIM_MAX_STARTED 4096

// An Ultravisor call has ended.
#define UVSIM_EVENT_CALL 1

// A frame has changed its state.
#define UVSIM_EVENT_TRANSITION 2

// Events did not fit the queue; `lost` of them.
#define UVSIM_EVENT_LOST 3

// Most events that wait on a thread.
#define UVSIM_MAX_EVENTS (1 << 20)

// Bytes of the header of an image that `uvsim_image_build` makes.
#define UVSIM_IMAGE_HEADER_LENGTH 640

// Calls answer condition code 2 and do nothing.
#define UVSIM_INJECT_BUSY 1

// Calls answer condition code 3 and do nothing.
#define UVSIM_INJECT_PARTIAL 2

// The next CREATE_SEC_CONF does its work and answers with the flag 0x8000. The count does not matter.
#define UVSIM_INJECT_LATE_FAILURE 3

// An ordinary frame of the host.
#define UVSIM_FRAME_NON_SECURE 0

// Donated as base storage of the Ultravisor.
#define UVSIM_FRAME_BASE 1

// Donated as base storage of a configuration.
#define UVSIM_FRAME_CONFIGURATION 2

// Donated as variable storage of a configuration.
#define UVSIM_FRAME_VARIABLE 3

// Donated as storage of a CPU.
#define UVSIM_FRAME_CPU 4

// A secure frame with a page of a guest.
#define UVSIM_FRAME_SECURE 5

// A page that its guest shares with the host.
#define UVSIM_FRAME_SHARED 6

// A shared page that the host has pinned.
#define UVSIM_FRAME_PINNED 7

// The page was never there.
#define UVSIM_PAGE_ABSENT 0

// It is in a secure frame.
#define UVSIM_PAGE_RESIDENT 1

// The host has it, encrypted.
#define UVSIM_PAGE_EXPORTED 2

// Shared, in a frame.
#define UVSIM_PAGE_SHARED 3

// Shared, and in no frame.
#define UVSIM_PAGE_SHARED_ABSENT 4

// Shared and pinned.
#define UVSIM_PAGE_PINNED 5

// Its frame was destroyed.
#define UVSIM_PAGE_DESTROYED 6

// For `uvsim_state_digest`: there is no control block.
#define UVSIM_NO_BLOCK UINT64_MAX

// Most machines that exist at one time.
#define UVSIM_MAX_MACHINES 1024

// What a reset leaves in storage: secure and donated frames become zeros, the rest stays.
#define UVSIM_RESET_LOAD_NORMAL 0

// All of storage becomes zeros.
#define UVSIM_RESET_CLEAR 1

// Flag of `uvsim_machine_create`: the machine has a host view.
#define UVSIM_HOST_VIEW 1

// Answer of a callback: the frame is accessible now, or was busy; the access is tried again.
#define UVSIM_RETRY 0

// Answer of a callback: the interruption is delivered.
#define UVSIM_DELIVER 1

// How often a callback is asked about one access before `UVSIM_RETRY` counts as `UVSIM_DELIVER`.
#define UVSIM_MAX_ATTEMPTS 10000

// It is done. Of an Ultravisor call: condition code 0.
#define UVSIM_OK 0

// Condition code 1 of an Ultravisor call: it ended with another response code than 0x0001.
#define UVSIM_CC1 1

// Condition code 2 of an Ultravisor call: busy, nothing was done, issue it again.
#define UVSIM_CC2 2

// Condition code 3 of an Ultravisor call: partially done, issue it again with the same block.
#define UVSIM_CC3 3

// A program interruption.
#define UVSIM_INTERRUPTED 4

// The guest CPU has left SIE.
#define UVSIM_EXIT 5

// The channel subsystem has refused an access.
#define UVSIM_REFUSED 6

// What was looked for is not there.
#define UVSIM_NONE 7

// There is no storage at this address.
#define UVSIM_OUTSIDE 8

// An invariant of the machine does not hold.
#define UVSIM_INVARIANT 9

// A pointer is null that must not be.
#define UVSIM_E_NULL -1

// This is no handle, or one of another kind.
#define UVSIM_E_HANDLE -2

// The handle was valid once; what it stood for is gone.
#define UVSIM_E_DESTROYED -3

// The CPU belongs to another thread.
#define UVSIM_E_THREAD -4

// A callback in the middle of a call has called in again, or has never returned.
#define UVSIM_E_REENTERED -5

// The CPU is in SIE: first comes `uvsim_sie_leave`.
#define UVSIM_E_IN_SIE -6

// The CPU is not in SIE.
#define UVSIM_E_NOT_IN_SIE -7

// CPUs operate that must be stopped first, or the CPU operates already.
#define UVSIM_E_OPERATING -8

// No machine can be made of the configuration.
#define UVSIM_E_CONFIG -9

// An argument is out of range or does not mean anything.
#define UVSIM_E_ARGUMENT -10

// The operating system refuses, or a table is full.
#define UVSIM_E_SYSTEM -11

// The machine is lost: an internal error has left it in an unknown state. Only stopping its CPUs and destroying it is
// possible.
#define UVSIM_E_LOST -12

// There is no snapshot to go back to.
#define UVSIM_E_NO_SNAPSHOT -13

// The machine was made without a host view.
#define UVSIM_E_NO_VIEW -14

// An error of the library itself. The machine is lost.
#define UVSIM_E_INTERNAL -15

// The CPU has not left by itself.
#define UVSIM_EXIT_NONE 0

// A program interruption of the host: the guest has not noticed anything and will repeat.
#define UVSIM_EXIT_INTERRUPTION 1

// An interception, which the state description shows as well.
#define UVSIM_EXIT_INTERCEPTION 2

// Stores through the mapping are refused.
#define UVSIM_MAPPING_PROTECTED 1

// Part of a large mapping, which secure guests cannot use.
#define UVSIM_MAPPING_LARGE 2

// The major version of this header. The library is compatible as long as it has the same.
#define UVSIM_VERSION_MAJOR 0

// The minor version of this header. The library must not have a lower one.
#define UVSIM_VERSION_MINOR 1

// The patch level of this header.
#define UVSIM_VERSION_PATCH 0

// A host CPU. What a pointer to it holds is a number: it is never dereferenced.
typedef struct uvsim_cpu uvsim_cpu;

// A machine. What a pointer to it holds is a number: it is never dereferenced.
typedef struct uvsim_machine uvsim_machine;

// A program interruption.
typedef struct uvsim_interruption {
    // The interruption code.
    uint16_t code;
    // Zeros.
    uint16_t reserved[3];
    // The translation-exception identification; 0 where the code has none.
    uint64_t teid;
} uvsim_interruption;

// Registers of a host CPU.
typedef struct uvsim_register_set {
    // Control register 1.
    uint64_t primary;
    // Control register 13.
    uint64_t home;
    // Prefix register.
    uint64_t prefix;
    // 1 in problem state.
    uint8_t problem_state;
    // 1 if addresses are translated.
    uint8_t translation;
    // Zeros.
    uint8_t reserved[6];
} uvsim_register_set;

// State of a frame.
typedef struct uvsim_frame {
    // One of `UVSIM_FRAME_NON_SECURE` … `UVSIM_FRAME_PINNED`.
    uint32_t state;
    // 1 if the configuration that it belongs to has ended.
    uint32_t orphaned;
    // Handle of the configuration that it belongs to; 0 if it belongs to none.
    uint64_t configuration;
    // Secure, shared, pinned: number of the page. Variable storage: number of the host virtual page.
    uint64_t page;
} uvsim_frame;

// Something that a machine did. Members that the kind does not name are zeros.
typedef struct uvsim_event {
    // The machine.
    struct uvsim_machine *machine;
    // The rule that decided, such as `T26` or `Q19`; empty with `UVSIM_EVENT_LOST`. Never null; valid for ever.
    const char *rule;
    // One of `UVSIM_EVENT_CALL`, `UVSIM_EVENT_TRANSITION` and `UVSIM_EVENT_LOST`. There may be others in the future.
    uint32_t kind;
    // Call: the command code as found in the block.
    uint16_t command;
    // Call: the response code; 0 with condition codes 2 and 3.
    uint16_t rc;
    // Call: the reason code.
    uint16_t rrc;
    // Call: the host CPU on which it ran.
    uint16_t cpu;
    // Call: the condition code.
    uint8_t cc;
    // Call: 1 if a guest has issued it.
    uint8_t guest;
    // Zeros.
    uint8_t reserved[2];
    // Transition: absolute address of the frame.
    uint64_t frame;
    // Transition: state before.
    struct uvsim_frame from;
    // Transition: state after.
    struct uvsim_frame to;
    // Lost: how many.
    uint64_t lost;
} uvsim_event;

// Is told an event. The event is there until the callback returns.
typedef void (*uvsim_event_fn)(void *user, const struct uvsim_event *event);

// Why a guest CPU has left SIE; or what the guest itself has been interrupted with.
typedef struct uvsim_exit {
    // One of `UVSIM_EXIT_NONE`, `UVSIM_EXIT_INTERRUPTION` and `UVSIM_EXIT_INTERCEPTION`.
    uint32_t kind;
    // Interception: its code.
    uint8_t code;
    // Zero.
    uint8_t reserved;
    // Interception: the first halfword of the instruction, or 0.
    uint16_t ipa;
    // Interception: the rest of the instruction, or the validity reason in the upper half.
    uint32_t ipb;
    // Zero.
    uint32_t reserved2;
    // The program interruption: the host's (`UVSIM_EXIT_INTERRUPTION`), or the guest's own where a guest action answers
    // `UVSIM_INTERRUPTED` (then `kind` is `UVSIM_EXIT_NONE`).
    struct uvsim_interruption interruption;
} uvsim_exit;

// Registers of a guest CPU.
typedef struct uvsim_guest_register_set {
    // Mask of the PSW.
    uint64_t psw_mask;
    // Address of the PSW.
    uint64_t psw_address;
    // Prefix.
    uint64_t prefix;
    // General registers.
    uint64_t general[16];
    // Control registers.
    uint64_t control[16];
    // Access registers.
    uint32_t access[16];
    // CPU timer, in units of 1/4096 µs.
    uint64_t cpu_timer;
    // Clock comparator.
    uint64_t clock_comparator;
    // Floating-point control register.
    uint32_t floating_point_control;
    // TOD programmable register.
    uint32_t tod_programmable;
    // Number of the CPU in its configuration.
    uint16_t number;
    // Zeros.
    uint16_t reserved[3];
} uvsim_guest_register_set;

// What an image is to be. All zeros is a usual one.
typedef struct uvsim_image_plan {
    // Where the keys of the image come from: equal seeds and components give equal images.
    uint64_t seed;
    // Plaintext control flags; 0 stands for the usual ones.
    uint64_t flags;
    // Secret control flags.
    uint64_t secret_flags;
    // Mask of the initial PSW; 0 stands for the usual one.
    uint64_t psw_mask;
    // Address of the initial PSW.
    uint64_t psw_address;
    // Zeros.
    uint64_t reserved[3];
} uvsim_image_plan;

// A component of an image: whole pages.
typedef struct uvsim_component {
    // Guest absolute address of its first page.
    uint64_t address;
    // Tweak prefix. Page `n` of the component is unpacked with the tweak `prefix`, `n * 4096`.
    uint64_t prefix;
    // Its bytes: in plain before, as they are delivered afterwards.
    void *data;
    // How many; a multiple of 4096.
    size_t length;
} uvsim_component;

// What the Ultravisor knows of a page of a guest.
typedef struct uvsim_page {
    // One of `UVSIM_PAGE_ABSENT` … `UVSIM_PAGE_DESTROYED`.
    uint32_t state;
    // Zero.
    uint32_t reserved;
    // Absolute address of its frame; 0 if it has none.
    uint64_t frame;
    // Counter of its latest encryption; 0 if it never was encrypted.
    uint64_t counter;
} uvsim_page;

// A touch of a secure frame.
typedef struct uvsim_fault {
    // The machine.
    struct uvsim_machine *machine;
    // The CPU of it that this thread has started; null if there is none. If there are several, one of them.
    struct uvsim_cpu *cpu;
    // The pointer that was used.
    void *address;
    // The absolute address behind it.
    uint64_t absolute;
    // The interruption: 0x3d, with the TEID that `uvsim_load` or `uvsim_store` would give for this pointer.
    struct uvsim_interruption interruption;
    // 1: a store; 0: a load.
    uint32_t is_store;
    // How often the callback has been asked about this access before.
    uint32_t attempt;
} uvsim_fault;

// Is asked to make a frame accessible; answers `UVSIM_RETRY` or `UVSIM_DELIVER`.
typedef int (*uvsim_secure_access_fn)(void *user, const struct uvsim_fault *fault);

// Plays a guest: it is called with a CPU that is in SIE and calls guest actions on it. It may call everything else as
// well; host instructions on this CPU answer `UVSIM_E_IN_SIE`. It may leave by `longjmp`: then the CPU stays in SIE until
// `uvsim_sie_leave`.
typedef int (*uvsim_guest_fn)(struct uvsim_cpu *cpu, void *user);

// Where a page lies.
typedef struct uvsim_mapping {
    // Absolute address of its frame.
    uint64_t absolute;
    // `UVSIM_MAPPING_PROTECTED`, `UVSIM_MAPPING_LARGE`, both or none. Other bits do not matter.
    uint32_t flags;
    // Zero.
    uint32_t reserved;
} uvsim_mapping;

// Tells where a page of a space lies: fills in `mapping` and returns 0, or returns the code of a translation exception: 0x10,
// 0x11, 0x38 to 0x3b. Any other number counts as 0x11.
//
// It is asked in the middle of a walk, on any thread that uses the machine. Calls from inside on the same machine and its CPUs
// answer `UVSIM_E_REENTERED`; those on other machines work. It has to return: after a `longjmp` the machine is lost. The
// thread that has jumped gets `UVSIM_E_REENTERED` for ever, even for stopping and destroying; other threads must not use the
// machine any more, for they could wait for it for ever. Its memory stays with the process. Nothing may be thrown.
typedef int (*uvsim_translate_fn)(void *user, uint64_t asce, uint64_t address, struct uvsim_mapping *mapping);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Loads `length` bytes at an absolute address: checked as any access of a host, but neither translated nor prefixed.
//
// Answers: as `uvsim_load`.
//
// # Safety
// As `uvsim_load`.
int uvsim_absolute_load(struct uvsim_cpu *cpu,
                        uint64_t absolute,
                        void *buffer,
                        size_t length,
                        struct uvsim_interruption *interruption);

// Stores `length` bytes at an absolute address: checked as any access of a host, but neither translated nor prefixed.
//
// Answers: as `uvsim_load`.
//
// # Safety
// As `uvsim_store`.
int uvsim_absolute_store(struct uvsim_cpu *cpu,
                         uint64_t absolute,
                         const void *buffer,
                         size_t length,
                         struct uvsim_interruption *interruption);

// ULTRAVISOR CALL: `r1` and `r2` are the contents of the two registers. `r2` is the address of the control block.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; the condition code, 0 to 3.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_uvc(struct uvsim_cpu *cpu, uint64_t r1, uint64_t r2, struct uvsim_interruption *interruption);

// The same with values in the two fields of the instruction that must be zero.
//
// Answers: as `uvsim_uvc`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_uvc_with(struct uvsim_cpu *cpu,
                   uint64_t r1,
                   uint64_t r2,
                   uint8_t m3,
                   uint8_t m4,
                   struct uvsim_interruption *interruption);

// A device reads `length` bytes at an absolute address.
//
// Answers: those of every function; `UVSIM_E_NULL` (`buffer` is null, though there is a length); `UVSIM_E_ARGUMENT` (no
// object is as long, or it lies in a host view); `UVSIM_OUTSIDE` (not all of it is storage); `UVSIM_REFUSED` (a frame is
// secure; `failing` is the first address in it); `UVSIM_OK`. What is refused has moved nothing, unless another CPU has secured a frame meanwhile.
//
// # Safety
// `buffer` leads to `length` writable bytes; `failing` is null or writable. It may be null.
int uvsim_channel_read(struct uvsim_machine *machine,
                       uint64_t absolute,
                       void *buffer,
                       size_t length,
                       uint64_t *failing);

// A device writes `length` bytes at an absolute address.
//
// Answers: as `uvsim_channel_read`.
//
// # Safety
// `buffer` leads to `length` readable bytes; `failing` is null or writable. It may be null.
int uvsim_channel_write(struct uvsim_machine *machine,
                        uint64_t absolute,
                        const void *buffer,
                        size_t length,
                        uint64_t *failing);

// Starts a CPU of a machine. It operates until it is stopped, and belongs to this thread.
//
// If the thread ends before, the CPU is stopped then. A CPU that is stopped keeps its registers and its translation buffer.
//
// Answers: those of every function; `UVSIM_E_NULL` (`cpu` is null); `UVSIM_E_THREAD` (the thread is about to end);
// `UVSIM_E_ARGUMENT` (the machine has no CPU of this number); `UVSIM_E_OPERATING` (it is started already);
// `UVSIM_E_SYSTEM` (`UVSIM_MAX_STARTED` are); `UVSIM_OK`.
//
// # Safety
// `cpu` is null or leads to a writable pointer.
int uvsim_cpu_start(struct uvsim_machine *machine,
                    uint16_t number,
                    struct uvsim_cpu **cpu);

// Stops a CPU. If it is in SIE, it leaves first. One of a lost machine is stopped as well; what it holds of memory stays
// with the process.
//
// Answers: those of every function but `UVSIM_E_LOST`; `UVSIM_OK`.
int uvsim_cpu_stop(struct uvsim_cpu *cpu);

// Enters problem state (`on` is not 0) or leaves it.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_OK`.
int uvsim_set_problem_state(struct uvsim_cpu *cpu, int on);

// Switches translation in home space on (`on` is not 0) or off.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_OK`.
int uvsim_set_translation(struct uvsim_cpu *cpu, int on);

// Makes the process itself home space (`on` is not 0), or ends that; a CPU starts without. While it lasts, virtual operands of
// this CPU are pointers, whatever its registers say: addresses of loads and stores, control blocks, headers, areas. Pointers
// into the host view name absolute storage and are checked; others are plain memory of the process. A bad pointer is a
// page-translation exception. What is donated, and a state description, must lie in the host view.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_OK`.
//
// # Safety
// As long as it is on, what this CPU is told to load from or store to is memory that may be used so, or that the system
// refuses to touch.
int uvsim_set_native(struct uvsim_cpu *cpu,
                     int on);

// Loads control register 1: in SIE the space of the guest.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_OK`.
int uvsim_set_primary(struct uvsim_cpu *cpu, uint64_t asce);

// Loads control register 13: the space of the host itself.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_OK`.
int uvsim_set_home(struct uvsim_cpu *cpu, uint64_t asce);

// SET PREFIX. Bits 33 to 50 of the operand count.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED` (0x05, addressing); `UVSIM_OK`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_set_prefix(struct uvsim_cpu *cpu, uint64_t prefix, struct uvsim_interruption *interruption);

// The registers.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_E_NULL` (`registers` is null); `UVSIM_OK`.
//
// # Safety
// `registers` is null or writable.
int uvsim_registers(struct uvsim_cpu *cpu, struct uvsim_register_set *registers);

// Tells every event of a machine from now on, in place of whom it told before; nobody if `listener` is null. It is called on
// the thread whose call has caused the event, so on several at once if several threads use the machine.
//
// Answers: those of every function; `UVSIM_OK`.
//
// # Safety
// `listener` can be called with `user`, on all threads that use the machine, until another one takes its place.
int uvsim_on_event(struct uvsim_machine *machine,
                   uvsim_event_fn listener,
                   void *user);

// The guest loads `length` bytes.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_E_NULL` (`buffer` is null, though there is a length);
// `UVSIM_E_ARGUMENT` (no object is as long, or it lies in a host view); `UVSIM_INTERRUPTED`, `UVSIM_EXIT` (nothing has been
// loaded); `UVSIM_OK`.
//
// # Safety
// `buffer` leads to `length` writable bytes; `exit` is null or writable. It may be null.
int uvsim_guest_load(struct uvsim_cpu *cpu,
                     uint64_t address,
                     void *buffer,
                     size_t length,
                     struct uvsim_exit *exit);

// The guest stores `length` bytes.
//
// Answers: as `uvsim_guest_load`.
//
// # Safety
// `buffer` leads to `length` readable bytes; `exit` is null or writable. It may be null.
int uvsim_guest_store(struct uvsim_cpu *cpu,
                      uint64_t address,
                      const void *buffer,
                      size_t length,
                      struct uvsim_exit *exit);

// PREFETCH DATA: may form a translation, and does nothing else.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_OK`.
int uvsim_guest_prefetch(struct uvsim_cpu *cpu, uint64_t address);

// ULTRAVISOR CALL of the guest, as `uvsim_uvc`.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT` (5); the condition code, 0 to 3.
//
// # Safety
// `exit` is null or writable. It may be null.
int uvsim_guest_uvc(struct uvsim_cpu *cpu,
                    uint64_t r1,
                    uint64_t r2,
                    struct uvsim_exit *exit);

// The same with values in the two fields of the instruction that must be zero.
//
// Answers: as `uvsim_guest_uvc`.
//
// # Safety
// `exit` is null or writable. It may be null.
int uvsim_guest_uvc_with(struct uvsim_cpu *cpu,
                         uint64_t r1,
                         uint64_t r2,
                         uint8_t m3,
                         uint8_t m4,
                         struct uvsim_exit *exit);

// DIAGNOSE with a function code, on the general registers. `r1` and `r3` are numbers of registers.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT`.
//
// # Safety
// `exit` is null or writable. It may be null.
int uvsim_guest_diagnose(struct uvsim_cpu *cpu, uint16_t function, uint8_t r1, uint8_t r3, struct uvsim_exit *exit);

// SIGNAL PROCESSOR: order, CPU address and parameter.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT`.
//
// # Safety
// `exit` is null or writable. It may be null.
int uvsim_guest_sigp(struct uvsim_cpu *cpu,
                     uint8_t order,
                     uint16_t target,
                     uint64_t parameter,
                     struct uvsim_exit *exit);

// SERVICE CALL: command word and the real address of the control block.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT`.
//
// # Safety
// `exit` is null or writable. It may be null.
int uvsim_guest_service_call(struct uvsim_cpu *cpu, uint32_t command, uint64_t block, struct uvsim_exit *exit);

// SET PREFIX.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT`.
//
// # Safety
// `exit` is null or writable. It may be null.
int uvsim_guest_set_prefix(struct uvsim_cpu *cpu, uint64_t prefix, struct uvsim_exit *exit);

// LOAD PSW EXTENDED.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT` (the PSW is loaded); `UVSIM_OK`.
//
// # Safety
// `exit` is null or writable. It may be null.
int uvsim_guest_load_psw(struct uvsim_cpu *cpu,
                         uint64_t mask,
                         uint64_t address,
                         struct uvsim_exit *exit);

// LOAD CONTROL on one register; of its number the low four bits count.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_EXIT` (the register is loaded);
// `UVSIM_OK`.
//
// # Safety
// `exit` is null or writable. It may be null.
int uvsim_guest_load_control(struct uvsim_cpu *cpu, uint8_t number, uint64_t value, struct uvsim_exit *exit);

// Loads a general register; of its number the low four bits count. After an exit nothing is loaded.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_OK`.
int uvsim_guest_set_general(struct uvsim_cpu *cpu, uint8_t number, uint64_t value);

// Loads an access register, as `uvsim_guest_set_general`.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_OK`.
int uvsim_guest_set_access(struct uvsim_cpu *cpu, uint8_t number, uint32_t value);

// The guest enters problem state (`on` is not 0) or leaves it, for this stay in SIE.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_OK`.
int uvsim_guest_set_problem_state(struct uvsim_cpu *cpu, int on);

// The registers of the guest CPU.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_E_NULL` (`registers` is null); `UVSIM_OK`.
//
// # Safety
// `registers` is null or writable.
int uvsim_guest_registers(struct uvsim_cpu *cpu, struct uvsim_guest_register_set *registers);

// Makes an image that this machine can start. The components are encrypted where they lie, in the order in which they are to
// be unpacked; the header is written to `header`. Nothing is written unless the answer is `UVSIM_OK`.
//
// `plan` may be null, which is the same as all zeros.
//
// Answers: those of every function; `UVSIM_E_NULL` (`components` though there is a count, `header`, or the data of a
// component); `UVSIM_E_ARGUMENT` (`header_length` is less than `UVSIM_IMAGE_HEADER_LENGTH`, a component is not of whole pages
// at a page, two have bytes in common, data lie in a host view, a reserved member is not zero); `UVSIM_OK`.
//
// # Safety
// `plan` is null or readable; `components` leads to `count` readable ones, the data of each to `length` readable and writable
// bytes; `header` leads to `header_length` writable bytes.
int uvsim_image_build(struct uvsim_machine *machine,
                      const struct uvsim_image_plan *plan,
                      const struct uvsim_component *components,
                      size_t count,
                      void *header,
                      size_t header_length);

// Makes the next `count` calls of a command end busy or partially, or one end late. `command` is a command code, `kind` one
// of `UVSIM_INJECT_BUSY`, `UVSIM_INJECT_PARTIAL` and `UVSIM_INJECT_LATE_FAILURE`.
//
// Answers: those of every function; `UVSIM_E_ARGUMENT` (no such command or kind); `UVSIM_OK`.
int uvsim_inject(struct uvsim_machine *machine,
                 uint16_t command,
                 uint32_t kind,
                 uint64_t count);

// The state of the frame at an absolute address.
//
// Answers: those of every function; `UVSIM_OUTSIDE` (there is no storage at this address); `UVSIM_OK`.
//
// # Safety
// `frame` is null or writable. It may be null.
int uvsim_frame_state(struct uvsim_machine *machine, uint64_t absolute, struct uvsim_frame *frame);

// What the Ultravisor knows of a page of the live configuration behind a handle of the Ultravisor.
//
// Answers: those of every function; `UVSIM_NONE` (no such configuration or page); `UVSIM_OK`.
//
// # Safety
// `state` is null or writable. It may be null.
int uvsim_page_state(struct uvsim_machine *machine, uint64_t configuration, uint64_t page, struct uvsim_page *state);

// Reads storage past all access control.
//
// Answers: those of every function; `UVSIM_E_NULL` (`buffer` is null, though there is a length); `UVSIM_E_ARGUMENT` (no
// object is as long, or it lies in a host view); `UVSIM_OUTSIDE` (nothing has been read); `UVSIM_OK`.
//
// # Safety
// `buffer` leads to `length` writable bytes.
int uvsim_peek(struct uvsim_machine *machine, uint64_t absolute, void *buffer, size_t length);

// Checks what must always be true of a machine. No other thread may use it: what is in the middle of a change could look
// wrong.
//
// Answers: those of every function; `UVSIM_INVARIANT` (an error of the library: the last error says which, and what was
// found); `UVSIM_OK`.
int uvsim_check_invariants(struct uvsim_machine *machine);

// A digest of all that a refused call must leave alone: storage, zone table, configurations, CPUs, rows of pages. The four
// bytes of response and reason code of a control block at the absolute address `block` count as zeros; there is none if
// that is `UVSIM_NO_BLOCK`. No other thread may use the machine.
//
// Answers: those of every function; `UVSIM_OK`.
//
// # Safety
// `digest` is null or leads to four writable doublewords. It may be null.
int uvsim_state_digest(struct uvsim_machine *machine,
                       uint64_t block,
                       uint64_t *digest);

// Makes a machine.
//
// `config` is the `machine` node of the scenario language, or what stands between its braces, for example
// `"storage \"1GiB\"; seed 7"`. Besides the settings of scenarios there is `byte-order`, `big` or `native`. Null stands
// for a machine with all defaults. Key files that it names are read, relative to the working directory. `flags` is 0 or
// `UVSIM_HOST_VIEW`.
//
// Answers: `UVSIM_E_NULL` (`machine` is null); `UVSIM_E_ARGUMENT` (undefined flags, or `config` is not UTF-8);
// `UVSIM_E_CONFIG` (the last error tells all that is wrong); `UVSIM_E_SYSTEM` (there are `UVSIM_MAX_MACHINES`);
// `UVSIM_OK`.
//
// # Safety
// `config` is null or ends with a zero byte; `machine` is null or leads to a writable pointer.
int uvsim_machine_create(const char *config, uint32_t flags, struct uvsim_machine **machine);

// Destroys a machine. Other threads that are in the middle of a call on it come to their end undisturbed.
//
// A machine that is lost can be destroyed as well; what it holds of memory stays with the process.
//
// Answers: those of every function but `UVSIM_E_LOST`; `UVSIM_E_OPERATING` (a CPU is started); `UVSIM_OK`.
int uvsim_machine_destroy(struct uvsim_machine *machine);

// Bytes of absolute storage.
//
// Answers: those of every function; `UVSIM_OK`.
//
// # Safety
// `size` is null or writable. It may be null.
int uvsim_storage_size(struct uvsim_machine *machine, uint64_t *size);

// Lets time pass on the clock of the machine, which nothing else moves. Guests pay for it with their CPU timers.
//
// Answers: those of every function; `UVSIM_OK`.
int uvsim_clock_advance(struct uvsim_machine *machine, uint64_t nanoseconds);

// INVALIDATE PAGE TABLE ENTRY: sets the invalid bit of the entry that the page index of `address` selects in the page table
// at the absolute address `table`, and removes what was formed through it, on all CPUs.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_ipte(struct uvsim_cpu *cpu,
               uint64_t table,
               uint64_t address,
               struct uvsim_interruption *interruption);

// INVALIDATE DAT TABLE ENTRY for one entry of the segment table at the absolute address `table`: sets its invalid bit and
// removes what lies under its index, on all CPUs.
//
// Answers: as `uvsim_ipte`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_idte_segment(struct uvsim_cpu *cpu,
                       uint64_t table,
                       uint64_t address,
                       struct uvsim_interruption *interruption);

// The same for one entry of the region-third table at the absolute address `table`.
//
// Answers: as `uvsim_ipte`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_idte_region(struct uvsim_cpu *cpu, uint64_t table, uint64_t address, struct uvsim_interruption *interruption);

// INVALIDATE DAT TABLE ENTRY by ASCE: removes everything formed under it, on all CPUs.
//
// Answers: as `uvsim_ipte`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_idte_space(struct uvsim_cpu *cpu, uint64_t asce, struct uvsim_interruption *interruption);

// Removes one page of a space on all CPUs: what IPTE does for tables, for hosts that have none (`uvsim_set_translator`).
//
// Answers: as `uvsim_ipte`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_purge_page(struct uvsim_cpu *cpu,
                     uint64_t asce,
                     uint64_t address,
                     struct uvsim_interruption *interruption);

// PURGE TLB: removes everything on this CPU.
//
// Answers: as `uvsim_ipte`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_ptlb(struct uvsim_cpu *cpu, struct uvsim_interruption *interruption);

// Resets the machine: every configuration is gone and the Ultravisor is not initialised. The registers of this CPU stay.
// `kind` is `UVSIM_RESET_LOAD_NORMAL` or `UVSIM_RESET_CLEAR`.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_E_ARGUMENT` (`kind`); `UVSIM_E_OPERATING` (another CPU is
// started); `UVSIM_OK`.
int uvsim_reset(struct uvsim_cpu *cpu,
                uint32_t kind);

// The pointer to an absolute address in the host view. Null if there is no view, or no such storage; then the last
// error says which. The view is one stretch: the pointer to another address lies as far away as that address.
void *uvsim_va(struct uvsim_machine *machine, uint64_t absolute);

// The absolute address behind a pointer.
//
// Answers: those of every function; `UVSIM_E_NO_VIEW`; `UVSIM_E_ARGUMENT` (the pointer does not lead into the host view of
// this machine); `UVSIM_OK`.
//
// # Safety
// `absolute` is null or writable. It may be null.
int uvsim_pa(struct uvsim_machine *machine,
             const void *pointer,
             uint64_t *absolute);

// Asks `callback` about every touch of a secure frame in the host view from now on, in place of whom it asked before;
// nobody if it is null.
//
// The callback runs on the thread that has touched the frame, above the code that did, on the same stack. It may call
// the library, with CPUs of this thread that are in the middle of nothing. It may touch secure frames itself; then it is
// asked again before it has returned, eight times at most. It may leave by `longjmp`. What was interrupted may be
// any function that was given a pointer into the view, such as `memcpy`; functions that must not be called in a signal
// handler are safe to call unless it is one of them that was interrupted.
//
// It is not asked about pointers that were given to the library itself, but for `uvsim_try_copy`.
//
// Answers: those of every function; `UVSIM_E_NO_VIEW`; `UVSIM_OK`.
//
// # Safety
// `callback` can be called with `user`, on all threads that touch the view, until another one takes its place; and a
// while longer on threads that are about to call it.
int uvsim_on_secure_access(struct uvsim_machine *machine,
                           uvsim_secure_access_fn callback,
                           void *user);

// Whether the host view keeps the host away from secure frames.
//
// Answers: those of every function; `UVSIM_E_NO_VIEW`; `UVSIM_E_SYSTEM` (the system has refused a change, most likely because
// the process has too many mappings: since then touches of secure frames go unseen in this view; all else works);
// `UVSIM_OK`.
int uvsim_view_status(struct uvsim_machine *machine);

// Copies `length` bytes, as `memcpy` does, but comes back from whatever it meets. Both pointers may lead into a host view,
// of the same machine or of two, or be plain memory of the process. For secure frames the callback is asked first.
//
// Every page of the source and then of the destination is touched before a byte is copied. So a copy that was stopped has
// changed nothing, unless another thread took a page away while it ran; then a first part of it has been copied.
//
// `cpu` is null, or a CPU of this thread; it is checked and has no other meaning.
//
// Answers: those of every function if `cpu` is not null; `UVSIM_E_NO_VIEW` (not on this system); `UVSIM_E_SYSTEM` (no handler
// could be installed); `UVSIM_E_ARGUMENT` (a pointer leads to no memory, or to memory that cannot be read or written);
// `UVSIM_INTERRUPTED` (0x3d); `UVSIM_OK`.
//
// # Safety
// What `destination` leads to may be stored to, if it can be. `interruption` is null or writable. It may be null.
int uvsim_try_copy(struct uvsim_cpu *cpu,
                   void *destination,
                   const void *source,
                   size_t length,
                   struct uvsim_interruption *interruption);

// Makes a landing the newest of this thread, and returns it; use the macro `UVSIM_TRY`. From now on until `uvsim_landing_pop`,
// or until something was delivered to it, it must stay where it is.
//
// # Safety
// `landing` leads to a `uvsim_landing`. Its `buffer` is filled by `setjmp` before the host view is touched next.
uvsim_landing *uvsim_landing_push(uvsim_landing *landing);

// Takes a landing, and all that are newer, out of use. One that something was delivered to is out of use already.
//
// Answers: `UVSIM_E_ARGUMENT` (it is not in use on this thread); `UVSIM_OK`.
//
// # Safety
// Landings that are in use on this thread are still there.
int uvsim_landing_pop(uvsim_landing *landing);

// What an answer means, in a few words. Never null, for any number; the text is valid for ever.
const char *uvsim_strerror(int answer);

// What was wrong, of the latest call of this thread that has given a negative answer or `UVSIM_INVARIANT`; empty if there was none. Never null.
// The text is valid until the next negative answer on this thread, and as long as the thread lives.
const char *uvsim_last_error(void);

// START INTERPRETIVE EXECUTION with the state description at a host virtual address. What the guest does then is said by
// guest actions, until `uvsim_sie_leave`.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_EXIT` (the entry has ended before the guest could do anything:
// the CPU is not in SIE); `UVSIM_OK` (it is in SIE).
//
// # Safety
// `exit` is null or writable. It may be null.
int uvsim_sie_enter(struct uvsim_cpu *cpu,
                    uint64_t state_description,
                    struct uvsim_exit *exit);

// Ends a stay in SIE. A guest CPU that has left by itself, as an action has answered, needs this all the same: until then
// all its actions give the same answer again.
//
// Answers: those of every function; `UVSIM_E_NOT_IN_SIE`; `UVSIM_EXIT` (it had left by itself: `exit` says why);
// `UVSIM_OK` (it had not).
//
// # Safety
// `exit` is null or writable. It may be null.
int uvsim_sie_leave(struct uvsim_cpu *cpu,
                    struct uvsim_exit *exit);

// Enters SIE, calls `guest`, and leaves SIE.
//
// If the callback itself leaves (`uvsim_sie_leave`), that counts as the end of the stay, and the answer is what it returns.
//
// Answers: those of every function; `UVSIM_E_NULL` (`guest` is null); `UVSIM_E_IN_SIE`; `UVSIM_EXIT` (the entry has ended at
// once and the callback was not called, or the CPU has left by itself: `exit` says why); what the callback has returned.
// After the callback also `UVSIM_E_IN_SIE` (it has left and entered anew: that stay goes on) and `UVSIM_E_DESTROYED` (it has
// stopped the CPU).
//
// # Safety
// `exit` is null or writable. It may be null. `guest` can be called with `user`.
int uvsim_sie(struct uvsim_cpu *cpu,
              uint64_t state_description,
              uvsim_guest_fn guest,
              void *user,
              struct uvsim_exit *exit);

// Takes a snapshot of the machine of a CPU, in place of the last one. Everything that decides what the machine does belongs
// to it: storage, what the Ultravisor knows, random streams, injected answers, the clock, registers and translation buffers of
// all CPUs. Who listens, and what translates, does not.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_E_OPERATING` (another CPU is started, or a device is at work);
// `UVSIM_OK`.
int uvsim_snapshot(struct uvsim_cpu *cpu);

// Goes back to the snapshot, which stays. Costs what was touched since.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_E_OPERATING` (another CPU is started, or a device is at work);
// `UVSIM_E_NO_SNAPSHOT`; `UVSIM_OK`. Unless it is `UVSIM_OK`, nothing has changed.
int uvsim_restore(struct uvsim_cpu *cpu);

// Loads a byte.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
//
// # Safety
// `value` and `interruption` are each null or writable. Each may be null.
int uvsim_load8(struct uvsim_cpu *cpu, uint64_t address, uint8_t *value, struct uvsim_interruption *interruption);

// Loads a halfword.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
//
// # Safety
// `value` and `interruption` are each null or writable. Each may be null.
int uvsim_load16(struct uvsim_cpu *cpu, uint64_t address, uint16_t *value, struct uvsim_interruption *interruption);

// Loads a word.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
//
// # Safety
// `value` and `interruption` are each null or writable. Each may be null.
int uvsim_load32(struct uvsim_cpu *cpu, uint64_t address, uint32_t *value, struct uvsim_interruption *interruption);

// Loads a doubleword.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
//
// # Safety
// `value` and `interruption` are each null or writable. Each may be null.
int uvsim_load64(struct uvsim_cpu *cpu, uint64_t address, uint64_t *value, struct uvsim_interruption *interruption);

// Stores a byte.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_store8(struct uvsim_cpu *cpu, uint64_t address, uint8_t value, struct uvsim_interruption *interruption);

// Stores a halfword.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_store16(struct uvsim_cpu *cpu, uint64_t address, uint16_t value, struct uvsim_interruption *interruption);

// Stores a word.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_store32(struct uvsim_cpu *cpu, uint64_t address, uint32_t value, struct uvsim_interruption *interruption);

// Stores a doubleword.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
//
// # Safety
// `interruption` is null or writable. It may be null.
int uvsim_store64(struct uvsim_cpu *cpu, uint64_t address, uint64_t value, struct uvsim_interruption *interruption);

// Loads `length` bytes.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_E_NULL` (`buffer` is null, though there is a length);
// `UVSIM_E_ARGUMENT` (no object is as long, or it lies in a host view); `UVSIM_INTERRUPTED`; `UVSIM_OK`.
//
// # Safety
// `buffer` leads to `length` writable bytes of plain memory; `interruption` is null or writable. It may be null.
int uvsim_load(struct uvsim_cpu *cpu,
               uint64_t address,
               void *buffer,
               size_t length,
               struct uvsim_interruption *interruption);

// Fetches `length` bytes as instructions are fetched: a load, but a secure-storage access does not tell its address.
//
// Answers: as `uvsim_load`.
//
// # Safety
// As `uvsim_load`.
int uvsim_fetch(struct uvsim_cpu *cpu,
                uint64_t address,
                void *buffer,
                size_t length,
                struct uvsim_interruption *interruption);

// Stores `length` bytes.
//
// Answers: as `uvsim_load`.
//
// # Safety
// `buffer` leads to `length` readable bytes of plain memory; `interruption` is null or writable. It may be null.
int uvsim_store(struct uvsim_cpu *cpu,
                uint64_t address,
                const void *buffer,
                size_t length,
                struct uvsim_interruption *interruption);

// Where a load would go: the absolute address behind an address. No access is made, so whether one would be permitted is
// not told.
//
// Answers: those of every function; `UVSIM_E_IN_SIE`; `UVSIM_INTERRUPTED`; `UVSIM_OK`.
//
// # Safety
// `absolute` and `interruption` are each null or writable. Each may be null.
int uvsim_translate(struct uvsim_cpu *cpu,
                    uint64_t address,
                    uint64_t *absolute,
                    struct uvsim_interruption *interruption);

// Has a translator answer in place of the tables of a space from now on, in every walk; the tables have their turn again if
// `translator` is null. What it answers is buffered. Nothing is purged: that is for the host, with `uvsim_purge_page` or
// `uvsim_idte_space`.
//
// Answers: those of every function; `UVSIM_OK`.
//
// # Safety
// `translator` can be called with `user`, on all threads that use the machine, until another one has taken its place and
// calls that began before are over.
int uvsim_set_translator(struct uvsim_machine *machine,
                         uint64_t asce,
                         uvsim_translate_fn translator,
                         void *user);

// The version of the library as a text, such as `0.1.0`. Never null; the text is valid for ever.
const char *uvsim_version(void);

// The version of the library as a number: major × 1000000 + minor × 1000 + patch level.
uint32_t uvsim_version_number(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* UVSIM_H */

#ifndef UVSIM_LANDING_H
#define UVSIM_LANDING_H

/* A place to which interruptions of raw accesses are delivered; see UVSIM_TRY. */
struct uvsim_landing {
    /* The library's own. */
    uvsim_landing *previous;
    uintptr_t mark;
    /* What was delivered. */
    uvsim_interruption interruption;
    /* The pointer that was used. */
    void *address;
    /* The absolute address behind it. */
    uint64_t absolute;
    /* Zeros. */
    uint64_t reserved[2];
    /* Filled by UVSIM_TRY. */
    jmp_buf buffer;
};

/* The library finds the buffer there. */
typedef char uvsim_landing_buffer_is_at_64[offsetof(uvsim_landing, buffer) == 64 ? 1 : -1];

/*
 * Whether code that touches the host view goes on, as with setjmp: 1 at first; 0 when an interruption was delivered,
 * which landing->interruption tells. In between comes uvsim_landing_pop(landing), on every way out of that code.
 *
 *     uvsim_landing landing;
 *     if (UVSIM_TRY(&landing)) {
 *         value = *pointer;
 *         uvsim_landing_pop(&landing);
 *     } else {
 *         report(&landing.interruption);
 *     }
 *
 * Local variables that the code changes, and that are used after a delivery, must be volatile.
 */
#define UVSIM_TRY(landing) (setjmp(uvsim_landing_push(landing)->buffer) == 0)

#endif /* UVSIM_LANDING_H */
