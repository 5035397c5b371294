//! Private directories for one test.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_daemon::config::{Config, ConfigFile, HostFacts, resolve};
use banger_daemon::dns::Names;
use banger_daemon::engine::Host;
use banger_daemon::exec::HostEnv;
use banger_daemon::fetcher::{CredentialHelpers, Fetcher};
use banger_daemon::forward::Budget;
use banger_daemon::image::Images;
use banger_daemon::kernel::Kernels;
use banger_daemon::net::{NetworkOptions, VmNetwork};
use banger_daemon::ssh::Ssh;
use banger_daemon::step::Followers;
use banger_daemon::warm::Warm;
use banger_fetch::{AuthFiles, Network, Retry};
use banger_proto::api::RunConfig;
use banger_proto::{ByteSize, Paths};
use tempfile::TempDir;

use crate::{FakeNetwork, HeldStep, World};

/// A home of its own with an image and a kernel in it, and the world its VMs run in. Everything
/// goes when it is dropped.
#[derive(Debug)]
pub struct TestEnv {
    home: TempDir,
    /// Where things are.
    pub paths: Paths,
    /// The VMMs.
    pub world: World,
    /// The network that they share.
    pub network: Arc<FakeNetwork>,
    /// The configuration of daemons started from now on.
    pub config: Config,
    /// Where they tell each step of what is done to VMs, while somebody listens.
    pub steps: PathBuf,
}

impl TestEnv {
    /// Makes the directories.
    ///
    /// # Panics
    /// When they cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let at = |name: &str| home.path().join(name).display().to_string();
        let lookup = |name: &str| match name {
            "HOME" => Some(at("home")),
            "XDG_RUNTIME_DIR" => Some(at("run")),
            _ => None,
        };
        let paths = Paths::from_env(lookup, rustix::process::getuid().as_raw(), false)
            .expect("paths of a complete environment");
        let dirs = [&paths.state_dir, &paths.data_dir, &paths.cache_dir, &paths.runtime_dir];
        for dir in dirs {
            fs_err::create_dir_all(dir).expect("a directory");
        }
        let host = HostFacts { cpus: Some(8), memory: Some(ByteSize::from_mib(16 << 10)) };
        let mut config = resolve(ConfigFile::default(), host);
        // Tests that want them say so: they count what is launched.
        config.warm_starts.value = false;
        // Any port: daemons of several tests run at once.
        config.dns_listen.value = Some((Ipv4Addr::LOCALHOST, 0).into());
        let (world, network, steps) = (World::default(), Arc::default(), home.path().join("steps"));
        let env = Self { home, paths, world, network, config, steps };
        env.add_image();
        env
    }

    /// The directory that holds everything of this test.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    /// What a daemon of this test works with.
    #[must_use]
    pub fn host(&self) -> Host {
        let home = self.home.path().join("home");
        let env = HostEnv::from_env(|name| match name {
            "HOME" => Some(home.clone().into()),
            "PATH" => Some("/usr/bin:/bin".into()),
            _ => None,
        });
        let fetcher = unreachable(&env, &self.paths.cache_dir);
        let catalog_url = self.config.catalog_url.value.clone();
        let names = Arc::new(Names::default());
        Host {
            images: Images::new(&self.paths, &env, &fetcher, catalog_url.clone()),
            kernels: Kernels::new(&self.paths, &env, &fetcher, catalog_url),
            ssh: Ssh::new(&self.paths, self.config.ssh_key_path.value.clone(), None),
            network: VmNetwork::new(
                self.network.clone(),
                NetworkOptions { subnet: None, required: false, uid: 1000 },
                Arc::clone(&names),
            ),
            forwards: Budget::new(4096),
            helper: self.home.path().join("banger-helper"),
            agent: self.home.path().join("banger-agent"),
            initramfs: Default::default(),
            warm: Warm::new(&self.paths, self.config.warm_starts.value),
            followers: Followers::at(Some(self.steps.clone())),
            names,
            env,
            hypervisor: Arc::new(self.world.clone()),
            paths: self.paths.clone(),
            config: self.config.clone(),
        }
    }

    /// Holds daemons of this test at a step (`snapshot.prove web`) until what is returned is dropped.
    ///
    /// # Panics
    /// When it cannot be listened for.
    #[must_use]
    pub fn hold_at(&self, step: &str) -> HeldStep {
        HeldStep::listen(&self.steps, step)
    }

    /// Makes the image say this about running it, for VMs made from now on.
    ///
    /// # Panics
    /// When its manifest cannot be changed.
    pub fn set_image_run(&self, run: &RunConfig) {
        let name = &self.config.default_image_name.value;
        let path = self.paths.images_dir().join(format!("{name}.json"));
        let manifest = fs_err::read(&path).expect("a manifest");
        let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
        manifest["run"] = serde_json::to_value(run).expect("JSON");
        fs_err::write(&path, manifest.to_string()).expect("a file");
    }

    /// Puts an image and a kernel where the indexes find them; nothing boots from them.
    fn add_image(&self) {
        let write = |path: &Path, contents: &str| {
            fs_err::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            fs_err::write(path, contents).expect("a file");
        };
        let images = self.paths.images_dir();
        let name = &self.config.default_image_name.value;
        let manifest = serde_json::json!({
            "name": name, "description": "of a test", "distro": "none", "arch": "amd64",
            "digest": "00", "file": "of-a-test.ext4", "size": 0,
            "created_at": "2026-01-01T00:00:00Z", "env": { "LANG": "C.UTF-8" },
        });
        write(&images.join(format!("{name}.json")), &manifest.to_string());
        write(&images.join("of-a-test.ext4"), "");
        let kernel = self.paths.kernels_dir().join(&self.config.default_kernel_name.value);
        write(&kernel.join("manifest.json"), r#"{ "version": "6.12" }"#);
        write(&kernel.join("vmlinux"), "");
        write(&self.dir().join("banger-agent"), "");
    }
}

impl Default for TestEnv {
    fn default() -> Self {
        Self::new()
    }
}

/// What reaches no registry, wherever the test runs: its proxy is a port that nobody listens at.
fn unreachable(env: &HostEnv, cache: &Path) -> Fetcher {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let network = Network {
        https_proxy: Some(format!("http://{address}")),
        retry: Retry { attempts: 1, ..Retry::default() },
        ..Network::default()
    };
    let helpers = CredentialHelpers::from_env(env.clone(), |_| None);
    Fetcher::new(network, AuthFiles::none(), helpers, cache)
}
