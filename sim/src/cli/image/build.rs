//! `uvsim image build`.

use super::input::{self, ComponentArgument, PswArgument};
use super::{Complaint, Status};
use clap::Args;
use rand::rngs::{StdRng, SysRng};
use rand::{CryptoRng, SeedableRng};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use uvsim::image::{BuiltImage, ImageKeys, ImagePlan, Placed, USUAL_FLAGS, check_kernel};
use uvsim_model::crypto::{PublicKey, SeHeader, plain_flag, secret_flag};
use uvsim_model::seed::{Purpose, Seed};

/// No scenario has a guest of this number, whose images are drawn from the same purpose.
const OWN_STREAM: u32 = u32::MAX;

#[derive(Args)]
pub(crate) struct BuildArguments {
    /// The kernel, a raw s390x image
    #[arg(long, value_name = "FILE", required_unless_present = "components")]
    kernel: Option<PathBuf>,
    /// The command line of the kernel, in a file
    #[arg(long, value_name = "FILE", conflicts_with = "cmdline_text")]
    cmdline: Option<PathBuf>,
    /// The command line of the kernel
    #[arg(long, value_name = "TEXT")]
    cmdline_text: Option<String>,
    /// The initial RAM disk
    #[arg(long, value_name = "FILE")]
    ramdisk: Option<PathBuf>,
    /// A component at an address of its own; its tweak prefix is drawn if none is given
    #[arg(long = "component", value_name = "FILE@ADDRESS[:PREFIX]")]
    components: Vec<ComponentArgument>,
    /// A host key document (X.509, PEM or DER) or a host key (PKCS#8 PEM); once for each machine
    #[arg(long = "host-key", value_name = "DOC.crt|KEY.pem", required = true)]
    host_keys: Vec<PathBuf>,
    /// Where to write the image
    #[arg(long, short, value_name = "OUT")]
    output: PathBuf,
    /// Overwrite it if it is there
    #[arg(long)]
    force: bool,
    /// Write only the SE header
    #[arg(long)]
    header_only: bool,
    /// Do not check that the kernel is one and takes the command line
    #[arg(long)]
    no_component_check: bool,
    #[command(flatten)]
    flags: FlagArguments,
    #[command(flatten)]
    keys: KeyArguments,
    /// Initial PSW, hexadecimal; by default that of stage3b, or of the first component
    #[arg(long, value_name = "MASK:ADDRESS")]
    psw: Option<PswArgument>,
    /// The boot loader that asks for protection; by default a stub that stops
    #[arg(long, value_name = "FILE")]
    stage3a: Option<PathBuf>,
    /// The boot loader that runs protected; by default a stub that stops
    #[arg(long, value_name = "FILE")]
    stage3b: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "Flags of the image")]
struct FlagArguments {
    /// Allow dumps
    #[arg(long)]
    dump: bool,
    /// Do not encrypt the components; digests protect them all the same
    #[arg(long)]
    plain_components: bool,
    /// Allow PCKMO for DEA, AES and ECC keys (the default)
    #[arg(long, overrides_with = "no_pckmo")]
    pckmo: bool,
    /// Do not
    #[arg(long, overrides_with = "pckmo")]
    no_pckmo: bool,
    /// Allow PCKMO for HMAC keys (z17)
    #[arg(long)]
    pckmo_hmac: bool,
    /// Let the backup host key of a machine open the header
    #[arg(long)]
    backup_key: bool,
    /// Add-secret requests must carry the extension secret of the communication key
    #[arg(long, conflicts_with = "cck_update")]
    cck_extension_secret: bool,
    /// The communication key may be replaced
    #[arg(long)]
    cck_update: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Keys of the image, drawn afresh unless given")]
struct KeyArguments {
    /// Customer communication key, 32 bytes
    #[arg(long, value_name = "FILE")]
    cck: Option<PathBuf>,
    /// Key of the header, 32 bytes
    #[arg(long, value_name = "FILE")]
    header_key: Option<PathBuf>,
    /// Key of the components, 64 bytes with different halves
    #[arg(long, value_name = "FILE", conflicts_with = "plain_components")]
    image_key: Option<PathBuf>,
    /// Draw everything from this seed, for tests: equal arguments give equal files, and no secrecy at all
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl BuildArguments {
    pub(super) fn run(&self) -> Result<Status, Complaint> {
        self.refuse_existing()?;
        let built = match self.keys.seed {
            Some(seed) => self.build(&mut Seed(seed).substream(Purpose::Images, OWN_STREAM))?,
            None => {
                let fresh = StdRng::try_from_rng(&mut SysRng);
                self.build(&mut fresh.map_err(|error| format!("the system gives no random numbers: {error}"))?)?
            }
        };
        self.write(&built)?;
        tell(&self.output, &built);
        Ok(Status::Pass)
    }

    /// Before anything is done: a file that is there stays, and one that is read here stays even with --force.
    fn refuse_existing(&self) -> Result<(), Complaint> {
        let output = self.output.display();
        if self.output.is_dir() {
            return Err(format!("`{output}` is a directory: the name of a file is wanted"));
        }
        if !self.force && self.output.symlink_metadata().is_ok() {
            return Err(format!("`{output}` exists already: --force overwrites it"));
        }
        match self.output.canonicalize() {
            Ok(place) if self.inputs().any(|input| input.canonicalize().is_ok_and(|input| input == place)) => {
                Err(format!("`{output}` is also an input: the image needs another name"))
            }
            _ => Ok(()),
        }
    }

    fn inputs(&self) -> impl Iterator<Item = &PathBuf> {
        let keys = [&self.keys.cck, &self.keys.header_key, &self.keys.image_key];
        let content = [&self.kernel, &self.cmdline, &self.ramdisk, &self.stage3a, &self.stage3b];
        let components = self.components.iter().map(|component| &component.file);
        content.into_iter().chain(keys).flatten().chain(components).chain(&self.host_keys)
    }

    fn build(&self, random: &mut impl CryptoRng) -> Result<BuiltImage, Complaint> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(input::content).transpose();
        let (kernel, ramdisk) = (read(&self.kernel)?, read(&self.ramdisk)?);
        let command_line = match &self.cmdline_text {
            Some(text) => Some(text.clone().into_bytes()),
            None => read(&self.cmdline)?,
        };
        if let Some(kernel) = kernel.as_ref().filter(|_| !self.no_component_check) {
            let fault = |fault| format!("{fault} (--no-component-check takes it all the same)");
            check_kernel(kernel, command_line.as_deref()).map_err(fault)?;
        }
        let placed = |one: &ComponentArgument| {
            Ok(Placed { address: one.address, prefix: one.prefix, data: input::content(&one.file)? })
        };
        let plan = ImagePlan {
            recipients: &self.recipients()?,
            kernel,
            ramdisk,
            command_line,
            placed: self.components.iter().map(placed).collect::<Result<_, Complaint>>()?,
            stage3a: read(&self.stage3a)?,
            stage3b: read(&self.stage3b)?,
            flags: self.flags.plain(),
            secret_flags: self.flags.secret(),
            psw: self.psw.map(|psw| psw.0),
            keys: self.keys.draw(random)?,
            header_only: self.header_only,
        };
        plan.build(random).map_err(|error| error.to_string())
    }

