//! What the doctor looks at, gathered from what VMs are made with.

use banger_proto::Problem;
use banger_proto::api::{DoctorReport, Garbage};

use super::repair::render_repairs;
use super::{Engine, Host};
use crate::config::Config;
use crate::doctor::{
    self, Availability, DefaultItem, DefaultValue, HostFacts, Inputs, NetworkFacts,
};

impl Engine {
    /// Checks the host.
    pub async fn examine(&self) -> DoctorReport {
        let garbage = self.observe_garbage().await;
        let host = &self.inner.host;
        let repairs = render_repairs(&host.paths, garbage.clone().unwrap_or_default());
        let checks = doctor::run(&gather(host, garbage).await).await;
        DoctorReport { checks, repairs }
    }

    /// Repairs what needs no judgement, then checks the host.
    pub async fn repair_and_examine(&self) -> DoctorReport {
        let repairs = self.repair().await;
        DoctorReport { repairs, ..self.examine().await }
    }
}

async fn gather(host: &Host, garbage: Result<Garbage, Problem>) -> Inputs {
    let (image, kernel) =
        (&host.config.default_image_name.value, &host.config.default_kernel_name.value);
    let images = host.images.list().await;
    let images =
        images.map(|all| all.images.into_iter().map(|image| (image.name, image.local)).collect());
    let kernels = host.kernels.list().await;
    let kernels = kernels.map(|all| all.kernels.into_iter().map(|k| (k.name, k.local)).collect());
    let mut kernel = DefaultItem { name: kernel.clone(), availability: judge(kernel, kernels) };
    if kernel.availability == Availability::Local
        && host.kernels.is_outdated(&kernel.name).await.unwrap_or(false)
    {
        let lacks = "without the modules that container engines ask for".to_owned();
        kernel.availability = Availability::Outdated(lacks);
    }
    Inputs {
        env: host.env.clone(),
        paths: host.paths.clone(),
        host: HostFacts::observe(),
        qemu: host.config.qemu_bin.value.clone(),
        firecracker: host.config.firecracker_bin.value.clone(),
        accel: host.config.accel.value,
        agent: host.agent.clone(),
        image: DefaultItem { name: image.clone(), availability: judge(image, images) },
        kernel,
        garbage,
        defaults: render_defaults(&host.config),
        dns: host.names.status(),
        vmm: host.config.vmm.value,
        network: NetworkFacts {
            choice: host.config.network.value,
            nat_by_default: host.config.vm_defaults.nat.value,
            helper: host.helper.clone(),
            probe: doctor::observe_probe(&host.env, &host.helper).await,
            service: host.network.observe_service().await,
            status: host.network.status(),
        },
    }
}

/// Whether `wanted` is among what was listed as name and whether it is here.
fn judge(
    wanted: &str,
    listed: Result<Vec<(String, bool)>, impl std::error::Error>,
) -> Availability {
    match listed {
        Err(error) => Availability::Unknown(error.to_string()),
        Ok(listed) => match listed.iter().find(|(name, _)| name == wanted) {
            Some((_, true)) => Availability::Local,
            Some((_, false)) => {
                Availability::Obtainable("made from the distribution's packages".to_owned())
            }
            None => Availability::Missing("no recipe has that name".to_owned()),
        },
    }
}

fn render_defaults(config: &Config) -> Vec<DefaultValue> {
    let sizes = &config.vm_defaults;
    let value = |name: &str, value: String, origin: crate::config::Origin| DefaultValue {
        name: name.to_owned(),
        value,
        origin: origin.to_string(),
    };
    vec![
        value("vcpu", sizes.vcpu.value.to_string(), sizes.vcpu.origin),
        value("memory", sizes.memory.value.to_string(), sizes.memory.origin),
        value("disk_size", sizes.disk_size.value.to_string(), sizes.disk_size.origin),
        value("nat", sizes.nat.value.to_string(), sizes.nat.origin),
    ]
}
