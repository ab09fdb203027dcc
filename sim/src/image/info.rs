//! What is in an image file, for people and for programs.

use super::layout::ComponentKind;
use super::verify::{DigestKind, hex};
use super::{Found, SeImageFile};
use serde_json::{Map, Value, json};
use uvsim_model::crypto::{
    HEADER_MAGIC, HeaderFault, HeaderSecrets, ImageDigests, PrivateKey, ProtectionKey, SeHeader, plain_flag,
    secret_flag,
};

/// What is in an image file.
#[derive(Debug)]
pub struct ImageInfo<'a> {
    file: &'a SeImageFile,
    header: SeHeader<'a>,
    secrets: Option<HeaderSecrets>,
    /// Of the components in the file.
    digests: Option<ImageDigests>,
}

/// A heading, and lines of a name and a value each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// Names and values.
    pub lines: Vec<(String, String)>,
}

const PLAIN_FLAGS: [(u64, &str); 7] = [
    (plain_flag::DUMP, "dump allowed"),
    (plain_flag::PLAIN_COMPONENTS, "components not encrypted"),
    (plain_flag::PCKMO_DEA, "PCKMO for DEA and TDEA keys"),
    (plain_flag::PCKMO_AES, "PCKMO for AES keys"),
    (plain_flag::PCKMO_ECC, "PCKMO for ECC keys"),
    (plain_flag::PCKMO_HMAC, "PCKMO for HMAC keys"),
    (plain_flag::BACKUP_KEY, "backup host key may open it"),
];
const SECRET_FLAGS: [(u64, &str); 2] = [
    (secret_flag::EXTENSION_REQUIRED, "add-secret requests need the extension secret of the communication key"),
    (secret_flag::KEY_UPDATE, "the communication key may be replaced"),
];
/// Values that only those may see who ask for them.
const HIDDEN: &str = "(hidden; --show-secrets shows it)";

impl<'a> ImageInfo<'a> {
    /// Reads the header of an image, and digests its components if it has any.
    ///
    /// # Errors
    /// The plain part of the header is wrong.
    pub fn new(file: &'a SeImageFile) -> Result<Self, HeaderFault> {
        let header = SeHeader::parse(&file.image.header)?;
        let digests = file.ipib.is_some().then(|| file.image.digests());
        Ok(Self { file, header, secrets: None, digests })
    }

    /// Opens the header with a host key that it has a slot for.
    ///
    /// # Errors
    /// It has none, or the header has been changed.
    pub fn open(&mut self, host_key: &PrivateKey) -> Result<(), HeaderFault> {
        self.decrypt(&self.header.protection_key(host_key)?)
    }

    /// Opens the header with its own key.
    ///
    /// # Errors
    /// The key is not its own, or the header has been changed.
    pub fn decrypt(&mut self, key: &ProtectionKey) -> Result<(), HeaderFault> {
        self.secrets = Some(self.header.decrypt(key)?);
        Ok(())
    }

    /// Whether all digests and the number of pages are those of the components. `None` for a bare header.
    #[must_use]
    pub fn digests_match(&self) -> Option<bool> {
        let digests = self.digests.as_ref()?;
        Some(digests.pages() == self.header.pages() && digests.finish() == *self.header.digests())
    }

