//! Copying files into a guest and out of it. The bytes are a tar stream between client and agent
//! and pass through unread; only how it ended is looked at.

use std::io;

use banger_proto::api::Event;
use banger_proto::guest::{Copied, CopyRequest};
use banger_proto::{Code, Problem, VmName};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::{Engine, START_DEADLINE, Work, stopping};
use crate::guest::{CopyPiece, CopySource, GuestClient, GuestError, UnpackSink};
use crate::vm::uses::Use;

/// Files on their way out of a guest. Dropping it breaks the copy off.
#[derive(Debug)]
pub struct CopyOut {
    /// None once it has ended.
    source: Option<CopySource<Copied>>,
    vm: VmName,
    end: CancellationToken,
    _in_use: Use,
}

/// What comes of a [`CopyOut`].
#[derive(Debug)]
pub enum OutPiece {
    /// Bytes of the tar stream.
    Bytes(Vec<u8>),
    /// How it ended: `copied` or `failed`.
    End(Event),
}

impl CopyOut {
    /// What comes next; none after the end.
    pub async fn next(&mut self) -> Option<OutPiece> {
        let source = self.source.as_mut()?;
        let next = tokio::select! {
            next = source.next() => next.map_err(|error| explain(&self.vm, error)),
            () = self.end.cancelled() => Err(stopping()),
        };
        let last = match next {
            Ok(CopyPiece::Bytes(bytes)) => return Some(OutPiece::Bytes(bytes)),
            Ok(CopyPiece::End(copied)) => Event::Copied { copied },
            Err(problem) => Event::Failed { problem },
        };
        self.source = None;
        Some(OutPiece::End(last))
    }
}

impl Engine {
    /// Copies what the tar stream `body` holds to `path` in a VM. The last event is `copied` or
    /// `failed`.
    ///
    /// # Errors
    /// When `reference` means none or several, the VM does not run, or its agent refuses.
    pub async fn copy_in(
        &self,
        reference: &str,
        path: String,
        mut body: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    ) -> Result<Work, Problem> {
        let (record, vmm, in_use) = self.use_awake(reference).await?;
        let name = record.plan.name;
        let guest = GuestClient::new(vmm).within(START_DEADLINE);
        let sink = guest.copy_in(&CopyRequest { path, exact: false }).await;
        let sink = sink.map_err(|error| explain(&name, error))?;
        let engine = self.clone();
        Ok(self.obtain(|_progress| async move {
            let _in_use = in_use;
            let copied = pass_on(&mut body, sink, &name).await;
            engine.drain(body);
            copied.map(|copied| Event::Copied { copied })
        }))
    }

    /// Copies what `path` names in a VM, as a tar stream.
    ///
    /// # Errors
    /// As [`copy_in`](Self::copy_in).
    pub async fn copy_out(&self, reference: &str, path: String) -> Result<CopyOut, Problem> {
        let (record, vmm, in_use) = self.use_awake(reference).await?;
        let vm = record.plan.name;
        let guest = GuestClient::new(vmm).within(START_DEADLINE);
        let source = guest.copy_out(&CopyRequest { path, exact: false }).await;
        let source = Some(source.map_err(|error| explain(&vm, error))?);
        Ok(CopyOut { source, vm, end: self.inner.stopping.clone(), _in_use: in_use })
    }
}

async fn pass_on(
    body: &mut (impl Stream<Item = io::Result<Bytes>> + Unpin),
    mut sink: UnpackSink<Copied>,
    vm: &VmName,
) -> Result<Copied, Problem> {
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|error| {
            Problem::new(Code::Cancelled, "the client broke the copy off").because(&error)
        })?;
        sink.write(&bytes).await.map_err(|error| explain(vm, error))?;
    }
    sink.finish().await.map_err(|error| explain(vm, error))
}

fn explain(vm: &VmName, error: GuestError) -> Problem {
    match error {
        GuestError::Refused(problem) if problem.code == Code::UnknownMethod => {
            let message = format!("the agent of VM `{vm}` is too old to copy files");
            Problem::new(Code::Conflict, message)
                .hint(format!("it gets a new one when it starts: banger vm restart {vm}"))
        }
        GuestError::Refused(problem) => problem,
        error => Problem::new(Code::OperationFailed, format!("lost VM `{vm}` during the copy"))
            .because(&error)
            .hint(format!("how it is: banger vm show {vm}")),
    }
}
