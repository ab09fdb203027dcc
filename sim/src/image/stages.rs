//! The two stages of the boot loader in an image, and what it demands of a kernel.
//!
//! The loaders of s390-tools are not part of this project. The stubs here stop the CPU with a disabled wait:
//! this simulator does not run guest code, and on a machine that does, the address in the PSW tells why.

use super::layout::{STAGE3A_ENTRY, STAGE3A_OFFSET, Stage3aArguments, Stage3bArguments};

/// Where a kernel starts.
pub const KERNEL_ENTRY: u64 = 0x1_0000;

/// Where the CPU has stopped, in the PSW of a stub.
const STOPPED_UNPROTECTED: u64 = 0x3a;
const STOPPED_PROTECTED: u64 = 0x3b;
const EP_OFFSET: usize = 0x1_0008;
const EP: &[u8] = b"S390EP";
const COMMAND_LINE_SIZE_OFFSET: usize = 0x1_0430;
/// Kernels that do not say how much they take.
const USUAL_COMMAND_LINE: u64 = 896;
const ELF: &[u8] = b"\x7fELF";

/// A boot loader without room for its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name} has {length} bytes: code, and {arguments} bytes for arguments at its end, are needed")]
pub struct StageTooShort {
    /// Which one.
    pub name: &'static str,
    /// Its bytes.
    pub length: usize,
    /// Bytes of its arguments.
    pub arguments: usize,
}

/// A kernel that image tools do not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KernelFault {
    /// An ELF file.
    #[error("the kernel is an ELF file: the raw image (`arch/s390/boot/bzImage`) is needed")]
    Elf,
    /// Not a kernel for this architecture.
    #[error("not a Linux kernel for s390x: `S390EP` is not at {EP_OFFSET:#x}")]
    NoEntryPoint,
    /// The kernel does not take so long a command line.
    #[error("the command line has {length} bytes with its NUL, this kernel takes {most}")]
    CommandLine {
        /// Bytes, NUL included.
        length: u64,
        /// Most bytes.
        most: u64,
    },
}

/// What image tools check of a kernel and of the command line for it.
///
/// # Errors
/// [`KernelFault`].
pub fn check_kernel(kernel: &[u8], command_line: Option<&[u8]>) -> Result<(), KernelFault> {
    if kernel.starts_with(ELF) {
        return Err(KernelFault::Elf);
    }
    let size = kernel.get(COMMAND_LINE_SIZE_OFFSET..).and_then(|rest| rest.first_chunk());
    let (Some(EP), Some(size)) = (kernel.get(EP_OFFSET..EP_OFFSET + EP.len()), size) else {
        return Err(KernelFault::NoEntryPoint);
    };
    let most = match u64::from_be_bytes(*size) {
        0 => USUAL_COMMAND_LINE,
        size => size,
    };
    let length = command_line.map_or(0, |line| line.len() as u64 + u64::from(line.last() != Some(&0)));
    if length > most { Err(KernelFault::CommandLine { length, most }) } else { Ok(()) }
}

/// Writes the arguments of a stage into its last bytes.
pub(super) fn fill_in(name: &'static str, stage: &mut [u8], arguments: &[u8]) -> Result<(), StageTooShort> {
    let length = stage.len();
    match length.checked_sub(arguments.len()) {
        None | Some(0) => Err(StageTooShort { name, length, arguments: arguments.len() }),
        Some(code) => {
            stage[code..].copy_from_slice(arguments);
            Ok(())
        }
    }
}

/// Stops at [`STAGE3A_ENTRY`].
pub(super) fn stage3a_stub() -> Vec<u8> {
    let mut stage = vec![0; (STAGE3A_ENTRY - STAGE3A_OFFSET) as usize];
    stage.extend(disabled_wait(STOPPED_UNPROTECTED));
    stage.resize(stage.len() + size_of::<Stage3aArguments>(), 0);
    stage
}

/// Stops at its beginning.
pub(super) fn stage3b_stub() -> Vec<u8> {
    let mut stage = disabled_wait(STOPPED_PROTECTED);
    stage.resize(stage.len() + size_of::<Stage3bArguments>(), 0);
    stage
}

/// `basr %r1,0; lpswe 6(%r1)` and the PSW behind it, for a place at a doubleword.
fn disabled_wait(address: u64) -> Vec<u8> {
    const WAIT: u64 = 0x0002_0001_8000_0000;
    let mut code = vec![0x0d, 0x10, 0xb2, 0xb2, 0x10, 0x06, 0, 0];
    code.extend(WAIT.to_be_bytes());
    code.extend(address.to_be_bytes());
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(command_line: u64) -> Vec<u8> {
        let mut kernel = vec![0; COMMAND_LINE_SIZE_OFFSET + 8];
        kernel[EP_OFFSET..EP_OFFSET + 6].copy_from_slice(EP);
        kernel[COMMAND_LINE_SIZE_OFFSET..].copy_from_slice(&command_line.to_be_bytes());
        kernel
    }

    #[test]
    fn kernels_are_looked_at() {
        assert_eq!(check_kernel(&kernel(0), None), Ok(()));
        assert_eq!(check_kernel(b"\x7fELF....", None), Err(KernelFault::Elf));
        assert_eq!(check_kernel(b"", None), Err(KernelFault::NoEntryPoint));
        assert_eq!(check_kernel(&kernel(0)[..COMMAND_LINE_SIZE_OFFSET + 7], None), Err(KernelFault::NoEntryPoint));
        let mut other = kernel(0);
        other[EP_OFFSET] = b's';
        assert_eq!(check_kernel(&other, None), Err(KernelFault::NoEntryPoint));
    }

    #[test]
    fn command_lines_have_an_end() {
        let check = |size, len| check_kernel(&kernel(size), Some(&vec![b'x'; len]));
        assert_eq!((check(0, 895), check(10, 9)), (Ok(()), Ok(())));
        assert_eq!(check(0, 896), Err(KernelFault::CommandLine { length: 897, most: 896 }));
        assert_eq!(check(10, 10), Err(KernelFault::CommandLine { length: 11, most: 10 }));
        assert_eq!(check_kernel(&kernel(10), Some(b"123456789\0")), Ok(()), "its own NUL counts once");
    }

    #[test]
    fn arguments_need_room() {
        let mut stage = vec![7; 25];
        assert_eq!(fill_in("stage3a", &mut stage, &[1; 24]), Ok(()));
        assert_eq!((stage[0], &stage[1..]), (7, &[1; 24][..]));
        let short = StageTooShort { name: "stage3a", length: 24, arguments: 24 };
        assert_eq!(fill_in("stage3a", &mut [0; 24], &[1; 24]), Err(short));
    }
}
