//! The daemon is killed, or its client goes away, in the middle of a pull; the same pull then goes
//! on where it was, and nothing is left of the first.

use std::path::Path;

use banger_e2e::{Changes, Gate, Home, Registry, Sample, ext4, files, kill_and_wait, oci};

/// What may come more than once for each kill: answers' heads, the manifest, the configuration, and
/// what a program had received and not written yet.
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

/// Asserts that the image `name` is here, sound, and alone.
#[track_caller]
fn expect_whole(home: &Home, name: &str) {
    ext4::expect_clean(&home.image_file(name));
    home.wait_until_tidy();
    assert_eq!(home.partial_blobs(), Vec::<String>::new());
    assert_eq!(home.count_images(), (1, 1), "{:#?}", files(&home.data_dir()));
}

fn changes(home: &Home) -> Changes {
    Changes::below(&[home.path().join("data"), home.path().join("cache")])
}

#[test]
fn a_pull_goes_on_where_a_killed_daemon_was() {
    let registry = Registry::start(&oci::ensure_storage(&[Sample::Many]));
    let gate = Gate::before(registry.address());
    let reference = format!("{}/{}", gate.address(), Sample::Many.name());
    let layers = oci::layers(Sample::Many);
    let total: u64 = layers.iter().map(|(_, size)| size).sum();
    let home = Home::apart();
    let mut changes = changes(&home);

    // Before the first answer, in its head, and again and again in the middle of layers.
    let (mut passed, mut kills) = (0, 0);
    for held in [0, 100, total / 4, total / 4, total / 4, total / 8] {
        home.banger(["daemon", "start"]).expect_code(0);
        let daemon = home.daemon_pid();
        gate.hold_after(held);
        let mut pull = home.spawn_banger(["image", "pull", &reference]);
        gate.wait_until_held();
        passed += gate.take_passed();
        kills += 1;
        changes.wait_until("what has come is written", |_| {
            received(&home, &layers) + kills * OVERHEAD >= passed
        });
        kill_and_wait(daemon);
        assert!(!pull.wait().expect("the client ends").success(), "a pull without a daemon");
        gate.cut();
        assert_eq!(home.count_images(), (0, 0));
    }

    // Everything comes, and the image is being written when the daemon dies for the last time.
    home.banger(["daemon", "start"]).expect_code(0);
    let daemon = home.daemon_pid();
    let mut pull = home.spawn_banger(["image", "pull", &reference]);
    changes.wait_until("the image is being written", |_| {
        let begun = |path: &Path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        home.work().iter().any(|file| file.ends_with(".ext4") && begun(file.as_ref()))
    });
    kill_and_wait(daemon);
    assert!(!pull.wait().expect("the client ends").success(), "a pull without a daemon");
    passed += gate.take_passed();
    assert!(passed <= total + (kills + 1) * OVERHEAD, "{passed} bytes for an image of {total}");
    let _ = gate.take_requests();

    let name = home.pull(&reference);
    let requests = gate.take_requests();
    assert!(!requests.iter().any(|request| request.contains("/blobs/")), "{requests:#?}");
    expect_whole(&home, &name);
}

#[test]
fn a_daemon_may_be_killed_after_any_change_of_a_file() {
    let registry = Registry::start(&oci::ensure_storage(&[Sample::Busybox]));
    let reference = registry.reference(Sample::Busybox.name());
    // A whole pull is about forty: directories, locks, blobs, the image, its manifest.
    for point in [1, 2, 3, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35] {
        let home = Home::apart();
        home.banger(["daemon", "start"]).expect_code(0);
        let daemon = home.daemon_pid();
        let mut changes = changes(&home);
        let mut pull = home.spawn_banger(["image", "pull", &reference]);
        changes.wait_until("the pull gets on", |seen| seen >= point || home.count_images().1 > 0);
        kill_and_wait(daemon);
        pull.wait().expect("the client ends");

        // Where the pull had ended by then, this one finds the image.
        home.banger(["daemon", "start"]).expect_code(0);
        if home.count_images().1 == 0 {
            let _ = home.pull(&reference);
        }
        expect_whole(&home, &reference);
    }
}

#[test]
fn a_cancelled_pull_leaves_nothing_half_written() {
    let registry = Registry::start(&oci::ensure_storage(&[Sample::Debian]));
    let gate = Gate::before(registry.address());
    let reference = format!("{}/{}", gate.address(), Sample::Debian.name());
    let layers = oci::layers(Sample::Debian);
    let size: u64 = layers.iter().map(|(_, size)| size).sum();
    let home = Home::apart();
    let mut changes = changes(&home);
    gate.hold_after(size / 2);
    let mut pull = home.spawn_banger(["image", "pull", &reference]);
    gate.wait_until_held();
    let passed = gate.take_passed();
    changes
        .wait_until("what has come is written", |_| received(&home, &layers) + OVERHEAD >= passed);
    pull.kill().expect("kill");
    pull.wait().expect("reaped");
    // The daemon lives, and has nobody to pull for any more.
    gate.wait_until_left();
    gate.cut();
    home.expect_no_image();

    let name = home.pull(&reference);
    let passed = passed + gate.take_passed();
    assert!(passed <= size + 2 * OVERHEAD, "{passed} bytes for an image of {size}");
    expect_whole(&home, &name);
}
