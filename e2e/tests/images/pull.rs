//! Each kind of image is pulled from a real registry and compared, entry by entry, with what
//! `umoci` unpacks.

use banger_e2e::{Gate, Home, Registry, Sample, ext4, files, oci, tree};

/// Pulls `sample`, and asserts that its file system is sound and has what it should.
#[track_caller]
fn pulls_and_is_the_same(sample: Sample) {
    let registry = Registry::start(&oci::ensure_storage(&[sample]));
    let home = Home::apart();
    let name = home.pull(&registry.reference(sample.name()));
    assert_eq!(name, registry.reference(sample.name()));
    let image = home.image_file(&name);
    ext4::expect_clean(&image);
    let differences = tree::differences(&oci::unpack(sample), &ext4::read_image(&image));
    assert!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
}

#[test]
fn a_few_programs() {
    pulls_and_is_the_same(Sample::Busybox);
}

#[test]
fn debian() {
    pulls_and_is_the_same(Sample::Debian);
}

#[test]
fn one_program_alone() {
    pulls_and_is_the_same(Sample::Distroless);
}

#[test]
fn a_hundred_thousand_files() {
    pulls_and_is_the_same(Sample::Many);
}

#[test]
fn everything_a_layer_can_hold() {
    pulls_and_is_the_same(Sample::Odd);
}

#[test]
fn compression_makes_no_difference() {
    pulls_and_is_the_same(Sample::OddZstd);
    pulls_and_is_the_same(Sample::OddPlain);
}

#[test]
fn the_second_pull_of_a_tag_downloads_nothing() {
    let registry = Registry::start(&oci::ensure_storage(&[Sample::Busybox]));
    let gate = Gate::before(registry.address());
    let reference = format!("{}/{}", gate.address(), Sample::Busybox.name());
    let home = Home::apart();
    let name = home.pull(&reference);
    let layers = oci::layers(Sample::Busybox);
    let requests = gate.take_requests();
    for (digest, _) in &layers {
        let asked = requests.iter().filter(|request| request.contains(digest)).count();
        assert_eq!(asked, 1, "`{digest}` in {requests:#?}");
    }
    home.wait_until_tidy();
    let (first_file, before) = (home.image_file(&name), files(&home.data_dir()));

    // Refused, or the same again: what matters is that nothing comes over the network.
    let _ = home.banger(["image", "pull", &reference]);
    // And what was deleted is made again of what is here.
    home.banger(["image", "pull", "--force", &reference]).expect_code(0);
    let requests = gate.take_requests();
    assert!(!requests.iter().any(|request| request.contains("/blobs/")), "{requests:#?}");
    assert_eq!(home.image_file(&name), first_file, "the same layers make another file");
    home.wait_until_tidy();
    assert_eq!(files(&home.data_dir()), before);
}

#[test]
fn a_registry_with_a_password() {
    let storage = oci::ensure_storage(&[Sample::Distroless]);
    let registry = Registry::start_with_password(&storage);
    let reference = registry.reference(Sample::Distroless.name());
    let home = Home::apart();
    let file = home.path().join("logins.json");
    home.configure(&format!("registry_auth_file = {:?}\n", file.display().to_string()));
    // As every client keeps it, in base64: `ada:banger-test-password`, and another.
    let log_in = |auth: &str| {
        let logins = format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, registry.address());
        std::fs::write(&file, logins).expect("logins");
    };
    let refused = || {
        home.banger(["image", "pull", &reference])
            .expect_code(1)
            .expect_stderr(&[registry.address(), "login"])
    };
    std::fs::write(&file, "{}").expect("no logins");
    refused();
    log_in("YWRhOndyb25nIHBhc3N3b3Jk");
    let said = refused().stderr;
    assert!(!said.contains("YWRh") && !said.contains("wrong password"), "{said}");
    log_in("YWRhOmJhbmdlci10ZXN0LXBhc3N3b3Jk");
    let name = home.pull(&reference);
    ext4::expect_clean(&home.image_file(&name));
    let log = std::fs::read_to_string(home.state_dir().join("bangerd.log")).expect("log");
    assert!(!log.contains("banger-test-password") && !log.contains("YWRh"), "{log}");
}
