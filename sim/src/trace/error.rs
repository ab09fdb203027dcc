//! Why a trace cannot be used.

use super::pages::{MAX_PAGES, MAX_TOUCHES};

/// Why a trace cannot be read or written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// There is no access in it.
    #[error("it holds no memory access")]
    Empty,
    /// It is neither of the formats.
    #[error("it is no trace: it begins with {found}, not with lines of valgrind's lackey or the head of a `.uvtrace`")]
    Unknown {
        /// The first bytes.
        found: String,
    },
    /// A line of text is none that lackey writes.
    #[error("line {line}: {what}: `{found}`")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
        /// What stands there.
        found: String,
    },
    /// A line has no end.
    #[error("line {line}: the text ends within the line: `{found}`")]
    CutLine {
        /// Its number, from 1.
        line: u64,
        /// What there is of it.
        found: String,
    },
    /// A record of the compact form breaks its rules.
    #[error("byte {offset:#x}: {what}")]
    Record {
        /// Where the record begins, counted from the start of the uncompressed content.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The compact form ends before its end record.
    #[error("byte {offset:#x}: the content ends there, without an end record: the file is cut off")]
    Cut {
        /// Where the content ends.
        offset: u64,
    },
    /// The compressed data are damaged or cut off.
    #[error("the {format} data are damaged or cut off after {offset:#x} bytes of content: {message}")]
    Compressed {
        /// "gzip" or "zstd".
        format: &'static str,
        /// What was read before.
        offset: u64,
        /// What the decoder says.
        message: String,
    },
    /// Much content and nothing in it.
    #[error("line {line}: {limit} bytes without an access")]
    Silent {
        /// The line that is one too many.
        line: u64,
        /// What is tolerated.
        limit: u64,
    },
    /// More pages than can be kept.
    #[error("it touches more than {MAX_PAGES} pages, all that can be kept apart: take a part of it (limit)")]
    TooManyPages,
    /// More accesses than can be kept.
    #[error("it has more than {MAX_TOUCHES} accesses to pages, all that can be kept: take a part of it (limit)")]
    TooManyTouches,
    /// A trace cannot be written.
    #[error("`{path}` cannot be written: {message}")]
    Unwritable {
        /// The file.
        path: String,
        /// Why.
        message: String,
    },
    /// Input and output are the same file.
    #[error("`{0}` is the input as well: it is not overwritten")]
    Same(String),
}

impl TraceError {
    /// What to do about it, if there is something to say.
    #[must_use]
    pub const fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Empty => "lackey records accesses with --trace-mem=yes; a limit, or data only, may leave none",
            Self::Unknown { .. } => {
                "traces are made by `valgrind --tool=lackey --trace-mem=yes --log-file=FILE` or `uvsim trace convert`"
            }
            Self::Line { .. } | Self::CutLine { .. } => {
                "with --log-file=FILE nothing that the program says gets into the trace; a limit reads what stands before"
            }
            Self::Record { .. } | Self::Cut { .. } | Self::Compressed { .. } => {
                "copy or convert it again; a limit reads what stands before"
            }
            Self::Silent { .. } => "leave the lines that are no accesses out: `grep '^[I ]'`",
            Self::Same(_) => "name another file",
            Self::Unreadable(_) | Self::Unwritable { .. } | Self::TooManyPages | Self::TooManyTouches => return None,
        })
    }
}
