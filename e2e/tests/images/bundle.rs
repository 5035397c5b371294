//! Images and kernels that a catalog names, as bundles on a web server.

use std::fs;
use std::path::PathBuf;

use banger_e2e::{Home, OciImage, WebServer, ext4};
use serde_json::json;
use tempfile::TempDir;

const IMAGE: &str = "golden";
const KERNEL: &str = "golden-kernel";

/// A web server with an image, a kernel, and a catalog of both.
struct Publisher {
    dir: TempDir,
    server: WebServer,
    image: Bundle,
    kernel: Bundle,
}

/// A bundle, and what a catalog says about it.
struct Bundle {
    file: PathBuf,
    sha256: String,
    size: u64,
}

impl Publisher {
    /// Makes both of what is on this machine, with `home`'s program.
    fn new(home: &Home) -> Self {
        let dir = TempDir::new().expect("directory");
        let archive = dir.path().join("image.tar");
        let config = json!({"Env": ["PATH=/bin", "GREETING=hello"], "WorkingDir": "/srv"});
        OciImage::new(config).busybox("bin/busybox").link("bin/sh", "busybox").write(&archive);
        let image = Bundle::make(
            home,
            &["make-bundle", "--rootfs-tar", text(&archive), "--name", IMAGE, "--distro", "none"],
            &["--kernel-ref", KERNEL, "--description", "what we all use"],
            dir.path().to_owned(),
        );
        let kernel_dir = Home::new().data_dir().join("kernels/debian-bookworm-cloud");
        let (vmlinux, modules) = (kernel_dir.join("vmlinux"), kernel_dir.join("modules.cpio"));
        let kernel = Bundle::make(
            home,
            &["make-kernel-bundle", "--kernel", text(&vmlinux), "--modules", text(&modules)],
            &["--distro", "debian", "--description", "what it boots"],
            dir.path().join("kernel.tar.zst"),
        );
        let server = WebServer::start(dir.path());
        let publisher = Self { dir, server, image, kernel };
        publisher.write_catalog();
        let url = publisher.server.url("catalog.json");
        home.configure(&format!("catalog_url = {url:?}\n"));
        publisher
    }

    fn write_catalog(&self) {
        let entry = |name: &str, bundle: &Bundle| {
            let url = self.server.url(bundle.name());
            json!({
                "name": name, "description": "of the catalog", "distro": "none", "arch": "amd64",
                "url": url, "sha256": bundle.sha256, "size": bundle.size,
            })
        };
        let catalog = json!({
            "version": 1,
            "images": [entry(IMAGE, &self.image)],
            "kernels": [entry(KERNEL, &self.kernel)],
        });
        fs::write(self.dir.path().join("catalog.json"), catalog.to_string()).expect("catalog");
    }
}

impl Bundle {
    /// Runs `banger internal` with `what` and `more`, to make a bundle at or in `out`.
    fn make(home: &Home, what: &[&str], more: &[&str], out: PathBuf) -> Self {
        let args = [&["internal"], what, more, &["--out", text(&out)]].concat();
        let said = home.banger(args).expect_code(0).stdout;
        let [file, sha256, size] = said.lines().collect::<Vec<_>>()[..] else {
            panic!("not path, digest and size: {said}")
        };
        let size = size.parse().expect("a number of bytes");
        assert_eq!(fs::metadata(file).expect("the bundle").len(), size);
        Self { file: file.into(), sha256: sha256.to_owned(), size }
    }

    fn name(&self) -> &str {
        self.file.file_name().and_then(|name| name.to_str()).expect("a name")
    }

    /// Changes a byte in the middle, or changes it back.
    fn flip_a_byte(&self) {
        let mut bytes = fs::read(&self.file).expect("the bundle");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&self.file, bytes).expect("the bundle");
    }
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("a path of this machine")
}

#[test]
fn a_vm_gets_its_image_and_kernel_from_the_catalog() {
    let home = Home::apart();
    let publisher = Publisher::new(&home);
    let listed = home.banger(["image", "list", "--json"]).expect_code(0).stdout;
    assert!(listed.contains(IMAGE), "{listed}");
    let listed = home.banger(["kernel", "list", "--json"]).expect_code(0).stdout;
    assert!(listed.contains(KERNEL), "{listed}");

    // Nothing is here; which kernel the image wants is known once it is.
    let run = ["vm", "run", "--rm", "--image", IMAGE, "--", "sh", "-c", "echo $GREETING; pwd"];
    assert_eq!(home.banger(run).expect_code(0).stdout, "hello\n/srv\n");
    ext4::expect_clean(&home.image_file(IMAGE));
    let kernel = home.banger(["kernel", "show", "--json", KERNEL]).expect_code(0).json();
    let version = kernel["version"].as_str();
    assert!(version.is_some_and(|version| version.contains("cloud")), "{kernel}");
    home.wait_until_tidy();
    assert_eq!(home.count_images(), (1, 1));

    // What is here needs nothing from there.
    drop(publisher);
    home.banger(run).expect_code(0);
    home.expect_nothing_left();
}

#[test]
fn spoilt_bundles_are_refused() {
    let home = Home::apart();
    let publisher = Publisher::new(&home);
    for (noun, name, bundle) in
        [("image", IMAGE, &publisher.image), ("kernel", KERNEL, &publisher.kernel)]
    {
        bundle.flip_a_byte();
        home.banger([noun, "pull", name]).expect_code(1).expect_stderr(&[
            name,
            bundle.name(),
            &bundle.sha256,
        ]);
        home.expect_no_image();
        bundle.flip_a_byte();
        assert_eq!(home.banger([noun, "pull", name]).expect_code(0).stdout, format!("{name}\n"));
        home.banger([noun, "delete", name]).expect_code(0);
    }
}
