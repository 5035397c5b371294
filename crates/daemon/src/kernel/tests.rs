//! Kernels as the engine sees them: taken in, found, judged, given up.

use std::io::Write;

use banger_proto::api::ModulesFrom;
use banger_proto::{Code, Problem};
use banger_rootfs::bundle::write_bundle;
use banger_rootfs::cpio::CpioWriter;

use super::features::tests::good;
use super::index::tests::publish_one;
use super::*;

/// Kernels in an empty place, on a host on which nothing is installed.
struct Place {
    dir: tempfile::TempDir,
    kernels: Kernels,
    directory: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        let paths =
            Paths::from_env(|name| (name == "HOME").then(|| home.clone()), 1000, false).unwrap();
        let env = HostEnv::from_env(|name| (name == "PATH").then(|| "/nonexistent".into()));
        let fetcher = Fetcher::direct(&env, &paths.cache_dir);
        let kernels = Kernels::new(&paths, &env, &fetcher, None);
        Self { dir, kernels, directory: paths.kernels_dir() }
    }

    /// Writes a file to import.
    fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs_err::write(&path, contents).unwrap();
        path
    }

    fn import(&self, name: &str, file: PathBuf) -> Import {
        Import {
            name: name.into(),
            file,
            modules: ModulesFrom::Package,
            config: None,
            description: None,
            force: false,
        }
    }

    async fn imported(&self, import: Import) -> Kernel {
        let name = import.name.clone();
        self.kernels.import(import, &Progress::none()).await.unwrap();
        self.kernels.find(&name).await.unwrap().unwrap()
    }

    async fn refused(&self, import: Import) -> Problem {
        let outcome = self.kernels.import(import, &Progress::none()).await;
        let problem = Problem::from(outcome.unwrap_err());
        let left = fs_err::read_dir(&self.directory).map_or(0, |entries| {
            entries
                .filter(|entry| {
                    !entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.')
                })
                .count()
        });
        assert_eq!(left, 0, "something is left after: {problem:?}");
        problem
    }
}

/// What a kernel is to the importer: an ELF file that tells its version and its configuration.
fn vmlinux(version: &str, config: Option<&str>) -> Vec<u8> {
    let mut file = b"\x7fELF kernel ".to_vec();
    file.extend_from_slice(format!("Linux version {version} (a@b) (gcc) #1").as_bytes());
    if let Some(config) = config {
        let gzip = flate2::Compression::fast();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), gzip);
        gzip.write_all(config.as_bytes()).unwrap();
        file.extend([b"IKCFG_ST", &gzip.finish().unwrap()[..], b"IKCFG_ED"].concat());
    }
    file
}

/// A package with these files, as `dpkg-deb` makes them.
fn deb(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("./{name}"), *contents).unwrap();
    }
    let data = tar.into_inner().unwrap();
    let data = zstd::encode_all(&data[..], 1).unwrap();
    let mut deb = b"!<arch>\n".to_vec();
    for (name, contents) in [("debian-binary", &b"2.0\n"[..]), ("data.tar.zst", &data)] {
        let size = contents.len();
        deb.extend(format!("{name:<16}{:<32}{size:<10}`\n", 0).into_bytes());
        deb.extend(contents);
        deb.resize(deb.len().next_multiple_of(2), b'\n');
    }
    deb
}

fn modules_cpio() -> Vec<u8> {
    let mut cpio = CpioWriter::new(Vec::new());
    cpio.directory("modules", 0o755).unwrap();
    cpio.file("modules/virtio_blk.ko", 0o644, b"ELF").unwrap();
    cpio.file("modules/load.list", 0o644, b"virtio_blk.ko\n").unwrap();
    cpio.finish().unwrap()
}

const MACHINE: GuestMachine = GuestMachine::Microvm;

