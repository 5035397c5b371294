//! `banger top`: all VMs on one screen, and keys for what is done with them.
//!
//! ```text
//! keyboard ─▶ keys ─┐            ┌─▶ view ─▶ screen
//!                   ├─▶ model ───┤
//! feed ─── updates ─┘            └─▶ commands: feed, a shell, the end
//! ```
//!
//! | module | responsible for |
//! |---|---|
//! | `model` | what is known, and what follows of keys and updates; pure |
//! | `journal`, `console` | its parts: what happened, and what one VM wrote; pure |
//! | `view` | the model as a picture; pure |
//! | `keys` | bytes of the terminal as keys; pure |
//! | `feed` | the daemon's streams |
//! | `keyboard`, `screen` | the terminal |

mod console;
mod feed;
mod journal;
mod keyboard;
mod keys;
mod model;
mod screen;
mod view;

use std::io;

use banger_proto::api::VmView;
use banger_proto::exit_code;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::signal::unix::{SignalKind, signal};

use self::feed::Feed;
use self::keyboard::Keyboard;
use self::keys::Key;
pub(crate) use self::model::Act;
use self::model::{Command, Model, Update};
use self::screen::Screen;
use self::view::Look;
use crate::client::Client;
use crate::cmd::{Context, top as commands};
use crate::errors::{CliError, Outcome};
use crate::signals::Signals;

/// Updates that are taken in before the next picture: many small ones need no picture each.
const AT_ONCE: usize = 256;

/// Shows all VMs of the daemon until that is enough.
///
/// # Errors
/// When the terminal is gone, and when a signal ends it.
pub(crate) async fn run(context: &Context, client: Client, signals: &mut Signals) -> Outcome {
    let resized = signal(SignalKind::window_change());
    let mut resized =
        resized.map_err(|error| CliError::failure("cannot listen to SIGWINCH").because(&error))?;
    let mut top = Top {
        context,
        feed: Feed::open(client.clone()),
        client,
        signals,
        model: Model::new(Timestamp::now(), TimeZone::system()),
        keyboard: Keyboard::open(),
        screen: Some(Screen::enter(context.ui.stdout_colour)?),
    };
    loop {
        top.show()?;
        let happened = tokio::select! {
            number = top.signals.next() => return Err(interrupted(number)),
            keys = top.keyboard.next() => Happened::Keys(keys.map_err(|error| gone(&error))?),
            update = top.feed.next() => Happened::Update(update),
            _ = resized.recv() => continue,
        };
        top.model.now = Timestamp::now();
        match happened {
            Happened::Keys(keys) => {
                if top.press(keys).await? {
                    return Ok(exit_code::OK);
                }
            }
            Happened::Update(update) => top.take(update),
        }
    }
}

/// What ends a wait.
enum Happened {
    Keys(Vec<Key>),
    Update(Update),
}

/// Everything together.
struct Top<'a> {
    context: &'a Context,
    client: Client,
    signals: &'a mut Signals,
    feed: Feed,
    model: Model,
    keyboard: Keyboard,
    /// Nothing while a shell has the terminal.
    screen: Option<Screen>,
}

impl Top<'_> {
    fn show(&mut self) -> Result<(), CliError> {
        let Self { model, screen, context, .. } = self;
        model.now = Timestamp::now();
        let look = Look::new(context.ui.stdout_colour);
        match screen {
            Some(screen) => screen.show(|frame| view::draw(frame, model, look)),
            None => Ok(()),
        }
    }

    /// Takes an update in, and those that are there already.
    fn take(&mut self, update: Update) {
        let mut next = Some(update);
        let mut taken = 0;
        while let Some(update) = next {
            let commands = self.model.take(update);
            commands.into_iter().for_each(|command| self.feed.begin(command));
            taken += 1;
            next = if taken < AT_ONCE { self.feed.next().now_or_never() } else { None };
        }
    }

    /// Presses keys; whether that was the end.
    async fn press(&mut self, keys: Vec<Key>) -> Result<bool, CliError> {
        for key in keys {
            for command in self.model.press(key) {
                match command {
                    Command::Quit => return Ok(true),
                    Command::Shell(vm) => {
                        self.shell(&vm).await?;
                        // What was typed behind it was meant for the shell.
                        return Ok(false);
                    }
                    command => self.feed.begin(command),
                }
            }
        }
        Ok(false)
    }

    /// Gives the terminal to a shell in `vm` until that ends. The picture is kept up to date: it is
    /// what is seen first afterwards.
    async fn shell(&mut self, vm: &VmView) -> Result<(), CliError> {
        self.screen = None;
        let ended = {
            let shell = commands::shell(self.context, &self.client, vm, self.signals);
            let mut shell = Box::pin(shell);
            loop {
                tokio::select! {
                    ended = &mut shell => break ended,
                    update = self.feed.next() => {
                        self.model.now = Timestamp::now();
                        let commands = self.model.take(update);
                        commands.into_iter().for_each(|command| self.feed.begin(command));
                    }
                }
            }
        };
        self.model.now = Timestamp::now();
        match ended {
            Ok(exit_code::OK) => {}
            Ok(code) => self.model.note(format!("shell in {} ended with {code}", vm.name)),
            Err(error) if error.is_interrupted() => return Err(error),
            Err(error) => self.model.fail(error.lines()),
        }
        self.screen = Some(Screen::enter(self.context.ui.stdout_colour)?);
        self.keyboard.forget();
        Ok(())
    }
}

fn interrupted(number: u8) -> CliError {
    CliError::interrupted(number, "ended by a signal; the VMs go on")
}

fn gone(error: &io::Error) -> CliError {
    CliError::failure("the terminal is gone").because(error)
}
