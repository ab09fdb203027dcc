//! `uvsim image`: SE images made, shown and tried.

mod build;
pub(super) mod input;

use super::complain;
use build::BuildArguments;
use clap::{Args, Subcommand, ValueEnum};
use input::ComponentArgument;
use owo_colors::OwoColorize;
use std::io::Write;
use std::path::PathBuf;
use uvsim::image::verify::{self, Refused, Target, Verdict};
use uvsim::image::{Component, Found, HostRefusal, ImageInfo, SeImageFile};
use uvsim::run::Status;
use uvsim_model::config::Generation;
use uvsim_model::crypto::{HeaderFault, ProtectionKey};

#[derive(Subcommand)]
pub(super) enum ImageCommand {
    /// Make an image from a kernel, or from components
    Build(Box<BuildArguments>),
    /// Show what is in an image or in a bare header
    Info(InfoArguments),
    /// Boot an image on a simulated machine, and tell what it is refused for
    ///
    /// Exit status: 0 the machine boots it, 1 it does not, 2 unusable arguments or file.
    Verify(VerifyArguments),
}

#[derive(Args)]
pub(super) struct InfoArguments {
    /// An image or a bare SE header
    file: PathBuf,
    /// How to tell it
    #[arg(long, value_enum, default_value_t = super::Format::Human)]
    format: super::Format,
    /// Open the header with this private host key (PKCS#8 PEM)
    #[arg(long, value_name = "KEY.pem", conflicts_with = "header_key")]
    host_key: Option<PathBuf>,
    /// Open the header with its own key, 32 bytes
    #[arg(long, value_name = "FILE")]
    header_key: Option<PathBuf>,
    /// Show the keys in the encrypted area
    #[arg(long)]
    show_secrets: bool,
}

#[derive(Args)]
pub(super) struct VerifyArguments {
    /// An image or a bare SE header
    file: PathBuf,
    /// The private host key of the machine (PKCS#8 PEM)
    #[arg(long, value_name = "KEY.pem")]
    host_key: PathBuf,
    /// Its private backup host key
    #[arg(long, value_name = "KEY.pem")]
    backup_host_key: Option<PathBuf>,
    /// Its generation
    #[arg(long, value_enum, default_value_t = GenerationName::Z16)]
    generation: GenerationName,
    /// Take this header instead of that in the file
    #[arg(long, value_name = "FILE")]
    header: Option<PathBuf>,
    /// A component for a bare header: as delivered, at an address, with a tweak prefix
    #[arg(long = "component", value_name = "FILE@ADDRESS:PREFIX")]
    components: Vec<ComponentArgument>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GenerationName {
    /// IBM z15
    Z15,
    /// IBM z16
    Z16,
    /// IBM z17
    Z17,
}

/// Why a subcommand ends early: what to say, with status 2.
type Complaint = String;

pub(super) fn run(command: ImageCommand) -> Status {
    let done = match command {
        ImageCommand::Build(arguments) => arguments.run(),
        ImageCommand::Info(arguments) => arguments.run(),
        ImageCommand::Verify(arguments) => arguments.run(),
    };
    done.unwrap_or_else(|complaint| {
        complain(&complaint);
        Status::Unusable
    })
}

impl InfoArguments {
    fn run(&self) -> Result<Status, Complaint> {
        let file = input::image(&self.file)?;
        let about = |fault: HeaderFault| format!("`{}`: the SE header cannot be read: {fault}", self.file.display());
        let mut info = ImageInfo::new(&file).map_err(about)?;
        let closed = |fault: HeaderFault| format!("`{}`: the key does not open it: {fault}", self.file.display());
        if let Some(path) = &self.host_key {
            info.open(&input::private_key(path)?).map_err(closed)?;
        }
        if let Some(path) = &self.header_key {
            info.decrypt(&ProtectionKey::new(*input::key(path)?)).map_err(closed)?;
        }
        let mut out = anstream::stdout();
        if self.format == super::Format::Json {
            let _ = writeln!(out, "{:#}", info.to_json(self.show_secrets));
            return Ok(Status::Pass);
        }
        let mut gap = "";
        for section in info.sections(self.show_secrets) {
            let _ = writeln!(out, "{gap}{}", section.title.cyan());
            let width = section.lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            for (name, value) in section.lines {
                let _ = writeln!(out, "  {name:width$}  {value}");
            }
            gap = "\n";
        }
        Ok(Status::Pass)
    }
}

impl VerifyArguments {
    fn run(self) -> Result<Status, Complaint> {
        let target = Target {
            host_key: input::private_key(&self.host_key)?,
            backup_host_key: self.backup_host_key.as_deref().map(input::private_key).transpose()?,
            generation: match self.generation {
                GenerationName::Z15 => Generation::Z15,
                GenerationName::Z16 => Generation::Z16,
                GenerationName::Z17 => Generation::Z17,
            },
        };
        let mut file = input::image(&self.file)?;
        if let Some(path) = &self.header {
            let other = input::image(path)?;
            if other.found != Found::Bare {
                return Err(format!("`{}` is a whole image: --header takes a bare header", path.display()));
            }
            file.image.header = other.image.header;
        }
        for argument in self.components {
            let prefix = argument.prefix.ok_or_else(|| {
                format!(
                    "`{}`: a component that is delivered has a tweak prefix: FILE@ADDRESS:PREFIX",
                    argument.file.display()
                )
            })?;
            file.image.components.push(Component::new(prefix, argument.address, input::content(&argument.file)?));
        }
        if let Some(Err(refusal)) = file.ipib.as_ref().map(|(_, ipib)| ipib.check()) {
            tell_host_refusal(refusal);
            return Ok(Status::Fail);
        }
        match verify::boot(&file.image, &target).map_err(|error| format!("`{}`: {error}", self.file.display()))? {
            Verdict::Boots(booted) => {
                let mut out = anstream::stdout();
                let _ = writeln!(out, "{}", "the machine boots it".green());
                let _ = writeln!(out, "  opened with  {}", booted.opened_with);
                let _ = writeln!(out, "  tag          {}", verify::hex(&booted.tag));
                let _ = writeln!(out, "  pages        {}", booted.pages);
                let _ = writeln!(out, "  PSW          {:#018x} {:#x}", booted.psw.mask, booted.psw.address);
                Ok(Status::Pass)
            }
            Verdict::Refused(refused) => {
                tell_refusal(&refused, &file);
                Ok(Status::Fail)
            }
        }
    }
}

fn tell_host_refusal(refusal: HostRefusal) {
    let mut out = anstream::stdout();
    let _ = writeln!(out, "{}", "the host refuses the image before it asks the Ultravisor".red());
    let _ = writeln!(out, "  diagnose 0x308  response {:#06x}", refusal.response());
    let _ = writeln!(out, "  cause           {refusal}");
}

fn tell_refusal(refused: &Refused, file: &SeImageFile) {
    let mut out = anstream::stdout();
    let (name, rc, rrc) = (refused.command.name(), refused.rc, refused.rrc);
    let _ = writeln!(out, "{}", "the machine does not boot it".red());
    let _ = writeln!(out, "  {name} is refused with rc={rc:#06x} rrc={rrc:#06x}");
    if let Some(meaning) = refused.meaning() {
        let _ = writeln!(out, "  meaning  {meaning}");
    }
    let _ = writeln!(out, "  cause    {}", refused.cause);
    if file.image.components.is_empty() {
        let _ = writeln!(out, "  the file lists no components: for a bare header, --component gives them");
    }
    let _ = writeln!(out, "  `uvsim explain {name} {rc:#x}/{rrc:#x}` tells more");
}
