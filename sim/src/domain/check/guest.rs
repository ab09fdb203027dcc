//! Rules about the guest as a whole.
//!
//! Origins: host CPU model with `unpack`, `swiotlb=` and the balloon from libvirt, "Protected Virtualization on
//! s390"; KVM, huge pages and the limit of 247 vCPUs from QEMU's `s390-pv-guest`; the end of guest storage from the
//! query of a real host in the test data of s390-tools' `pvinfo`.

use uvsim_model::MAX_GUEST_ADDRESS;
use uvsim_model::address::MEBIBYTE;

use super::super::document::{Cpu, Domain, Given, Os};
use super::super::finding::{Fix, Rule};
use super::super::units;
use super::{Findings, Found, add, replace};
use crate::scenario::shown;

/// One page holds what a service call tells of the machine: 144 bytes and 16 for each CPU.
const MAX_VCPUS: u64 = (4096 - 144) / 16;
const UNPACK: &str = "<feature policy='require' name='unpack'/>";
const HOST_MODEL: &str = "<cpu mode='host-model'/>";
const LAUNCH_SECURITY: &str = "<launchSecurity type='s390-pv'/>";
const TYPE: &str = "<type arch='s390x' machine='s390-ccw-virtio'>hvm</type>";

pub(super) fn check(domain: &Domain, findings: &mut Findings) {
    name(domain, findings);
    memory(domain, findings);
    current_memory(domain, findings);
    vcpus(domain, findings);
    hypervisor(domain, findings);
    match &domain.os {
        Some(os) => system(os, findings),
        None => findings.error(Found {
            rule: Rule::Architecture,
            place: domain.place,
            message: "the domain has no <os>".into(),
            label: "<os> expected inside",
            reason: "libvirt refuses a definition that does not say what to boot on which architecture.",
            fix: add(format!("<os>{TYPE}</os>")),
        }),
    }
    match &domain.cpu {
        Some(cpu) => cpu_model(cpu, findings),
        None => no_cpu_model(domain.place, add(HOST_MODEL), findings),
    }
    if let Some(place) = domain.huge_pages {
        findings.error(Found {
            rule: Rule::HugePages,
            place,
            message: "the guest's memory is backed by huge pages".into(),
            label: "not for protected guests",
            reason: "The Ultravisor protects frames of 4 KiB; QEMU refuses to start a protected guest on huge pages.",
            fix: Some(Fix::Remove),
        });
    }
    launch_security(domain, findings);
    swiotlb(domain, findings);
}

fn name(domain: &Domain, findings: &mut Findings) {
    if domain.title().is_none() {
        findings.error(Found {
            rule: Rule::Name,
            place: domain.name.as_ref().map_or(domain.place, |name| name.place),
            message: "the domain has no name".into(),
            label: "<name> expected",
            reason: "libvirt refuses a definition without a name.",
            fix: add("<name>protected</name>"),
        });
    }
}

fn memory(domain: &Domain, findings: &mut Findings) {
    const EXAMPLE: &str = "<memory unit='GiB'>4</memory>";
    let rule = Rule::Memory;
    let Some(memory) = &domain.memory else {
        let message = "the domain has no <memory>".to_owned();
        let (label, reason) = ("<memory> expected inside", "libvirt refuses a definition without it.");
        return findings.error(Found { rule, place: domain.place, message, label, reason, fix: add(EXAMPLE) });
    };
    let place = memory.written.place;
    let written = shown(&memory.written.value);
    let bytes = memory.bytes.and_then(|bytes| Some((bytes, units::whole_mebibytes(bytes)?)));
    match bytes {
        None | Some((0, _)) => findings.error(Found {
            rule,
            place,
            message: format!("`{written}` is no amount of memory"),
            label: "not an amount",
            reason: "It is a whole number above 0, in KiB unless `unit` says another: bytes, KB, KiB, MB, MiB, GB, GiB, \
                     TB, TiB.",
            fix: replace(EXAMPLE),
        }),
        Some((_, whole)) if whole > MAX_GUEST_ADDRESS => findings.error(Found {
            rule,
            place,
            message: format!("`{written}` is more memory than a protected guest can have"),
            label: "too much",
            reason: "Guest storage ends at 128 TiB, which is what the Ultravisor of a real host reports.",
            fix: replace(EXAMPLE),
        }),
        Some((bytes, whole)) if bytes != whole => findings.note(Found {
            rule,
            place,
            message: format!("the guest gets {}, not {written}", units::size(whole)),
            label: "rounded up",
            reason: "QEMU's machine and the Ultravisor count guest memory in whole MiB.",
            fix: replace(format!("<memory unit='MiB'>{}</memory>", whole / MEBIBYTE)),
        }),
        Some(_) => {}
    }
}

