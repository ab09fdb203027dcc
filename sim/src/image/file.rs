//! Reading an image file: where the header lies in it, what the host is to unpack.

use super::ipib::{Ipib, IpibFault};
use super::layout::{
    IPIB_TYPE, LONGEST_IPIB, METADATA_MAGIC, METADATA_OFFSET, METADATA_VERSION, Metadata, SEARCHED_PAGES,
};
use super::{Component, SeImage};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::crypto::{HEADER_FIXED, HEADER_MAGIC, LONGEST_HEADER, SeHeader};
use zerocopy::FromBytes;

/// An image file, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeImageFile {
    /// How the header was found.
    pub found: Found,
    /// Where it lies.
    pub header_offset: u64,
    /// Offset and content of the IPIB. A bare header has none, and that of an old image may not be found.
    pub ipib: Option<(u64, Ipib)>,
    /// Header and components as the host hands them over. Without an IPIB there are no components.
    pub image: SeImage,
    /// Bytes of the file.
    pub length: u64,
}

/// How a header was found in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// The file begins with it.
    Bare,
    /// The metadata says where.
    Metadata,
    /// A page begins with it; old images have no metadata.
    Search,
}

/// Most bytes of components that are read.
pub const MOST_BYTES: u64 = 1 << 30;

/// A file that is no image.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system says no.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// No header, no metadata.
    #[error(
        "no SE header: not at the beginning, no image metadata at {METADATA_OFFSET:#x}, not at the start of one of \
         the first {SEARCHED_PAGES} pages of the {length} bytes"
    )]
    NoHeader {
        /// Bytes of the file.
        length: u64,
    },
    /// Metadata that is not understood.
    #[error("image metadata of version {0} is not supported: only {METADATA_VERSION} is")]
    MetadataVersion(u32),
    /// Something lies behind the end of the file.
    #[error("{what} takes {needed:#x} bytes from {offset:#x} on, the file ends at {length:#x}: it is cut off")]
    Truncated {
        /// What it is.
        what: String,
        /// Where it begins.
        offset: u64,
        /// Its bytes.
        needed: u64,
        /// Bytes of the file.
        length: u64,
    },
    /// The IPIB cannot be read.
    #[error("at {offset:#x}: {fault}")]
    Ipib {
        /// Where it lies.
        offset: u64,
        /// What is wrong.
        fault: IpibFault,
    },
    /// The components are too large together.
    #[error("its components have {total:#x} bytes together: {MOST_BYTES:#x} at most are read")]
    TooLarge {
        /// Their bytes; the highest number if no number says it.
        total: u64,
    },
}

impl SeImageFile {
    /// Takes a file apart that is in memory.
    ///
    /// # Errors
    /// [`FileError`]; never [`FileError::Io`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FileError> {
        Self::read(&mut Cursor::new(bytes))
    }

    /// Takes a file apart, reading only the pieces that matter.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(source: &mut (impl Read + Seek)) -> Result<Self, FileError> {
        let length = source.seek(SeekFrom::End(0))?;
        let mut file = Pieces { source, length };
        if length == 0 {
            return Err(FileError::Empty);
        }
        if file.up_to(0, HEADER_MAGIC.len())? == HEADER_MAGIC {
            let header = file.header(0)?;
            return Ok(file.finish(Found::Bare, 0, None, header, Vec::new()));
        }
        let metadata = file.up_to(METADATA_OFFSET, size_of::<Metadata>())?;
        match Metadata::ref_from_bytes(&metadata) {
            Ok(metadata) if metadata.magic == METADATA_MAGIC => file.by_metadata(metadata),
            _ => file.by_search(),
        }
    }
}

/// A file of which pieces are read.
struct Pieces<'s, S> {
    source: &'s mut S,
    length: u64,
}

