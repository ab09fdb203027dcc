//! The files under `/sys/firmware/uv`, from the answers of QUI and QUERY_KEYS.

use super::Role;

/// A file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribute {
    /// Its path below `/sys/firmware/uv`.
    pub path: &'static str,
    /// What it means, in a few words.
    pub meaning: &'static str,
    /// Its content, with the line feed at its end.
    pub text: String,
}

impl Attribute {
    /// The lines of its content.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }
}

/// How Linux prints a field of the answer to QUI.
enum Format {
    /// This many doublewords in hexadecimal, a line each.
    Hexadecimal(usize),
    /// A word in decimal.
    Word,
    /// A halfword in decimal, and what is added to it.
    Halfword(u32),
    /// The sum of this many halfwords, in decimal.
    Sum(usize),
}

use Format::{Halfword, Hexadecimal, Sum, Word};

/// Path, offset in the answer, format, meaning.
const QUERY: [(&str, usize, Format, &str); 18] = [
    ("query/facilities", 0x10, Hexadecimal(4), "installed calls, a bit each"),
    ("query/feature_indications", 0xa0, Hexadecimal(1), "features, a bit each"),
    ("query/max_cpus", 0x9e, Halfword(1), "CPUs of a guest"),
    ("query/max_guests", 0x7c, Word, "guests at a time"),
    ("query/max_address", 0x80, Hexadecimal(1), "end of guest storage"),
    ("query/supp_se_hdr_ver", 0xb0, Hexadecimal(1), "versions of the image header"),
    ("query/supp_se_hdr_pcf", 0xb8, Hexadecimal(1), "flags of the image header"),
    ("query/dump_storage_state_len", 0xc8, Hexadecimal(1), "dump, bytes for a MiB"),
    ("query/dump_finalize_len", 0xd0, Hexadecimal(1), "dump, bytes at its end"),
    ("query/uv_query_dump_cpu_len", 0x68, Hexadecimal(1), "dump, bytes for a CPU"),
    ("query/supp_att_req_hdr_ver", 0xe0, Hexadecimal(1), "attestation, versions"),
    ("query/supp_att_pflags", 0xe8, Hexadecimal(1), "attestation, flags"),
    ("query/supp_add_secret_req_ver", 0xf8, Hexadecimal(1), "secrets, versions"),
    ("query/supp_add_secret_pcf", 0x100, Hexadecimal(1), "secrets, flags"),
    ("query/supp_secret_types", 0x108, Hexadecimal(1), "secrets, types"),
    ("query/max_secrets", 0x110, Sum(2), "secrets of a guest"),
    ("query/max_assoc_secrets", 0x110, Halfword(0), "secrets for association"),
    ("query/max_retr_secrets", 0x112, Halfword(0), "secrets to be retrieved"),
];

const KEY_LENGTH: usize = 32;
const KEY_SLOTS: usize = 15;
const KEYS_OFFSET: usize = 0x20;

/// The files, from the block of QUI and that of QUERY_KEYS. `protects` says whether a host runs protected guests.
pub(super) fn attributes(role: Role, protects: bool, answer: &[u8], keys: Option<&[u8]>) -> Vec<Attribute> {
    let truth = |value: bool| format!("{}\n", u8::from(value));
    let mut list = vec![
        Attribute { path: "prot_virt_guest", meaning: "this is a protected guest", text: truth(role == Role::Guest) },
        Attribute {
            path: "prot_virt_host",
            meaning: "this host runs protected guests",
            text: truth(role == Role::Host && protects),
        },
    ];
    for (path, offset, format, meaning) in &QUERY {
        list.push(Attribute { path, meaning, text: printed(answer, *offset, format) });
    }
    if let Some(keys) = keys {
        let slot = |number: usize| -> String {
            let at = KEYS_OFFSET + number * KEY_LENGTH;
            let hash: String = (at..at + KEY_LENGTH).map(|at| format!("{:02x}", byte(keys, at))).collect();
            hash + "\n"
        };
        let all = (0..KEY_SLOTS).map(slot).collect();
        list.push(Attribute { path: "keys/host_key", meaning: "hash of the host key", text: slot(0) });
        list.push(Attribute { path: "keys/backup_host_key", meaning: "hash of the backup key", text: slot(1) });
        list.push(Attribute { path: "keys/all", meaning: "all hashes of keys", text: all });
    }
    list
}

