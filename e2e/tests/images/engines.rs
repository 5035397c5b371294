//! Container engines in a guest, from the distribution's packages, on the default kernel.

use std::io::{BufRead, BufReader};

use banger_e2e::{Home, Registry, Sample, oci};

/// What a container of the image in the image prints, run as the image says.
const SCRIPT: &str = "id -un; pwd; cat greeting; echo $GREETING";
const PRINTED: &str = "ada\n/srv/app\nhello\nhello world\n";

/// A web server in a container, which says when it listens.
const WEB: [&str; 10] = [
    "docker",
    "run",
    "--rm",
    "--name=web",
    "--user=root",
    "--publish=8080:80",
    "localhost/hello:latest",
    "sh",
    "-c",
    // In the background once it listens.
    "httpd -p 80 -h /srv/app && echo listening && exec sleep 1000",
];

#[test]
fn docker_and_podman_run_containers() {
    let registry = Registry::start(&oci::ensure_storage(&[Sample::Engine]));
    let home = Home::apart().with_kernel();
    let image = registry.reference(Sample::Engine.name());
    let vm = home.create("engines", &["--image", &image, "--wait", "system"]);
    let shell = |script: &str| home.exec(&vm, &["sh", "-ec", script]).expect_code(0).stdout;

    assert_eq!(shell("systemctl is-system-running; systemctl --failed --no-legend"), "running\n");
    // Layers as overlays, which only work where their store lies on the disk itself.
    assert_eq!(shell("docker info --format '{{.Driver}}'"), "overlay2\n");
    for engine in ["docker", "podman"] {
        shell(&format!("{engine} load --quiet --input /opt/images/hello.tar"));
        let run = format!("{engine} run --rm localhost/hello:latest sh -c '{SCRIPT}'");
        assert_eq!(shell(&run), PRINTED, "{engine}");
    }

    // A port of a container's that others of its network reach, and the guest where it is published.
    let mut web = home.spawn_banger([&["vm", "exec", &vm, "--"], &WEB[..]].concat());
    let mut line = String::new();
    let mut said = BufReader::new(web.stdout.take().expect("piped"));
    said.read_line(&mut line).expect("text");
    assert_eq!(line, "listening\n");
    let published = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; \
                     printf \"GET /greeting HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3'";
    let answer = shell(published);
    assert!(answer.ends_with("\r\n\r\nhello\n"), "{answer}");
    let other = "address=$(docker inspect --format '{{.NetworkSettings.IPAddress}}' web); \
                 docker run --rm localhost/hello:latest wget -q -O - http://$address/greeting";
    assert_eq!(shell(other), "hello\n");
    shell("docker rm --force web");
    web.wait().expect("the container ends");

    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}
