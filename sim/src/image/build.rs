//! Making a whole image file: boot loader, header, components and IPIB at their places.

use super::ipib::{Ipib, ListedComponent};
use super::layout::{
    ComponentKind, Extent, HEADER_OFFSET, METADATA_MAGIC, METADATA_OFFSET, METADATA_VERSION, MOST_COMPONENTS, Metadata,
    SHORT_PSW, STAGE3A_OFFSET, Stage3aArguments, Stage3bArguments,
};
use super::stages::{self, StageTooShort};
use super::{Component, ImageKeys, Recipe, SeImage, USUAL_PSW_MASK};
use std::io::{self, Seek, SeekFrom, Write};
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::crypto::{ENCRYPTED_AREA, HEADER_FIXED, PublicKey, TooManySlots, plain_flag, secret_flag};
use zerocopy::IntoBytes;

/// What an image file is to be made of.
#[derive(Debug)]
pub struct ImagePlan<'a> {
    /// The host keys that may open it.
    pub recipients: &'a [PublicKey],
    /// The kernel, a raw binary that starts at 0x10000 of itself.
    pub kernel: Option<Vec<u8>>,
    /// The initial RAM disk.
    pub ramdisk: Option<Vec<u8>>,
    /// The command line of the kernel; a NUL is added if it does not end with one.
    pub command_line: Option<Vec<u8>>,
    /// Components at addresses of their own.
    pub placed: Vec<Placed>,
    /// The boot loader that asks for protection; a stub that stops if none is given.
    pub stage3a: Option<Vec<u8>>,
    /// The boot loader that runs protected; a stub that stops if none is given.
    pub stage3b: Option<Vec<u8>>,
    /// Plaintext control flags.
    pub flags: u64,
    /// Secret control flags.
    pub secret_flags: u64,
    /// Mask and address of the initial PSW; by default that of stage3b, or of the first component.
    pub psw: Option<[u64; 2]>,
    /// The keys and the IV.
    pub keys: ImageKeys,
    /// Only the header is wanted: components may lie anywhere, and there is neither boot loader nor IPIB.
    pub header_only: bool,
}

/// A component at an address of its own.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Guest absolute address.
    pub address: u64,
    /// Tweak prefix; a rising one is drawn if there is none.
    pub prefix: Option<u64>,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A finished image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuiltImage {
    /// What a host hands over.
    pub image: SeImage,
    /// Offset and bytes of the pieces of the file, in order and apart from each other.
    pieces: Vec<(u64, Vec<u8>)>,
}

/// Longest file that is written.
pub const LONGEST_FILE: u64 = 4 << 30;

