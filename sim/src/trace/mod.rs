//! Memory accesses of real programs, recorded: read as valgrind's lackey writes them or in a compact form, and
//! numbered page by page for a guest that repeats them.
//!
//! A trace is read again for every pass and never held as a whole; [`page_trace`] keeps four bytes an access.

mod binary;
mod content;
mod convert;
mod error;
mod lackey;
mod pages;
#[cfg(test)]
mod tests;

use binary::Records;
use content::Content;
pub use convert::{Converted, Plan, Summary, convert, encode, summary};
pub use error::TraceError;
use lackey::Lines;
pub use pages::{MAX_PAGES, MAX_TOUCHES, PageAccess, PageAccesses, PageTouch, PageTrace, page_trace};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest single access that a trace may hold, bytes: what the state-saving instructions of processors take.
pub const MAX_SIZE: u16 = 4096;

/// What an access is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// An instruction fetch.
    Fetch,
    /// A load.
    Load,
    /// A store.
    Store,
    /// A load and a store at the same place by one instruction.
    Modify,
}

impl Kind {
    /// All of them, by their numbers in the compact form.
    pub const ALL: [Self; 4] = [Self::Fetch, Self::Load, Self::Store, Self::Modify];
}

/// One access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Access {
    /// The first byte.
    pub address: u64,
    /// Bytes: 1 to [`MAX_SIZE`]; they do not go beyond the last address.
    pub size: u16,
    /// What it is for.
    pub kind: Kind,
}

/// A trace that can be read, any number of times.
#[derive(Clone, Debug)]
pub struct Trace {
    source: Source,
    limit: u64,
    data_only: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    File(PathBuf),
    Bytes(Shared),
}

/// Bytes that readers share; they stay where they are.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Trace {
    /// A trace in a regular file, of which the first access is read.
    ///
    /// # Errors
    /// The file cannot be read, is no trace or holds no access.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        Self::of(Source::File(path.to_owned()))
    }

    /// A trace that is in storage already.
    ///
    /// # Errors
    /// This is no trace or holds no access.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, TraceError> {
        Self::of(Source::Bytes(Shared(Arc::new(bytes))))
    }

    fn of(source: Source) -> Result<Self, TraceError> {
        let trace = Self { source, limit: u64::MAX, data_only: false };
        match trace.accesses()?.next() {
            Some(first) => first.map(|_| trace),
            None => Err(TraceError::Empty),
        }
    }

    /// Only the first `accesses` of it.
    #[must_use]
    pub fn limited(mut self, accesses: u64) -> Self {
        self.limit = accesses;
        self
    }

    /// Without instruction fetches.
    #[must_use]
    pub fn data_only(mut self) -> Self {
        self.data_only = true;
        self
    }

    /// The accesses, from the first.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn accesses(&self) -> Result<Accesses, TraceError> {
        let mut content = Content::open(&self.source)?;
        let format = if binary::begins(content.ahead()?) {
            Format::Binary(Records::new(content)?)
        } else {
            lackey::check(content.ahead()?)?;
            Format::Text(Lines::new(content))
        };
        Ok(Accesses { format, left: self.limit, data_only: self.data_only, over: false })
    }

    /// The pages that are accessed, in order.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn page_accesses(&self) -> Result<PageAccesses, TraceError> {
        Ok(PageAccesses::new(self.accesses()?))
    }
}

/// The accesses of a trace as they are read. After an error there is nothing more.
#[derive(Debug)]
pub struct Accesses {
    format: Format,
    left: u64,
    data_only: bool,
    over: bool,
}

#[derive(Debug)]
enum Format {
    Text(Lines),
    Binary(Records),
}

impl Iterator for Accesses {
    type Item = Result<Access, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over && self.left > 0 {
            let next = match &mut self.format {
                Format::Text(lines) => lines.next_access(),
                Format::Binary(records) => records.next_access(),
            };
            match next {
                Ok(Some(access)) if self.data_only && access.kind == Kind::Fetch => {}
                Ok(Some(access)) => {
                    self.left -= 1;
                    return Some(Ok(access));
                }
                Ok(None) => self.over = true,
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
