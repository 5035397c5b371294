//! The daemon is killed in the middle of a pull; the same pull then goes on where it was.

use std::path::Path;

use banger_e2e::{Gate, Home, Registry, Sample, eventually, ext4, files, oci};
use rustix::process::{Pid, Signal, kill_process};

/// What may come more than once: answers' heads, the manifest, the configuration, and what a
/// program had received and not written yet when it was killed.
const OVERHEAD: u64 = 512 << 10;

/// Bytes of layers in the cache, complete or not.
fn received(home: &Home, layers: &[(String, u64)]) -> u64 {
    let in_cache = files(&home.cache_dir());
    let is_of_a_layer = |path: &&String| {
        layers.iter().any(|(digest, _)| path.contains(digest.trim_start_matches("sha256:")))
    };
    let sizes = in_cache.iter().filter(is_of_a_layer);
    sizes.map(|path| std::fs::metadata(path).map_or(0, |metadata| metadata.len())).sum()
}

/// What `dir` has whose name says that it is not finished.
fn unfinished(dir: &Path) -> Vec<String> {
    let is_unfinished = |path: &String| {
        let inside = path.strip_prefix(&dir.display().to_string()).unwrap_or(path);
        inside.ends_with(".partial") || inside.contains(".work/")
    };
    files(dir).into_iter().filter(is_unfinished).collect()
}

fn kill_daemon(home: &Home) {
    let pid = Pid::from_raw(home.daemon_pid()).expect("a pid");
    kill_process(pid, Signal::KILL).expect("kill");
}

#[test]
fn a_pull_goes_on_where_a_killed_daemon_was() {
    let registry = Registry::start(&oci::ensure_storage(&[Sample::Many]));
    let gate = Gate::before(registry.address());
    let reference = format!("{}/{}", gate.address(), Sample::Many.name());
    let layers = oci::layers(Sample::Many);
    let total: u64 = layers.iter().map(|(_, size)| size).sum();
    let home = Home::apart();

    let mut passed = 0;
    for kill in 1..=2 {
        gate.hold_after(total / 3);
        let mut pull = home.spawn_banger(["image", "pull", &reference]);
        gate.wait_until_held();
        passed += gate.take_passed();
        eventually("what has come is written", || {
            received(&home, &layers) + kill * OVERHEAD >= passed
        });
        kill_daemon(&home);
        let ended = pull.wait().expect("the client ends");
        assert!(!ended.success(), "a pull without a daemon is none");
        gate.cut();
        assert!(files(&home.data_dir()).iter().all(|file| !file.ends_with(".json")));
    }

    // Everything comes, and the image is being written when the daemon dies for the last time.
    let mut pull = home.spawn_banger(["image", "pull", &reference]);
    eventually("the image is being written", || {
        unfinished(&home.data_dir()).iter().any(|file| {
            file.ends_with(".ext4") && std::fs::metadata(file).is_ok_and(|file| file.len() > 0)
        })
    });
    kill_daemon(&home);
    assert!(!pull.wait().expect("the client ends").success());
    passed += gate.take_passed();
    assert!(passed <= total + 3 * OVERHEAD, "{passed} bytes for an image of {total}");
    let _ = gate.take_requests();

    let name = home.pull(&reference);
    let requests = gate.take_requests();
    assert!(!requests.iter().any(|request| request.contains("/blobs/")), "{requests:#?}");
    ext4::expect_clean(&home.image_file(&name));
    for dir in [home.data_dir(), home.cache_dir()] {
        assert_eq!(unfinished(&dir), Vec::<String>::new());
    }
    let kept = files(&home.data_dir().join("images"));
    let count = |suffix| kept.iter().filter(|file| file.ends_with(suffix)).count();
    assert_eq!((count(".ext4"), count(".json")), (1, 1), "{kept:#?}");
}

#[test]
fn a_cancelled_pull_leaves_nothing_half_written() {
    let registry = Registry::start(&oci::ensure_storage(&[Sample::Busybox]));
    let gate = Gate::before(registry.address());
    let reference = format!("{}/{}", gate.address(), Sample::Busybox.name());
    let size: u64 = oci::layers(Sample::Busybox).iter().map(|(_, size)| size).sum();
    let home = Home::apart();
    gate.hold_after(size / 2);
    let mut pull = home.spawn_banger(["image", "pull", &reference]);
    gate.wait_until_held();
    pull.kill().expect("kill");
    pull.wait().expect("reaped");
    // The daemon lives and has nobody to pull for any more.
    gate.cut();
    let list = home.banger(["image", "list", "--json"]).expect_code(0).stdout;
    assert!(!list.contains(gate.address()), "{list}");
    let _ = home.pull(&reference);
    assert_eq!(unfinished(&home.cache_dir()), Vec::<String>::new());
    assert_eq!(unfinished(&home.data_dir()), Vec::<String>::new());
}