    /// One object: the fields of the header by the names that `pvimg info` uses, then what is in the file.
    #[must_use]
    pub fn to_json(&self, show_secrets: bool) -> Value {
        let header = &self.header;
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.into(), value);
        put("kind", if self.secrets.is_some() { "decrypted_se_hdr" } else { "encrypted_se_hdr" }.into());
        put("verified", self.secrets.is_some().into());
        put("magic_hex", hex(&HEADER_MAGIC).into());
        put("version", "V1".into());
        put("sehs", header.size().into());
        put("iv_hex", hex(&header.iv()).into());
        put("nks", header.recipients().len().into());
        put("sea", header.encrypted_area().len().into());
        put("nep", header.pages().into());
        put("pcf_hex", format!("{:016x}", header.flags()).into());
        put("cust_pub_key", json!({ "coord_hex": hex(header.customer()) }));
        for (name, digest) in ["pld_hex", "ald_hex", "tld_hex"].into_iter().zip(header.digests()) {
            put(name, hex(digest).into());
        }
        put("keyslots", self.slots().map(slot_json).collect());
        if let Some(secrets) = &self.secrets {
            if show_secrets {
                put("cck_hex", hex(secrets.communication_key().as_slice()).into());
                put("xts_hex", hex(secrets.image_key().as_slice()).into());
            }
            let [mask, address] = secrets.psw().map(|word| format!("{word:016x}"));
            put("psw", json!({ "mask_hex": mask, "addr_hex": address }));
            put("scf_hex", format!("{:016x}", secrets.flags()).into());
        }
        put("tag_hex", hex(&header.tag()).into());
        put("flags", named(header.flags(), &PLAIN_FLAGS).into());
        put("image", self.image_json());
        Value::Object(object)
    }

    fn slots(&self) -> impl Iterator<Item = Slot> {
        self.header.recipients().enumerate().filter_map(|(number, key)| {
            let (wrapped, tag) = self.header.slot(number)?;
            Some(Slot { key: key.to_string(), wrapped, tag })
        })
    }

    fn image_json(&self) -> Value {
        let file = self.file;
        let mut object = json!({
            "found": found(file.found),
            "length": file.length,
            "header_offset": file.header_offset,
        });
        if let (Some((offset, ipib)), Some(digests)) = (&file.ipib, &self.digests) {
            object["ipib"] = json!({
                "offset": offset,
                "header_address": ipib.header_address,
                "header_size": ipib.header_size,
                "accepted": ipib.check().is_ok(),
            });
            let component = |one: &super::ListedComponent| {
                json!({
                    "kind": kind(one.prefix),
                    "prefix_hex": format!("{:016x}", one.prefix),
                    "address": one.address,
                    "length": one.length,
                })
            };
            object["components"] = ipib.components.iter().map(component).collect();
            let [pages, addresses, tweaks] = digests.finish();
            object["digests"] = json!({
                "nep": digests.pages(),
                "pld_hex": hex(&pages),
                "ald_hex": hex(&addresses),
                "tld_hex": hex(&tweaks),
                "match": self.digests_match(),
            });
        }
        object
    }

    /// The same for people.
    #[must_use]
    pub fn sections(&self, show_secrets: bool) -> Vec<Section> {
        let mut sections = vec![self.header_section(), self.slot_section()];
        sections.push(self.secret_section(show_secrets));
        if self.digests.is_some() {
            sections.push(self.component_section());
            sections.push(self.digest_section());
        }
        sections
    }

    fn header_section(&self) -> Section {
        let header = &self.header;
        let place = match self.file.found {
            Found::Bare => "the file is a bare header".to_owned(),
            Found::Metadata => format!("{:#x}, found by the metadata", self.file.header_offset),
            Found::Search => format!("{:#x}, found by search", self.file.header_offset),
        };
        let lines = vec![
            line("place", place),
            line("version", format!("{:#x}", header.version())),
            line("size", format!("{:#x}", header.size())),
            line("tag", hex(&header.tag())),
            line("IV", hex(&header.iv())),
            line("pages", header.pages().to_string()),
            line("flags", flags(header.flags(), &PLAIN_FLAGS)),
            line("customer key", hex(header.customer())),
        ];
        Section { title: "SE header", lines }
    }

    fn slot_section(&self) -> Section {
        let lines = self.slots().enumerate().map(|(number, slot)| line(&format!("slot {number}"), slot.key));
        Section { title: "Key slots (hash of the host key)", lines: lines.collect() }
    }

    fn secret_section(&self, show_secrets: bool) -> Section {
        let lines = match &self.secrets {
            None => vec![line("", "not opened, so nothing above is proven: give --host-key or --header-key")],
            Some(secrets) => {
                let secret = |bytes: &[u8]| if show_secrets { hex(bytes) } else { HIDDEN.to_owned() };
                let [mask, address] = secrets.psw();
                vec![
                    line("communication key", secret(secrets.communication_key().as_slice())),
                    line("image key", secret(secrets.image_key().as_slice())),
                    line("PSW", format!("{mask:#018x} {address:#x}")),
                    line("secret flags", flags(secrets.flags(), &SECRET_FLAGS)),
                ]
            }
        };
        Section { title: "Encrypted area", lines }
    }

    fn component_section(&self) -> Section {
        let Some((offset, ipib)) = &self.file.ipib else { return Section { title: "Components", lines: Vec::new() } };
        let mut lines = vec![line(
            "IPIB",
            match ipib.check() {
                Ok(()) => format!("at {offset:#x}"),
                Err(refusal) => format!("at {offset:#x}; hosts refuse it: {refusal}"),
            },
        )];
        lines.extend(ipib.components.iter().map(|one| {
            let (address, length) = (one.address, one.length);
            line(kind(one.prefix), format!("{address:#x}, {length:#x} bytes, tweak prefix {:#018x}", one.prefix))
        }));
        Section { title: "Components", lines }
    }

    fn digest_section(&self) -> Section {
        let Some(digests) = &self.digests else { return Section { title: "Digests", lines: Vec::new() } };
        let verdict = |same: bool| if same { "match" } else { "DIFFER" };
        let mut lines = vec![line(
            "number of pages",
            match digests.pages() == self.header.pages() {
                true => verdict(true).to_owned(),
                false => format!(
                    "{}: {} in the file, {} in the header",
                    verdict(false),
                    digests.pages(),
                    self.header.pages()
                ),
            },
        )];
        let computed = digests.finish();
        for which in [DigestKind::Pages, DigestKind::Addresses, DigestKind::Tweaks] {
            let (in_header, in_file) = (&self.header.digests()[which as usize], &computed[which as usize]);
            let same = in_header == in_file;
            lines.push(line(which.name(), format!("{}: {}", verdict(same), hex(in_header))));
            if !same {
                lines.push(line("", format!("of the file: {}", hex(in_file))));
            }
        }
        Section { title: "Digests (header against components)", lines }
    }
}