#[tokio::test]
async fn a_kernel_that_lacks_something_is_refused_and_an_unknown_one_is_tried() {
    let place = Place::new();
    let own = place.directory.join("own");
    fs_err::create_dir_all(&own).unwrap();
    fs_err::write(own.join("vmlinux"), "ELF").unwrap();
    let manifest = r#"{"version":"6.12","features":{"BLK_DEV_INITRD":"n"}}"#;
    fs_err::write(own.join("manifest.json"), manifest).unwrap();
    let kernel = place.kernels.find("own").await.unwrap().unwrap();
    let problem = Problem::from(kernel.check(MACHINE).unwrap_err());
    let begin = "kernel `own` cannot run a VM here: it lacks CONFIG_BLK_DEV_INITRD (to start";
    assert!(problem.message.starts_with(begin), "{problem:?}");
    assert!(problem.hints.iter().any(|hint| hint.contains("banger kernel show own")));
    let listed = place.kernels.list().await.unwrap();
    assert!(listed.kernels.iter().any(|view| view.name == "own" && view.local));

    fs_err::write(own.join("manifest.json"), r#"{"version":"6.12"}"#).unwrap();
    let kernel = place.kernels.ensure("own", false, &Progress::none()).await.unwrap();
    assert_eq!((kernel.version.as_str(), &kernel.modules), ("6.12", &None));
    let notice = kernel.check(MACHINE).unwrap().unwrap();
    assert!(notice.contains("`own`"), "{notice}");
}

#[tokio::test]
async fn unknown_ones_are_refused_with_names() {
    let place = Place::new();
    let outcome = place.kernels.ensure("debian-cloud", true, &Progress::none()).await;
    let problem = Problem::from(outcome.unwrap_err());
    assert_eq!(problem.code, Code::NotFound);
    assert!(problem.hints.iter().any(|hint| hint.contains("debian-bookworm-cloud")));
    let outcome = place.kernels.describe("nope", MACHINE, Vec::new()).await;
    assert!(matches!(outcome, Err(KernelError::Unknown { .. })));
    let default = place.kernels.describe("debian-bookworm-cloud", MACHINE, Vec::new()).await;
    let default = default.unwrap();
    assert!(!default.kernel.local && default.source.unwrap().contains("linux-image-cloud-amd64"));
}

#[tokio::test]
async fn a_kernel_tells_its_version_and_its_options() {
    let place = Place::new();
    let config = good(MACHINE);
    let file = place.file("vmlinux", &vmlinux("6.12.1", Some(&config)));
    let kernel = place.imported(place.import("own", file)).await;
    assert_eq!((kernel.version.as_str(), kernel.placed), ("6.12.1", false));
    // Its drivers are modules, and none came with it.
    let error = kernel.check(MACHINE).unwrap_err().to_string();
    assert!(error.contains("CONFIG_VIRTIO_BLK"), "{error}");
    let details = place.kernels.describe("own", MACHINE, vec!["web".into()]).await.unwrap();
    assert_eq!(details.features.get("PVH"), Some(&'y'));
    assert_eq!(details.kernel.description, "imported from vmlinux");
    assert!(!details.has_modules && !details.lacking.is_empty() && details.vms == ["web"]);
}

#[tokio::test]
async fn what_is_given_beside_a_kernel_counts() {
    let place = Place::new();
    let file = place.file("vmlinux", &vmlinux("6.12.1", Some("CONFIG_PVH=y\n")));
    let config = place.file("config", b"CONFIG_EXT4_FS=y\n");
    let cpio = place.file("modules.cpio", &modules_cpio());
    let import = Import {
        modules: ModulesFrom::Path(cpio.display().to_string()),
        config: Some(config),
        description: Some("mine".into()),
        ..place.import("own", file)
    };
    let kernel = place.imported(import).await;
    assert_eq!(fs_err::read(kernel.modules.unwrap()).unwrap(), modules_cpio());
    let details = place.kernels.describe("own", MACHINE, Vec::new()).await.unwrap();
    assert_eq!((details.features["EXT4_FS"], details.features["PVH"]), ('y', 'n'));
    assert_eq!(
        (details.kernel.description.as_str(), details.modules),
        ("mine", vec!["virtio_blk".into()])
    );
}

#[tokio::test]
async fn a_package_brings_configuration_and_modules() {
    let place = Place::new();
    let kernel = vmlinux("ignored.1", None);
    let files: [(&str, &[u8]); 3] = [
        ("boot/vmlinuz-6.1.0-9", &kernel),
        ("boot/config-6.1.0-9", b"CONFIG_PVH=y\nCONFIG_EXT4_FS=m\n"),
        ("lib/modules/6.1.0-9/modules.builtin", b"kernel/fs/ext4/ext4.ko\n"),
    ];
    let file = place.file("linux.deb", &deb(&files));
    let imported = place.imported(place.import("packed", file.clone())).await;
    // What the configuration calls a module is built in, as the list says.
    assert_eq!((imported.version.as_str(), imported.modules), ("6.1.0-9", None));

    let file = place.file("linux.deb", &deb(&files[..2]));
    let import = Import { force: true, ..place.import("packed", file) };
    let outcome = place.kernels.import(import.clone(), &Progress::none()).await;
    let problem = Problem::from(outcome.unwrap_err());
    assert_eq!(problem.causes.last().unwrap(), "the kernel lacks `ext4`");
    let import = Import { modules: ModulesFrom::None, ..import };
    assert_eq!(place.imported(import).await.modules, None);
}

#[tokio::test]
async fn modules_for_programs_come_with_a_bundle_or_are_missed() {
    let place = Place::new();
    let files = [
        ("vmlinux", vmlinux("6.12.1", None)),
        ("manifest.json", br#"{"version":"6.12.1","loadable_modules":7}"#.to_vec()),
        ("modules.ext4", b"a file system".to_vec()),
    ];
    let files = files.map(|(name, contents)| (name, place.file(name, &contents)));
    let members = files.each_ref().map(|(name, path)| (*name, path.as_path()));
    let mut bundle = Vec::new();
    write_bundle(&members, &mut bundle).unwrap();
    let file = place.file("k.tar.zst", &bundle);
    let kernel = place.imported(place.import("k", file)).await;
    assert_eq!(fs_err::read(kernel.loadable.unwrap()).unwrap(), b"a file system");
    let details = place.kernels.describe("k", MACHINE, Vec::new()).await.unwrap();
    assert_eq!((details.has_loadable_modules, details.loadable_modules), (true, Some(7)));

    // As an earlier version of this program left it: it works, and the doctor tells.
    let name = "debian-bookworm-cloud";
    assert!(!place.kernels.is_outdated(name).await.unwrap());
    let old = place.directory.join(name);
    fs_err::create_dir_all(&old).unwrap();
    fs_err::write(old.join("vmlinux"), "ELF").unwrap();
    let manifest = r#"{"version":"6.1.0","features":{"BRIDGE":"m"}}"#;
    fs_err::write(old.join("manifest.json"), manifest).unwrap();
    assert!(place.kernels.is_outdated(name).await.unwrap());
    assert_eq!(place.kernels.find(name).await.unwrap().unwrap().loadable, None);
    fs_err::write(old.join("modules.ext4"), "a file system").unwrap();
    assert!(!place.kernels.is_outdated(name).await.unwrap());
}

#[tokio::test]
async fn a_bundle_is_taken_as_it_is() {
    let place = Place::new();
    let vmlinux = place.file("vmlinux", &vmlinux("6.12.1", None));
    let manifest = place.file("m", br#"{"version":"6.12.1","description":"packed"}"#);
    let pack = |members: &[(&str, &Path)]| {
        let mut bundle = Vec::new();
        write_bundle(members, &mut bundle).unwrap();
        bundle
    };
    let members = [("vmlinux", &*vmlinux), ("manifest.json", &*manifest)];
    let file = place.file("k.tar.zst", &pack(&members));
    let kernel = place.imported(place.import("bundled", file.clone())).await;
    assert_eq!(kernel.version, "6.12.1");
    place.kernels.delete("bundled").await.unwrap();

    let described = Import { description: Some("x".into()), ..place.import("b", file) };
    let problem = place.refused(described).await;
    assert!(problem.causes[0].starts_with("a bundle brings its own"), "{problem:?}");
    let bad = place.file("m", br#"{"version":"6.12.1","description":"\u001b[2J"}"#);
    let members = [("vmlinux", &*vmlinux), ("manifest.json", &*bad)];
    let file = place.file("k.tar.zst", &pack(&members));
    let problem = place.refused(place.import("b", file)).await;
    assert!(problem.message.ends_with("has an impossible `description`"), "{problem:?}");
    let members = [("vmlinux", &*vmlinux), ("manifest.json", &*manifest), ("extra", &*manifest)];
    let file = place.file("k.tar.zst", &pack(&members));
    let problem = place.refused(place.import("b", file)).await;
    assert!(problem.causes[0].contains("holds `extra`"), "{problem:?}");
}

#[tokio::test]
async fn what_is_no_kernel_is_refused() {
    let place = Place::new();
    let file = |contents: &[u8]| place.file("file", contents);
    let cause = |problem: Problem| problem.causes.join(": ");
    let none = cause(place.refused(place.import("x", file(b"just text"))).await);
    assert!(none.starts_with("it is neither a kernel"), "{none}");
    let elf = cause(place.refused(place.import("x", file(b"\x7fELF but no kernel"))).await);
    assert_eq!(elf, "nothing in it tells the kernel's version");
    let mut bzimage = vec![0; 4096];
    bzimage[0x202..0x206].copy_from_slice(b"HdrS");
    let old = cause(place.refused(place.import("x", file(&bzimage))).await);
    assert_eq!(old, "it holds no usable kernel: its boot protocol 0.00 is older than 2.08");
    let broken = cause(place.refused(place.import("x", file(b"!<arch>\nbroken"))).await);
    assert!(broken.contains("is no Debian package"), "{broken}");
    let meta = place.refused(place.import("x", file(&deb(&[("usr/share/doc/x", b"")])))).await;
    assert_eq!(meta.causes, ["it holds 0 kernels, expected one"]);
    assert!(meta.hints[0].contains("`linux-image-VERSION`"), "{meta:?}");
    let good = file(&vmlinux("6.12.1", None));
    let problem = place.refused(place.import("../x", good.clone())).await;
    assert_eq!(problem.code, Code::BadRequest);
    let text = place.file("text", b"just text");
    let modules = ModulesFrom::Path(text.display().to_string());
    let problem = place.refused(Import { modules, ..place.import("x", good.clone()) }).await;
    assert!(cause(problem).contains("it is cut off"));
    let import = Import { config: Some(text.clone()), ..place.import("x", good.clone()) };
    assert!(cause(place.refused(import).await).ends_with("text` is no kernel configuration"));
    let empty = place.dir.path().join("empty");
    fs_err::create_dir(&empty).unwrap();
    let modules = ModulesFrom::Path(empty.display().to_string());
    let problem = place.refused(Import { modules, ..place.import("x", good) }).await;
    assert!(cause(problem).contains("there are no modules in"));
}

#[tokio::test]
async fn a_name_is_taken_once_and_what_a_vm_uses_stays_as_it_is() {
    let place = Place::new();
    let one = place.file("one", &vmlinux("6.12.1", None));
    let two = place.file("two", &vmlinux("6.12.2", None));
    let first = place.imported(place.import("k", one.clone())).await;
    let again = place.kernels.import(place.import("k", two.clone()), &Progress::none()).await;
    assert_eq!(Problem::from(again.unwrap_err()).code, Code::AlreadyExists);
    let import = Import { force: true, ..place.import("k", two) };
    assert_eq!(place.imported(import).await.version, "6.12.2");

    let in_use = InUse { directories: [first.directory.clone()].into(), ..InUse::default() };
    place.kernels.settle(in_use).await;
    let kept = place.kernels.reopen(&first.directory).await.unwrap();
    assert_eq!((kept.version.as_str(), &kept.name), ("6.12.1", &None));
    place.kernels.remove_unused(InUse::default()).await;
    let gone = place.kernels.reopen(&first.directory).await.unwrap_err();
    assert!(matches!(gone, KernelError::Gone { .. }), "{gone}");
    let current = place.kernels.find("k").await.unwrap().unwrap();
    assert!(current.vmlinux.is_file());
}

#[tokio::test]
async fn a_deleted_one_is_not_here() {
    let place = Place::new();
    publish_one(&place.directory, "k", "1");
    place.kernels.delete("k").await.unwrap();
    let again = Problem::from(place.kernels.delete("k").await.unwrap_err());
    assert_eq!((again.code, again.message.as_str()), (Code::NotFound, "kernel `k` is not here"));
}

#[tokio::test]
async fn what_is_packed_can_be_imported() {
    let place = Place::new();
    let config = good(MACHINE);
    let request = BundleRequest {
        kernel: place.file("vmlinux", &vmlinux("6.12.1", None)),
        modules: Some(place.file("m.cpio", &modules_cpio())),
        config: Some(place.file("config", config.as_bytes())),
        distro: "debian".into(),
        description: "for VMs".into(),
    };
    let out = place.dir.path().join("k.tar.zst");
    let (sha256, size) = make_bundle(request.clone(), &out).unwrap();
    assert_eq!(fs_err::metadata(&out).unwrap().len(), size);
    assert_eq!(make_bundle(request.clone(), &out).unwrap(), (sha256, size));
    let kernel = place.imported(place.import("k", out.clone())).await;
    assert_eq!(fs_err::read(kernel.modules.unwrap()).unwrap(), modules_cpio());
    let details = place.kernels.describe("k", MACHINE, Vec::new()).await.unwrap();
    assert_eq!(
        (details.distro.as_deref(), details.modules),
        (Some("debian"), vec!["virtio_blk".into()])
    );
    let again = make_bundle(BundleRequest { kernel: out.clone(), ..request }, &out);
    assert!(again.unwrap_err().causes[0].starts_with("a bundle brings"));
}
