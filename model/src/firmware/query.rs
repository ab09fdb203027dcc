//! QUI and QUERY_KEYS: what the Ultravisor tells of itself.

use super::{CallResult, Stop, Ultravisor};
use crate::config::{Generation, MachineConfig};
use crate::crypto::plain_flag;
use crate::storage::Domain;
use crate::uvc::{Block, Command, InstalledCalls, QUI_FULL_LENGTH, Refusal, Response};

/// Bytes to donate in INIT_UV: the figure of public boot logs.
pub const UV_BASE_LENGTH: u64 = 98 << 20;
/// Absolute-contiguous bytes per configuration (Q1).
pub const CONFIGURATION_BASE_LENGTH: u64 = 0x1_0000;
/// Fixed virtual-contiguous bytes per configuration (Q1).
pub const CONFIGURATION_FIXED_LENGTH: u64 = 0x1_0000;
/// Further virtual-contiguous bytes per MiB of guest storage (Q1, D16).
pub const CONFIGURATION_LENGTH_PER_MEBIBYTE: u64 = 0x1000;
/// Bytes per CPU, as in the public query sample of s390-tools.
pub const CPU_STORAGE_LENGTH: u64 = 0x1000;
/// Highest CPU number of a configuration.
pub const MAX_CPU_NUMBER: u16 = 256;
/// First address that no guest storage may reach.
pub const MAX_GUEST_ADDRESS: u64 = 0x8000_0000_0000;

/// Doublewords of QUI about dump, attestation and secrets.
const NOT_BUILT: [u16; 7] = [0xc8, 0xd0, 0xe0, 0xe8, 0xf8, 0x100, 0x108];
const FEATURE_MISC: u64 = 1 << 63;
/// Header flags that the machine knows a meaning for (D53).
const HEADER_FLAGS: u64 = plain_flag::DUMP
    | plain_flag::PLAIN_COMPONENTS
    | plain_flag::PCKMO_DEA
    | plain_flag::PCKMO_AES
    | plain_flag::PCKMO_ECC
    | plain_flag::BACKUP_KEY;
const HEADER_FLAGS_Z17: u64 = HEADER_FLAGS | plain_flag::PCKMO_HMAC;
const _: () = assert!(HEADER_FLAGS == 0x3000_00e2 && HEADER_FLAGS_Z17 == 0x3000_00f2);
const HEADER_VERSION_1: u64 = 1 << 63;

/// Commands of the z15 preset that this Ultravisor implements, beside the ones below (Q32, D14).
const HOST_FROM_Z15: &[Command] = &[
    Command::QueryUvInformation,
    Command::InitUv,
    Command::CreateSecConf,
    Command::DestroySecConf,
    Command::CreateSecCpu,
    Command::DestroySecCpu,
    Command::ConvToSecStor,
    Command::ConvFromSecStor,
    Command::SetSecConfParams,
    Command::DestrSecStor,
    Command::UnpackImg,
    Command::VerifyImg,
    Command::CpuReset,
    Command::CpuResetInitial,
    Command::CpuSetState,
    Command::PrepareReset,
    Command::CpuResetClear,
    Command::SetUnsharedAll,
    Command::PinPageShared,
    Command::UnpinPageShared,
];
const HOST_FROM_Z16: &[Command] = &[Command::DestroySecConfFast];
const GUEST_FROM_Z15: &[Command] =
    &[Command::QueryUvInformation, Command::SetSharedAccess, Command::RemoveSharedAccess];
const BOTH_FROM_Z17: &[Command] = &[Command::QueryKeys];

/// The calls that a host and a guest of this machine find installed.
pub(super) fn installed(config: &MachineConfig) -> (InstalledCalls, InstalledCalls) {
    let collect = |lists: &[(Generation, &[Command])]| {
        let mut calls = InstalledCalls::default();
        for (since, list) in lists {
            for &command in *list {
                if config.generation >= *since && !config.without.contains(&command) {
                    calls = calls.with(command);
                }
            }
        }
        calls
    };
    let host = [(Generation::Z15, HOST_FROM_Z15), (Generation::Z16, HOST_FROM_Z16), (Generation::Z17, BOTH_FROM_Z17)];
    let guest = [(Generation::Z15, GUEST_FROM_Z15), (Generation::Z17, BOTH_FROM_Z17)];
    (collect(&host), collect(&guest))
}