/// An image that cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BuildError {
    /// Nothing to boot.
    #[error("an image needs a component: a kernel, or one placed by hand")]
    NoComponent,
    /// A RAM disk or a command line alone.
    #[error("a {0} without a kernel: nobody would read it")]
    NoKernel(&'static str),
    /// Number of host keys.
    #[error(transparent)]
    Recipients(#[from] TooManySlots),
    /// Number of components.
    #[error("{0} components: an IPIB lists {MOST_COMPONENTS} at most")]
    Components(usize),
    /// Two things at one place.
    #[error("{first} and {second} overlap at {address:#x}; the file offset of a component is its address")]
    Overlap {
        /// The lower one.
        first: String,
        /// The other one.
        second: String,
        /// Where the other one begins.
        address: u64,
    },
    /// Components begin at pages.
    #[error("a component cannot begin at {0:#x}, inside a page")]
    Unaligned(u64),
    /// The file would be too long.
    #[error("{what} would end at {end:#x}: files end at {LONGEST_FILE:#x} at most")]
    TooLong {
        /// What it is.
        what: String,
        /// Its end; the highest number if no number says it.
        end: u64,
    },
    /// Prefixes that do not rise.
    #[error("tweak prefix {prefix:#018x} at {address:#x} is not greater than that before it, {before:#018x}")]
    PrefixOrder {
        /// The prefix.
        prefix: u64,
        /// Address of its component.
        address: u64,
        /// The prefix of the component before.
        before: u64,
    },
    /// XTS with equal halves.
    #[error("the two halves of the image key are equal: data key and tweak key must differ")]
    ImageKey,
    /// Both secret control flags.
    #[error("an image either demands the extension secret or allows updates of the communication key, not both")]
    SecretFlags,
    /// A boot loader without room for its arguments.
    #[error(transparent)]
    Stage(#[from] StageTooShort),
}

impl ImagePlan<'_> {
    /// Makes the image. Equal plans and random numbers give equal files.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(mut self, random: &mut impl rand::CryptoRng) -> Result<BuiltImage, BuildError> {
        self.check()?;
        let stage3a = self.stage3a.take().unwrap_or_else(stages::stage3a_stub);
        let stage3a_end = STAGE3A_OFFSET + stage3a.len() as u64;
        let header_offset = page_up(stage3a_end).max(HEADER_OFFSET);
        let header_size = header_size(self.recipients.len());
        let mut drafts = self.standard_components(page_up(header_offset + header_size))?;
        drafts.extend(self.placed.drain(..).map(Draft::placed));
        drafts.sort_by_key(|draft| draft.address);
        check_places(&drafts)?;
        let components = with_prefixes(drafts, self.header_only, random)?;
        let loader = components.iter().rev().find(|one| one.kind == Some(ComponentKind::Stage3b));
        let start = loader.or(components.first()).map_or(0, |one| one.component.address);
        let names: Vec<String> = components.iter().map(Prefixed::name).collect();
        let recipe = Recipe {
            recipients: self.recipients,
            flags: self.flags,
            secret_flags: self.secret_flags,
            psw: self.psw.unwrap_or([USUAL_PSW_MASK, start]),
            components: components.into_iter().map(|one| one.component).collect(),
            keys: self.keys,
        };
        let image = recipe.make()?;
        let pieces = match self.header_only {
            true => vec![(0, image.header.clone())],
            false => lay_out(&image, &names, stage3a, header_offset)?,
        };
        Ok(BuiltImage { image, pieces })
    }

    fn check(&self) -> Result<(), BuildError> {
        match (&self.kernel, &self.ramdisk, &self.command_line) {
            (Some(_), ..) => {}
            (None, Some(_), _) => return Err(BuildError::NoKernel("RAM disk")),
            (None, _, Some(_)) => return Err(BuildError::NoKernel("command line")),
            (None, None, None) if self.placed.is_empty() => return Err(BuildError::NoComponent),
            (None, None, None) => {}
        }
        if self.flags & plain_flag::PLAIN_COMPONENTS == 0 && self.keys.image[..32] == self.keys.image[32..] {
            return Err(BuildError::ImageKey);
        }
        if self.secret_flags == secret_flag::EXTENSION_REQUIRED | secret_flag::KEY_UPDATE {
            return Err(BuildError::SecretFlags);
        }
        if let Some(placed) = self.placed.iter().find(|placed| !placed.address.is_multiple_of(PAGE_SIZE)) {
            return Err(BuildError::Unaligned(placed.address));
        }
        Ok(())
    }

    /// Kernel, RAM disk, command line and stage3b, page after page.
    fn standard_components(&mut self, first: u64) -> Result<Vec<Draft>, BuildError> {
        let Some(kernel) = self.kernel.take() else { return Ok(Vec::new()) };
        let command_line = self.command_line.take().map(|mut line| {
            if line.last() != Some(&0) {
                line.push(0);
            }
            line
        });
        let mut next = first;
        let mut drafts = Vec::new();
        let mut extents = Vec::new();
        for (kind, data) in [
            (ComponentKind::Kernel, Some(kernel)),
            (ComponentKind::Ramdisk, self.ramdisk.take()),
            (ComponentKind::CommandLine, command_line),
        ] {
            let size = data.as_ref().map_or(0, |data| data.len() as u64);
            let address = if data.is_some() { next } else { 0 };
            extents.push(Extent { address: address.into(), size: size.into() });
            if let Some(data) = data {
                drafts.push(Draft { kind: Some(kind), address, prefix: None, data });
                next += page_up(size.max(1));
            }
        }
        let arguments = Stage3bArguments {
            kernel: extents[0],
            ramdisk: extents[1],
            command_line: extents[2],
            psw_mask: USUAL_PSW_MASK.into(),
            psw_address: stages::KERNEL_ENTRY.into(),
        };
        let mut stage3b = self.stage3b.take().unwrap_or_else(stages::stage3b_stub);
        stages::fill_in("stage3b", &mut stage3b, arguments.as_bytes())?;
        drafts.push(Draft { kind: Some(ComponentKind::Stage3b), address: next, prefix: None, data: stage3b });
        Ok(drafts)
    }
}

impl BuiltImage {
    /// Bytes of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.pieces.last().map_or(0, |(offset, bytes)| offset + bytes.len() as u64)
    }

    /// Writes the file into an empty one, without touching the gaps between its pieces.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_sparse(&self, out: &mut (impl Write + Seek)) -> io::Result<()> {
        for (offset, bytes) in &self.pieces {
            out.seek(SeekFrom::Start(*offset))?;
            out.write_all(bytes)?;
        }
        out.flush()
    }

    /// Writes the file from its first byte to its last, gaps as zeros.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut at = 0;
        for (offset, bytes) in &self.pieces {
            io::copy(&mut io::Read::take(io::repeat(0), offset - at), out)?;
            out.write_all(bytes)?;
            at = offset + bytes.len() as u64;
        }
        out.flush()
    }

    /// The file in memory.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length() as usize];
        for (offset, piece) in &self.pieces {
            bytes[*offset as usize..][..piece.len()].copy_from_slice(piece);
        }
        bytes
    }
}

/// A component that has no prefix yet.
struct Draft {
    kind: Option<ComponentKind>,
    address: u64,
    prefix: Option<u64>,
    data: Vec<u8>,
}

/// A component that has one.
struct Prefixed {
    kind: Option<ComponentKind>,
    component: Component,
}

impl Draft {
    fn placed(placed: Placed) -> Self {
        Self { kind: None, address: placed.address, prefix: placed.prefix, data: placed.data }
    }
}

