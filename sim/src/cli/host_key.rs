//! `uvsim host-key`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use uvsim::hostkey::{self, Authority, Form, HostKeyFile, Period, Role, SaveError, Saved};
use uvsim_model::config::MachineConfig;
use uvsim_model::crypto::PrivateKey;

/// Write the host-key document of a machine, with the certificates and revocation lists that client programs
/// check it against, and the private key
///
/// Everything is simulated and insecure: whoever knows the seed knows all the keys. Equal arguments give equal
/// files.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The machine of this seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Use this private key (P-521, PKCS#8 PEM) instead of drawing one; the authority is that of seed 1
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    key: Option<PathBuf>,
    /// The backup host key instead of the host key
    #[arg(long)]
    backup: bool,
    /// A folder for all files; or, if it ends with .crt, .cer, .pem or .der, a file for the document alone
    #[arg(long, short, value_name = "DIR|FILE", required_unless_present = "show")]
    output: Option<PathBuf>,
    /// Print the hash of the key, as sysfs shows it, and write nothing
    #[arg(long, conflicts_with_all = ["output", "der", "force", "not_before", "not_after"])]
    show: bool,
    /// Write certificates and revocation lists in DER form
    #[arg(long)]
    der: bool,
    /// First day of everything that is signed
    #[arg(long, value_name = "YYYY-MM-DD", default_value = "2020-01-01")]
    not_before: String,
    /// Last day of everything that is signed
    #[arg(long, value_name = "YYYY-MM-DD", default_value = "2119-12-31")]
    not_after: String,
    /// Replace files that are there with another content
    #[arg(long)]
    force: bool,
}

/// Does what the arguments say and returns what there is to tell.
pub(super) fn run(arguments: &Arguments) -> Result<String, String> {
    let role = if arguments.backup { Role::Backup } else { Role::Host };
    let key = arguments.private_key(role)?;
    let Some(output) = arguments.output.as_ref().filter(|_| !arguments.show) else {
        return Ok(format!("{}\n", key.hash()));
    };
    let period = Period::new(&arguments.not_before, &arguments.not_after).map_err(|error| error.to_string())?;
    let authority = Authority::new(arguments.seed, period).map_err(|error| error.to_string())?;
    let form = if arguments.der { Form::Der } else { Form::Pem };
    let files = authority.files(role, &key, form).map_err(|error| error.to_string())?;
    let alone = is_file(output);
    if !alone && output.exists() && !output.is_dir() {
        return Err(format!(
            "`{}` is not a folder; the name of a file for the document alone ends with .crt, .cer, .pem or .der",
            output.display()
        ));
    }
    let files: Vec<(PathBuf, &HostKeyFile)> = match &files[..] {
        [document, ..] if alone => vec![(output.clone(), document)],
        all => all.iter().map(|file| (output.join(file.name), file)).collect(),
    };
    let saved = hostkey::save(&files, arguments.force).map_err(|error| match error {
        SaveError::Exists(_) => format!("{error}: `--force` replaces it, and nothing has been written"),
        SaveError::Refused { .. } => error.to_string(),
    })?;
    Ok(listing(&files, &saved, &key, role, alone))
}

impl Arguments {
    fn private_key(&self, role: Role) -> Result<PrivateKey, String> {
        let Some(path) = &self.key else {
            let keys = MachineConfig { seed: self.seed, ..MachineConfig::default() }.host_keys();
            return Ok(match role {
                Role::Host => keys.host,
                Role::Backup => keys.backup,
            });
        };
        super::image::input::private_key(path)
    }
}

/// A folder that is there stays one, whatever its name.
fn is_file(output: &Path) -> bool {
    let extension = output.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["crt", "cer", "pem", "der"].contains(&extension) && !output.is_dir()
}

/// What each file is, and what to do with them.
fn listing(files: &[(PathBuf, &HostKeyFile)], saved: &[Saved], key: &PrivateKey, role: Role, alone: bool) -> String {
    let paths: Vec<String> = files.iter().map(|(path, _)| quoted(path)).collect();
    let width = paths.iter().map(|path| path.chars().count()).max().unwrap_or_default();
    let mut out = String::new();
    for ((path, (_, file)), saved) in paths.iter().zip(files).zip(saved) {
        let note = if *saved == Saved::Same { " (was there)" } else { "" };
        let _ = writeln!(out, "{path:width$}  {}{note}", file.about);
    }
    let _ = writeln!(out, "\nhost key {}, simulated, insecure\n", key.hash());
    let document = &paths[0];
    let _ = writeln!(out, "Images for it:\n  uvsim image build --host-key {document} ...");
    if alone {
        let _ = writeln!(out, "  pvimg create -k {document} --no-verify ...");
        return out;
    }
    let of =
        |name: &str| files.iter().zip(&paths).find(|((_, file), _)| file.name == name).map_or("", |(_, path)| path);
    let options = [
        ("--cert", "signing-service.crt"),
        ("--cert", "intermediate-ca.crt"),
        ("--root-ca", "root-ca.crt"),
        ("--crl", "signing-service.crl"),
        ("--crl", "intermediate-ca.crl"),
        ("--crl", "root-ca.crl"),
    ];
    let _ = writeln!(out, "  pvimg create -k {document} --offline \\");
    for (option, name) in options {
        let _ = writeln!(out, "    {option} {} \\", of(name));
    }
    let node = match role {
        Role::Host => "host-key",
        Role::Backup => "backup-host-key",
    };
    let private = files.iter().find(|(_, file)| file.private).map(|(path, _)| path.display().to_string());
    let private = private.unwrap_or_default().replace('\\', "\\\\").replace('"', "\\\"");
    let _ = writeln!(out, "    ...\nA machine with it, in a scenario:\n  machine {{ {node} \"{private}\" }}");
    out
}

/// As a shell wants it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
