//! What Linux shows of the Ultravisor under `/sys/firmware/uv`, on a host of the simulation or inside one of its
//! guests.
//!
//! Names and formats are those of Linux `arch/s390/kernel/uv.c`: truth values and counts are decimal, masks and
//! lengths lower-case hexadecimal without a prefix, a line each. The values come from QUI and QUERY_KEYS, issued
//! by a CPU of the machine.

mod attributes;
mod query;

pub use attributes::Attribute;
pub use query::query;

use std::path::{Path, PathBuf};

/// Who looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Role {
    /// The host.
    #[default]
    Host,
    /// A protected guest.
    Guest,
}

impl Role {
    /// "host" or "guest".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Guest => "guest",
        }
    }
}

/// What is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostInfo {
    /// Who looks.
    pub role: Role,
    /// Facilities about the Ultravisor, by number, with their names.
    pub facilities: Vec<(u16, &'static str)>,
    /// The files, in the order of the kernel.
    pub attributes: Vec<Attribute>,
}

/// Why there is nothing to show.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostInfoError {
    /// The machine cannot be built or operated.
    #[error("{0}")]
    Machine(String),
    /// A query was refused.
    #[error("the {role} cannot query the Ultravisor: {call} ends with {answer}", role = role.name())]
    Query {
        /// Who asked.
        role: Role,
        /// Short name of the call.
        call: &'static str,
        /// What came back.
        answer: String,
    },
    /// The host cannot be brought up, or its guest not be started.
    #[error("no guest can be started: {0}")]
    NoGuest(String),
}

/// Why the files cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SysfsError {
    /// There is something in the folder.
    #[error("`{}` is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// It is no folder.
    #[error("`{}` is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// The operating system refuses.
    #[error("`{}` cannot be written: {error}", .path.display())]
    Refused {
        /// The file or folder.
        path: PathBuf,
        /// What it says.
        error: std::io::Error,
    },
}

impl HostInfo {
    /// An attribute by its path below `/sys/firmware/uv`.
    #[must_use]
    pub fn attribute(&self, path: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.path == path)
    }

    /// Writes the files into a folder, as they lie in `/sys/firmware/uv`. The folder is made if there is none; one
    /// that holds anything is left alone.
    ///
    /// # Errors
    /// The folder is not empty, or something cannot be written.
    pub fn write_to(&self, folder: &Path) -> Result<(), SysfsError> {
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |error| SysfsError::Refused { path, error }
        };
        if folder.exists() {
            if !folder.is_dir() {
                return Err(SysfsError::NotAFolder(folder.to_owned()));
            }
            if std::fs::read_dir(folder).map_err(refused(folder))?.next().is_some() {
                return Err(SysfsError::NotEmpty(folder.to_owned()));
            }
        }
        for attribute in &self.attributes {
            let path = folder.join(attribute.path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(refused(parent))?;
            }
            std::fs::write(&path, &attribute.text).map_err(refused(&path))?;
        }
        Ok(())
    }
}