fn current_memory(domain: &Domain, findings: &mut Findings) {
    let (Some(current), Some(memory)) = (&domain.current_memory, &domain.memory) else { return };
    let place = current.written.place;
    match (current.bytes, memory.bytes) {
        (None, _) => findings.error(Found {
            rule: Rule::Memory,
            place,
            message: format!("`{}` is no amount of memory", shown(&current.written.value)),
            label: "not an amount",
            reason: "libvirt refuses it.",
            fix: Some(Fix::Remove),
        }),
        (Some(bytes), Some(all)) if bytes < all => findings.warning(Found {
            rule: Rule::CurrentMemory,
            place,
            message: format!("the guest will have {}, not {}", units::size(all), units::size(bytes)),
            label: "needs a balloon",
            reason: "What lies between <currentMemory> and <memory> is taken by a balloon, and protected guests have \
                     none.",
            fix: Some(Fix::Remove),
        }),
        _ => {}
    }
}

fn vcpus(domain: &Domain, findings: &mut Findings) {
    let Some(vcpus) = &domain.vcpus else { return };
    let (label, reason, fix) = match vcpus.count {
        None | Some(0) => ("not a number of CPUs", "It is a whole number above 0.", "<vcpu>1</vcpu>".to_owned()),
        Some(count) if count > MAX_VCPUS => (
            "too many",
            "What a service call tells a protected guest of its machine has to fit into one page, which leaves room for \
             247 CPUs; QEMU refuses more.",
            format!("<vcpu>{MAX_VCPUS}</vcpu>"),
        ),
        Some(_) => return,
    };
    let message = format!("`{}` is no number of vCPUs for a protected guest", shown(&vcpus.written.value));
    let place = vcpus.written.place;
    findings.error(Found { rule: Rule::Vcpus, place, message, label, reason, fix: replace(fix) });
}

fn hypervisor(domain: &Domain, findings: &mut Findings) {
    let kind = domain.kind.as_ref();
    if kind.is_some_and(|kind| kind.value == "kvm") {
        return;
    }
    let message = match kind {
        Some(kind) => format!("the hypervisor is `{}`, not KVM", shown(&kind.value)),
        None => "the domain does not name its hypervisor".to_owned(),
    };
    findings.error(Found {
        rule: Rule::Hypervisor,
        place: kind.map_or(domain.place, |kind| kind.place),
        message,
        label: "`kvm` expected",
        reason: "Protected guests exist under KVM alone: emulation has no Ultravisor.",
        fix: replace("<domain type='kvm'>"),
    });
}

