//! Doing one thing to several VMs: resolved from one listing, at once, reported in the order
//! given, going on past failures.

use banger_proto::api::{VmList, VmView};
use banger_proto::exit_code;
use futures_util::future::join_all;

use crate::client::Client;
use crate::cmd::Context;
use crate::errors::{CliError, Outcome};
use crate::progress::Progress;
use crate::reference::{VmRef, resolve};
use crate::signals::Signals;

/// Does `act` to every VM of `references` and prints the names of those for which it went well.
/// `doing` is what is shown meanwhile.
pub(super) async fn for_each<'a, F>(
    context: &Context,
    client: &'a Client,
    references: &[VmRef],
    signals: &mut Signals,
    progress: &mut Progress,
    doing: &str,
    act: impl Fn(&'a Client, VmView) -> F,
) -> Outcome
where
    F: Future<Output = Result<(), CliError>>,
{
    let list: VmList = signals.race(client.get("/v1/vms")).await?;
    let targets = resolve(references, &list.vms);
    progress.begin(doing);
    let work = join_all(targets.into_iter().map(|target| {
        let act = &act;
        async move {
            let vm = target?;
            act(client, vm.clone()).await.map(|()| &vm.name)
        }
    }));
    let results = signals.race(async { Ok(work.await) }).await?;
    progress.clear();
    let mut failed = false;
    for result in results {
        match result {
            Ok(name) => context.ui.print(name.as_str())?,
            Err(error) => {
                failed = true;
                error.show(&context.ui);
            }
        }
    }
    if failed { Err(CliError::reported()) } else { Ok(exit_code::OK) }
}
