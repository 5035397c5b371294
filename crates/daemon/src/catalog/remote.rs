//! The catalog at `catalog_url`, merged over the program's own.
//!
//! It is fetched when a name is looked for or listed, kept with the time it was fetched, and
//! fetched again when that is an hour ago. One that cannot be had is a notice: the last one that
//! could is used, else none; nothing that is here fails for it.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use banger_proto::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::form::{CatalogError, Entry, parse_catalog};
use crate::artifact::save_atomically;
use crate::fetcher::Fetcher;
use crate::image::digest_of;
use crate::private;

/// Largest catalog, in bytes: some ten thousand entries.
const MAX_CATALOG: usize = 4 << 20;
/// How long one may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// From when on one is old, in seconds.
const OLD: i64 = 3600;
/// After a failure, how long the next attempt waits.
const PAUSE: Duration = Duration::from_secs(60);
/// Digits of an address's digest in the name of the file that keeps what was there.
const ADDRESS_DIGITS: usize = 16;

/// The catalogs of one daemon, as far as they list one kind of thing. Those for several kinds keep
/// what was at an address in the same file.
#[derive(Debug)]
pub(crate) struct Catalogs<E> {
    remote: Option<Remote>,
    kind: PhantomData<fn() -> E>,
}

impl<E> Clone for Catalogs<E> {
    fn clone(&self) -> Self {
        Self { remote: self.remote.clone(), kind: PhantomData }
    }
}

#[derive(Debug, Clone)]
struct Remote {
    url: String,
    fetcher: Fetcher,
    kept_at: PathBuf,
    /// When fetching failed last, and what is said until it is tried again.
    failed: Arc<Mutex<Option<(Instant, String)>>>,
}

/// What was at an address, and when.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    url: String,
    /// Seconds since 1970.
    fetched_at: i64,
    catalog: Box<serde_json::value::RawValue>,
}

/// Everything that can be had, by name, and what the user should know about the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known<E> {
    pub(crate) entries: BTreeMap<String, E>,
    pub(crate) notices: Vec<String>,
}

impl<E: Entry> Catalogs<E> {
    /// The program's own, and the one at `url`, which `fetcher` gets and which is kept in the
    /// directory `cache`.
    pub(crate) fn new(url: Option<String>, fetcher: &Fetcher, cache: &Path) -> Self {
        let remote = url.map(|url| {
            let digest = digest_of(&url);
            let name = digest.get(..ADDRESS_DIGITS).unwrap_or(&digest);
            let kept_at = cache.join("catalogs").join(format!("{name}.json"));
            Remote { url, fetcher: fetcher.clone(), kept_at, failed: Arc::default() }
        });
        Self { remote, kind: PhantomData }
    }

    /// Everything that can be had.
    ///
    /// # Errors
    /// When the program's own catalog is broken, which a test rules out.
    pub(crate) async fn load(&self) -> Result<Known<E>, CatalogError> {
        let (own, _) = E::load_own()?;
        let own = own.into_iter().map(|entry| (entry.name().to_owned(), entry));
        let mut known = Known { entries: own.collect(), notices: Vec::new() };
        if let Some(remote) = &self.remote {
            remote.merge_into(&mut known).await;
        }
        Ok(known)
    }
}

