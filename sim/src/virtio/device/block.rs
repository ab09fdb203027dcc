//! A disk: `virtio-blk`, on a file or in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_FLUSH,
    VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};
use virtio_queue::Queue;
use vm_memory::GuestMemory;

use super::ring::{Chain, Ring};
use super::{Device, DeviceError, Served};

const SECTOR: u64 = 512;
/// Type, a reserved word, sector.
const HEADER: usize = 16;
/// Length of the name that GET_ID gives.
const NAME: usize = 20;
/// The configuration space, up to what unoffered features would use.
const CONFIG: usize = 64;
/// Bytes moved at once.
const PIECE: usize = 64 << 10;

/// A disk.
#[derive(Debug)]
pub struct Block {
    disk: Disk,
    sectors: u64,
    read_only: bool,
    name: [u8; NAME],
    config: [u8; CONFIG],
    piece: Vec<u8>,
}

#[derive(Debug)]
enum Disk {
    File(File),
    Memory(Vec<u8>),
}

/// Nothing can be made a disk of.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The file's length is not known.
    #[error("the length of the file cannot be learned: {0}")]
    Length(#[source] io::Error),
    /// Not one whole sector.
    #[error("a disk has at least one sector of 512 bytes; this one has {0} bytes")]
    TooSmall(u64),
}

impl Block {
    /// A disk on a file. Bytes behind the last whole sector cannot be reached.
    ///
    /// # Errors
    /// The file has less than a sector.
    pub fn of_file(file: File, read_only: bool, name: &str) -> Result<Self, BlockError> {
        let bytes = file.metadata().map_err(BlockError::Length)?.len();
        Self::new(Disk::File(file), bytes, read_only, name)
    }

    /// A disk in memory. Bytes behind the last whole sector cannot be reached.
    ///
    /// # Errors
    /// There is less than a sector.
    pub fn of_memory(bytes: Vec<u8>, read_only: bool, name: &str) -> Result<Self, BlockError> {
        let len = bytes.len() as u64;
        Self::new(Disk::Memory(bytes), len, read_only, name)
    }

    fn new(disk: Disk, bytes: u64, read_only: bool, name: &str) -> Result<Self, BlockError> {
        let sectors = bytes / SECTOR;
        if sectors == 0 {
            return Err(BlockError::TooSmall(bytes));
        }
        let mut config = [0; CONFIG];
        config[..8].copy_from_slice(&sectors.to_le_bytes());
        let mut padded = [0; NAME];
        padded.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        Ok(Self { disk, sectors, read_only, name: padded, config, piece: vec![0; PIECE] })
    }

    /// Sectors of 512 bytes.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// The bytes of a disk in memory.
    #[must_use]
    pub fn content(&self) -> Option<&[u8]> {
        match &self.disk {
            Disk::Memory(bytes) => Some(bytes),
            Disk::File(_) => None,
        }
    }

    /// One request: a header, data, room for a status.
    fn answer<M: GuestMemory>(&mut self, chain: &mut Chain<'_, M>) -> Result<(), DeviceError> {
        let mut header = [0; HEADER];
        if chain.read(&mut header)?.len() < HEADER {
            return Err(chain.malformed("its header is shorter than 16 bytes"));
        }
        let Some(room) = chain.writable().checked_sub(1) else {
            return Err(chain.malformed("it has no room for a status"));
        };
        let [a, b, c, d, _, _, _, _, sector @ ..] = header;
        let sector = u64::from_le_bytes(sector);
        let done = match u32::from_le_bytes([a, b, c, d]) {
            VIRTIO_BLK_T_IN => self.read(chain, sector, room)?,
            VIRTIO_BLK_T_OUT => self.write(chain, sector)?,
            VIRTIO_BLK_T_FLUSH => self.flush(),
            VIRTIO_BLK_T_GET_ID => {
                let len = self.name.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                chain.write(&self.name[..len])?;
                Status::Done
            }
            _ => Status::Unsupported,
        };
        chain.skip_to_last();
        chain.write(&[done as u8])
    }

    fn read<M: GuestMemory>(&mut self, chain: &mut Chain<'_, M>, sector: u64, len: u64) -> Result<Status, DeviceError> {
        let Some(mut at) = self.start(sector, len) else { return Ok(Status::Failed) };
        let end = at + len;
        while at < end {
            let piece = (end - at).min(PIECE as u64) as usize;
            match &self.disk {
                Disk::Memory(bytes) => chain.write(&bytes[at as usize..][..piece])?,
                Disk::File(file) => {
                    if file.read_exact_at(&mut self.piece[..piece], at).is_err() {
                        return Ok(Status::Failed);
                    }
                    chain.write(&self.piece[..piece])?;
                }
            }
            at += piece as u64;
        }
        Ok(Status::Done)
    }

    fn write<M: GuestMemory>(&mut self, chain: &mut Chain<'_, M>, sector: u64) -> Result<Status, DeviceError> {
        let len = chain.readable();
        let Some(mut at) = self.start(sector, len).filter(|_| !self.read_only) else { return Ok(Status::Failed) };
        while chain.readable() > 0 {
            let piece = chain.read(&mut self.piece)?;
            match &mut self.disk {
                Disk::Memory(bytes) => bytes[at as usize..][..piece.len()].copy_from_slice(piece),
                Disk::File(file) => {
                    if file.write_all_at(piece, at).is_err() {
                        return Ok(Status::Failed);
                    }
                }
            }
            at += piece.len() as u64;
        }
        Ok(Status::Done)
    }

    fn flush(&self) -> Status {
        match &self.disk {
            Disk::File(file) if file.sync_data().is_err() => Status::Failed,
            Disk::File(_) | Disk::Memory(_) => Status::Done,
        }
    }

    /// Where whole sectors start that all exist.
    fn start(&self, sector: u64, len: u64) -> Option<u64> {
        let inside = sector.checked_add(len / SECTOR).is_some_and(|end| end <= self.sectors);
        (inside && len.is_multiple_of(SECTOR)).then(|| sector * SECTOR)
    }
}

/// The status byte.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Status {
    Done = VIRTIO_BLK_S_OK as u8,
    Failed = VIRTIO_BLK_S_IOERR as u8,
    Unsupported = VIRTIO_BLK_S_UNSUPP as u8,
}

impl Device for Block {
    fn device_type(&self) -> u32 {
        2
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_BLK_F_FLUSH | u64::from(self.read_only) << VIRTIO_BLK_F_RO
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn queue_sizes(&self) -> &[u16] {
        &[256]
    }

    fn notify<M: GuestMemory>(&mut self, queue: u16, queues: &mut [Queue], memory: &M) -> Result<Served, DeviceError> {
        let mut ring = Ring::new(queue, queues, memory)?;
        while let Some(mut chain) = ring.take()? {
            self.answer(&mut chain)?;
            ring.give(&chain)?;
        }
        Ok(ring.served())
    }
}
