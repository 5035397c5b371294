//! The fake daemon's kernels: one that is used, one that does not tell what it is, one to be had.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use banger_proto::api::{Event, KernelDetails, KernelList, KernelView};
use banger_proto::{ByteSize, Code, Problem};

use crate::fake::{Shared, lines, refuse};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/kernels", get(list))
        .route("/v1/kernels/import", post(import))
        .route("/v1/kernels/pull", post(pull))
        .route("/v1/kernels/{kernel}", get(show).delete(delete))
}

fn kernels() -> [KernelDetails; 3] {
    let view = |name: &str, description: &str, version: Option<&str>| KernelView {
        name: name.into(),
        description: description.into(),
        version: version.map(str::to_owned),
        size: ByteSize::from_mib(if version.is_some() { 40 } else { 0 }),
        local: version.is_some(),
    };
    [
        KernelDetails {
            kernel: view("debian", "Debian's", Some("6.1.0-9")),
            distro: Some("debian".into()),
            arch: Some("amd64".into()),
            source: Some("debian bookworm, package linux-image-cloud-amd64".into()),
            directory: Some("/kernels/.versions/debian-0123456789ab".into()),
            has_modules: true,
            modules: vec!["ext4".into(), "virtio_blk".into()],
            has_loadable_modules: true,
            loadable_modules: Some(779),
            features: [("PVH", 'y'), ("TTY", 'n'), ("UNIX", 'y'), ("VIRTIO_BLK", 'm')]
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            lacking: vec!["CONFIG_TTY (to have terminals)".into()],
            vms: vec!["web".into(), "db".into()],
        },
        KernelDetails {
            kernel: view("generic", "Linux for VMs", None),
            source: Some("https://kernels.example/generic.tar.zst".into()),
            ..KernelDetails::default()
        },
        KernelDetails {
            kernel: view("mine", "imported from vmlinux", Some("6.12.1")),
            directory: Some("/kernels/.versions/mine-0123456789ab".into()),
            ..KernelDetails::default()
        },
    ]
}

async fn list() -> Json<KernelList> {
    let notices = vec!["No catalog from `https://kernels.example`: nothing came.".to_owned()];
    Json(KernelList { kernels: kernels().map(|details| details.kernel).to_vec(), notices })
}

async fn show(Path(name): Path<String>) -> Response {
    match kernels().into_iter().find(|details| details.kernel.name == name) {
        Some(details) => Json(details).into_response(),
        None => unknown(&name),
    }
}

fn unknown(name: &str) -> Response {
    let problem = Problem::new(Code::NotFound, format!("unknown kernel `{name}`"));
    refuse(StatusCode::NOT_FOUND, problem)
}

async fn delete(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    shared.log(format!("delete kernel {name}"));
    match kernels().into_iter().find(|details| details.kernel.name == name) {
        Some(details) if details.vms.is_empty() => Json(details.kernel).into_response(),
        Some(details) => {
            let message = format!("kernel `{name}` is used by VMs {}", details.vms.join(", "));
            refuse(StatusCode::CONFLICT, Problem::new(Code::Conflict, message))
        }
        None => unknown(&name),
    }
}

async fn pull(State(shared): State<Arc<Shared>>, body: String) -> Response {
    ready(&shared, "pull", &body)
}

async fn import(State(shared): State<Arc<Shared>>, body: String) -> Response {
    ready(&shared, "import", &body)
}

fn ready(shared: &Shared, what: &str, body: &str) -> Response {
    shared.log(format!("{what} {body}"));
    let [_, _, mine] = kernels();
    let notice = Event::Notice { text: "Nothing tells what kernel `mine` was built with.".into() };
    lines(&[notice, Event::KernelReady { kernel: mine.kernel }]).into_response()
}