impl Remote {
    async fn merge_into<E: Entry>(&self, known: &mut Known<E>) {
        let kept = self.load_kept();
        let fresh = kept
            .as_ref()
            .is_some_and(|kept| is_fresh(kept.fetched_at, Timestamp::now().as_second()));
        let kept = if fresh {
            kept
        } else {
            match self.fetch::<E>().await {
                Ok(fetched) => Some(fetched),
                Err(why) => {
                    let instead = match &kept {
                        Some(kept) => {
                            format!("the one of {} is used", render_time(kept.fetched_at))
                        }
                        None => "only what is part of the program is known".to_owned(),
                    };
                    let url = &self.url;
                    known.notices.push(format!("No catalog from `{url}`: {why}; {instead}."));
                    kept
                }
            }
        };
        let Some(kept) = kept else { return };
        match parse_catalog::<E>(kept.catalog.get().as_bytes()) {
            Ok((entries, mut wrong)) => {
                for entry in entries {
                    let name = entry.name().to_owned();
                    match entry.refuse_from_elsewhere() {
                        Some(what) => wrong.push(CatalogError::Entry { name, what }),
                        None => drop(known.entries.insert(name, entry)),
                    }
                }
                let told = wrong.into_iter().map(|error| {
                    format!("In the catalog from `{}`, {}.", self.url, render(&error))
                });
                known.notices.extend(told);
            }
            Err(error) => {
                let text =
                    format!("The catalog from `{}` is not used: {}.", self.url, render(&error));
                known.notices.push(text);
            }
        }
    }

    /// Fetches and keeps the catalog; why not, as a fragment.
    async fn fetch<E: Entry>(&self) -> Result<Kept, String> {
        if let Some((at, why)) = &*self.failed.lock().unwrap_or_else(PoisonError::into_inner)
            && at.elapsed() < PAUSE
        {
            return Err(why.clone());
        }
        let fetched = self.try_fetch::<E>().await;
        let failed = fetched.as_ref().err().map(|why| (Instant::now(), why.clone()));
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        fetched
    }

    async fn try_fetch<E: Entry>(&self) -> Result<Kept, String> {
        let fetched = self.fetcher.get_small(&self.url, MAX_CATALOG);
        let text = tokio::time::timeout(PATIENCE, fetched).await;
        let text = text
            .map_err(|_| format!("nothing came in {} s", PATIENCE.as_secs()))?
            .map_err(|error| render(&error))?;
        // Only what can be used is kept: it replaces one that could.
        parse_catalog::<E>(&text).map_err(|error| render(&error))?;
        let catalog = serde_json::from_slice(&text).map_err(|error| render(&error))?;
        let kept =
            Kept { url: self.url.clone(), fetched_at: Timestamp::now().as_second(), catalog };
        if let Err(error) = self.keep(&kept) {
            tracing::warn!(%error, "catalog not kept");
        }
        Ok(kept)
    }

    fn keep(&self, kept: &Kept) -> std::io::Result<()> {
        if let Some(directory) = self.kept_at.parent() {
            private::ensure_dir(directory)?;
        }
        save_atomically(&self.kept_at, &serde_json::to_vec(kept)?)
    }

    /// What was kept; a file that is missing or broken is one to fetch again.
    fn load_kept(&self) -> Option<Kept> {
        let text = fs_err::read(&self.kept_at).ok()?;
        serde_json::from_slice::<Kept>(&text).ok().filter(|kept| kept.url == self.url)
    }
}

/// Whether what was fetched at one time is fresh at another. A time to come is a clock's mistake.
fn is_fresh(fetched_at: i64, now: i64) -> bool {
    (0..OLD).contains(&now.saturating_sub(fetched_at))
}

fn render_time(second: i64) -> String {
    Timestamp::from_second(second)
        .map_or_else(|_| "an unknown time".to_owned(), |at| at.to_string())
}

