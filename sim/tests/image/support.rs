//! A small image, and the machines that it is for.

use uvsim::image::verify::{self, Booted, Refused, Target, Verdict};
use uvsim::image::{ImageKeys, ImagePlan, SeImage, USUAL_FLAGS};
use uvsim_model::config::Generation;
use uvsim_model::crypto::{PrivateKey, PublicKey, plain_flag};
use uvsim_model::seed::{Purpose, Seed, SeedStream};

pub(crate) const RC_HEADER: u16 = 0x10a;
pub(crate) const RC_KEY: u16 = 0x108;
pub(crate) const RC_DIGEST: u16 = 0x102;

pub(crate) fn random(number: u32) -> SeedStream {
    Seed(7).substream(Purpose::Images, number)
}

/// The host key of machine `number`.
pub(crate) fn key(number: u32) -> PrivateKey {
    PrivateKey::generate(&mut Seed(7).substream(Purpose::HostKeys, number))
}

pub(crate) fn target(number: u32) -> Target {
    Target { host_key: key(number), backup_host_key: None, generation: Generation::Z16 }
}

/// Something that looks like a kernel of three pages behind its first 64 KiB.
pub(crate) fn kernel() -> Vec<u8> {
    let mut kernel: Vec<u8> = (0..0x1_2345u32).map(|at| (at * 7 + at / 256) as u8).collect();
    kernel[0x1_0008..0x1_000e].copy_from_slice(b"S390EP");
    kernel[0x1_0430..0x1_0438].copy_from_slice(&4096u64.to_be_bytes());
    kernel
}

pub(crate) fn plan(recipients: &[PublicKey]) -> ImagePlan<'_> {
    ImagePlan {
        recipients,
        kernel: Some(kernel()),
        ramdisk: Some(vec![0x5a; 5000]),
        command_line: Some(b"root=/dev/vda1".to_vec()),
        placed: Vec::new(),
        stage3a: None,
        stage3b: None,
        flags: USUAL_FLAGS | plain_flag::DUMP,
        secret_flags: 0,
        psw: None,
        keys: ImageKeys::draw(&mut random(0)),
        header_only: false,
    }
}

/// The image of [`plan`] for machine 0.
pub(crate) fn image() -> SeImage {
    plan(&[key(0).public().clone()]).build(&mut random(1)).expect("a plan that works").image
}

#[track_caller]
pub(crate) fn boots(image: &SeImage, target: &Target) -> Booted {
    match verify::boot(image, target).expect("a machine") {
        Verdict::Boots(booted) => booted,
        Verdict::Refused(refused) => panic!("refused: {refused:x?}"),
    }
}

#[track_caller]
pub(crate) fn refused(image: &SeImage, target: &Target) -> Refused {
    match verify::boot(image, target).expect("a machine") {
        Verdict::Boots(booted) => panic!("boots: {booted:x?}"),
        Verdict::Refused(refused) => refused,
    }
}
