//! Words for the dictionaries of fuzzers, from the tables of the program wherever there are tables.

use crate::paging::PolicyKind;
use crate::scenario::{Outcome, PV_COMMANDS, verbs};
use std::collections::BTreeSet;
use uvsim_model::crypto::{ENCRYPTED_AREA, HEADER_FIXED, HEADER_MAGIC, HEADER_VERSION, plain_flag, secret_flag};
use uvsim_model::uvc::Command;

type Words = Vec<Vec<u8>>;

/// Nodes, kinds of values and constants of the scenario language.
const NODES: &str = "scenario machine guest step about source load image disk net console rng repeat workload replay \
    parallel lane host device check storage cpus seed generation cipher change-detection feature host-key \
    backup-host-key strict-tweaks without z15 z16 z17 gcm xts digest always running created none #true #false #null \
    (handle) (cpu) (frame) (page) (header) (header-length) (tweak-prefix) (tweak-offset) secure non-secure absent \
    resident exported shared pinned destroyed linux stop normal initial clear operating stopped load check-stop all \
    uniform zipf sequential scan version kernel 1MiB 2200MiB 4GiB alpha alpha:3 alpha:2..4 d.xml t.uvtrace";
/// What stands before an equals sign.
const PROPERTIES: &str = "accesses addr at bit block bounced busy bytes code component configurations count counter cpu \
    cpus disk domain equals expect fast file first frame frames from guest handle header hex iommu kind immediate \
    late-failure len limit memory misc net offset page pages partial pattern persist pins policy prefix problem-state \
    psw-address psw-mask purge r2 r3 r4 random rc read-only register requests reset-pending rrc save sector seed signal size \
    skew slots state subcode swiotlb text to tweak tweak-offset tweak-prefix vcpus version window working-set writes";
/// Signs of KDL, shortest first.
const SIGNS: [&str; 12] = ["{", "}", ";", "/-", "\\\n", "\"\"\"\n", "#\"", "\"#", "/*", "*/", "..", "0x"];

/// The scenario language.
pub(super) fn scenario() -> Words {
    let fields = Command::ALL.iter().flat_map(|command| command.row().fields).map(|field| field.name);
    let properties: BTreeSet<String> =
        PROPERTIES.split_whitespace().chain(fields).map(|name| format!("{name}=")).collect();
    let actors = ["host", "device", "guest", "check"].into_iter().flat_map(verbs).copied();
    let words: BTreeSet<&str> = NODES
        .split_whitespace()
        .chain(actors)
        .chain(PV_COMMANDS)
        .chain(Command::ALL.iter().map(|command| command.name()))
        .chain(Outcome::ALL.iter().map(|outcome| outcome.name()))
        .chain(PolicyKind::ALL.map(PolicyKind::name))
        .collect();
    let words = words.into_iter().map(str::to_owned).chain(properties).chain(SIGNS.map(str::to_owned));
    words.map(String::into_bytes).collect()
}

/// Lengths and codes as they stand at the beginning of a block, codes of answers, bits of tables.
pub(super) fn blocks() -> Words {
    let heads = Command::ALL
        .iter()
        .map(|command| [command.usual_length().to_be_bytes(), command.code().to_be_bytes()].concat());
    let numbers = [0x1000, 0x3fff, 0x10_0000, 0x8000_0000, 0x8620_0000, 0x400, 0x200, 0x20, 0x103, 0x10f];
    heads.chain(numbers.map(|number: u64| number.to_be_bytes().to_vec())).collect()
}

/// SE headers, IPIBs, and files that hold keys.
pub(super) fn images() -> Words {
    let texts = ["S390EP", "\x7fELF", "-----BEGIN PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----", "-----END "];
    let texts = texts.map(|text| text.as_bytes().to_vec());
    let numbers = [HEADER_FIXED as u64, ENCRYPTED_AREA as u64, 1, 0x1000, 0x3000].map(|n| n.to_be_bytes().to_vec());
    let version = HEADER_VERSION.to_be_bytes().to_vec();
    [HEADER_MAGIC.to_vec(), version].into_iter().chain(texts).chain(numbers).chain(flags()).collect()
}