fn printed(answer: &[u8], offset: usize, format: &Format) -> String {
    match *format {
        Hexadecimal(count) => (0..count).map(|word| format!("{:x}\n", number(answer, offset + 8 * word, 8))).collect(),
        Word => format!("{}\n", number(answer, offset, 4)),
        Halfword(more) => format!("{}\n", number(answer, offset, 2) + u64::from(more)),
        Sum(count) => {
            let sum: u64 = (0..count).map(|half| number(answer, offset + 2 * half, 2)).sum();
            format!("{sum}\n")
        }
    }
}

/// A number of the answer, most significant byte first.
fn number(answer: &[u8], offset: usize, size: usize) -> u64 {
    (offset..offset + size).fold(0, |number, at| number << 8 | u64::from(byte(answer, at)))
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The answer that a real host gave, as the test data of s390-tools' `pvinfo` show it.
    fn sample() -> Vec<u8> {
        let mut block = vec![0; 0x120];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x10, &0xff1f_fff0_0000_0000_u64.to_be_bytes());
        put(0x68, &0x1000_u64.to_be_bytes());
        put(0x7c, &8_388_607_u32.to_be_bytes());
        put(0x80, &0x8000_0000_0000_u64.to_be_bytes());
        put(0x9e, &256_u16.to_be_bytes());
        put(0xa0, &0xfc00_0000_0000_0000_u64.to_be_bytes());
        put(0xb0, &0x8000_0000_0000_0000_u64.to_be_bytes());
        put(0xb8, &0x3000_50e3_u64.to_be_bytes());
        put(0xc8, &0x1000_u64.to_be_bytes());
        put(0xd0, &0x1000_u64.to_be_bytes());
        block
    }

    fn text(list: &[Attribute], path: &str) -> String {
        list.iter().find(|attribute| attribute.path == path).map(|attribute| attribute.text.clone()).unwrap()
    }

    #[test]
    fn the_sample_of_a_real_host() {
        let list = attributes(Role::Host, true, &sample(), None);
        for (path, wanted) in [
            ("prot_virt_guest", "0\n"),
            ("prot_virt_host", "1\n"),
            ("query/facilities", "ff1ffff000000000\n0\n0\n0\n"),
            ("query/feature_indications", "fc00000000000000\n"),
            ("query/max_cpus", "257\n"),
            ("query/max_guests", "8388607\n"),
            ("query/max_address", "800000000000\n"),
            ("query/supp_se_hdr_ver", "8000000000000000\n"),
            ("query/supp_se_hdr_pcf", "300050e3\n"),
            ("query/dump_storage_state_len", "1000\n"),
            ("query/dump_finalize_len", "1000\n"),
            ("query/uv_query_dump_cpu_len", "1000\n"),
            ("query/max_secrets", "0\n"),
            ("query/supp_att_pflags", "0\n"),
        ] {
            assert_eq!(text(&list, path), wanted, "{path}");
        }
        assert_eq!(list.len(), 20, "no keys without QUERY_KEYS");
    }

    /// The same against the files themselves, in a checkout that has the vectors beside it.
    #[test]
    fn the_files_of_a_real_host() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/pvinfo");
        if !folder.is_dir() {
            eprintln!("skipped: no vectors at {}", folder.display());
            return;
        }
        let list = attributes(Role::Host, true, &sample(), None);
        for attribute in &list {
            let file = folder.join(attribute.path);
            let wanted = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert_eq!(attribute.text, wanted, "{}", attribute.path);
        }
        let there = std::fs::read_dir(folder.join("query")).unwrap().count();
        assert_eq!(there, QUERY.len(), "every file of a real host is shown");
    }

    #[test]
    fn secrets_and_keys() {
        let mut answer = sample();
        answer[0x110..0x114].copy_from_slice(&[0x01, 0x02, 0x00, 0x0b]);
        let mut keys = vec![0; 0x200];
        keys[0x20] = 0x0a;
        keys[0x20 + 32] = 0xff;
        let list = attributes(Role::Guest, true, &answer, Some(&keys));
        assert_eq!(text(&list, "prot_virt_guest"), "1\n");
        assert_eq!(text(&list, "prot_virt_host"), "0\n");
        assert_eq!(text(&list, "query/max_secrets"), "269\n");
        assert_eq!(text(&list, "query/max_assoc_secrets"), "258\n");
        assert_eq!(text(&list, "query/max_retr_secrets"), "11\n");
        assert_eq!(text(&list, "keys/host_key"), format!("0a{}\n", "00".repeat(31)));
        assert_eq!(text(&list, "keys/backup_host_key"), format!("ff{}\n", "00".repeat(31)));
        assert_eq!(text(&list, "keys/all").lines().count(), 15);
        assert!(text(&list, "keys/all").lines().all(|line| line.len() == 64));
    }
}
