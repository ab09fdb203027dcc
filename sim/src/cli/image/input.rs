//! Files that `uvsim image` reads, with messages that name them.

use super::Complaint;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use uvsim::image::{MOST_BYTES, Recipient, SeImageFile};
use uvsim_model::crypto::PrivateKey;
use zeroize::Zeroizing;

/// Largest key or certificate.
const LONGEST_DOCUMENT: u64 = 1 << 20;

/// `FILE@ADDRESS` or `FILE@ADDRESS:PREFIX`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ComponentArgument {
    pub(super) file: PathBuf,
    pub(super) address: u64,
    pub(super) prefix: Option<u64>,
}

/// `MASK:ADDRESS`, both hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PswArgument(pub(super) [u64; 2]);

/// An image file.
pub(super) fn image(path: &Path) -> Result<SeImageFile, Complaint> {
    // A pipe can be read only once, and an image is read in pieces. Opening one that nobody writes to would wait.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return Err(format!("`{}` is not a regular file", path.display()));
    }
    let mut file = open(path)?;
    SeImageFile::read(&mut file).map_err(|error| format!("`{}`: {error}", path.display()))
}

/// A kernel, a RAM disk, a component.
pub(super) fn content(path: &Path) -> Result<Vec<u8>, Complaint> {
    match is_device(path) {
        true => Err(format!("`{}` is a device: a file or a pipe is wanted", path.display())),
        false => read(path, MOST_BYTES),
    }
}

/// Devices such as `/dev/zero` never end.
#[cfg(unix)]
fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_char_device())
}

#[cfg(not(unix))]
fn is_device(_: &Path) -> bool {
    false
}

/// A key of so many bytes and nothing else.
pub(super) fn key<const N: usize>(path: &Path) -> Result<Zeroizing<[u8; N]>, Complaint> {
    let bytes = Zeroizing::new(read(path, LONGEST_DOCUMENT)?);
    let key = bytes.as_slice().try_into().map(Zeroizing::new);
    key.map_err(|_| format!("`{}` has {} bytes: a key of {N} is wanted", path.display(), bytes.len()))
}

/// A host key document, or a private host key.
pub(super) fn recipient(path: &Path) -> Result<Recipient, Complaint> {
    let bytes = Zeroizing::new(read(path, LONGEST_DOCUMENT)?);
    Recipient::read(&bytes).map_err(|error| format!("`{}`: {error}", path.display()))
}

/// The private half of a host key.
pub(in crate::cli) fn private_key(path: &Path) -> Result<PrivateKey, Complaint> {
    let bytes = Zeroizing::new(read(path, LONGEST_DOCUMENT)?);
    Recipient::read_private(&bytes).map_err(|error| format!("`{}`: {error}", path.display()))
}

fn open(path: &Path) -> Result<File, Complaint> {
    if path.is_dir() {
        return Err(format!("`{}` is a directory", path.display()));
    }
    File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("`{}`: there is no such file", path.display()),
        _ => format!("`{}` cannot be read: {error}", path.display()),
    })
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Complaint> {
    let file = open(path)?;
    let too_large = || format!("`{}` is too large: {most} bytes at most", path.display());
    if file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > most) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let read = file.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
    if bytes.len() as u64 > most { Err(too_large()) } else { Ok(bytes) }
}

impl FromStr for ComponentArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (file, place) = text.rsplit_once('@').ok_or("`FILE@ADDRESS` is wanted")?;
        if file.is_empty() {
            return Err("there is no file before the `@`".into());
        }
        let (address, prefix) = match place.split_once(':') {
            Some((address, prefix)) => (address, Some(number(prefix, 10)?)),
            None => (place, None),
        };
        Ok(Self { file: file.into(), address: number(address, 10)?, prefix })
    }
}

impl FromStr for PswArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mask, address) = text.split_once(':').ok_or("`MASK:ADDRESS` is wanted, both hexadecimal")?;
        Ok(Self([number(mask, 16)?, number(address, 16)?]))
    }
}

/// Digits behind `0x` are hexadecimal, others of the usual base.
fn number(text: &str, usual: u32) -> Result<u64, String> {
    let (digits, base) = text.strip_prefix("0x").map_or((text, usual), |digits| (digits, 16));
    let plain = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base));
    let value = if plain { u64::from_str_radix(digits, base).ok() } else { None };
    value.ok_or_else(|| format!("`{text}` is not a number of 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components() {
        let read = |text: &str| text.parse::<ComponentArgument>();
        let wanted = |file: &str, address, prefix| Ok(ComponentArgument { file: file.into(), address, prefix });
        assert_eq!(read("a@b.bin@0x1000"), wanted("a@b.bin", 0x1000, None));
        assert_eq!(read("a@4096:0x42"), wanted("a", 0x1000, Some(0x42)));
        for wrong in ["a", "@0", "a@", "a@x", "a@0x", "a@+1", "a@1:", "a@0x10000000000000000", "a@-1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn psws() {
        let read = |text: &str| text.parse::<PswArgument>();
        assert_eq!(read("180000000:10000"), Ok(PswArgument([0x1_8000_0000, 0x1_0000])));
        assert_eq!(read("0x180000000:0x4000"), Ok(PswArgument([0x1_8000_0000, 0x4000])));
        assert!(read("180000000").is_err() && read("g:0").is_err());
    }
}
