//! The C interface of uvsim: a machine with an Ultravisor that a C program links.
//!
//! The header is `include/uvsim.h`; what stands here is the documentation of what it declares.
//!
//! # Handles
//!
//! `uvsim_machine *` and `uvsim_cpu *` are numbers that look like pointers and are never dereferenced. A handle that is
//! null, of another kind, made up or no longer in use gets an answer ([`result::UVSIM_E_HANDLE`],
//! [`result::UVSIM_E_DESTROYED`]) and does no harm. No number is given out twice.
//!
//! # Answers
//!
//! Functions return an `int`: 0 is success, a positive number is what the machine said, a negative one is a mistake of the
//! caller or a failure of the system; then [`result::uvsim_last_error`] has a text. The list of answers of a function
//! stands in its documentation, in the order in which they are looked for.
//!
//! Any function that takes a handle may answer, before all others and in this order: `UVSIM_E_NULL`, `UVSIM_E_HANDLE`,
//! `UVSIM_E_DESTROYED`, then for CPUs `UVSIM_E_THREAD`, then `UVSIM_E_REENTERED` and `UVSIM_E_LOST`; and in place of all
//! others `UVSIM_E_INTERNAL`.
//!
//! # Pointers
//!
//! Pointers for results may be null where that is said ("may be null"), which means that the result is not wanted. They
//! need no alignment and may overlap: results are written one after the other, when everything else is done. Other
//! pointers must lead to as many readable or writable bytes as is said; that is the one promise that a caller has to
//! keep, for nobody can check it. Neither results nor buffers may lie in a host view, which a call cannot touch for its
//! caller; a buffer there answers `UVSIM_E_ARGUMENT`.
//!
//! # Threads
//!
//! A CPU belongs to the thread that has started it; calls from others answer `UVSIM_E_THREAD`. When that thread ends,
//! its CPUs are stopped, and their handles are destroyed ones. All functions of machines may be called from any thread
//! at any time, destruction included.
//!
//! # Stability
//!
//! Within a major version (the number in `libuvsim.so.0`) no function, constant or member of a structure goes away or
//! changes its meaning. There may be new functions, new positive and negative answers where a function's documentation
//! does not list all of them, new kinds of events, and meanings for members that are called `reserved`, which the library
//! fills with zeros and a caller has to fill with zeros. The size of no structure changes.
//!
//! # The modules
//!
//! | module | what |
//! |---|---|
//! | [`result`] | answers, and their texts |
//! | [`machine`] | machines |
//! | [`cpu`] | CPUs and their registers |
//! | [`call`] | ULTRAVISOR CALL |
//! | [`storage`] | loads and stores |
//! | [`absolute`] | the same at absolute addresses |
//! | [`purge`] | IPTE and its like; reset |
//! | [`channel`] | channel I/O |
//! | [`sie`] | SIE, and why it ends |
//! | [`guest`] | what a guest does |
//! | [`event`] | what happened |
//! | [`inject`] | busy and partial answers |
//! | [`image`] | SE images |
//! | [`inspect`] | a look behind the curtain |
//! | [`snapshot`] | back to an earlier moment |
//! | [`translator`] | what stands in for tables |
//! | [`version`] | which library this is |
//! | [`raw`] | host storage as plain memory |
//!
//! # A host in Rust
//!
//! needs none of this: what C calls here is the crate `uvsim_model`, and images come from `uvsim::image`. The same surface,
//! with types in place of handles:
//!
//! ```
//! use uvsim::image::{Component, ImageKeys, Recipe, USUAL_FLAGS, USUAL_PSW_MASK};
//! use uvsim::scenario::machine_config;
//! use uvsim_model::address::{AbsoluteAddress, GuestAddress, VirtualAddress};
//! use uvsim_model::cpu::{HostCpu, Uvc};
//! use uvsim_model::seed::{Purpose, Seed};
//! use uvsim_model::storage::{Asce, ProgramCode};
//! use uvsim_model::uvc::Command;
//! use uvsim_model::{CONFIGURATION_BASE_LENGTH, Machine, UV_BASE_LENGTH};
//!
//! const BLOCK: u64 = 0x1_0000;
//!
//! /// A call with a block of these doublewords; the host's translation is off, so its addresses are real ones.
//! fn call(cpu: &mut HostCpu<'_>, command: Command, fields: &[(u64, u64)]) {
//!     let length = u64::from(command.usual_length());
//!     cpu.store(VirtualAddress(BLOCK), &vec![0; length as usize]).unwrap();
//!     cpu.store_u64(VirtualAddress(BLOCK), length << 48 | u64::from(command.code()) << 32).unwrap();
//!     for &(offset, value) in fields {
//!         cpu.store_u64(VirtualAddress(BLOCK + offset), value).unwrap();
//!     }
//!     let cc = cpu.uvc(Uvc::at(VirtualAddress(BLOCK))).unwrap();
//!     assert_eq!(cc as u8, 0, "{command:?}");
//! }
//!
//! let machine = Machine::new(machine_config("storage \"4GiB\"; cpus 1; seed 7")?)?;
//! let mut cpu = machine.cpu(0)?;
//! call(&mut cpu, Command::InitUv, &[(0x18, 2 << 30), (0x20, UV_BASE_LENGTH)]);
//!
//! // The host's tables of a guest with 1 MiB: all pages are invalid as yet.
//! let (segments, pages, description) = (0x20_0000, 0x20_4000, 0x20_5000);
//! for entry in 0..2048 {
//!     cpu.store_u64(VirtualAddress(segments + entry * 8), 0x20).unwrap();
//! }
//! for entry in 0..256 {
//!     cpu.store_u64(VirtualAddress(pages + entry * 8), 0x400).unwrap();
//! }
//! cpu.store_u64(VirtualAddress(segments), pages).unwrap();
//! let asce = Asce(segments | 0x103);
//! let base = 0x30_0000;
//! let fields = [(0x20, base), (0x28, base + CONFIGURATION_BASE_LENGTH), (0x40, 1 << 20), (0x48, 0x21_0000), (0x50, asce.0)];
//! call(&mut cpu, Command::CreateSecConf, &fields);
//! let guest = cpu.load_u64(VirtualAddress(BLOCK + 0x18)).unwrap();
//! call(&mut cpu, Command::CreateSecCpu, &[(0x20, guest), (0x28, 0x22_0000), (0x38, description)]);
//! let guest_cpu = cpu.load_u64(VirtualAddress(BLOCK + 0x18)).unwrap();
//! for (at, value) in [(0x10, guest_cpu), (0x18, guest), (0x68, 2 << 56), (0x180, 0x22_1000)] {
//!     cpu.store_u64(VirtualAddress(description + at), value).unwrap();
//! }
//!
//! // Its image: two pages at guest absolute 0.
//! let recipe = Recipe {
//!     recipients: &[machine.host_public_key().clone()],
//!     flags: USUAL_FLAGS,
//!     secret_flags: 0,
//!     psw: [USUAL_PSW_MASK, 0x1000],
//!     components: vec![Component::new(1, 0, vec![0x42; 0x2000])],
//!     keys: ImageKeys::draw(&mut Seed(7).stream(Purpose::Images)),
//! };
//! let image = recipe.make()?;
//! cpu.store(VirtualAddress(0x23_0000), &image.header).unwrap();
//! let length = (image.header.len() as u64) << 32;
//! call(&mut cpu, Command::SetSecConfParams, &[(0x18, guest), (0x20, 0x23_0000), (0x28, length)]);
//! for page in image.pages() {
//!     let frame = 0x24_0000 + page.address;
//!     cpu.store(VirtualAddress(frame), page.bytes).unwrap();
//!     cpu.store_u64(VirtualAddress(pages + page.address / 4096 * 8), frame).unwrap();
//!     let [prefix, offset] = page.tweak;
//!     call(&mut cpu, Command::UnpackImg, &[(0x18, guest), (0x20, page.address), (0x28, prefix), (0x30, offset)]);
//! }
//! call(&mut cpu, Command::VerifyImg, &[(0x18, guest)]);
//! call(&mut cpu, Command::CpuSetState, &[(0x18, guest_cpu), (0x20, 5)]);
//!
//! // It runs. Whatever a host does then can be taken back.
//! cpu.set_primary(asce);
//! cpu.enter(VirtualAddress(description)).unwrap().store(GuestAddress(0x1000), b"secret").unwrap();
//! cpu.snapshot()?;
//! for _ in 0..3 {
//!     let refused = cpu.load_u64(VirtualAddress(0x24_1000)).unwrap_err();
//!     assert_eq!(refused.code, ProgramCode::SecureStorageAccess);
//!     call(&mut cpu, Command::ConvFromSecStor, &[(0x18, 0x24_1000)]);
//!     cpu.ipte(AbsoluteAddress(pages), VirtualAddress(0x1000)).unwrap();
//!     assert!(cpu.load_u64(VirtualAddress(0x24_1000)).is_ok(), "it is encrypted now");
//!     cpu.restore()?;
//! }
//! let mut bytes = [0; 6];
//! cpu.enter(VirtualAddress(description)).unwrap().load(GuestAddress(0x1000), &mut bytes).unwrap();
//! assert_eq!(&bytes, b"secret");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![allow(unsafe_code, reason = "this is the boundary to C")]
#![allow(non_camel_case_types, reason = "the names are those of the C interface")]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("handles are numbers of 64 bits");

pub mod absolute;
pub mod call;
pub mod channel;
pub mod cpu;
pub mod event;
pub mod guest;
mod handle;
pub mod image;
pub mod inject;
pub mod inspect;
pub mod machine;
pub mod purge;
pub mod raw;
pub mod result;
pub mod sie;
pub mod snapshot;
pub mod storage;
#[cfg(test)]
mod tests;
mod thread;
pub mod translator;
pub mod version;
