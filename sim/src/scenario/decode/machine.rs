//! `machine { ... }`

use kdl::{KdlDocument, KdlNode};
use uvsim_model::address::MEBIBYTE;
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation, MAX_CPUS, MAX_STORAGE};

use super::super::place::Place;
use super::super::reader::NodeReader;
use super::Decoder;

const CHILDREN: [&str; 8] =
    ["storage", "cpus", "seed", "generation", "cipher", "change-detection", "feature", "without"];

impl Decoder<'_, '_> {
    pub(super) fn machine(&mut self, node: &KdlNode) {
        let mut reader = NodeReader::new(node, &mut self.reports);
        let mut seen: [Option<(Place, ())>; 7] = [None; 7];
        for child in reader.children().map(KdlDocument::nodes).unwrap_or_default() {
            let name = child.name().value();
            match CHILDREN.iter().position(|known| *known == name) {
                None => self.unknown_child(child, &CHILDREN),
                Some(which) => {
                    // `without` may be repeated, each time with another command.
                    if let Some(slot) = seen.get_mut(which) {
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
            "change-detection" => {
                let choices = [("digest", ChangeDetection::Digest), ("always", ChangeDetection::Always)];
                machine.change_detection =
                    reports.choice(entry, "a change detection", &choices).unwrap_or(machine.change_detection);
            }
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
}
