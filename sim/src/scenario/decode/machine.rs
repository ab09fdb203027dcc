//! `machine { ... }`

use std::path::Path;

use kdl::{KdlDocument, KdlEntry, KdlNode};
use uvsim_model::address::MEBIBYTE;
use uvsim_model::config::{ByteOrder, ChangeDetection, CipherProfile, Generation, MAX_CPUS, MAX_STORAGE};
use uvsim_model::crypto::PrivateKey;
use zeroize::Zeroizing;

use super::super::place::Place;
use super::super::reader::NodeReader;
use super::super::syntax::shown;
use super::Decoder;
use crate::image::Recipient;

/// `without`, which may be repeated, is the last.
const CHILDREN: [&str; 11] = [
    "storage",
    "cpus",
    "seed",
    "generation",
    "cipher",
    "change-detection",
    "feature",
    "host-key",
    "backup-host-key",
    "strict-tweaks",
    "without",
];

/// The same, where the host is not ours: that of a scenario keeps its structures as Z has them.
const CHILDREN_ALONE: [&str; CHILDREN.len() + 1] = {
    let mut all = ["byte-order"; CHILDREN.len() + 1];
    let mut at = 0;
    while at < CHILDREN.len() {
        all[at + 1] = CHILDREN[at];
        at += 1;
    }
    all
};

/// The longest file that could be a private key: PKCS#8 in PEM form takes 400 bytes, without comments.
const MAX_KEY_LENGTH: u64 = 64 << 10;

impl Decoder<'_, '_> {
    pub(super) fn machine(&mut self, node: &KdlNode) {
        let mut reader = NodeReader::new(node, &mut self.reports);
        let names: &[&str] = if self.machine_alone { &CHILDREN_ALONE } else { &CHILDREN };
        let mut seen: [Option<(Place, ())>; CHILDREN_ALONE.len() - 1] = [None; CHILDREN_ALONE.len() - 1];
        for child in reader.children().map(KdlDocument::nodes).unwrap_or_default() {
            let name = child.name().value();
            match names.iter().position(|known| *known == name) {
                None => self.unknown_child(child, names),
                Some(which) => {
                    // `without` may be repeated, each time with another command.
                    if let Some(slot) = seen.get_mut(which).filter(|_| name != "without") {
                        self.once(slot, child, ());
                    }
                    self.setting(name, child);
                }
            }
        }
        reader.finish(&mut self.reports);
    }

    fn setting(&mut self, name: &str, child: &KdlNode) {
        if name == "feature" {
            return self.feature(child);
        }
        let Some(entry) = self.single(child, "a value") else { return };
        match name {
            "host-key" => return self.machine.host_key = self.private_key(entry),
            "backup-host-key" => return self.machine.backup_host_key = self.private_key(entry),
            _ => {}
        }
        let machine = &mut self.machine;
        let reports = &mut self.reports;
        match name {
            "storage" => {
                let Some(storage) = reports.size(entry) else { return };
                if storage == 0 || storage % MEBIBYTE != 0 || storage > MAX_STORAGE {
                    reports.report(
                        entry.span(),
                        "no machine has this much storage".to_owned(),
                        "out of range",
                        "a multiple of 1 MiB, from 1 MiB to 16 TiB (D75)",
                    );
                    return;
                }
                machine.storage = storage;
            }
            "cpus" => machine.cpus = reports.number16(entry, 1, MAX_CPUS).unwrap_or(machine.cpus),
            "seed" => machine.seed = reports.number(entry, 0, u64::MAX).unwrap_or(machine.seed),
            "generation" => {
                let choices = [("z15", Generation::Z15), ("z16", Generation::Z16), ("z17", Generation::Z17)];
                machine.generation = reports.choice(entry, "a generation", &choices).unwrap_or(machine.generation);
            }
            "cipher" => {
                let choices = [("gcm", CipherProfile::Gcm), ("xts", CipherProfile::Xts)];
                machine.cipher = reports.choice(entry, "a cipher", &choices).unwrap_or(machine.cipher);
            }
            "byte-order" => {
                let choices = [("big", ByteOrder::Big), ("native", ByteOrder::Native)];
                machine.byte_order = reports.choice(entry, "a byte order", &choices).unwrap_or(machine.byte_order);
            }
            "change-detection" => {
                let choices = [("digest", ChangeDetection::Digest), ("always", ChangeDetection::Always)];
                machine.change_detection =
                    reports.choice(entry, "a change detection", &choices).unwrap_or(machine.change_detection);
            }
            "strict-tweaks" => machine.strict_tweaks = reports.truth(entry).unwrap_or(machine.strict_tweaks),
            _ => {
                let Some(command) = self.command(entry) else { return };
                if self.machine.without.contains(&command) {
                    self.reports.report(
                        entry.span(),
                        format!("`{}` is taken away twice", command.name()),
                        "again here",
                        "",
                    );
                }
                self.machine.without.push(command);
            }
        }
    }

    fn feature(&mut self, child: &KdlNode) {
        let mut reader = NodeReader::new(child, &mut self.reports);
        if let Some(entry) = reader.required("misc", &mut self.reports) {
            self.machine.feature_misc = self.reports.truth(entry);
        }
        reader.finish(&mut self.reports);
    }
    /// The private key in a PEM file.
    fn private_key(&mut self, entry: &KdlEntry) -> Option<PrivateKey> {
        let path = self.reports.text(entry, "the path of a key file")?;
        let bytes = match self.files.read(Path::new(path), MAX_KEY_LENGTH) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) => {
                let message = format!("the key `{}` cannot be read: {error}", shown(path));
                let help = "paths are relative to the folder of the scenario";
                return self.reports.error(entry.span(), message, "not usable", help);
            }
        };
        match Recipient::read_private(&bytes) {
            Ok(key) => Some(key),
            Err(error) => self.reports.error(
                entry.span(),
                format!("`{}` is no private host key: {error}", shown(path)),
                "not usable",
                "`uvsim host-key` writes keys",
            ),
        }
    }
}