/// A key slot.
struct Slot {
    key: String,
    wrapped: [u8; 32],
    tag: [u8; 16],
}

fn slot_json(slot: Slot) -> Value {
    json!({ "phkh_hex": slot.key, "wrpk_hex": hex(&slot.wrapped), "kst_hex": hex(&slot.tag) })
}

fn line(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn found(found: Found) -> &'static str {
    match found {
        Found::Bare => "bare",
        Found::Metadata => "metadata",
        Found::Search => "search",
    }
}

fn kind(prefix: u64) -> &'static str {
    ComponentKind::of_prefix(prefix).map_or("component", ComponentKind::name)
}

/// Names of the flags that are on; bits without a name by their number from the left.
fn named(value: u64, names: &[(u64, &str)]) -> Vec<String> {
    let unknown = (0..64).map(|bit| (1 << (63 - bit), bit));
    let unknown = unknown.filter(|(mask, _)| names.iter().all(|(name, _)| name != mask));
    let known = names.iter().filter(|(mask, _)| value & mask != 0).map(|(_, name)| (*name).to_owned());
    known.chain(unknown.filter(|(mask, _)| value & mask != 0).map(|(_, bit)| format!("bit {bit}"))).collect()
}

fn flags(value: u64, names: &[(u64, &str)]) -> String {
    match named(value, names) {
        none if none.is_empty() => format!("{value:#x}"),
        some => format!("{value:#x}: {}", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_names_or_numbers() {
        assert_eq!(flags(0, &PLAIN_FLAGS), "0x0");
        assert_eq!(flags(plain_flag::DUMP | 2, &PLAIN_FLAGS), "0x20000002: dump allowed, backup host key may open it");
        assert_eq!(named(1 | 1 << 63, &SECRET_FLAGS), ["bit 0", "bit 63"]);
    }
}