fn render(error: &dyn std::error::Error) -> String {
    let problem = Problem::from_error(banger_proto::Code::OperationFailed, error);
    std::iter::once(problem.message).chain(problem.causes).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::HostEnv;
    use crate::image::CatalogImage;
    use crate::kernel::CatalogKernel;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn catalogs(&self) -> Catalogs<CatalogImage> {
            let url = format!("file://{}", self.dir.path().join("catalog.json").display());
            let cache = self.dir.path().join("cache");
            let fetcher = Fetcher::direct(&HostEnv::from_env(|_| None), &cache);
            Catalogs::new(Some(url), &fetcher, &cache)
        }

        fn write(&self, text: &str) {
            fs_err::write(self.dir.path().join("catalog.json"), text).unwrap();
        }
    }

    const ONE: &str = r#"{"version":1,"images":[
        {"name":"more","distro":"x","arch":"amd64","oci":"team/more"},
        {"name":"debian-bookworm","description":"theirs","distro":"x","arch":"amd64","oci":"team/deb"},
        {"name":"bad","distro":"x","arch":"amd64"}]}"#;

    #[tokio::test]
    async fn a_remote_catalog_is_merged_over_the_own_one_and_kept() {
        let place = Place::new();
        place.write(ONE);
        let known = place.catalogs().load().await.unwrap();
        assert!(known.entries.contains_key("more"));
        assert_eq!(known.entries["debian-bookworm"].description, "theirs");
        assert_eq!(known.notices.len(), 1);
        assert!(known.notices[0].ends_with("entry `bad` does not say where the image is."));
        // Fresh as it is, it is not asked for again.
        place.write("broken");
        assert_eq!(place.catalogs().load().await.unwrap(), known);
    }

    #[tokio::test]
    async fn one_address_serves_images_and_kernels() {
        let place = Place::new();
        let digits = "ab".repeat(32);
        let bundle = format!(r#""url":"https://x/k.tar.zst","sha256":"{digits}","size":7"#);
        place.write(&format!(
            r#"{{"version":1,"images":[{{"name":"more","distro":"x","arch":"amd64","oci":"a/b"}}],
               "kernels":[{{"name":"fast",{bundle}}},{{"name":"debian-bookworm-cloud",{bundle}}},
               {{"name":"evil","distro":"d","arch":"a","suite":"--setup-hook=x","package":"p"}}]}}"#
        ));
        let images = place.catalogs().load().await.unwrap();
        assert!(images.entries.contains_key("more"));
        // Kept by the one, it is there for the other.
        fs_err::remove_file(place.dir.path().join("catalog.json")).unwrap();
        let remote = place.catalogs().remote;
        let catalogs = Catalogs::<CatalogKernel> { remote, kind: PhantomData };
        let kernels = catalogs.load().await.unwrap();
        assert_eq!(kernels.entries.keys().collect::<Vec<_>>(), ["debian-bookworm-cloud", "fast"]);
        let over = &kernels.entries["debian-bookworm-cloud"];
        assert_eq!(over.source(), "https://x/k.tar.zst");
        let told = "entry `evil` is no bundle, which kernels from elsewhere are.";
        assert!(kernels.notices[0].ends_with(told), "{:?}", kernels.notices);
    }

    #[tokio::test]
    async fn one_that_is_not_there_or_broken_is_a_notice() {
        let place = Place::new();
        let catalogs = place.catalogs();
        let known = catalogs.load().await.unwrap();
        assert!(known.entries.contains_key("debian-bookworm"));
        assert!(known.notices[0].starts_with("No catalog from `file:///"), "{known:?}");
        assert!(known.notices[0].ends_with("only what is part of the program is known."));
        // What failed a moment ago is not tried again, and the notice stays.
        place.write(ONE);
        assert_eq!(catalogs.load().await.unwrap(), known);
        place.write(r#"{"version":9,"images":[]}"#);
        let known = place.catalogs().load().await.unwrap();
        assert!(known.notices[0].contains("unknown version 9"), "{known:?}");
    }

    #[tokio::test]
    async fn the_last_good_one_stays_in_use() {
        let place = Place::new();
        place.write(ONE);
        let catalogs = place.catalogs();
        catalogs.load().await.unwrap();
        let remote = catalogs.remote.as_ref().unwrap();
        let mut kept = remote.load_kept().unwrap();
        kept.fetched_at = 1_000_000_000;
        remote.keep(&kept).unwrap();
        place.write("broken");
        let known = place.catalogs().load().await.unwrap();
        assert!(known.entries.contains_key("more"));
        assert!(known.notices[0].contains("the one of 2001-09-09T01:46:40Z is used"), "{known:?}");
    }

    #[test]
    fn an_hour_is_fresh() {
        assert!(is_fresh(0, 3599));
        assert!(!is_fresh(0, 3600));
        assert!(!is_fresh(10, 0));
    }
}
