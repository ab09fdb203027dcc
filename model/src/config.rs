//! What a machine is made of.

use crate::crypto::{HostKeys, PrivateKey};
use crate::seed::{Purpose, Seed};
use crate::uvc::Command;

/// The machine generation: which calls are installed (Q32), and a few old answers (D15).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub enum Generation {
    /// IBM z15.
    Z15,
    /// IBM z16.
    #[default]
    Z16,
    /// IBM z17.
    Z17,
}

/// The cipher under which pages are exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum CipherProfile {
    /// AES-256-GCM with a counter nonce.
    #[default]
    Gcm,
    /// AES-256-XTS with an HMAC-SHA-256 integrity value.
    Xts,
}

/// When an exported page gets a new counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum ChangeDetection {
    /// Only when its content has changed since the last export (US11206128).
    #[default]
    Digest,
    /// At every export.
    Always,
}

/// The byte order of control blocks, translation tables and state descriptions in storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum ByteOrder {
    /// As on Z.
    #[default]
    Big,
    /// That of the machine that runs the simulator, for host code compiled for it.
    Native,
}

impl ByteOrder {
    /// Reads a doubleword.
    #[must_use]
    #[inline(always)]
    pub const fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Big => u64::from_be_bytes(bytes),
            Self::Native => u64::from_ne_bytes(bytes),
        }
    }

    /// Writes a doubleword.
    #[must_use]
    #[inline(always)]
    pub const fn u64_bytes(self, value: u64) -> [u8; 8] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Native => value.to_ne_bytes(),
        }
    }

    /// Reads a word.
    #[must_use]
    pub const fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Native => u32::from_ne_bytes(bytes),
        }
    }

    /// Reads a halfword.
    #[must_use]
    pub const fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Native => u16::from_ne_bytes(bytes),
        }
    }

    /// Writes a word.
    #[must_use]
    pub const fn u32_bytes(self, value: u32) -> [u8; 4] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Native => value.to_ne_bytes(),
        }
    }

    /// Writes a halfword.
    #[must_use]
    pub const fn u16_bytes(self, value: u16) -> [u8; 2] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Native => value.to_ne_bytes(),
        }
    }
}

/// Everything that decides how a machine behaves. Two machines with equal configurations that are
/// driven alike do the same, bit for bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// Bytes of absolute storage: a multiple of 1 MiB, at most 16 TiB (D75).
    pub storage: u64,
    /// Host CPUs, 1 to 64.
    pub cpus: u16,
    /// Where all randomness comes from (D46).
    pub seed: u64,
    /// The machine generation.
    pub generation: Generation,
    /// The page cipher.
    pub cipher: CipherProfile,
    /// When an export counts up.
    pub change_detection: ChangeDetection,
    /// Feature "misc" (feature word bit 0); `None` takes it from the generation (D15).
    pub feature_misc: Option<bool>,
    /// Commands that are taken away from the preset (D14).
    pub without: Vec<Command>,
    /// Refuse image tweaks that do not rise (D50).
    pub strict_tweaks: bool,
    /// The host key; `None` derives it from the seed.
    pub host_key: Option<PrivateKey>,
    /// The backup host key; `None` derives it from the seed.
    pub backup_host_key: Option<PrivateKey>,
    /// Byte order of the structures in storage.
    pub byte_order: ByteOrder,
    /// Seed and unique id of every new configuration, for known-answer tests only (D45).
    pub fixed_page_keys: Option<([u8; 32], [u8; 16])>,
    /// The host has a mapping of storage of its own, for plain loads and stores ([`crate::Machine::host_view`]). Linux
    /// with pages of 4 KiB only.
    pub host_view: bool,
}

/// The most storage that a machine may have, bytes.
pub const MAX_STORAGE: u64 = 16 << 40;
/// The most host CPUs that a machine may have.
pub const MAX_CPUS: u16 = 64;

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            storage: 4 << 30,
            cpus: 2,
            seed: 1,
            generation: Generation::default(),
            cipher: CipherProfile::default(),
            change_detection: ChangeDetection::default(),
            feature_misc: None,
            without: Vec::new(),
            strict_tweaks: false,
            host_key: None,
            backup_host_key: None,
            byte_order: ByteOrder::default(),
            fixed_page_keys: None,
            host_view: false,
        }
    }
}

impl MachineConfig {
    /// Whether feature "misc" is on.
    #[must_use]
    pub fn misc(&self) -> bool {
        self.feature_misc.unwrap_or(self.generation != Generation::Z15)
    }

    /// The keys for which images are made that this machine can start. Where none are given, they are drawn
    /// from the seed: sub-stream 0 of its host keys is the host key, 1 the backup key.
    #[must_use]
    pub fn host_keys(&self) -> HostKeys {
        let draw = |number| PrivateKey::generate(&mut Seed(self.seed).substream(Purpose::HostKeys, number));
        HostKeys {
            host: self.host_key.clone().unwrap_or_else(|| draw(0)),
            backup: self.backup_host_key.clone().unwrap_or_else(|| draw(1)),
        }
    }
}

/// A configuration that no machine can be built from.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Storage is zero, too large or not a multiple of 1 MiB.
    #[error("storage of {0:#x} bytes: must be a multiple of 1 MiB, from 1 MiB to 16 TiB")]
    Storage(u64),
    /// Number of CPUs out of range.
    #[error("{0} CPUs: must be 1 to {MAX_CPUS}")]
    Cpus(u16),
    /// The system does not give address space for all of storage.
    #[error("storage of {0:#x} bytes: the system gives no address space for it: {1}")]
    AddressSpace(u64, std::io::ErrorKind),
    /// The system does not give the host a mapping of storage.
    #[error("storage of {0:#x} bytes: the system gives the host no mapping of it: {1}")]
    HostView(u64, std::io::ErrorKind),
}
