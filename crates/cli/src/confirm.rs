//! Asking a person before something that cannot be taken back.

use std::io;

use crate::errors::CliError;
use crate::signals::Signals;
use crate::stdin::Input;
use crate::ui::Ui;

/// Longest answer that is read: what goes on is no yes.
const MAX_ANSWER: usize = 64;

/// Asks `question` on standard error. Only `y` and `yes` are one; an empty line and the end of
/// input are not.
///
/// # Errors
/// When a signal comes, or the terminal is gone.
pub(crate) async fn confirm(
    ui: &Ui,
    signals: &mut Signals,
    question: &str,
) -> Result<bool, CliError> {
    let gone = |error: &io::Error| CliError::failure("cannot ask on this terminal").because(error);
    ui.prompt(format!("{question} [y/N] ")).map_err(|error| gone(&error))?;
    let answer = signals.race(async {
        let mut input = Input::open();
        let mut answer = [0; MAX_ANSWER];
        let mut length = 0;
        // A terminal hands out whole lines, whatever is asked for at once.
        while length < answer.len() && !answer[..length].contains(&b'\n') {
            match input.read(&mut answer[length..]).await.map_err(|error| gone(&error))? {
                0 => break,
                read => length += read,
            }
        }
        Ok(answer[..length].to_vec())
    });
    let answer = answer.await.inspect_err(|_| ui.note(""))?;
    let answer = answer.trim_ascii().to_ascii_lowercase();
    Ok(matches!(&*answer, b"y" | b"yes"))
}
