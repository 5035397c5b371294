//! The services of the guest protocol: one stream, one request.
//!
//! [`serve_stream`] reads the `Open` frame and hands the stream to its service. A service that
//! fails before it accepted answers `Refused`; what a stream carries afterwards is the service's
//! own affair.

mod control;
mod ssh;
mod stats;
mod system;
mod watch;

use std::sync::Arc;

use banger_link::framed::{FrameReader, FrameWriter, FramedError};
use banger_proto::guest::Service;
use banger_proto::guest::frame::{Frame, Kind};
use banger_proto::{Code, Problem};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::context::Context;
use crate::{copy, exec, jobs, ports, survey, unpack};

/// What comes from the host on one stream. Boxed, so that the services exist once in the
/// program, whatever the stream is.
pub(crate) type FromHost = FrameReader<Box<dyn AsyncRead + Send + Unpin>>;
/// What goes to the host.
pub(crate) type ToHost = FrameWriter<Box<dyn AsyncWrite + Send + Unpin>>;

/// How a service ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// To be told to the host.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The stream is of no use any more.
    #[error(transparent)]
    Stream(#[from] FramedError),
}

/// Serves one stream that the host opened, to its end. Failures of the stream itself end it and
/// nothing else: the host sees the same.
pub async fn serve_stream<S>(context: Arc<Context>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut from_host: FromHost = FrameReader::new(Box::new(reader));
    let mut to_host: ToHost = FrameWriter::new(Box::new(writer));
    let served = match from_host.next().await {
        Ok(Some(open)) => dispatch(context, &open, &mut from_host, &mut to_host).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    };
    match served {
        Ok(()) => {}
        Err(ServiceError::Refused(problem)) => {
            if to_host.send_json(Kind::Refused, &problem).await.is_err() {
                return;
            }
        }
        // No proper end: it would say that all had been said.
        Err(ServiceError::Stream(_)) => return,
    }
    // The host may still be sending; the link hears it out after a proper end.
    let _ = to_host.shutdown().await;
}

async fn dispatch(
    context: Arc<Context>,
    open: &Frame,
    from_host: &mut FromHost,
    to_host: &mut ToHost,
) -> Result<(), ServiceError> {
    match parse_service(open)? {
        Service::Hello(hello) => control::hello(&context, &hello, to_host).await,
        Service::Configure(config) => control::configure(&context, *config, to_host).await,
        Service::Renew(config) => control::renew(&context, *config, to_host).await,
        Service::SetClock(request) => {
            require_configured(&context)?;
            control::set_clock(&context, request, to_host).await
        }
        Service::Health => Ok(to_host.send_json(Kind::Accepted, &context.health()).await?),
        Service::Watch => watch::serve(&context, from_host, to_host).await,
        Service::Stats => {
            require_configured(&context)?;
            Ok(to_host.send_json(Kind::Accepted, &stats::observe(&context)?).await?)
        }
        Service::System => {
            require_configured(&context)?;
            Ok(to_host.send_json(Kind::Accepted, &system::observe(&context).await).await?)
        }
        Service::Exec(request) => exec::serve(&context, &request, from_host, to_host).await,
        Service::StartJob(request) => jobs::start(&context, *request, to_host).await,
        Service::ListJobs => jobs::list(&context, to_host).await,
        Service::AttachJob(request) => jobs::attach(&context, &request, from_host, to_host).await,
        Service::KillJob(request) => jobs::kill(&context, &request, to_host).await,
        Service::Unpack(request) => unpack::serve(&context, &request, from_host, to_host).await,
        Service::CopyIn(request) => copy::receive(&context, &request, from_host, to_host).await,
        Service::CopyOut(request) => copy::send(&context, &request, to_host).await,
        Service::Ssh => ssh::serve(&context, from_host, to_host).await,
        Service::Ports => ports::watch(&context, from_host, to_host).await,
        Service::Forward(request) => ports::forward(&context, request, from_host, to_host).await,
        Service::Survey(request) => survey::serve(&context, &request, from_host, to_host).await,
        Service::GitObjects(request) => survey::send_objects(&context, &request, to_host).await,
        Service::GrowDisk(request) => {
            require_configured(&context)?;
            control::grow_disk(&context, request, to_host).await
        }
        Service::Shutdown(request) => control::shutdown(&context, request, to_host).await,
    }
}