impl Prefixed {
    fn name(&self) -> String {
        name(self.kind, self.component.address)
    }
}

fn name(kind: Option<ComponentKind>, address: u64) -> String {
    match kind {
        Some(kind) => format!("the {}", kind.name()),
        None => format!("the component at {address:#x}"),
    }
}

/// Components must not overlap each other, nor leave what a file can hold.
fn check_places(drafts: &[Draft]) -> Result<(), BuildError> {
    if drafts.len() > MOST_COMPONENTS {
        return Err(BuildError::Components(drafts.len()));
    }
    let end = |draft: &Draft| draft.address.checked_add(page_up(draft.data.len().max(1) as u64));
    for draft in drafts {
        let end = end(draft).unwrap_or(u64::MAX);
        if end > LONGEST_FILE {
            return Err(BuildError::TooLong { what: name(draft.kind, draft.address), end });
        }
    }
    match drafts.windows(2).find(|pair| end(&pair[0]).is_none_or(|end| end > pair[1].address)) {
        None => Ok(()),
        Some(pair) => Err(BuildError::Overlap {
            first: name(pair[0].kind, pair[0].address),
            second: name(pair[1].kind, pair[1].address),
            address: pair[1].address,
        }),
    }
}

/// Gives each component a prefix: its kind, or that of the one before it, and 6 random bytes. They rise.
fn with_prefixes(
    drafts: Vec<Draft>,
    any_order: bool,
    random: &mut impl rand::CryptoRng,
) -> Result<Vec<Prefixed>, BuildError> {
    const RANDOM: u64 = (1 << 48) - 1;
    let mut kind = ComponentKind::Kernel as u64;
    let mut before: Option<u64> = None;
    let mut done = Vec::new();
    for draft in drafts {
        kind = draft.kind.map_or(kind, |kind| kind as u64);
        let drawn = kind << 48 | random.next_u64() & RANDOM;
        let least = before.map_or(0, |before| before.saturating_add(1));
        let prefix = draft.prefix.unwrap_or(drawn.max(least));
        if let Some(before) = before.filter(|&before| prefix <= before && !any_order) {
            return Err(BuildError::PrefixOrder { prefix, address: draft.address, before });
        }
        before = Some(prefix);
        done.push(Prefixed { kind: draft.kind, component: Component::new(prefix, draft.address, draft.data) });
    }
    Ok(done)
}

/// All pieces of the file in order; the IPIB goes behind everything else.
fn lay_out(
    image: &SeImage,
    names: &[String],
    mut stage3a: Vec<u8>,
    header_offset: u64,
) -> Result<Vec<(u64, Vec<u8>)>, BuildError> {
    let listed = |component: &Component| ListedComponent {
        prefix: component.prefix,
        address: component.address,
        length: component.data.len() as u64,
    };
    let header_size = image.header.len() as u64;
    let list = image.components.iter().map(listed).collect();
    let ipib = Ipib::new(header_offset, header_size, list).ok_or(BuildError::Components(image.components.len()))?;
    let ends = image.components.iter().map(|component| component.address + component.data.len() as u64);
    let ipib_offset = ends.max().unwrap_or(0).max(page_up(header_offset + header_size));
    let metadata = Metadata {
        magic: METADATA_MAGIC,
        header: header_offset.into(),
        version: METADATA_VERSION.into(),
        ipib: ipib_offset.into(),
    };
    let arguments = STAGE3A_OFFSET + (stage3a.len() as u64).saturating_sub(size_of::<Stage3aArguments>() as u64);
    let arguments = Stage3aArguments {
        header_offset: (header_offset - arguments).into(),
        header_size: header_size.into(),
        ipib_offset: (ipib_offset - arguments).into(),
    };
    stages::fill_in("stage3a", &mut stage3a, arguments.as_bytes())?;
    let mut pieces = vec![
        ("the short PSW".to_owned(), 0, SHORT_PSW.to_vec()),
        ("the metadata".to_owned(), METADATA_OFFSET, metadata.as_bytes().to_vec()),
        ("stage3a".to_owned(), STAGE3A_OFFSET, stage3a),
        ("the SE header".to_owned(), header_offset, image.header.clone()),
        ("the IPIB".to_owned(), ipib_offset, ipib.to_bytes()),
    ];
    let components = names.iter().zip(&image.components);
    pieces.extend(components.map(|(name, one)| (name.clone(), one.address, one.data.clone())));
    pieces.sort_by_key(|&(_, offset, _)| offset);
    for pair in pieces.windows(2) {
        let [(first, offset, bytes), (second, address, _)] = pair else { continue };
        if offset + bytes.len() as u64 > *address {
            return Err(BuildError::Overlap { first: first.clone(), second: second.clone(), address: *address });
        }
    }
    Ok(pieces.into_iter().map(|(_, offset, bytes)| (offset, bytes)).collect())
}

fn header_size(recipients: usize) -> u64 {
    const SLOT: usize = 80;
    const TAG: usize = 16;
    (HEADER_FIXED + recipients * SLOT + ENCRYPTED_AREA + TAG) as u64
}

fn page_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE_SIZE)
}
