//! A host key and its documents as files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uvsim_model::crypto::PrivateKey;
use x509_cert::der::pem::{LineEnding, PemLabel};
use x509_cert::der::{Encode, EncodePem};
use zeroize::Zeroizing;

use super::Role;
use super::authority::{Authority, CertificateError};

/// How certificates and revocation lists are written. Client programs take both; private keys are always PEM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// Base64 between boundaries.
    #[default]
    Pem,
    /// As they are.
    Der,
}

/// A file to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKeyFile {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its bytes.
    pub content: Zeroizing<Vec<u8>>,
    /// It is for its owner only.
    pub private: bool,
}

/// What has been done with a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Saved {
    /// Written.
    Written,
    /// It was there already, with the same bytes.
    Same,
}

/// A file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// There is one already.
    #[error("`{}` is there already with another content", .0.display())]
    Exists(PathBuf),
    /// The operating system refuses.
    #[error("`{}` cannot be written: {}", .path.display(), .error.kind())]
    Refused {
        /// Which.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

impl Authority {
    /// All files of a host key: its document, the private key, and what a client program wants to see before
    /// it trusts the document.
    ///
    /// # Errors
    /// None that is known of.
    pub fn files(&self, role: Role, key: &PrivateKey, form: Form) -> Result<Vec<HostKeyFile>, CertificateError> {
        let (document, private) = match role {
            Role::Host => (("host-key.crt", "host-key document"), ("host-key.pem", "its private key")),
            Role::Backup => {
                (("backup-host-key.crt", "backup host-key document"), ("backup-host-key.pem", "its private key"))
            }
        };
        let secret = HostKeyFile {
            name: private.0,
            about: private.1,
            content: Zeroizing::new(key.to_pem().as_bytes().to_vec()),
            private: true,
        };
        let [root, intermediate, service] = [&self.root, &self.intermediate, &self.service];
        Ok(vec![
            file(document, &self.certify(role, key.public())?, form)?,
            secret,
            file(("signing-service.crt", "certificate of the key signing service"), &service.certificate, form)?,
            file(("intermediate-ca.crt", "certificate of the intermediate CA"), &intermediate.certificate, form)?,
            file(("root-ca.crt", "certificate of the root CA"), &root.certificate, form)?,
            file(("signing-service.crl", "revocation list for host keys, empty"), &service.revocations, form)?,
            file(
                ("intermediate-ca.crl", "revocation list for signing services, empty"),
                &intermediate.revocations,
                form,
            )?,
            file(("root-ca.crl", "revocation list for CAs, empty"), &root.revocations, form)?,
        ])
    }
}

/// Writes files, none of them if one is there already with another content and may not be replaced.
///
/// # Errors
/// The first file that is in the way, or cannot be written.
pub fn save(files: &[(PathBuf, &HostKeyFile)], replace: bool) -> Result<Vec<Saved>, SaveError> {
    let same = |path: &Path, file: &HostKeyFile| fs::read(path).is_ok_and(|old| Zeroizing::new(old) == file.content);
    if !replace {
        let in_the_way = |(path, file): &&(PathBuf, &HostKeyFile)| exists(path) && !same(path, file);
        if let Some((path, _)) = files.iter().find(in_the_way) {
            return Err(SaveError::Exists(path.clone()));
        }
    }
    let save = |(path, file): &(PathBuf, &HostKeyFile)| {
        if same(path, file) {
            return Ok(Saved::Same);
        }
        write(path, file).map(|()| Saved::Written).map_err(|error| SaveError::Refused { path: path.clone(), error })
    };
    files.iter().map(save).collect()
}

impl core::fmt::Debug for HostKeyFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HostKeyFile").field("name", &self.name).finish_non_exhaustive()
    }
}

fn file(
    (name, about): (&'static str, &'static str),
    what: &(impl Encode + PemLabel),
    form: Form,
) -> Result<HostKeyFile, CertificateError> {
    let content = match form {
        Form::Pem => what.to_pem(LineEnding::LF).map(String::into_bytes),
        Form::Der => what.to_der(),
    };
    let content = content.map_err(|error| CertificateError::from(x509_cert::builder::Error::from(error)))?;
    Ok(HostKeyFile { name, about, content: Zeroizing::new(content), private: false })
}

/// Links that lead nowhere are in the way too.
fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Always a new file, so that its permissions are right from the start and no link is followed.
fn write(path: &Path, file: &HostKeyFile) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    if exists(path) {
        fs::remove_file(path)?;
    }
    let mut created = create(path, file.private)?;
    created.write_all(&file.content).inspect_err(|_| {
        // Half a key or certificate is worse than none.
        let _ = fs::remove_file(path);
    })
}

#[cfg(unix)]
fn create(path: &Path, private: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mode = if private { 0o600 } else { 0o666 };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

#[cfg(not(unix))]
fn create(path: &Path, _: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}