impl<S: Read + Seek> Pieces<'_, S> {
    fn by_metadata(mut self, metadata: &Metadata) -> Result<SeImageFile, FileError> {
        if metadata.version.get() != METADATA_VERSION {
            return Err(FileError::MetadataVersion(metadata.version.get()));
        }
        let at = metadata.ipib.get();
        let ipib = self.ipib(at)?;
        let offset = metadata.header.get();
        // One byte more than a header may have tells that it is too long.
        let size = ipib.header_size.min(LONGEST_HEADER as u64 + 1);
        let header = self.exactly("the SE header", offset, size)?;
        let components = self.components(&ipib)?;
        Ok(self.finish(Found::Metadata, offset, Some((at, ipib)), header, components))
    }

    fn by_search(mut self) -> Result<SeImageFile, FileError> {
        for offset in (0..SEARCHED_PAGES).map(|page| page * PAGE_SIZE) {
            if self.up_to(offset, HEADER_MAGIC.len())? == HEADER_MAGIC {
                let header = self.header(offset)?;
                return match self.last_page_ipib(header.len() as u64)? {
                    Some((at, ipib)) => {
                        let components = self.components(&ipib)?;
                        Ok(self.finish(Found::Search, offset, Some((at, ipib)), header, components))
                    }
                    None => Ok(self.finish(Found::Search, offset, None, header, Vec::new())),
                };
            }
        }
        Err(FileError::NoHeader { length: self.length })
    }

    /// Old images end with their IPIB as well, but nothing says so: it must look like one and name the header.
    fn last_page_ipib(&mut self, header_size: u64) -> Result<Option<(u64, Ipib)>, FileError> {
        let at = (self.length - 1) / PAGE_SIZE * PAGE_SIZE;
        let bytes = self.up_to(at, LONGEST_IPIB)?;
        let fits = |ipib: &Ipib| ipib.block_type == IPIB_TYPE && ipib.header_size == header_size;
        Ok(Ipib::parse(&bytes).ok().filter(fits).map(|ipib| (at, ipib)))
    }

    /// A header whose only measure is its own size field. If that says too much it is read as far as the file
    /// goes, for the machine to refuse.
    fn header(&mut self, offset: u64) -> Result<Vec<u8>, FileError> {
        let fixed = self.up_to(offset, HEADER_FIXED)?;
        let stated = SeHeader::stated_size(&fixed).map_or(HEADER_FIXED, |size| size as usize);
        self.up_to(offset, stated.min(LONGEST_HEADER + 1))
    }

    fn ipib(&mut self, offset: u64) -> Result<Ipib, FileError> {
        let bytes = self.up_to(offset, LONGEST_IPIB)?;
        Ipib::parse(&bytes).map_err(|fault| FileError::Ipib { offset, fault })
    }

    /// The components as hosts unpack them: in whole pages.
    fn components(&mut self, ipib: &Ipib) -> Result<Vec<Component>, FileError> {
        let rounded = |length: u64| length.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
        let total = ipib.components.iter().fold(0u64, |sum, one| sum.saturating_add(rounded(one.length)));
        if total > MOST_BYTES {
            return Err(FileError::TooLarge { total });
        }
        let read = |(number, listed): (usize, &super::ipib::ListedComponent)| {
            let mut data = self.exactly(&format!("component {number}"), listed.address, listed.length)?;
            let rest = rounded(listed.length) as usize - data.len();
            data.extend(self.up_to(listed.address + listed.length, rest)?);
            data.resize(rounded(listed.length) as usize, 0);
            Ok(Component { prefix: listed.prefix, address: listed.address, data })
        };
        ipib.components.iter().enumerate().map(read).collect()
    }

    fn exactly(&mut self, what: &str, offset: u64, needed: u64) -> Result<Vec<u8>, FileError> {
        match offset.checked_add(needed) {
            Some(end) if end <= self.length => self.up_to(offset, needed as usize),
            _ => Err(FileError::Truncated { what: what.into(), offset, needed, length: self.length }),
        }
    }

    /// As many of these bytes as the file has.
    fn up_to(&mut self, offset: u64, count: usize) -> Result<Vec<u8>, FileError> {
        let there = self.length.saturating_sub(offset).min(count as u64);
        let mut bytes = vec![0; there as usize];
        if there != 0 {
            self.source.seek(SeekFrom::Start(offset))?;
            self.source.read_exact(&mut bytes)?;
        }
        Ok(bytes)
    }

    fn finish(
        self,
        found: Found,
        header_offset: u64,
        ipib: Option<(u64, Ipib)>,
        header: Vec<u8>,
        components: Vec<Component>,
    ) -> SeImageFile {
        SeImageFile { found, header_offset, ipib, image: SeImage { header, components }, length: self.length }
    }
}
