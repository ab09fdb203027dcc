//! The nonce ledger: proof that no nonce ever seals two plaintexts (I-21).

pub(super) use self::variant::NonceLedger;

/// Remembers the SHA-256 value of each plaintext by (index, counter), and with it 48 bytes for every
/// encryption of the configuration's life.
#[cfg(any(test, debug_assertions, feature = "nonce-ledger"))]
mod variant {
    use std::collections::HashMap;

    use parking_lot::Mutex;
    use sha2::{Digest, Sha256};

    use crate::crypto::PAGE_BYTES;
    use crate::crypto::position::{Counter, SealIndex};

    #[derive(Default)]
    pub(in crate::crypto) struct NonceLedger(Mutex<Entries>);

    #[derive(Default)]
    struct Entries {
        sealed: HashMap<(SealIndex, Counter), [u8; 32]>,
        /// Entries since the snapshot, if there is one.
        since: Option<HashMap<SealIndex, Vec<Counter>>>,
    }

    impl NonceLedger {
        /// Enters an encryption that is about to happen.
        ///
        /// # Panics
        /// This index and counter have sealed another plaintext before. No input can lead here, only an
        /// error in change detection or in the counting of an export; to go on would break the cipher.
        pub(in crate::crypto) fn record(&self, index: SealIndex, counter: Counter, page: &[u8; PAGE_BYTES]) {
            let plaintext = Sha256::digest(page).into();
            let mut entries = self.0.lock();
            let sealed_before = match entries.sealed.get(&(index, counter)) {
                Some(before) => *before,
                None => {
                    entries.sealed.insert((index, counter), plaintext);
                    if let Some(since) = &mut entries.since {
                        since.entry(index).or_default().push(counter);
                    }
                    plaintext
                }
            };
            assert!(
                sealed_before == plaintext,
                "nonce reuse: page {:#x} under counter {} was sealed with another plaintext before (I-21)",
                index.value(),
                counter.value(),
            );
        }

        /// What is entered from now on can be forgotten.
        pub(in crate::crypto) fn snapshot(&self) {
            self.0.lock().since = Some(HashMap::new());
        }

        /// The encryptions of a page since the snapshot have not happened.
        pub(in crate::crypto) fn forget(&self, index: SealIndex) {
            let mut entries = self.0.lock();
            let counters = entries.since.as_mut().and_then(|since| since.remove(&index));
            for counter in counters.into_iter().flatten() {
                entries.sealed.remove(&(index, counter));
            }
        }
    }
}

/// Costs nothing.
#[cfg(not(any(test, debug_assertions, feature = "nonce-ledger")))]
mod variant {
    use crate::crypto::PAGE_BYTES;
    use crate::crypto::position::{Counter, SealIndex};

    #[derive(Default)]
    pub(in crate::crypto) struct NonceLedger {}

    impl NonceLedger {
        #[inline]
        pub(in crate::crypto) fn record(&self, _: SealIndex, _: Counter, _: &[u8; PAGE_BYTES]) {}

        #[inline]
        pub(in crate::crypto) fn snapshot(&self) {}

        #[inline]
        pub(in crate::crypto) fn forget(&self, _: SealIndex) {}
    }
}