fn system(os: &Os, findings: &mut Findings) {
    const REASON: &str = "The Ultravisor is part of IBM Z and LinuxONE.";
    match &os.arch {
        Some(arch) if arch.value == "s390x" => {}
        Some(arch) => findings.error(Found {
            rule: Rule::Architecture,
            place: arch.place,
            message: format!("the architecture is `{}`, not s390x", shown(&arch.value)),
            label: "`s390x` expected",
            reason: REASON,
            fix: replace(TYPE),
        }),
        None => findings.warning(Found {
            rule: Rule::Architecture,
            place: os.kind.as_ref().map_or(os.place, |kind| kind.place),
            message: "the domain does not name its architecture".into(),
            label: "the host decides",
            reason: "libvirt takes the architecture of the host, which is right on s390x only.",
            fix: replace(TYPE),
        }),
    }
    let wrong_kind = os.kind.as_ref().filter(|kind| kind.value != "hvm");
    let known = |machine: &&Given| {
        machine.value.strip_prefix("s390-ccw-virtio").is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let wrong_machine = os.machine.as_ref().filter(|machine| !known(machine));
    let wrong = [(wrong_machine, "machine"), (wrong_kind, "kind of system")];
    for (given, what) in wrong.into_iter().filter_map(|(given, what)| Some((given?, what))) {
        findings.error(Found {
            rule: Rule::Machine,
            place: given.place,
            message: format!("`{}` is no {what} for s390x under KVM", shown(&given.value)),
            label: "not on s390x",
            reason: "QEMU has one machine for s390x, s390-ccw-virtio; its versions are s390-ccw-virtio-9.2 and the like.",
            fix: replace(TYPE),
        });
    }
}

fn no_cpu_model(place: crate::scenario::Place, fix: Option<Fix>, findings: &mut Findings) {
    findings.warning(Found {
        rule: Rule::CpuModel,
        place,
        message: "the domain does not choose a CPU model".into(),
        label: "the default decides",
        reason: "A protected guest needs the unpack facility (161). The model of the host has it where the host can run \
                 protected guests; what the default of libvirt and QEMU is depends on their versions.",
        fix,
    });
}

fn cpu_model(cpu: &Cpu, findings: &mut Findings) {
    let unpack = cpu.features.iter().rev().find(|feature| feature.name == "unpack");
    if let Some(feature) = unpack.filter(|feature| matches!(feature.policy.as_str(), "disable" | "forbid")) {
        return findings.error(Found {
            rule: Rule::CpuModel,
            place: feature.place,
            message: "the CPU model is denied the unpack facility".into(),
            label: "needed",
            reason: "It is the facility (161) by which a guest asks to become protected.",
            fix: replace(UNPACK),
        });
    }
    match cpu.mode.as_ref().map(|mode| mode.value.as_str()) {
        Some("host-model" | "host-passthrough" | "maximum") => {}
        None if cpu.model.is_none() => no_cpu_model(cpu.place, replace(HOST_MODEL), findings),
        None | Some("custom") => custom_model(cpu, unpack.map(|feature| feature.policy.as_str()), findings),
        Some(mode) => findings.error(Found {
            rule: Rule::CpuModel,
            place: cpu.mode.as_ref().map_or(cpu.place, |mode| mode.place),
            message: format!("`{}` is no mode of a CPU model", shown(mode)),
            label: "unknown",
            reason: "libvirt knows host-model, host-passthrough, maximum and custom.",
            fix: replace(HOST_MODEL),
        }),
    }
}

fn custom_model(cpu: &Cpu, unpack: Option<&str>, findings: &mut Findings) {
    let rule = Rule::CpuModel;
    let Some(model) = cpu.model.as_ref().filter(|model| !model.value.is_empty()) else {
        return findings.error(Found {
            rule,
            place: cpu.place,
            message: "the custom CPU model has no <model>".into(),
            label: "<model> expected inside",
            reason: "libvirt refuses a custom model without its name.",
            fix: replace(HOST_MODEL),
        });
    };
    let (place, name) = (model.place, shown(&model.value));
    // QEMU names models by their machine up to z14, and gen15a and so on from z15 on.
    if model.value.starts_with('z') {
        return findings.error(Found {
            rule,
            place,
            message: format!("the CPU model `{name}` is older than z15"),
            label: "too old",
            reason: "The unpack facility (161), by which a guest asks to become protected, came with z15.",
            fix: replace(HOST_MODEL),
        });
    }
    match unpack {
        Some("require" | "force") => {}
        Some(_) => findings.warning(Found {
            rule,
            place,
            message: format!("the CPU model `{name}` has the unpack facility only where the host has it"),
            label: "optional",
            reason: "Without the facility (161) the guest cannot become protected; better if it does not start at all.",
            fix: add(UNPACK),
        }),
        None => findings.error(Found {
            rule,
            place,
            message: format!("the CPU model `{name}` does not ask for the unpack facility"),
            label: "without `unpack`",
            reason: "It is the facility (161) by which a guest asks to become protected; a model of one's own has to \
                     name it.",
            fix: add(UNPACK),
        }),
    }
}

fn launch_security(domain: &Domain, findings: &mut Findings) {
    if domain.has_protected_launch() {
        return;
    }
    let rule = Rule::LaunchSecurity;
    match &domain.launch_security {
        Some((place, kind)) => {
            let kind = kind.as_ref().map_or("", |kind| kind.value.as_str());
            findings.error(Found {
                rule,
                place: *place,
                message: format!("launch security `{}` is not that of s390x", shown(kind)),
                label: "another architecture's",
                reason: "Protected guests of s390x have the type s390-pv and no child elements.",
                fix: replace(LAUNCH_SECURITY),
            });
        }
        None => findings.note(Found {
            rule,
            place: domain.place,
            message: "the domain has no <launchSecurity>".into(),
            label: "could be inside",
            reason: "A guest may do without, and then needs iommu='on' at every virtio device. From libvirt 7.6.0 on \
                     this element stands for all of them, and lets QEMU check the rest before the guest starts.",
            fix: add(LAUNCH_SECURITY),
        }),
    }
}

fn swiotlb(domain: &Domain, findings: &mut Findings) {
    const POOL: &str = "swiotlb=262144";
    let rule = Rule::Swiotlb;
    let Some(cmdline) = domain.os.as_ref().and_then(|os| os.cmdline.as_ref()) else {
        return findings.note(Found {
            rule,
            place: domain.os.as_ref().map_or(domain.place, |os| os.place),
            message: "the kernel's command line is not here to be looked at".into(),
            label: "no <cmdline>",
            reason: "The guest's I/O goes through a pool of pages that the guest shares with the host. The size is set by \
                     swiotlb= on the command line inside the image, in slots of 2 KiB: swiotlb=262144 is common, \
                     and Linux has 32768 where nothing is said.",
            fix: None,
        });
    };
    let options: Vec<&str> =
        cmdline.value.split_whitespace().filter_map(|word| word.strip_prefix("swiotlb=")).collect();
    let (place, line) = (cmdline.place, cmdline.value.as_str());
    let kept: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with("swiotlb=")).collect();
    let better = kept.into_iter().chain([POOL]).collect::<Vec<_>>().join(" ");
    let fix = replace(format!("<cmdline>{}</cmdline>", escaped(&better)));
    match options.last() {
        None => findings.warning(Found {
            rule,
            place,
            message: "the command line does not set the size of the bounce buffers".into(),
            label: "no `swiotlb=`",
            reason: "All I/O of a protected guest goes through a pool of pages that it shares with the host. Linux \
                     takes 64 MiB by itself, which many devices or a high load may use up.",
            fix,
        }),
        Some(option) if option.split(',').any(|part| part == "noforce") => findings.error(Found {
            rule,
            place,
            message: "the command line forbids bounce buffers".into(),
            label: "`noforce`",
            reason: "All I/O of a protected guest goes through them: the host cannot reach any other page.",
            fix,
        }),
        Some(option) if option.split(',').next().is_some_and(|slots| slots.parse::<u64>().is_err()) => {
            findings.warning(Found {
                rule,
                place,
                message: format!("`swiotlb={}` sets no size", shown(option)),
                label: "not a number of slots",
                reason: "It takes the number of slots of 2 KiB.",
                fix,
            });
        }
        Some(_) => {}
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