/// Flags, and places that may matter.
pub(super) fn recipes() -> Words {
    let places = [0, 0x1000, 0x1_0000, 0x10_0000, 0xff_f000, 0x1_8000_0000].map(|n: u64| n.to_be_bytes().to_vec());
    places.into_iter().chain(flags()).collect()
}

fn flags() -> impl Iterator<Item = Vec<u8>> {
    [
        plain_flag::DUMP,
        plain_flag::PLAIN_COMPONENTS,
        plain_flag::PCKMO_DEA,
        plain_flag::PCKMO_AES,
        plain_flag::PCKMO_ECC,
        plain_flag::PCKMO_HMAC,
        plain_flag::BACKUP_KEY,
        secret_flag::EXTENSION_REQUIRED,
        secret_flag::KEY_UPDATE,
    ]
    .into_iter()
    .map(|flag| flag.to_be_bytes().to_vec())
}

/// Elements, attributes and values of domain definitions that the rules look at.
const ELEMENTS: &str = "domain name memory currentMemory vcpu os type kernel initrd cmdline cpu model feature \
    memoryBacking hugepages launchSecurity devices disk driver source target interface mac controller console serial \
    channel parallel memballoon hostdev filesystem rng vsock crypto input video backend";
const ATTRIBUTES: &str = "type unit arch machine mode policy name bus dev iommu model file dir volume network bridge \
    path address";
const VALUES: &str = "kvm s390-pv sev s390x x86_64 s390-ccw-virtio hvm host-model host-passthrough custom maximum \
    require disable forbid force optional unpack virtio virtio-scsi virtio-serial virtio-mem scsi scsi_host sd hd fd \
    vda mdev vfio-ap vfio-ccw pci subsystem none on off auto sclp sclp-serial KiB MiB GiB TiB PiB EiB KB MB bytes \
    swiotlb=262144 swiotlb=force swiotlb=noforce";

/// Domain definitions.
pub(super) fn domain() -> Words {
    let elements = ELEMENTS.split_whitespace().flat_map(|name| [format!("<{name}>"), format!("</{name}>")]);
    let attributes = ATTRIBUTES.split_whitespace().map(|name| format!(" {name}='"));
    let values = VALUES.split_whitespace().map(str::to_owned);
    let signs = ["/>", "<!--", "-->", "<![CDATA[", "]]>", "&lt;", "&#x0;", "<?xml version='1.0'?>", "<!DOCTYPE "];
    elements.chain(attributes).chain(values).chain(signs.map(str::to_owned)).map(String::into_bytes).collect()
}

/// Marks of the forms of traces.
pub(super) fn traces() -> Words {
    let marks: [&[u8]; 11] = [
        b"I  ",
        b" L ",
        b" S ",
        b" M ",
        b",8\n",
        b"==1== ",
        b"--1-- ",
        b"\x89UVTRACE",
        b"\x89UVTRACE\x01\x00",
        b"\x1f\x8b\x08\x00",
        b"\x28\xb5\x2f\xfd",
    ];
    let numbers: [&[u8]; 5] = [b"ffffffffffffffff", b"4096", b"\x80\x20", b"\xfc", b"\x00\x01"];
    marks.into_iter().chain(numbers).map(<[u8]>::to_vec).collect()
}

/// Inputs that are numbers need none.
pub(super) fn none() -> Words {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_command_and_outcome_is_a_word() {
        let words: BTreeSet<Vec<u8>> = scenario().into_iter().collect();
        let commands = Command::ALL.iter().map(|command| command.name());
        let outcomes = Outcome::ALL.iter().map(|outcome| outcome.name());
        for word in
            ["host", "device", "guest", "check"].into_iter().flat_map(verbs).copied().chain(commands).chain(outcomes)
        {
            assert!(words.contains(word.as_bytes()), "{word}");
        }
    }

    #[test]
    fn heads_of_all_commands_are_words() {
        let words = blocks();
        assert!(words.contains(&vec![0x00, 0x28, 0x02, 0x00]), "CONV_TO_SEC_STOR");
        assert!(Command::ALL.len() <= words.len());
    }
}
