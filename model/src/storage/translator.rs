//! Translators: what stands in for the tables of hosts that keep none of z/Architecture.

use super::arena::Storage;
use super::dat::{Asce, Translation, TranslationFault};
use super::interruption::ProgramCode;
use crate::address::{AbsoluteAddress, PAGE_SIZE, VirtualAddress};
use core::sync::atomic::{AtomicBool, Ordering};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Answers in place of the translation tables of one space.
///
/// It is asked in the middle of a walk, while a call may hold a configuration, so it must not use the machine. What it
/// answers is buffered like the outcome of any walk, and stays until it is purged.
pub trait Translator: Send + Sync {
    /// Where a page lies.
    ///
    /// # Errors
    /// The translation exception; any other code that no walk ends with counts as page translation (0x11).
    fn translate(&self, address: VirtualAddress) -> Result<Mapping, ProgramCode>;
}

/// Where a page lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The frame: absolute, without prefixing. A translation specification exception if it is not that of a frame,
    /// addressing if it lies outside storage.
    pub address: AbsoluteAddress,
    /// Stores are refused.
    pub protected: bool,
    /// Part of a large mapping, which secure guests cannot use.
    pub large: bool,
}

/// The translators of a machine, by ASCE.
#[derive(Default)]
pub(crate) struct Translators {
    any: AtomicBool,
    table: RwLock<BTreeMap<u64, Arc<dyn Translator>>>,
}

impl Translators {
    /// Gives a space a translator, or its tables back.
    pub(crate) fn set(&self, asce: Asce, translator: Option<Arc<dyn Translator>>) {
        let mut table = self.table.write();
        match translator {
            Some(translator) => table.insert(asce.0, translator),
            None => table.remove(&asce.0),
        };
        self.any.store(!table.is_empty(), Ordering::Release);
    }

    /// The translator of a space.
    #[inline]
    pub(super) fn find(&self, asce: Asce) -> Option<Arc<dyn Translator>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.table.read().get(&asce.0).cloned()
    }
}

/// A walk by a translator.
pub(super) fn walk(
    storage: &Storage,
    translator: &dyn Translator,
    address: VirtualAddress,
) -> Result<Translation, TranslationFault> {
    let exception = |code| Err(TranslationFault::Exception(code));
    let Mapping { address: page, protected, large } = match translator.translate(address) {
        Ok(mapping) => mapping,
        Err(code @ (ProgramCode::Addressing | ProgramCode::TranslationSpecification)) => return exception(code),
        Err(code) if code.is_translation_exception() => return exception(code),
        Err(_) => return exception(ProgramCode::PageTranslation),
    };
    if !page.0.is_multiple_of(PAGE_SIZE) {
        return exception(ProgramCode::TranslationSpecification);
    }
    if !storage.contains(page, PAGE_SIZE) {
        return exception(ProgramCode::Addressing);
    }
    // No table entry, so no IPTE finds it.
    let leaf = AbsoluteAddress(u64::MAX);
    Ok(Translation { address: page.0 + address.0 % PAGE_SIZE, leaf, absolute: true, protected, large })
}

impl core::fmt::Debug for Translators {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Translators({})", self.table.read().len())
    }
}