    fn recipients(&self) -> Result<Vec<PublicKey>, Complaint> {
        let mut keys = Vec::new();
        for path in &self.host_keys {
            let recipient = input::recipient(path)?;
            if recipient.ignored != 0 {
                let (path, rest) = (path.display(), recipient.ignored);
                let _ = writeln!(anstream::stderr(), "note: `{path}`: {rest} more certificates are not looked at");
            }
            keys.push(recipient.key);
        }
        Ok(keys)
    }

    fn write(&self, built: &BuiltImage) -> Result<(), Complaint> {
        let mut options = OpenOptions::new();
        options.write(true);
        match self.force {
            true => options.create(true).truncate(true),
            false => options.create_new(true),
        };
        let about = |error: std::io::Error| match error.kind() {
            ErrorKind::AlreadyExists => format!("`{}` exists already: --force overwrites it", self.output.display()),
            _ => format!("`{}` cannot be written: {error}", self.output.display()),
        };
        let file = options.open(&self.output).map_err(about)?;
        write_whole(built, file).map_err(|error| {
            // Half an image is of no use. What was no file before is not ours to remove.
            if !self.force {
                let _ = std::fs::remove_file(&self.output);
            }
            about(error)
        })
    }
}

impl FlagArguments {
    fn plain(&self) -> u64 {
        let when = |on: bool, flag: u64| if on { flag } else { 0 };
        when(!self.no_pckmo, USUAL_FLAGS)
            | when(self.pckmo_hmac, plain_flag::PCKMO_HMAC)
            | when(self.dump, plain_flag::DUMP)
            | when(self.plain_components, plain_flag::PLAIN_COMPONENTS)
            | when(self.backup_key, plain_flag::BACKUP_KEY)
    }

    fn secret(&self) -> u64 {
        match (self.cck_extension_secret, self.cck_update) {
            (true, _) => secret_flag::EXTENSION_REQUIRED,
            (false, true) => secret_flag::KEY_UPDATE,
            (false, false) => 0,
        }
    }
}

impl KeyArguments {
    fn draw(&self, random: &mut impl CryptoRng) -> Result<ImageKeys, Complaint> {
        let mut keys = ImageKeys::draw(random);
        if let Some(path) = &self.cck {
            keys.communication = input::key(path)?;
        }
        if let Some(path) = &self.header_key {
            keys.header = input::key(path)?;
        }
        if let Some(path) = &self.image_key {
            keys.image = input::key(path)?;
        }
        Ok(keys)
    }
}

fn write_whole(built: &BuiltImage, file: File) -> std::io::Result<()> {
    let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let mut out = BufWriter::new(file);
    if regular { built.write_sparse(&mut out) } else { built.write(&mut out) }
}

fn tell(path: &Path, built: &BuiltImage) {
    let Ok(header) = SeHeader::parse(&built.image.header) else { return };
    let tag = uvsim::image::verify::hex(&header.tag());
    let (slots, pages) = (header.recipients().len(), header.pages());
    let slots = format!("{slots} key slot{}", if slots == 1 { "" } else { "s" });
    let pages = format!("{pages} page{}", if pages == 1 { "" } else { "s" });
    let length = built.length();
    let _ = writeln!(anstream::stdout(), "{}: {length} bytes, {slots}, {pages}, tag {tag}", path.display());
}
