//! The bytes of a trace: from a file or storage, plain or decompressed.

use super::{Source, TraceError};
use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BUFFER: usize = 1 << 16;
/// The largest window that a zstd frame may want: what the format asks decoders to support is 8 MiB.
const MAX_WINDOW: u64 = 64 << 20;
const NO_FILE: &str = "it is not a regular file, and a trace is read more than once";

/// The content of a trace, decompressed.
pub(super) struct Content {
    inner: BufReader<Box<dyn Read>>,
    /// Bytes consumed.
    offset: u64,
    format: Option<&'static str>,
}

impl Content {
    pub(super) fn open(source: &Source) -> Result<Self, TraceError> {
        let raw: Box<dyn Read> = match source {
            Source::File(path) => {
                // Opening a pipe would wait for a writer.
                let kind = std::fs::metadata(path).map_err(|error| unreadable(&error))?.file_type();
                if !kind.is_file() {
                    let what = if kind.is_dir() { "it is a directory" } else { NO_FILE };
                    return Err(TraceError::Unreadable(what.to_owned()));
                }
                Box::new(File::open(path).map_err(|error| unreadable(&error))?)
            }
            Source::Bytes(bytes) => Box::new(Cursor::new(bytes.clone())),
        };
        let mut raw = BufReader::with_capacity(BUFFER, raw);
        let head = raw.fill_buf().map_err(|error| unreadable(&error))?;
        if head.is_empty() {
            return Err(TraceError::Empty);
        }
        let (inner, format): (Box<dyn Read>, _) = if head.starts_with(&GZIP) {
            (Box::new(MultiGzDecoder::new(raw)), Some("gzip"))
        } else if head.starts_with(&ZSTD) {
            (Box::new(ZstdFrames::Between(raw)), Some("zstd"))
        } else {
            (Box::new(raw), None)
        };
        Ok(Self { inner: BufReader::with_capacity(BUFFER, inner), offset: 0, format })
    }

    /// What comes next, at least one byte of it; nothing at the end.
    pub(super) fn ahead(&mut self) -> Result<&[u8], TraceError> {
        match self.inner.fill_buf() {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(match self.format {
                None => unreadable(&error),
                Some(format) => TraceError::Compressed { format, offset: self.offset, message: error.to_string() },
            }),
        }
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.offset += count as u64;
    }

    pub(super) fn byte(&mut self) -> Result<Option<u8>, TraceError> {
        let byte = self.ahead()?.first().copied();
        if byte.is_some() {
            self.consume(1);
        }
        Ok(byte)
    }

    /// Bytes consumed so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }
}

fn unreadable(error: &io::Error) -> TraceError {
    TraceError::Unreadable(match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "there is no such file".to_owned(),
        kind => kind.to_string(),
    })
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("offset", &self.offset).field("format", &self.format).finish_non_exhaustive()
    }
}

/// Frames of zstd, one after the other.
enum ZstdFrames<R: BufRead> {
    Between(R),
    Within(Box<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>),
    /// Only while one becomes the other, and after an error.
    Over,
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(self, Self::Over) {
                Self::Over => return Ok(0),
                Self::Between(mut source) => {
                    if source.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    let frame = StreamingDecoder::new_with_max_window_size(source, MAX_WINDOW);
                    *self = Self::Within(Box::new(frame.map_err(io::Error::other)?));
                }
                Self::Within(mut frame) => {
                    let count = frame.read(buffer)?;
                    if count > 0 {
                        *self = Self::Within(frame);
                        return Ok(count);
                    }
                    // The checksum of the frame is not the decoder's business.
                    let (wanted, found) =
                        (frame.decoder.get_checksum_from_data(), frame.decoder.get_calculated_checksum());
                    if wanted.is_some() && found.is_some() && wanted != found {
                        return Err(io::Error::other("the checksum of a frame does not match"));
                    }
                    *self = Self::Between(frame.into_inner());
                }
            }
        }
    }
}
