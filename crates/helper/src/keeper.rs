//! Rules that stay: what somebody else changes of them is put right.
//!
//! Without its rules a bridge of the host lets guests reach everything, and `nft flush ruleset`, which a
//! restart of Debian's `nftables.service` does, takes the rules of all tables. So the helper listens to what
//! the kernel tells of changes ([`RuleChanges`]) as long as it serves the connection on which the rules came,
//! and compares what is there with what was there right after loading. Who has changed it does not matter:
//! rules that are as they were loaded are left alone, the helper's own changes included.
//!
//! In a namespace of the user's own nobody else changes rules, so nothing is watched there.
//!
//! Where it is sure what is there, only what differs is loaded.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use banger_proto::helper::Rules;

use crate::nft;
use crate::pace::{Pace, Seldom};
use crate::place::Place;
use crate::program::ProgramError;
use crate::rule_changes::RuleChanges;
use crate::rules::{render_difference, render_no_rules, render_rules};

/// How soon that is tried again which has failed.
const RETRY: Duration = Duration::from_secs(10);

/// Who loads rules, and keeps them as they are.
#[derive(Debug, Default)]
pub struct Keeper {
    changes: Option<RuleChanges>,
    /// Those that were loaded last, unless that failed.
    loaded: Option<Rules>,
    kept: Option<Kept>,
    pace: Pace,
    said: Seldom,
}

/// Rules that were loaded.
#[derive(Debug)]
struct Kept {
    text: String,
    /// How nftables showed them right after that; absent when somebody else was faster.
    listed: Option<String>,
    /// Whether somebody may have changed them.
    doubtful: bool,
}

impl Keeper {
    /// Has the rules that are loaded from now on kept.
    ///
    /// # Errors
    ///
    /// The kernel does not tell of changes.
    pub fn watch(&mut self) -> io::Result<()> {
        if self.changes.is_none() {
            self.changes = Some(RuleChanges::open()?);
        }
        Ok(())
    }

    /// Loads rules in place of those before.
    ///
    /// # Errors
    ///
    /// That of [`nft::load`]; then those before are kept.
    pub fn load(&mut self, place: &Place, rules: &Rules) -> Result<(), ProgramError> {
        let whole = render_rules(place, rules);
        self.listen();
        let before = self.loaded.take().filter(|_| !self.is_doubtful());
        match before.and_then(|before| render_difference(&before, rules)) {
            // It fails when somebody else has changed something just now.
            Some(difference)
                if !difference.is_empty() && self.load_text(&difference, &whole).is_ok() => {}
            // Also for who asks for the same once more: to have it put right.
            _ => self.load_text(&whole, &whole)?,
        }
        self.loaded = Some(rules.clone());
        Ok(())
    }

    /// Loads `text`, which leads to the same as `whole`.
    fn load_text(&mut self, text: &str, whole: &str) -> Result<(), ProgramError> {
        let Some(changes) = &self.changes else { return nft::load(text) };
        if let Err(error) = nft::load(text) {
            if let Some(kept) = &mut self.kept {
                kept.doubtful = true;
            }
            return Err(error);
        }
        let listed = nft::list_tables().ok();
        // One transaction is this one's. After another it is not sure whose work was listed. When the
        // kernel could not keep all, it was this one's thousands of elements, most likely.
        let alone = changes.take().transactions <= 1;
        let listed = listed.filter(|_| alone);
        self.kept = Some(Kept { text: whole.to_owned(), listed, doubtful: !alone });
        Ok(())
    }

    /// Removes all rules, and keeps none any more.
    ///
    /// # Errors
    ///
    /// That of [`nft::load`].
    pub fn remove(&mut self) -> Result<(), ProgramError> {
        *self = Self::default();
        nft::load(&render_no_rules())
    }

    /// What becomes readable when somebody changes rules. While they are in doubt, that is waited for by time
    /// only.
    #[must_use]
    pub fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().filter(|_| !self.is_doubtful()).map(RuleChanges::as_fd)
    }

    /// How long until [`Self::look`] has something to do, if nothing is heard before.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.is_doubtful().then(|| self.pace.wait(Instant::now()))
    }

    /// Listens, and loads the rules again if they are not as they were; not more often than [`Pace`] lets it.
    pub fn look(&mut self) {
        self.listen();
        let Some(kept) = &mut self.kept else { return };
        let now = Instant::now();
        if !kept.doubtful || !self.pace.wait(now).is_zero() {
            return;
        }
        self.pace.step(now);
        kept.doubtful = false;
        if kept.listed.is_some() && nft::list_tables().ok() == kept.listed {
            return;
        }
        let text = kept.text.clone();
        match self.load_text(&text, &text) {
            Ok(()) => self.say("the rules of VMs were changed by somebody else: loaded again"),
            Err(error) => {
                self.pace.hold(now + RETRY);
                let causes = [vec![error.to_string()], crate::causes(&error)].concat();
                self.say(&format!("cannot load the rules of VMs again: {}", causes.join(": ")));
            }
        }
    }

    /// Hears of what has happened until now.
    fn listen(&mut self) {
        let Some(heard) = self.changes.as_ref().map(RuleChanges::take) else { return };
        if let Some(kept) = &mut self.kept {
            kept.doubtful |= heard.lost || heard.transactions > 0;
        }
    }

    fn is_doubtful(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.doubtful)
    }

    fn say(&mut self, what: &str) {
        if let Some(unsaid) = self.said.now(Instant::now()) {
            let more = match unsaid {
                0 => String::new(),
                _ => format!(" ({unsaid} times more since this was said last)"),
            };
            // Whoever does not read it does not keep the rules from coming back.
            let _ = writeln!(io::stderr(), "banger-helper: {what}{more}");
        }
    }
}
