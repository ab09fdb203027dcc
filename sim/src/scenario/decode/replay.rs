//! `replay guest=NAME file=PATH frames=PAGES [first=2] [policy=lru] [window=N] [limit=N]`

use std::path::Path;
use std::sync::Arc;

use kdl::{KdlEntry, KdlNode};

use super::super::document::Replay;
use super::super::files::FileError;
use super::super::reader::NodeReader;
use super::super::syntax::shown;
use super::Decoder;
use crate::paging::{DEFAULT_WINDOW, PolicyKind};
use crate::trace::{PageTrace, Trace, page_trace};

/// The longest trace file, bytes: it is in storage while it is read.
const MAX_LENGTH: u64 = 256 << 20;
const HELP: &str = "`uvsim trace info` looks at traces";

impl Decoder<'_, '_> {
    pub(super) fn replay(&mut self, node: &KdlNode) -> Option<Replay> {
        let mut reader = NodeReader::new(node, &mut self.reports);
        let place = self.reports.place(reader.span());
        let text = self.written(node);
        let guest = reader.required("guest", &mut self.reports).and_then(|entry| self.guest_of(entry));
        let file = reader.required("file", &mut self.reports);
        let frames = reader.required("frames", &mut self.reports);
        let frames = frames.and_then(|entry| self.reports.number(entry, 1, u64::MAX));
        let first = reader.property("first").map_or(Some(2), |entry| self.reports.number(entry, 0, u64::MAX));
        let limit = reader.property("limit").map_or(Some(u64::MAX), |entry| self.reports.number(entry, 1, u64::MAX));
        let replacement = self.replacement(&mut reader);
        reader.finish(&mut self.reports);
        self.checked = true;
        let (entry, first) = (file?, first?);
        let trace = self.trace(entry, limit?)?;
        let (guest, frames, (policy, window)) = (guest?, frames?, replacement?);
        let (pages, needed) = (self.guests[guest.0].pages(), trace.pages.len() as u64);
        if first.checked_add(needed).is_none_or(|end| end > pages) {
            let room = pages.saturating_sub(first);
            let message = format!("the trace touches {needed} pages, the guest has {room} from page {first} on");
            let help = "give the guest more memory, or replay a part: limit=N";
            return self.reports.error(entry.span(), message, "too large", help);
        }
        Some(Replay { place, text, guest, trace, frames, first, policy, window })
    }

    fn trace(&mut self, entry: &KdlEntry, limit: u64) -> Option<Arc<PageTrace>> {
        let path = self.reports.text(entry, "a path")?;
        let bytes = match self.files.read(Path::new(path), MAX_LENGTH) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("the trace `{}` cannot be read: {error}", shown(path));
                let help = match error {
                    FileError::TooLong { .. } => "`uvsim trace convert` makes traces small",
                    _ => "paths are relative to the folder of the scenario",
                };
                return self.reports.error(entry.span(), message, "not usable", help);
            }
        };
        match Trace::from_bytes(bytes).and_then(|trace| page_trace(&trace.limited(limit))) {
            Ok(trace) => Some(Arc::new(trace)),
            Err(error) => {
                let message = format!("the trace `{}` cannot be used: {error}", shown(path));
                self.reports.error(entry.span(), message, "not usable", error.help().unwrap_or(HELP))
            }
        }
    }

    /// `policy=` and `window=`.
    pub(super) fn replacement(&mut self, reader: &mut NodeReader<'_>) -> Option<(PolicyKind, u64)> {
        let policies = PolicyKind::ALL.map(|kind| (kind.name(), kind));
        let policy = reader
            .property("policy")
            .map_or(Some(PolicyKind::default()), |entry| self.reports.choice(entry, "a policy", &policies));
        let Some(entry) = reader.property("window") else { return Some((policy?, DEFAULT_WINDOW)) };
        let window = self.reports.number(entry, 1, u64::MAX);
        let (policy, window) = (policy?, window?);
        if policy != PolicyKind::WorkingSet {
            let help = "write policy=working-set as well";
            return self.reports.error(entry.span(), "only one policy has a window".to_owned(), "not used", help);
        }
        Some((policy, window))
    }
}
