//! A network in a namespace of the user's own, without root anywhere.
//!
//! ```text
//!  host's namespace                      │ the user's namespace (user + network)
//!                                        │   holder   sleeps, and so keeps it
//!  bangerd ──packets on a socket pair────┼─▶ helper   bridge, taps, rules; goes with the daemon
//!  pasta ──(its end of the tun device)───┼─▶ up0      the way out, once a VM wants one
//!  supervisor ──────────starts───────────┼─▶ VMM      without any privilege
//! ```
//!
//! Holder and pasta outlive the daemon; [`record`] is how the next one finds them. If the holder is gone,
//! whoever is left in the namespace is a way in, and a new holder is started there.

mod holder;
mod leftovers;
mod record;
mod serving;
mod uplink;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use banger_proto::BridgeName;
use banger_proto::api::NetworkMode;
use banger_proto::env;
use banger_proto::helper::Request;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::client::HelperClient;
use super::privileged::{Answer, NetworkError, Privileged};
use crate::exec::HostEnv;
pub use leftovers::NetworkLeftover;
use record::{Namespace, Record};
use serving::Serving;

/// Where things are that make a namespace.
#[derive(Debug, Clone)]
pub struct UserOptions {
    /// The helper's program.
    pub helper: PathBuf,
    /// The directory for what the next daemon has to know.
    pub runtime_dir: PathBuf,
    /// The environment of host programs.
    pub env: HostEnv,
    /// What the bridge is called in a namespace that is made.
    pub bridge: BridgeName,
}

impl UserOptions {
    /// The helper's program. What the user's environment holds is no business of it; that it has the
    /// runtime directory tells everybody whose it is.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.helper);
        command.env_clear().current_dir("/");
        if let Some(dir) = self.runtime_dir.parent() {
            command.env(env::XDG_RUNTIME_DIR, dir);
        }
        command
    }
}

/// The namespace of this user.
#[derive(Debug)]
pub struct UserNamespace {
    options: UserOptions,
    /// The helper that serves, with the namespace it is in. Nothing waits while this is locked.
    serving: Mutex<Option<Serving>>,
    /// Held while something is started or ended.
    changing: tokio::sync::Mutex<()>,
}

impl UserNamespace {
    /// The namespace that is made as `options` say.
    #[must_use]
    pub fn new(options: UserOptions) -> Self {
        Self { options, serving: Mutex::default(), changing: tokio::sync::Mutex::default() }
    }

    fn serving(&self) -> MutexGuard<'_, Option<Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self) -> Record {
        Record::at(&self.options.runtime_dir)
    }

    /// The namespace that an earlier daemon, or this one, has made and that is still there.
    async fn find_namespace(&self) -> Result<Option<Namespace>, NetworkError> {
        let Some(namespace) = self.record().load()? else { return Ok(None) };
        if namespace.is_held() {
            return Ok(Some(namespace));
        }
        let Some(inside) = namespace.find_process()? else { return Ok(None) };
        tracing::warn!(pid = inside.pid, "the network's holder is gone; a new one takes its place");
        let inside = namespace.seen_from(inside);
        holder::start(&self.options, Some(&inside), &self.record()).await.map(Some)
    }

    /// The same. Of one that is not there any more, nothing else is left then: a way out that nobody ends
    /// keeps a namespace in which nobody is.
    async fn find_or_clean(&self) -> Result<Option<Namespace>, NetworkError> {
        let found = self.find_namespace().await?;
        if found.is_none() {
            self.remove_noted().await?;
        }
        Ok(found)
    }

    /// A connection to the helper, which is started if none serves.
    async fn client(&self) -> Result<HelperClient, NetworkError> {
        let _changing = self.changing.lock().await;
        if let Some(serving) = self.serving().as_ref() {
            return Ok(serving.client.clone());
        }
        let namespace = self.find_namespace().await?.ok_or_else(gone)?;
        let serving = Serving::start(&self.options, &namespace)?;
        let client = serving.client.clone();
        *self.serving() = Some(serving);
        Ok(client)
    }

    async fn ask_helper(&self, request: Request) -> Result<Answer, NetworkError> {
        let client = self.client().await?;
        match client.ask(&request).await {
            // It was killed: the next one does what this one has not done, and nothing twice.
            Err(NetworkError::Gone(_) | NetworkError::Silent(_)) => {
                // Somebody else may have seen it before, and be asking the next one.
                self.serving().take_if(|serving| serving.client.is(&client));
                self.client().await?.ask(&request).await
            }
            answered => answered,
        }
    }

    async fn ensure_namespace(&self) -> Result<(), NetworkError> {
        let _changing = self.changing.lock().await;
        if self.find_or_clean().await?.is_some() {
            return Ok(());
        }
        *self.serving() = None;
        let namespace = holder::start(&self.options, None, &self.record()).await?;
        tracing::info!(holder = namespace.holder.pid, "network namespace made");
        Ok(())
    }

    async fn ensure_way_out(&self) -> Result<(), NetworkError> {
        let _changing = self.changing.lock().await;
        let namespace = self.find_namespace().await?.ok_or_else(gone)?;
        if namespace.uplink.is_some_and(|uplink| uplink.is_alive()) {
            return Ok(());
        }
        let uplink = uplink::start(&self.options, &namespace).await?;
        tracing::info!(pid = uplink.pid, "way beyond the host opened");
        self.record().save(&Namespace { uplink: Some(uplink.into()), ..namespace })
    }

    async fn observe_leftovers(&self) -> Result<Vec<NetworkLeftover>, NetworkError> {
        let _changing = self.changing.lock().await;
        let recorded = self.find_namespace().await?;
        leftovers::observe(&self.options, recorded.as_ref()).map_err(NetworkError::Record)
    }

    async fn remove_leftover(&self, left: &NetworkLeftover) -> Result<(), NetworkError> {
        let _changing = self.changing.lock().await;
        let recorded = self.find_namespace().await?;
        let seen = leftovers::observe(&self.options, recorded.as_ref());
        // Somebody may have come to need it, or it may be gone.
        if !seen.map_err(NetworkError::Record)?.contains(left) {
            return Ok(());
        }
        left.remove().await.map_err(NetworkError::Record)
    }

    async fn remove_all(&self) -> Result<(), NetworkError> {
        let _changing = self.changing.lock().await;
        let serving = self.serving().take();
        if let Some(serving) = serving {
            serving.end().await;
        }
        self.remove_noted().await
    }

    /// Ends whoever is noted, and removes the notes.
    async fn remove_noted(&self) -> Result<(), NetworkError> {
        let Some(namespace) = self.record().load()? else { return Ok(()) };
        for process in [namespace.uplink, Some(namespace.holder)].into_iter().flatten() {
            process.identity().end().await.map_err(NetworkError::Record)?;
        }
        uplink::remove_leftovers(&self.options.runtime_dir).await.map_err(NetworkError::Record)?;
        tracing::info!("network namespace removed");
        self.record().remove()
    }
}