impl Ultravisor {
    /// QUI. A guest sees its own calls and zeros for what concerns hosts only; what is not built yet is zero
    /// for both. Reserved bytes keep what the caller has there (D3).
    pub(super) fn query(&self, block: &mut Block, calls: &InstalledCalls, host: bool) -> CallResult {
        let for_host = |value: u64| if host { value } else { 0 };
        for (offset, word) in (0x10..).step_by(8).zip(calls.0) {
            block.set_u64(offset, word);
        }
        let doublewords = [
            (0x40, for_host(UV_BASE_LENGTH)),
            (0x50, for_host(CONFIGURATION_BASE_LENGTH)),
            (0x58, for_host(CONFIGURATION_FIXED_LENGTH)),
            (0x60, for_host(CONFIGURATION_LENGTH_PER_MEBIBYTE)),
            (0x68, for_host(CPU_STORAGE_LENGTH)),
            (0x80, for_host(MAX_GUEST_ADDRESS)),
            (0xa0, if self.config.misc() { FEATURE_MISC } else { 0 }),
            (0xb0, for_host(HEADER_VERSION_1)),
            (0xb8, for_host(self.header_flags())),
        ];
        for (offset, value) in doublewords.into_iter().chain(NOT_BUILT.map(|offset| (offset, 0))) {
            block.set_u64(offset, value);
        }
        block.set_u32(0x7c, if host { Domain::MAX } else { 0 });
        block.set_u16(0x9e, if host { MAX_CPU_NUMBER } else { 0 });
        block.set_u16(0x110, 0);
        block.set_u16(0x112, 0);
        if block.length() < QUI_FULL_LENGTH {
            return Err(Stop::Remark(Refusal::new(Response::MORE_DATA, "D14")));
        }
        Ok("D14")
    }

    /// Plaintext control flags of headers that this machine supports (D53).
    pub(super) fn header_flags(&self) -> u64 {
        if self.config.generation >= Generation::Z17 { HEADER_FLAGS_Z17 } else { HEADER_FLAGS }
    }

    /// QUERY_KEYS: slot 0 is the host key, slot 1 the backup host key, the others are unused.
    pub(super) fn query_keys(&self, block: &mut Block) -> CallResult {
        let mut hashes = [0; 480];
        let keys = self.host_keys();
        for (slot, key) in hashes.chunks_exact_mut(32).zip([&keys.host, &keys.backup]) {
            slot.copy_from_slice(&key.hash().0);
        }
        block.set(0x20, &hashes);
        Ok("Q34")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uvc::Issuer;

    #[test]
    fn presets_follow_q32() {
        let calls = |generation| installed(&MachineConfig { generation, ..MachineConfig::default() });
        let (host, guest) = calls(Generation::Z15);
        // Bits 0–7 and 11–22, as Q32 has it.
        assert_eq!(host.0, [0xff1f_fe00_0000_0000, 0, 0, 0]);
        assert_eq!(guest.0, [0x80c0_0000_0000_0000, 0, 0, 0]);
        let (host, _) = calls(Generation::Z16);
        assert_eq!(host.0[0], 0xff1f_ff00_0000_0000);
        let (host, guest) = calls(Generation::Z17);
        assert!(host.contains(Command::QueryKeys) && guest.contains(Command::QueryKeys));
        for (command, row) in Command::ALL.iter().map(|command| (command, command.row())) {
            assert!(row.issuer != Issuer::Guest || !host.contains(*command));
            assert!(row.issuer != Issuer::Host || !guest.contains(*command));
        }
        let without = MachineConfig { without: vec![Command::DestrSecStor], ..MachineConfig::default() };
        assert!(!installed(&without).0.contains(Command::DestrSecStor));
    }
}