/// Reads the request. A service this build does not know is told apart from a malformed request
/// by its name, so that a newer host can fall back.
fn parse_service(open: &Frame) -> Result<Service, Problem> {
    const NAMES: [&str; 23] = [
        "hello",
        "configure",
        "renew",
        "set_clock",
        "health",
        "watch",
        "stats",
        "system",
        "exec",
        "start_job",
        "list_jobs",
        "attach_job",
        "kill_job",
        "unpack",
        "copy_in",
        "copy_out",
        "ssh",
        "ports",
        "forward",
        "survey",
        "git_objects",
        "grow_disk",
        "shutdown",
    ];
    #[derive(serde::Deserialize)]
    struct Tag {
        service: String,
    }

    if open.kind != Kind::Open {
        let message = format!("a stream begins with an `Open` frame, not `{:?}`", open.kind);
        return Err(Problem::new(Code::BadRequest, message));
    }
    open.parse::<Service>().map_err(|error| match open.parse::<Tag>() {
        Ok(tag) if !NAMES.contains(&tag.service.as_str()) => {
            Problem::new(Code::UnknownMethod, format!("no service `{}`", tag.service))
        }
        Ok(_) | Err(_) => Problem::from_error(Code::BadRequest, &error),
    })
}

/// Refuses what needs a configured guest.
pub(crate) fn require_configured(context: &Context) -> Result<(), Problem> {
    if context.is_configured() {
        return Ok(());
    }
    Err(Problem::new(Code::Conflict, "the guest is not configured yet"))
}

#[cfg(test)]
mod tests {
    use banger_link::framed::framed;

    use super::*;
    use crate::hosted::Hosted;

    #[test]
    fn unknown_services_and_bad_requests_differ() {
        let code = |json: &str| parse_service(&Frame::new(Kind::Open, json)).unwrap_err().code;
        assert_eq!(code(r#"{"service":"teleport","request":{}}"#), Code::UnknownMethod);
        assert_eq!(code(r#"{"service":"unpack","request":{}}"#), Code::BadRequest);
        assert_eq!(code("\u{1}"), Code::BadRequest);
        let other = Frame::new(Kind::Stdin, "{}");
        assert_eq!(parse_service(&other).unwrap_err().code, Code::BadRequest);
    }

    #[tokio::test]
    async fn who_a_guest_is_changes_once_at_a_time() {
        let context = Context::hosted(Hosted::default());
        let _configuring = context.begin_configuring().unwrap();
        let config = serde_json::json!({
            "hostname": "vm", "machine_id": "", "clock_unix_nanos": 0, "random_seed": "",
            "base_serial": "", "writable_serial": "",
        });
        for service in ["configure", "renew"] {
            let (near, far) = tokio::io::duplex(4096);
            let serving = tokio::spawn(serve_stream(Arc::clone(&context), far));
            let (mut reader, mut writer) = framed(near);
            let open = serde_json::json!({"service": service, "request": config});
            writer.send_json(Kind::Open, &open).await.unwrap();
            let answer = reader.next().await.unwrap().unwrap();
            assert_eq!(answer.kind, Kind::Refused);
            assert_eq!(answer.parse::<Problem>().unwrap().message, "the guest is being configured");
            serving.await.unwrap();
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let open = Frame::new(
            Kind::Open,
            r#"{"service":"shutdown","request":{"reboot":true,"new":1},"trace":"x"}"#,
        );
        assert!(matches!(parse_service(&open), Ok(Service::Shutdown(request)) if request.reboot));
    }
}