/// Waits until the process is gone that is the way out in `record`; for ever if none is noted.
async fn wait_for_end_of_uplink(record: &Record) {
    let uplink = record.load().ok().flatten().and_then(|namespace| namespace.uplink);
    match uplink {
        Some(uplink) if uplink.identity().gone().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

fn gone() -> NetworkError {
    NetworkError::Gone(std::io::ErrorKind::NotFound.into())
}

impl Privileged for UserNamespace {
    fn mode(&self) -> NetworkMode {
        NetworkMode::User
    }

    fn find(&self) -> BoxFuture<'_, Result<bool, NetworkError>> {
        async {
            let _changing = self.changing.lock().await;
            Ok(self.find_or_clean().await?.is_some())
        }
        .boxed()
    }

    fn ensure(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        self.ensure_namespace().boxed()
    }

    fn entrance(&self) -> Result<Vec<String>, NetworkError> {
        let namespace = self.record().load()?.ok_or_else(gone)?;
        let helper = self.options.helper.display().to_string();
        let words = [helper, "run".to_owned()].into_iter();
        Ok(words.chain(namespace.render_arguments()).chain(["--".to_owned()]).collect())
    }

    fn ask(&self, request: Request) -> BoxFuture<'_, Result<Answer, NetworkError>> {
        self.ask_helper(request).boxed()
    }

    fn ensure_uplink(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        self.ensure_way_out().boxed()
    }

    fn uplink_gone(&self) -> BoxFuture<'_, ()> {
        async { wait_for_end_of_uplink(&self.record()).await }.boxed()
    }

    fn remove(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        self.remove_all().boxed()
    }

    fn observe_leftovers(&self) -> BoxFuture<'_, Result<Vec<NetworkLeftover>, NetworkError>> {
        self.observe_leftovers().boxed()
    }

    fn remove_leftover<'a>(
        &'a self,
        left: &'a NetworkLeftover,
    ) -> BoxFuture<'a, Result<(), NetworkError>> {
        self.remove_leftover(left).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::record::{Noted, observe_inode};
    use super::*;
    use crate::supervise::identity::ProcessIdentity;

    #[tokio::test]
    async fn a_namespace_that_is_gone_leaves_no_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let options = UserOptions {
            helper: "/nowhere/banger-helper".into(),
            runtime_dir: dir.path().to_owned(),
            env: HostEnv::from_env(|_| None),
            bridge: BridgeName::default(),
        };
        let network = UserNamespace::new(options);
        let me = Noted::from(ProcessIdentity::observe(std::process::id()).unwrap());
        let mut uplink = Command::new("sleep").arg("1000").spawn().unwrap();
        let noted = Noted::from(ProcessIdentity::observe(uplink.id()).unwrap());
        let leave = |holder, netns_inode| {
            let namespace = Namespace {
                holder,
                userns_inode: 0,
                netns_inode,
                uplink: Some(noted),
                bridge: BridgeName::default(),
            };
            network.record().save(&namespace).unwrap();
            fs_err::write(dir.path().join(uplink::LOG_FILE), "").unwrap();
        };
        leave(me, observe_inode(me.pid, "net").unwrap());
        assert!(network.find().await.unwrap());
        assert_eq!(uplink.try_wait().unwrap(), None);

        // An inode that no namespace has.
        leave(Noted { start: me.start + 1, ..me }, 1);
        assert!(!network.find().await.unwrap());
        assert!(uplink.try_wait().unwrap().is_some(), "it is still there");
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
    }
}
